"""Fuzz target: what a disk or a person gives a node that starts, and what its warden and it say to each other.

The first byte chooses where the bytes enter:

    0 a journal, whole   1 damage to an honest journal: u16 where, what to do, with how much   2 a record with a right
    sum: its kind, the length of its key, its key, its body   3 the settings of a node   4 orders to a warden
    5 reports of a warden   6 a pack with a right sum: its body, and the same as what it holds compressed

Properties beside "no exception but a refusal with a name": every record that no damage touches is read; what is read
reads the same when written and read again; all bytes of a file are records, set aside or a torn tail.
"""

import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from meshnode.daemon import settings
from meshnode.host import wardenwire
from meshnode.kernel.instant import Instant
from meshnode.kernel.journal import (
    HEADER_BYTES,
    PACK,
    Header,
    encode_pack,
    encode_record,
    framed,
    record_bytes,
    recover,
)
from meshnode.kernel.ledger import live
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import LocalError, RemoteError
from meshnode.model.ids import InstanceId, NodeId
from meshnode.node.story import Story
from meshnode.scheduler.outcome import read_records, record_of

CORPUS = Path(__file__).parent / "corpus" / "files"
HEADER = Header(NodeId(bytes(range(32))), b"saltsalt")
NOW = Instant(0, 1_800_000_000_000)
DAMAGES_MAX = 16
MEMORY = Path("/dev/shm")  # where a file costs no disk
_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-files-", dir=MEMORY if MEMORY.is_dir() else None)
DIRECTORY = Path(_FOLDER.name)


def _honest() -> list[Record]:
    """Of several kinds and lengths; one holds what another journal would take for records."""
    story, events = Story(()), list[Record]()
    for number in range(3):
        events.append(story.add("node/a", f"event {number}", NOW)[0])
    claim = record_of(InstanceId("words/0"), 3, mine=True)
    foreign = Record(RecordKind.CONTACT, b"host:7000", encode_record(claim, HEADER.seed + 1) * 2)
    gap = Record(RecordKind.GAP, bytes(8), msgspec.msgpack.encode([bytes(8), bytes(7) + b"\1", 1]))
    return [Record(RecordKind.BOOT, b"", b"\1"), claim, *events, foreign, gap, Record(RecordKind.INVITE, b"id", b"")]


RECORDS = _honest()
FILE = HEADER.encode() + b"".join(encode_record(each, HEADER.seed) for each in RECORDS)


def one_input(data: bytes) -> None:
    try:
        PARSERS[data[0] % len(PARSERS) if data else 0](data[1:])
    except LocalError as error:  # a person's error counts as a refusal by its name
        if not (error.message and error.next_step):
            raise AssertionError("a refusal says what is wrong and what to do") from error
        raise RemoteError(error.code) from error


def _journal(data: bytes) -> None:
    found = recover(data)
    kept = sum(map(record_bytes, found.records)) + sum(len(each.data) for each in found.quarantined)
    assert HEADER_BYTES + kept + found.torn_bytes == len(data), "bytes that are nowhere"
    again = recover(found.header.encode() + b"".join(encode_record(each, found.header.seed) for each in found.records))
    assert again.records == found.records and not again.quarantined and not again.torn
    _read_all(found.records)


def _damaged(data: bytes) -> None:
    """Of the bytes after the header some are overwritten, left out or new; damages do not overlap."""
    whole, first = bytearray(FILE), len(FILE)
    touched: list[range] = []
    for at, what, much in sorted(_damages(data), reverse=True):
        end = min(at + 1 + much, first)
        if at >= first:
            continue
        first = at
        match what % 3:
            case 0:
                whole[at:end] = bytes(each ^ (what | 1) for each in whole[at:end])
            case 1:
                del whole[at:end]
            case _:
                whole[at:at] = bytes(each ^ 0x5A for each in FILE[-1 - much :])
                end = at
        touched.append(range(at, end) if end > at else range(at - 1, at + 1))
    found = recover(bytes(whole))
    intact = _intact(touched)
    assert [each for each in found.records if each in intact] == intact, "a record nobody touched is not read"
    assert all(each in RECORDS for each in found.records), "a record that nobody wrote"
    _read_all(found.records)


def _damages(data: bytes) -> Iterator[tuple[int, int, int]]:
    for at in range(0, min(len(data), 4 * DAMAGES_MAX) - 3, 4):
        where = int.from_bytes(data[at : at + 2]) % (len(FILE) - HEADER_BYTES)
        yield HEADER_BYTES + where, data[at + 2], data[at + 3]


