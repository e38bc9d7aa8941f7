"""Judged envelopes that wait for a change they stand on; never inside the engine, which keeps them without limit."""

import msgspec

from meshnode.crdt.gate import Admitted
from meshnode.model.ids import DocId, NodeId


class _Share(msgspec.Struct):
    """What waits here of one author, his part of our own journal included."""

    count: int = 0
    bytes: int = 0


class Held:
    """Envelopes by the one change each waits for. Full: the one that waited longest goes; repair brings it again.

    Those of our own journal stay whatever comes: they may have been acknowledged, and be nowhere else. Bytes are
    counted as they lie in memory: inflated, and as they came.
    """

    def __init__(
        self, *, envelopes_max: int, bytes_max: int, per_author_max: int, bytes_per_author_max: int
    ) -> None:  # fmt: skip
        self._envelopes_max, self._bytes_max = envelopes_max, bytes_max
        self._per_author_max, self._bytes_per_author_max = per_author_max, bytes_per_author_max
        self._passing_bytes = 0
        self._waiting: dict[bytes, tuple[Admitted, bytes]] = {}  # by envelope id, in order of arrival
        self._passing: dict[bytes, None] = {}  # those that are in no journal, in order of arrival
        self._for: dict[bytes, dict[bytes, None]] = {}  # missing change -> envelope ids
        self._by_author: dict[NodeId, _Share] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, envelope: bytes) -> bool:
        return envelope in self._waiting

    def hold(self, admitted: Admitted, missing: bytes, *, restored: bool = False) -> bool:
        """``False``: held already, or its author has too many here. Our own journal's are never turned away."""
        envelope, author = admitted.sealed.id, admitted.sealed.author
        if envelope in self._waiting:
            return False
        size = _size_of(admitted)
        if not restored:
            share = self._by_author.get(author, _Share())
            if share.count >= self._per_author_max or share.bytes + size > self._bytes_per_author_max:
                return False
            self._make_room(size)
            self._passing[envelope] = None
            self._passing_bytes += size
        self._waiting[envelope] = (admitted, missing)
        self._for.setdefault(missing, {})[envelope] = None
        share = self._by_author.setdefault(author, _Share())
        share.count, share.bytes = share.count + 1, share.bytes + size
        return True

    def release(self, change: bytes) -> list[Admitted]:
        """Envelopes that waited for this change, in order of arrival. They may lack another one still."""
        return [self._drop(envelope) for envelope in list(self._for.get(change, {}))]

    def restored(self, doc: DocId) -> list[Admitted]:
        """Those of our own journal: what they stand on was lost on the disk."""
        kept = [admitted for key, (admitted, _) in self._waiting.items() if key not in self._passing]
        return [admitted for admitted in kept if admitted.doc == doc]

    def forget(self, doc: DocId) -> None:
        for envelope in [key for key, (admitted, _) in self._waiting.items() if admitted.doc == doc]:
            self._drop(envelope)

    def _make_room(self, size: int) -> None:
        while self._passing and (
            len(self._passing) >= self._envelopes_max or self._passing_bytes + size > self._bytes_max
        ):
            self._drop(next(iter(self._passing)))

    def _drop(self, envelope: bytes) -> Admitted:
        admitted, missing = self._waiting.pop(envelope)
        size, author = _size_of(admitted), admitted.sealed.author
        if envelope in self._passing:
            del self._passing[envelope]
            self._passing_bytes -= size
        share = self._by_author[author]
        share.count, share.bytes = share.count - 1, share.bytes - size
        if not share.count:
            del self._by_author[author]
        del self._for[missing][envelope]
        if not self._for[missing]:
            del self._for[missing]
        return admitted


def _size_of(admitted: Admitted) -> int:
    return len(admitted.sealed.data) + sum([len(each.plain) for each in admitted.changes])
