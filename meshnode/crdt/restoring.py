"""The documents of an earlier run, from their records: what is damaged is left out and named, the rest is there."""

from collections.abc import Sequence

from meshnode.crdt import shelf
from meshnode.crdt.generations import Generations
from meshnode.crdt.intake import Intake
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError

_NOTES_MAX = 16


class Restoring:
    """Reads once. ``notes``: what people should know of it."""

    def __init__(self, generations: Generations, intake: Intake, hlc: Hlc, counters: Counters) -> None:
        self._generations, self._intake, self._hlc, self._counters = generations, intake, hlc, counters
        self.notes: list[Effect] = []

    def read(self, records: Sequence[Record]) -> None:
        """Roots first: an envelope is judged by the root it stands on."""
        mine = [record for record in records if record.kind == RecordKind.ENVELOPE and record.body]
        pieces = {each.key: each.body for each in mine if shelf.is_piece(each)}
        for record in [each for each in mine if shelf.is_root(each)]:
            try:
                self._generations.restore(record, pieces)
            except RemoteError as error:
                self._quarantine(record.key, error)
        for record in mine:
            if not shelf.is_root(record) and not shelf.is_piece(record):
                self._envelope(record)
        self._generations.restored(each.key for each in mine if shelf.is_piece(each) or shelf.is_root(each))

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
