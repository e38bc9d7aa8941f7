"""The one append log of a node: its format, its recovery, its budgets. Bytes in, bytes out; hosts supply the disk.

    header   magic 8 | version u16 | id length u8 | 0 | node id 32 | salt 8 | crc u32
    record   marker 2 | kind u8 | 0 | key length u16 | body length u32 | crc u32 | key | body | crc u32

Big endian. The first checksum of a record covers its lengths, the second all of it; both start from the header's, salt
included. A body that holds what looks like a record (a peer may have written it) or a sector of an older file therefore
never passes for one. Nothing in here depends on time: a clock in 1970 changes nothing.

What nobody waits for comes in one record of a kind of its own (``encode_pack``), compressed: records of one document
and author differ in little. It is read as the records it holds, which are lost or kept as one.

A disk is written by the page. So that a small commit does not begin in one page and end in the next, the commit before
it fills its page up (``filler``) where another one like it would not fit: nothing of it is read.

A batch is no transaction: after a power cut any part of what was not acknowledged may be there.
"""

import struct
import zlib
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

import msgspec

from meshnode.kernel.decoding import decoded_or
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import LocalError
from meshnode.model.ids import NodeId

MAGIC = b"meshjrn\n"
VERSION = 1
KEY_BYTES_MAX = 0xFFFF
BODY_BYTES_MAX = 2 * 1024 * 1024
SALT_BYTES = 8
_HEADER = struct.Struct(">8sHBx32s8s")
HEADER_BYTES = _HEADER.size + 4
_MARKER = b"\xd7\x1e"
_PREFIX = struct.Struct(">2sBxHI")
_PREFIX_END = _PREFIX.size + 4
RECORD_OVERHEAD = _PREFIX_END + 4
PACK = 0xFE  # no ``RecordKind``: a record of records
FILLER = 0xFD  # no ``RecordKind`` either: holds nothing
PAGE_BYTES = 4096  # of nearly all disks and file systems; with another size nothing is gained and nothing is wrong
_PACK_LEVEL = 1  # more of it makes what is mostly hashes no smaller

_Row = tuple[int, bytes, bytes]
_rows = msgspec.msgpack.Decoder(list[_Row])


class JournalUnreadable(LocalError):
    """The file is not a journal of this node that this version can read. Nothing was changed."""

    code = "journal-unreadable"


class Disk(Protocol):
    """Where the journal lives. Every method may raise ``OSError``.

    After a failed ``append`` or ``sync`` the content is what the last successful ``sync`` or ``replace`` left. After a
    crash it is that, plus any part of what was appended since.
    """

    def read(self) -> bytes:
        """All of it; empty if there is none yet."""
        ...

    def append(self, data: bytes) -> None: ...

    def sync(self) -> None:
        """Everything appended so far survives a power cut."""
        ...

    def replace(self, data: bytes) -> None:
        """Old or new content after a crash, never a mixture. Durable on return."""
        ...

    def truncate(self, length: int) -> None:
        """Forget all after ``length``. Needs no space. Durable on return."""
        ...


class Header(msgspec.Struct, frozen=True):
    """Whose journal it is. ``salt``: 8 bytes nobody else knows; every rewrite has another one."""

    node: NodeId
    salt: bytes

    def encode(self) -> bytes:
        assert len(self.node) <= 32
        assert len(self.salt) == SALT_BYTES
        fields = _HEADER.pack(MAGIC, VERSION, len(self.node), self.node, self.salt)
        return fields + zlib.crc32(fields).to_bytes(4)

    @property
    def seed(self) -> int:
        """Where the checksums of this file's records start."""
        return zlib.crc32(self.encode())

    def successor(self) -> "Header":
        return Header(self.node, blake2b(self.salt, digest_size=SALT_BYTES).digest())


class Quarantined(msgspec.Struct, frozen=True):
    """Bytes in the middle of the file that are no record. Kept aside, shown, never applied."""

    offset: int
    data: bytes
    reason: str


class Recovered(msgspec.Struct, frozen=True):
    """What a file holds. ``records``: every intact one, in order; ``good_bytes``: where the last of them ends.

    ``torn_bytes``: an unfinished write after them, which nobody was told is stored; ``spare``: it was not even begun,
    for a host may keep zeros ahead of what it writes.
    """

    header: Header
    records: list[Record]
    good_bytes: int
    torn_bytes: int
    quarantined: list[Quarantined]
    spare: bool = False

    @property
    def torn(self) -> bool:
        return self.torn_bytes > 0


def decode_header(data: bytes, where: str = "the journal") -> Header:
    """Raises ``JournalUnreadable``: without a header nothing in the file can be told from junk."""
    if len(data) < HEADER_BYTES:
        raise _unreadable(where, f"it has {len(data)} bytes, a header has {HEADER_BYTES}")
    magic, version, id_bytes, node, salt = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise _unreadable(where, "it does not begin like a journal")
    if zlib.crc32(data[: _HEADER.size]) != int.from_bytes(data[_HEADER.size : HEADER_BYTES]):
        raise _unreadable(where, "the checksum of its header is wrong")
    if version != VERSION or id_bytes > 32:
        raise _unreadable(where, f"its format is version {version}, this program reads version {VERSION}")
    return Header(NodeId(node[:id_bytes]), salt)


def _unreadable(where: str, why: str) -> JournalUnreadable:
    return JournalUnreadable(
        f"{where}: cannot be read: {why}. Nothing was changed",
        next_step="restore the file from a copy, or move it away: the node then starts with what its peers know",
    )


def encode_record(record: Record, seed: int) -> bytes:
    assert len(record.key) <= KEY_BYTES_MAX
    assert len(record.body) <= BODY_BYTES_MAX
    return framed(record.kind, record.key, record.body, seed)


