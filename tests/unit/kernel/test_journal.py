"""The journal's format: whatever happens to a file, every other record survives and nothing false appears."""

import struct
import zlib
from random import Random

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.kernel.journal import (
    BODY_BYTES_MAX,
    HEADER_BYTES,
    KEY_BYTES_MAX,
    PACK,
    RECORD_OVERHEAD,
    Header,
    JournalUnreadable,
    decode_header,
    encode_pack,
    encode_record,
    framed,
    record_bytes,
    recover,
)
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId

HEADER = Header(NodeId(bytes(range(32))), b"saltsalt")
RECORDS = st.lists(
    st.builds(
        Record,
        st.sampled_from(RecordKind),
        st.binary(max_size=12),
        st.binary(max_size=60) | st.just(b"\xd7\x1e" * 30),
    ),
    max_size=12,
)

ALIKE = [
    Record(RecordKind.ENVELOPE, bytes(16) + Random(n).randbytes(32), b"kind/namespace/name, " * 10 + b"%d" % n)
    for n in range(10)
]


def file_of(records: list[Record]) -> bytes:
    return HEADER.encode() + b"".join(encode_record(record, HEADER.seed) for record in records)


def ends_of(records: list[Record]) -> list[int]:
    ends = [HEADER_BYTES]
    for record in records:
        ends.append(ends[-1] + record_bytes(record))
    return ends


@given(RECORDS)
def test_what_was_written_is_read(records: list[Record]) -> None:
    data = file_of(records)
    found = recover(data)
    assert found.records == records
    assert found.header == HEADER
    assert found.good_bytes == len(data)
    assert not found.torn
    assert not found.quarantined


@given(RECORDS, RECORDS, RECORDS)
def test_a_pack_is_read_as_the_records_it_holds_where_it_stands(
    before: list[Record], packed: list[Record], after: list[Record]
) -> None:
    data = file_of(before) + encode_pack(packed, HEADER.seed) + file_of(after)[HEADER_BYTES:]
    found = recover(data)
    assert found.records == [*before, *packed, *after]
    assert found.good_bytes == len(data) and not found.torn and not found.quarantined


