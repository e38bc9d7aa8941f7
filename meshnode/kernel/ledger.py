"""What is alive in the journal's file, what it weighs, and what must go: sizes only, the bodies stay on the disk.

Kinds that hold truths refuse when their cap is reached. Kinds that hold memories (events, contacts) let the oldest go;
for events a GAP record then says which and how many, so that a story with a hole shows the hole.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from meshnode.kernel.decoding import decoded_or
from meshnode.kernel.journal import (
    BODY_BYTES_MAX,
    HEADER_BYTES,
    KEY_BYTES_MAX,
    Disk,
    Header,
    JournalUnreadable,
    Quarantined,
    Recovered,
    encode_pack,
    encode_record,
    filler,
    record_bytes,
    recover,
)
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import LocalError
from meshnode.model.ids import short

_KIB = 1024
_MIB = 1024 * _KIB
_FORGETFUL = (RecordKind.EVENT, RecordKind.CONTACT)
_CAPS = {
    RecordKind.BOOT: 4 * _KIB,
    RecordKind.CLOCK: 4 * _KIB,
    RecordKind.DIRECTORY: 24 * _MIB,
    RecordKind.CONTACT: 256 * _KIB,
    RecordKind.ENVELOPE: 32 * _MIB,
    RecordKind.INVITE: _MIB,
    RecordKind.AGENT: _MIB,
    RecordKind.EVENT: _MIB,
    RecordKind.GAP: 4 * _KIB,
    RecordKind.CLAIM: 2 * _MIB,
    RecordKind.STATE: 48 * _MIB,
    RecordKind.CHECKPOINT: 8 * _MIB,
}


class JournalFull(LocalError):
    """A kind of record has used up its bytes. Nothing of the request was stored."""

    code = "journal-full"


@dataclass(frozen=True, kw_only=True, slots=True)
class JournalBudget:
    """Bytes that live records may take. The file is at most twice that, plus ``garbage_bytes_min`` and one batch."""

    total_bytes_max: int = 128 * _MIB
    kind_bytes_max: Mapping[RecordKind, int] = field(default_factory=lambda: dict(_CAPS))
    garbage_bytes_min: int = 256 * _KIB  # no rewrite below it: it would wear the flash for nothing

    def __post_init__(self) -> None:
        caps = self.kind_bytes_max
        if any(caps.get(kind, 0) <= 0 for kind in RecordKind) or sum(caps.values()) > self.total_bytes_max:
            raise ValueError("every kind needs a cap, and all caps together must fit into the total")


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Events that were dropped: all with keys from ``first`` to ``last``, ``count`` of them."""

    first: bytes
    last: bytes
    count: int

    def record(self) -> Record:
        return Record(RecordKind.GAP, self.first, msgspec.msgpack.encode(self))


def decode_gap(record: Record) -> Gap | None:
    """``None`` if the record does not describe a gap."""
    if record.kind is not RecordKind.GAP or not record.body:
        return None
    return decoded_or(lambda data: msgspec.msgpack.decode(data, type=Gap), record.body, None)


def live(records: Iterable[Record]) -> list[Record]:
    """The newest record of every key, in the order of writing; forgotten keys and dropped events are left out."""
    newest: dict[tuple[RecordKind, bytes], Record] = {}
    for record in records:
        slot = (record.kind, record.key)
        newest.pop(slot, None)
        if record.body:
            newest[slot] = record
    gaps = [gap for record in newest.values() if (gap := decode_gap(record))]
    last = max((gap.last for gap in gaps), default=None)
    return [r for r in newest.values() if last is None or r.kind is not RecordKind.EVENT or r.key > last]


class Compacted(msgspec.Struct, frozen=True):
    """A whole new file, and what of the old one was unreadable by now."""

    data: bytes
    header: Header
    records: list[Record]
    quarantined: list[Quarantined]


def compact(data: bytes, where: str = "the journal") -> Compacted:
    """The same truth without garbage. Raises ``JournalUnreadable`` as ``recover`` does."""
    found = recover(data, where)
    header, records = found.header.successor(), live(found.records)
    seed = header.seed
    content = b"".join((header.encode(), *(encode_record(record, seed) for record in records)))
    return Compacted(content, header, records, found.quarantined)