def _intact(touched: list[range]) -> list[Record]:
    intact: list[Record] = []
    begin = HEADER_BYTES
    for record in RECORDS:
        end = begin + record_bytes(record)
        if not any(each.start < end and begin < each.stop for each in touched):
            intact.append(record)
        begin = end
    return intact


def _record(data: bytes) -> None:
    kinds, end = tuple(RecordKind), 2 + (data[1] if len(data) > 1 else 0)
    record = Record(kinds[(data[0] if data else 0) % len(kinds)], data[2:end], data[end:])
    assert recover(HEADER.encode() + encode_record(record, HEADER.seed)).records == [record]
    _read_all([*RECORDS, record])


def _pack(data: bytes) -> None:
    for body in (data, zlib.compress(data)):
        found = recover(HEADER.encode() + framed(PACK, b"", body, HEADER.seed) + encode_record(RECORDS[0], HEADER.seed))
        assert found.records[-1] == RECORDS[0] and not found.torn
        again = recover(HEADER.encode() + encode_pack(found.records, HEADER.seed))
        assert again.records == found.records and not again.quarantined
        _read_all(found.records)


def _read_all(records: list[Record]) -> None:
    """As a start does."""
    kept = live(records)
    for _, claim in read_records(kept):
        assert isinstance(claim.mine, bool)
    story = Story(kept)
    record, _ = story.add("node/a", "started", NOW)
    assert story.about(lambda _: True, NOW)[-1].text == "started"
    assert len(record.key) == 8


def _settings(data: bytes) -> None:
    (DIRECTORY / settings.FILE).write_bytes(data)
    found = settings.load(DIRECTORY)
    settings.save(DIRECTORY, found)
    assert settings.load(DIRECTORY) == found


def _orders(data: bytes) -> None:
    for body in wardenwire.Inbox().feed(data):
        order = wardenwire.read_order(body)
        assert wardenwire.Inbox().feed(wardenwire.encode(order))


def _reports(data: bytes) -> None:
    for body in wardenwire.Inbox().feed(data):
        report = wardenwire.read_report(body)
        assert wardenwire.Inbox().feed(wardenwire.encode(report))


PARSERS: tuple[Callable[[bytes], None], ...] = (_journal, _damaged, _record, _settings, _orders, _reports, _pack)


def seeds() -> Iterator[tuple[str, bytes]]:
    """How the first files of the corpus were made: ``NAME, bytes``."""
    yield "empty", b""
    yield "journal", b"\0" + FILE
    yield "journal-torn", b"\0" + FILE[:-9]
    yield "journal-of-a-later-format", b"\0" + FILE[:4] + b"\xff" + FILE[5:]
    yield "damage", b"\1" + bytes((0, 40, 0, 3)) + bytes((0, 90, 1, 9)) + bytes((0, 150, 2, 60))
    for record in RECORDS:
        name = f"record-{record.kind.name.lower()}"
        kind = list(RecordKind).index(record.kind)
        yield name, b"\2" + bytes((kind, len(record.key))) + record.key + record.body
    yield (
        "record-nested-deep",
        b"\2" + bytes((list(RecordKind).index(RecordKind.EVENT), 8)) + bytes(8) + b"\x91" * 20_000,
    )
    rows = [(int(each.kind), each.key, each.body) for each in RECORDS]
    yield "pack", b"\6" + msgspec.msgpack.encode(rows)
    yield "pack-of-a-later-kind", b"\6" + msgspec.msgpack.encode([*rows, (200, b"k", b"later")])
    yield "pack-compressed", b"\6" + zlib.compress(msgspec.msgpack.encode(rows))
    yield "pack-bomb", b"\6" + zlib.compress(bytes(8 * 1024 * 1024))
    yield "settings", b'\3{"port": 7000, "seeds": ["alpha:7000"], "profile": "edge"}'
    yield "settings-unknown", b'\3{"speed": 7}'
    yield "settings-nested-deep", b'\3{"seeds": ' + b"[" * 20_000
    start = wardenwire.Start("words/0", 1, "t", ("python",), "/", {"A": "1"})
    orders = (
        wardenwire.List(),
        start,
        wardenwire.Go("words/0", 1),
        wardenwire.Stop("words/0", 1, 9),
        wardenwire.Goodbye(),
    )
    yield "orders", b"\4" + b"".join(map(wardenwire.encode, orders))
    yield "order-nested-deep", b"\4\0\0\x20\0" + b"\x91" * 8192
    yield "order-endless", b"\4\xff\xff\xff\xff"
    yield "report-not-text", b"\5\0\0\0\x10" + b"\x82\xa4type\xa7started\xa1\xff"


if __name__ == "__main__":
    from tests.fuzz.driver import main

    sys.exit(main("files", one_input, CORPUS))