@given(st.data())
def test_of_a_pack_that_is_damaged_or_cut_nothing_is_there_and_all_else_is(data: st.DataObject) -> None:
    pack = encode_pack(ALIKE, HEADER.seed)
    last = Record(RecordKind.BOOT, b"", b"7")
    begin, whole = HEADER_BYTES, bytearray(HEADER.encode() + pack + encode_record(last, HEADER.seed))
    bit = data.draw(st.integers(begin * 8, (begin + len(pack)) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    found = recover(bytes(whole))
    assert found.records == [last]
    assert [(each.offset, len(each.data)) for each in found.quarantined] == [(begin, len(pack))]
    torn = recover(HEADER.encode() + pack[: data.draw(st.integers(1, len(pack) - 1))])
    assert torn.records == [] and torn.torn and torn.good_bytes == begin


def test_a_pack_of_records_that_are_alike_is_less_than_half_and_one_that_gains_nothing_is_none() -> None:
    plain = sum(map(record_bytes, ALIKE))
    assert len(encode_pack(ALIKE, 1)) * 2 < plain
    assert encode_pack(ALIKE[:1], 1) == encode_record(ALIKE[0], 1)
    noise = [Record(RecordKind.EVENT, bytes([n]), Random(n).randbytes(300)) for n in range(2)]
    assert encode_pack(noise, 1) == b"".join(encode_record(each, 1) for each in noise)
    huge = [Record(RecordKind.EVENT, bytes([n]), bytes(BODY_BYTES_MAX // 2)) for n in range(3)]
    assert len(encode_pack(huge, 1)) == sum(map(record_bytes, huge)), "it would not be read again"


def test_a_pack_that_is_none_or_holds_what_is_not_known_is_kept_aside_and_what_is_known_is_read() -> None:
    rows = [(200, b"k", b"later"), (int(RecordKind.EVENT), b"\1", b"told")]
    later = zlib.compress(msgspec.msgpack.encode(rows))
    bomb = zlib.compress(bytes(64 * 1024 * 1024))
    long = zlib.compress(msgspec.msgpack.encode([(int(RecordKind.EVENT), bytes(KEY_BYTES_MAX + 1), b"x")]))
    for body, known in (
        (long, []),
        (later, [Record(RecordKind.EVENT, b"\1", b"told")]),
        (b"no zlib", []),
        (bomb, []),
        (b"", []),
    ):
        found = recover(HEADER.encode() + framed(PACK, b"", body, HEADER.seed))
        assert found.records == known
        assert [each.offset for each in found.quarantined] == [HEADER_BYTES] and not found.torn


@given(RECORDS, st.data())
def test_any_cut_leaves_every_record_before_it(records: list[Record], data: st.DataObject) -> None:
    whole = file_of(records)
    cut = data.draw(st.integers(HEADER_BYTES, len(whole)))
    found = recover(whole[:cut])
    ends = ends_of(records)
    kept = sum(1 for end in ends[1:] if end <= cut)
    assert found.records == records[:kept]
    assert found.good_bytes == ends[kept]
    assert found.torn == (cut != ends[kept])
    assert not found.quarantined


@given(RECORDS.filter(bool), st.data())
def test_any_bit_flip_loses_at_most_the_record_it_hits(records: list[Record], data: st.DataObject) -> None:
    whole = bytearray(file_of(records))
    bit = data.draw(st.integers(HEADER_BYTES * 8, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    found = recover(bytes(whole))
    ends = ends_of(records)
    hit = next(no for no, end in enumerate(ends[1:]) if bit // 8 < end)
    assert found.records == records[:hit] + records[hit + 1 :]
    lost = bytes(whole[ends[hit] : ends[hit + 1]])
    if hit == len(records) - 1 and found.torn:
        assert found.good_bytes == ends[hit]
    else:
        assert [(q.offset, q.data) for q in found.quarantined] == [(ends[hit], lost)]


@given(RECORDS, st.data(), st.binary(min_size=1, max_size=200))
def test_bytes_taken_out_or_put_in_cost_only_the_records_they_touch(
    records: list[Record], data: st.DataObject, junk: bytes
) -> None:
    ends = ends_of(records)
    whole = file_of(records)
    first = data.draw(st.integers(HEADER_BYTES, len(whole)))
    last = data.draw(st.integers(first, len(whole)))
    found = recover(whole[:first] + junk + whole[last:])
    spans = list(zip(ends, ends[1:], records, strict=False))
    untouched = [r for start, end, r in spans if end <= first or start >= last]
    assert found.records == untouched


@given(st.binary(max_size=300))
@example(HEADER.encode() + b"\xd7\x1e" * 40)
@example(HEADER.encode() + bytes(4096))
def test_junk_raises_nothing_but_the_error_of_the_header(junk: bytes) -> None:
    try:
        found = recover(junk)
    except JournalUnreadable:
        assert junk[: HEADER_BYTES - 4] != HEADER.encode()[:-4]
    else:
        assert found.records == []


@given(st.integers(0, HEADER_BYTES * 8 - 1))
def test_any_bit_flip_in_the_header_refuses_the_file(bit: int) -> None:
    data = bytearray(file_of([]))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(JournalUnreadable):
        decode_header(bytes(data))


@pytest.mark.parametrize("length", [1, 8, HEADER_BYTES - 1])
def test_a_file_shorter_than_a_header_is_refused_with_what_where_and_next(length: int) -> None:
    with pytest.raises(JournalUnreadable) as caught:
        recover(file_of([])[:length], "/data/journal")
    assert caught.value.message.startswith("/data/journal: cannot be read")
    assert "Nothing was changed" in caught.value.message
    assert caught.value.next_step


def test_a_journal_of_a_later_version_is_named_as_such() -> None:
    fields = bytearray(HEADER.encode()[:-4])
    fields[8:10] = (2).to_bytes(2)
    with pytest.raises(JournalUnreadable, match="format is version 2"):
        recover(bytes(fields) + zlib.crc32(fields).to_bytes(4))


def test_a_record_hidden_in_a_body_never_surfaces() -> None:
    """A peer who knows everything but the salt puts a record into the body of another, and the outer one breaks."""
    forged_header = Header(HEADER.node, b"guessed!")
    forged = encode_record(Record(RecordKind.AGENT, b"evil", b"rm"), forged_header.seed)
    outer = Record(RecordKind.ENVELOPE, b"doc", forged * 3)
    data = bytearray(file_of([outer, Record(RecordKind.BOOT, b"", b"7")]))
    data[HEADER_BYTES + 3] ^= 1
    found = recover(bytes(data))
    assert found.records == [Record(RecordKind.BOOT, b"", b"7")]


def test_records_of_an_older_file_do_not_pass_in_a_newer_one() -> None:
    old = encode_record(Record(RecordKind.CLOCK, b"", b"1"), HEADER.seed)
    assert recover(HEADER.successor().encode() + old).records == []


def test_an_intact_record_of_an_unknown_kind_is_kept_aside() -> None:
    prefix = struct.pack(">2sBxHI", b"\xd7\x1e", 200, 1, 1)
    crc = zlib.crc32(prefix, HEADER.seed)
    strange = prefix + crc.to_bytes(4) + b"kb" + zlib.crc32(b"kb", crc).to_bytes(4)
    boot = Record(RecordKind.BOOT, b"", b"1")
    found = recover(HEADER.encode() + strange + encode_record(boot, HEADER.seed))
    assert found.records == [boot]
    assert [q.data for q in found.quarantined] == [strange]
    assert "kind 200" in found.quarantined[0].reason


def test_a_whole_last_record_with_a_wrong_checksum_is_kept_aside_not_called_torn() -> None:
    data = bytearray(file_of([Record(RecordKind.BOOT, b"", b"1"), Record(RecordKind.BOOT, b"", b"2")]))
    data[-1] ^= 1
    found = recover(bytes(data))
    assert not found.torn
    assert len(found.quarantined) == 1
    assert found.records == [Record(RecordKind.BOOT, b"", b"1")]


def test_zeros_at_the_end_of_the_file_are_a_torn_tail() -> None:
    """Ext4 may lengthen a file before its data arrives."""
    data = file_of([Record(RecordKind.BOOT, b"", b"1")])
    found = recover(data + bytes(4096))
    assert found.torn_bytes == 4096
    assert found.good_bytes == len(data)


def test_the_overhead_of_a_record_is_as_stated() -> None:
    record = Record(RecordKind.EVENT, b"12345678", b"x" * 100)
    assert len(encode_record(record, 1)) == record_bytes(record) == 108 + RECORD_OVERHEAD
    with pytest.raises(AssertionError):
        encode_record(Record(RecordKind.EVENT, b"", b"x" * (BODY_BYTES_MAX + 1)), 1)


def test_a_record_whose_end_was_never_written_is_torn_although_zeros_stand_there() -> None:
    records = [Record(RecordKind.EVENT, number.to_bytes(8), b"body") for number in range(2)]
    found = recover(file_of(records)[:-6] + bytes(4096))
    assert found.records == records[:1]
    assert found.torn
    assert not found.spare
    assert not found.quarantined


def test_zeros_alone_behind_the_last_record_are_spare() -> None:
    record = Record(RecordKind.BOOT, b"", b"1")
    found = recover(file_of([record]) + bytes(4096))
    assert found.records == [record]
    assert found.spare