class Ledger:
    """The books of one file. Give it the live records that ``file_bytes`` of file hold."""

    def __init__(self, header: Header, records: Sequence[Record], file_bytes: int, budget: JournalBudget) -> None:
        self._budget = budget
        self._seed = header.seed
        self._sizes: dict[RecordKind, dict[bytes, int]] = {kind: {} for kind in RecordKind}
        self._used: dict[RecordKind, int] = dict.fromkeys(RecordKind, 0)
        self._gap: Gap | None = None
        self.file_bytes = file_bytes
        for record in records:
            self._enter(record)

    @property
    def live_bytes(self) -> int:
        return HEADER_BYTES + sum(self._used.values())

    @property
    def garbage_bytes(self) -> int:
        return self.file_bytes - self.live_bytes

    @property
    def wants_compaction(self) -> bool:
        return self.garbage_bytes > max(self.live_bytes, self._budget.garbage_bytes_min)

    def used_bytes(self, kind: RecordKind) -> int:
        return self._used[kind]

    def add(self, records: Sequence[Record]) -> bytes:
        """The bytes to append for these records, and for what must go because of them.

        Raises:
            JournalFull: nothing of it was entered.
        """
        return self.encoded(self.entered(records))

    def entered(self, records: Sequence[Record]) -> list[Record]:
        """These records and what must go because of them, to be ``encoded`` in this order. Raises ``JournalFull``."""
        self._check(records)
        written: list[Record] = []
        for record in records:
            held = record.key in self._sizes[record.kind]
            if held and record.body and record.is_named_by_content:
                continue  # offered again by whoever has not heard of its commit yet
            if record.body or held:
                self._enter(record)
                written.append(record)
        for kind in _FORGETFUL:
            written += self._let_go(kind)
        return written

    def encoded(self, written: Sequence[Record], *, packed: bool = False) -> bytes:
        """The bytes to append, up to the end of their page where the next ones would not fit. ``packed``: as one, if
        that is smaller."""
        if packed:
            data = encode_pack(written, self._seed)
        else:
            data = b"".join([encode_record(record, self._seed) for record in written])
        data += filler(self.file_bytes + len(data), len(data), self._seed)
        self.file_bytes += len(data)
        return data

    def _enter(self, record: Record) -> None:
        sizes = self._sizes[record.kind]
        self._used[record.kind] -= sizes.pop(record.key, 0)
        if record.body:
            sizes[record.key] = record_bytes(record)
            self._used[record.kind] += sizes[record.key]
        self._gap = decode_gap(record) or self._gap

    def _check(self, records: Sequence[Record]) -> None:
        after = {(r.kind, r.key): record_bytes(r) if r.body else 0 for r in records}
        growth: dict[RecordKind, int] = {}
        for (kind, key), size in after.items():
            if len(key) > KEY_BYTES_MAX or size > BODY_BYTES_MAX:
                raise JournalFull(f"a {kind.name.lower()} record of {size} bytes is too big. Nothing was stored")
            growth[kind] = growth.get(kind, 0) + size - self._sizes[kind].get(key, 0)
            if kind in _FORGETFUL and size > self._budget.kind_bytes_max[kind] // 2:
                raise self._full(kind)
        for kind, more in growth.items():
            if more > 0 and kind not in _FORGETFUL and self._used[kind] + more > self._budget.kind_bytes_max[kind]:
                raise self._full(kind)

    def _full(self, kind: RecordKind) -> JournalFull:
        cap = self._budget.kind_bytes_max[kind]
        return JournalFull(
            f"the journal has no room for this {kind.name.lower()} record: {self._used[kind]} of {cap} bytes are used. "
            "Nothing was stored",
            next_step="delete what is no longer needed (documents, agents, contacts), then try again",
        )

    def _let_go(self, kind: RecordKind) -> list[Record]:
        """Drop the oldest down to three quarters of the cap: rarely much instead of often little."""
        cap = self._budget.kind_bytes_max[kind]
        if self._used[kind] <= cap:
            return []
        sizes, gone = self._sizes[kind], list[bytes]()
        excess = self._used[kind] - cap * 3 // 4
        for key, size in list(sizes.items())[:-1]:
            if excess <= 0:
                break
            excess -= size
            gone.append(key)
            self._used[kind] -= sizes.pop(key)
        return self._marks_of(kind, gone)

    def _marks_of(self, kind: RecordKind, gone: list[bytes]) -> list[Record]:
        if kind is not RecordKind.EVENT:
            return [Record(kind, key, b"") for key in gone]
        before = self._gap or Gap(gone[0], b"", 0)
        gap = Gap(before.first, gone[-1], before.count + len(gone)).record()
        self._enter(gap)
        return [gap]


class Started(msgspec.Struct, frozen=True):
    """A journal ready for appends. ``records``: what it holds now, oldest first."""

    ledger: Ledger
    records: list[Record]
    recovered: Recovered


Keep = Callable[[Sequence[Quarantined]], None]


def start(
    disk: Disk, fresh: Header, keep: Keep, *, budget: JournalBudget | None = None, where: str = "the journal"
) -> Started:
    """Open the journal on ``disk``, or begin one with ``fresh``; both hosts start this way.

    ``keep`` puts unreadable bytes aside before the file is rewritten without them. When there is no space for that, the
    node starts all the same and the bytes stay where they are: the next start finds them again.

    Raises:
        JournalUnreadable: no journal, or another node's.
        OSError: the disk does not read, or a first journal cannot be written.
    """
    data = disk.read()
    if not data:
        data = fresh.encode()
        disk.replace(data)
    found = recover(data, where)
    if found.header.node != fresh.node:
        raise JournalUnreadable(
            f"{where}: belongs to node {short(found.header.node)}, this directory's identity is {short(fresh.node)}. "
            "Nothing was changed",
            next_step="put journal and identity of the same node together again",
        )
    header, records, length = found.header, live(found.records), len(data)
    if found.torn:
        disk.truncate(found.good_bytes)
        length = found.good_bytes
    if found.quarantined and (clean := _rewritten(disk, data, found, keep)):
        header, length = clean.header, len(clean.data)
    return Started(Ledger(header, records, length, budget or JournalBudget()), records, found)


def _rewritten(disk: Disk, data: bytes, found: Recovered, keep: Keep) -> Compacted | None:
    clean = compact(data)
    try:
        keep(found.quarantined)
        disk.replace(clean.data)
    except OSError:
        return None
    return clean