def framed(kind: int, key: bytes, body: bytes, seed: int) -> bytes:
    """As it stands in the file, with its checksums."""
    prefix = _PREFIX.pack(_MARKER, kind, len(key), len(body))
    prefix_crc = zlib.crc32(prefix, seed)
    content = key + body
    return b"".join((prefix, prefix_crc.to_bytes(4), content, zlib.crc32(content, prefix_crc).to_bytes(4)))


def encode_pack(records: Sequence[Record], seed: int) -> bytes:
    """All of them as one, if that is smaller: one bit that flips takes all of them, so not for what is acknowledged."""
    plain = b"".join([encode_record(record, seed) for record in records])
    rows: list[_Row] = [(record.kind, record.key, record.body) for record in records]
    content = msgspec.msgpack.encode(rows)
    if len(records) < 2 or len(content) > BODY_BYTES_MAX:
        return plain
    packed = framed(PACK, b"", zlib.compress(content, _PACK_LEVEL), seed)
    return packed if len(packed) < len(plain) else plain


def filler(ends_at: int, size: int, seed: int) -> bytes:
    """What fills the page up behind a commit of ``size`` bytes that ends at this place of the file; empty if another
    one like it fits there, or would be written over several pages anyhow."""
    room = -ends_at % PAGE_BYTES
    if not RECORD_OVERHEAD <= room < size <= PAGE_BYTES:
        return b""
    return framed(FILLER, b"", bytes(room - RECORD_OVERHEAD), seed)


def _unpacked(body: bytes) -> tuple[list[Record], bool]:
    """What a pack holds, as far as it is known; whether that is all of it."""
    inflating = zlib.decompressobj()
    try:
        content = inflating.decompress(body, BODY_BYTES_MAX)
    except zlib.error:
        return [], False
    rows = decoded_or(_rows.decode, content, list[_Row]()) if inflating.eof else []
    known = [row for row in rows if row[0] in _KINDS and len(row[1]) <= KEY_BYTES_MAX]
    records = [Record(RecordKind(kind), key, data) for kind, key, data in known]
    return records, bool(rows) and len(records) == len(rows)


def record_bytes(record: Record) -> int:
    """What a record takes in the file."""
    return RECORD_OVERHEAD + len(record.key) + len(record.body)


def recover(data: bytes, where: str = "the journal") -> Recovered:
    """Every intact record of a file, whatever happened to the bytes between them.

    Raises:
        JournalUnreadable: the header is not one. Nothing else is ever raised.
    """
    header = decode_header(data, where)
    seed = header.seed
    records: list[Record] = []
    quarantined: list[Quarantined] = []
    at = good = HEADER_BYTES
    flaw = ""
    while 0 <= at < len(data):
        found = _read(data, at, seed)
        if isinstance(found, _Flaw):
            flaw = flaw or found.reason
            at = data.find(_MARKER, at + 1)
            continue
        if at > good:
            quarantined.append(Quarantined(good, data[good:at], flaw))
        held, is_all, end = found
        records += held
        if not is_all:
            quarantined.append(Quarantined(at, data[at:end], f"kind {data[at + 2]} is not known to this version"))
        at, good, flaw = end, end, ""
    return _with_tail(data, Recovered(header, records, good, 0, quarantined))


_KINDS = frozenset(map(int, RecordKind))
_CONTENT_WRONG = "the checksum of its content is wrong"


class _Flaw(msgspec.Struct, frozen=True):
    """``unfinished``: its last bytes were never written, zeros stand there."""

    reason: str
    unfinished: bool = False


def _read(data: bytes, at: int, seed: int) -> tuple[Sequence[Record], bool, int] | _Flaw:
    """What the record at ``at`` holds, itself if it is no pack; whether all of it is of known kinds; where it ends."""
    body_at = at + _PREFIX_END
    if not data.startswith(_MARKER, at):
        return _Flaw("no record begins here")
    if body_at > len(data):
        return _Flaw("the file ends in it")
    _, kind, key_bytes, body_bytes = _PREFIX.unpack_from(data, at)
    prefix_crc = int.from_bytes(data[at + _PREFIX.size : body_at])
    if zlib.crc32(data[at : at + _PREFIX.size], seed) != prefix_crc:
        return _Flaw("the checksum of its lengths is wrong")
    end = body_at + key_bytes + body_bytes
    if end + 4 > len(data):
        return _Flaw("the file ends in it")
    content = data[body_at:end]
    if zlib.crc32(content, prefix_crc) != int.from_bytes(data[end : end + 4]):
        return _Flaw(_CONTENT_WRONG, unfinished=not any(data[end : end + 4]))
    if kind == PACK:
        return *_unpacked(content[key_bytes:]), end + 4
    if kind not in _KINDS:
        return (), kind == FILLER, end + 4
    return (Record(RecordKind(kind), content[:key_bytes], content[key_bytes:]),), True, end + 4


def _with_tail(data: bytes, found: Recovered) -> Recovered:
    """Judge what follows the last intact record.

    Usually a write that a power cut interrupted. But a record that is there in full length and only fails its checksum
    may have been acknowledged: that one is kept aside and shown.
    """
    tail = data[found.good_bytes :]
    if not tail:
        return found
    flaw = _read(data, found.good_bytes, found.header.seed)
    if isinstance(flaw, _Flaw) and flaw.reason == _CONTENT_WRONG and not flaw.unfinished:
        quarantined = [*found.quarantined, Quarantined(found.good_bytes, tail, flaw.reason)]
        return Recovered(found.header, found.records, found.good_bytes, 0, quarantined)
    spare = not tail.strip(b"\0")
    return Recovered(found.header, found.records, found.good_bytes, len(tail), found.quarantined, spare)
