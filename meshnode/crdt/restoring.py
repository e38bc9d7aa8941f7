"""The documents of an earlier run, from their records: what is damaged is left out and named, the rest is there."""

from collections.abc import Sequence

from meshnode.crdt import shelf
from meshnode.crdt.generations import Generations
from meshnode.crdt.intake import Intake
from meshnode.crdt.store import StateStore
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.hlc import AHEAD_MAX_MS, Hlc, wall_ms
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.kernel.records import Record
from meshnode.model.errors import RemoteError

_NOTES_MAX = 16


def set_right(hlc: Hlc, store: StateStore, now: Instant) -> None:
    """Stamps of this journal far ahead of ``now`` are of a clock that was wrong: ours do not go on from them, or nobody
    would take a write of this node until that time has come. While nobody knows the time, they do."""
    latest_ms = now.wall_ms + AHEAD_MAX_MS
    if now.trust is ClockTrust.FLOOR or wall_ms(hlc.last) <= latest_ms:
        return
    rooted = [each.root.times() for each in map(store.rooted, store.docs()) if each is not None]
    stamps = [[sealed.hlc for sealed in store.beyond(doc, {})] for doc in store.docs()]
    hlc.last = max((stamp for some in (*rooted, *stamps) for stamp in some if wall_ms(stamp) <= latest_ms), default=0)


class Restoring:
    """Reads once. ``notes``: what people should know of it."""

    def __init__(self, generations: Generations, intake: Intake, hlc: Hlc, counters: Counters) -> None:
        self._generations, self._intake, self._hlc, self._counters = generations, intake, hlc, counters
        self.notes: list[Effect] = []

    def read(self, records: Sequence[Record]) -> None:
        """Roots first: an envelope is judged by the root it stands on."""
        filed = shelf.filed(records)
        for record in filed.roots:
            try:
                self._hlc.last = max(self._hlc.last, self._generations.restore(record, filed.pieces))
            except RemoteError as error:
                self._quarantine(record.key, error)
        for record in filed.envelopes:
            self._envelope(record)
        self._generations.restored([*filed.pieces, *(record.key for record in filed.roots)])

    def _envelope(self, record: Record) -> None:
        try:
            admitted = shelf.restored(record)
        except RemoteError as error:
            self._quarantine(record.key, error)
            return
        self._hlc.last = max(self._hlc.last, admitted.sealed.hlc)
        if not self._generations.place(admitted):
            return
        for each, error in self._intake.place(admitted, restored=True).refused:
            self._quarantine(each.doc + each.sealed.id, error)

    def _quarantine(self, key: bytes, error: RemoteError) -> None:
        self._counters.add("quarantined")
        if len(self.notes) < _NOTES_MAX:
            self.notes.append(Note(f"document/{key[:16].hex()}", f"a stored change is unreadable ({error}): left out"))
