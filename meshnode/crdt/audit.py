"""The documents of a journal, made once more from its records alone: what ``state verify`` looks at.

Nothing is believed that a start would believe of the own journal: each root and each change goes through the engine
again. The result is what a node that started now would compare with its peers.
"""

from collections.abc import Sequence

import msgspec

from meshnode.crdt import shelf
from meshnode.crdt.gate import Admitted
from meshnode.crdt.held import Held
from meshnode.crdt.intake import Intake
from meshnode.crdt.store import AutomergeStore
from meshnode.kernel.records import Record
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId

_ALL = 1 << 40
DOCUMENTS_MAX = 20_000
DAMAGED_MAX = 256  # named; all are counted


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """``root``: over the heads of all documents; ``earlier``: envelopes of generations that are over; ``waiting``:
    envelopes that stand on what is not here; ``damaged``: records that are not what was written, by document."""

    documents: int
    roots: int
    envelopes: int
    earlier: int
    waiting: int
    root: bytes
    damaged: tuple[str, ...] = ()
    damaged_count: int = 0

    @property
    def is_whole(self) -> bool:
        return not self.damaged_count and not self.waiting


class Auditor:
    """``audit`` may be called once."""

    def __init__(self) -> None:
        self._store = AutomergeStore(documents_max=DOCUMENTS_MAX)
        self._held = Held(envelopes_max=_ALL, bytes_max=_ALL, per_author_max=_ALL, bytes_per_author_max=_ALL)
        self._intake = Intake(self._store, self._held)
        self._damaged: list[str] = []
        self._damaged_count = self._roots = self._envelopes = self._earlier = 0

    def audit(self, records: Sequence[Record]) -> Audit:
        """``records``: the newest one of each key."""
        filed = shelf.filed(records)
        for record in filed.roots:
            self._adopt(record, filed.pieces)
        for record in filed.envelopes:
            self._place(record)
        return Audit(
            documents=sum(not self._store.is_deleted(doc) for doc in self._store.docs()), roots=self._roots,
            envelopes=self._envelopes, earlier=self._earlier, waiting=len(self._held), root=self._intake.index.root(),
            damaged=tuple(self._damaged), damaged_count=self._damaged_count,
        )  # fmt: skip

    def _adopt(self, record: Record, pieces: dict[bytes, bytes]) -> None:
        try:
            rooted, _ = shelf.restored_root(record, pieces)
            if rooted.pin > self._store.pin(DocId(rooted.root.doc)):
                self._store.adopt(rooted)
                self._intake.rooted(DocId(rooted.root.doc))
                self._roots += 1
        except RemoteError as error:
            self._damage(record, error)

    def _place(self, record: Record) -> None:
        try:
            admitted = shelf.restored(record)
        except RemoteError as error:
            self._damage(record, error)
            return
        if admitted.pin < self._store.pin(admitted.doc):
            self._earlier += 1
            return
        self._apply(record, msgspec.structs.replace(admitted, proven=False))

    def _apply(self, record: Record, admitted: Admitted) -> None:
        if admitted.pin > self._store.pin(admitted.doc):
            self._damage(record, RemoteError("root-unknown", "the root it stands on is not here"))
            return
        placed = self._intake.place(admitted)
        self._envelopes += len(placed.applied)
        for _, error in placed.refused:
            self._damage(record, error)

    def _damage(self, record: Record, error: RemoteError) -> None:
        self._damaged_count += 1
        if len(self._damaged) < DAMAGED_MAX:
            self._damaged.append(f"document {record.key[: shelf.DOC_BYTES].hex()}: {error}")
