"""Budgets, gaps, compaction and the start: what leaves the journal leaves it by a rule that is written down."""

import errno
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.journal import (
    PAGE_BYTES,
    RECORD_OVERHEAD,
    Header,
    JournalUnreadable,
    Quarantined,
    encode_record,
    recover,
)
from meshnode.kernel.ledger import JournalBudget, JournalFull, Ledger, compact, decode_gap, live, start
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId

NODE = NodeId(b"n" * 32)
HEADER = Header(NODE, b"saltsalt")
CAPS = dict.fromkeys(RecordKind, 4096)
HEADER_SIZE = len(HEADER.encode())
BIG = JournalBudget()
BUDGET = JournalBudget(kind_bytes_max=CAPS, total_bytes_max=64 * 1024, garbage_bytes_min=2000)
WRITES = st.lists(
    st.lists(st.builds(Record, st.sampled_from(RecordKind).filter(lambda k: k is not RecordKind.GAP),
                       st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=8)), max_size=4),
    max_size=12,
)  # fmt: skip


class Platter:
    """A disk in memory. ``full``: nothing more fits, but truncating goes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.full = False
        self.replaced = 0

    def read(self) -> bytes:
        return self.data

    def append(self, data: bytes) -> None:
        self._claim()
        self.data += data

    def sync(self) -> None:
        pass

    def replace(self, data: bytes) -> None:
        self._claim()
        self.data = data
        self.replaced += 1

    def truncate(self, length: int) -> None:
        self.data = self.data[:length]

    def _claim(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")


def keep_nothing(_: Sequence[Quarantined]) -> None:
    raise AssertionError("nothing should be quarantined")


def event(number: int, size: int = 100) -> Record:
    return Record(RecordKind.EVENT, number.to_bytes(8), b"e" * size)


def empty_ledger() -> Ledger:
    return Ledger(HEADER, [], len(HEADER.encode()), BUDGET)


@given(WRITES, st.integers(0, 3))
def test_the_books_agree_with_the_file(writes: list[list[Record]], packed: int) -> None:
    ledger, data = empty_ledger(), HEADER.encode()
    for number, records in enumerate(writes):
        data += ledger.encoded(ledger.entered(records), packed=number % 3 < packed)
    found = live(recover(data).records)
    assert ledger.file_bytes == len(data)
    again = Ledger(HEADER, found, len(data), BUDGET)
    assert again.live_bytes == ledger.live_bytes
    expected = {(r.kind, r.key): r.body for batch in writes for r in batch}
    assert {(r.kind, r.key): r.body for r in found} == {slot: body for slot, body in expected.items() if body}


@given(st.integers(1, 2 * PAGE_BYTES), st.integers(HEADER_SIZE, 3 * PAGE_BYTES))
def test_small_commits_alike_are_a_page_each_and_what_fills_it_up_is_read_as_nothing(size: int, begin: int) -> None:
    record = Record(RecordKind.STATE, b"key", bytes(size))
    ledger, ends = Ledger(HEADER, [], begin, BIG), [begin]
    data = HEADER.encode()
    for _ in range(12):
        written = ledger.encoded(ledger.entered([record]))
        data += written
        assert ledger.file_bytes == ends[-1] + len(written)
        ends.append(ledger.file_bytes)
    alone = len(encode_record(record, HEADER.seed))
    for before, end in list(pairwise(ends))[1:]:
        pages = (end - 1) // PAGE_BYTES - before // PAGE_BYTES + 1
        spare = -before % PAGE_BYTES
        if alone <= PAGE_BYTES and not 0 < spare < RECORD_OVERHEAD:
            assert pages == 1
        if alone > PAGE_BYTES:
            assert end - before == alone, "nothing is gained by filling up"
        assert end - before == alone or end % PAGE_BYTES == 0
    found = recover(data)
    assert found.records == [record] * 12
    assert found.good_bytes == len(data) and not found.torn and not found.quarantined


@given(st.data())
def test_a_filler_that_is_damaged_or_cut_takes_nothing_with_it(data: st.DataObject) -> None:
    record = Record(RecordKind.STATE, b"key", bytes(range(256)) * 12)
    ledger, alone = empty_ledger(), len(encode_record(record, HEADER.seed))
    begin = ledger.file_bytes
    filled = ledger.encoded(ledger.entered([record]))
    assert begin + len(filled) == PAGE_BYTES
    whole = bytearray(HEADER.encode() + filled + encode_record(record, HEADER.seed))
    bit = data.draw(st.integers((begin + alone) * 8, PAGE_BYTES * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    found = recover(bytes(whole))
    assert found.records == [record, record]
    assert [(each.offset, len(each.data)) for each in found.quarantined] == [
        (begin + alone, PAGE_BYTES - begin - alone)
    ]
    cut = data.draw(st.integers(begin + alone + 1, PAGE_BYTES - 1))
    torn = recover(bytes(HEADER.encode() + filled)[:cut])
    assert torn.records == [record] and torn.torn and torn.good_bytes == begin + alone


@given(WRITES, st.booleans())
def test_compaction_keeps_the_truth_and_nothing_else(writes: list[list[Record]], packed: bool) -> None:
    ledger, data = empty_ledger(), HEADER.encode()
    for records in writes:
        data += ledger.encoded(ledger.entered(records), packed=packed)
    clean = compact(data)
    found = recover(clean.data)
    assert found.records == live(recover(data).records) == clean.records
    assert len(clean.data) == ledger.live_bytes
    assert found.header.node == NODE
    assert found.header.salt != HEADER.salt
    assert compact(clean.data).records == clean.records


def test_compaction_waits_for_garbage_to_outweigh_the_living_and_the_minimum() -> None:
    ledger = empty_ledger()
    ledger.add([Record(RecordKind.AGENT, b"big", b"x" * 3000)])
    while ledger.garbage_bytes <= 3100:
        assert not ledger.wants_compaction
        ledger.add([Record(RecordKind.CLOCK, b"", b"y" * 50)])
    while not ledger.wants_compaction:
        ledger.add([Record(RecordKind.CLOCK, b"", b"y" * 50)])
    assert ledger.garbage_bytes > ledger.live_bytes > 3000


def test_old_events_leave_and_a_gap_says_which_and_how_many() -> None:
    ledger, data = empty_ledger(), HEADER.encode()
    for number in range(1, 101):
        data += ledger.add([event(number)])
        assert ledger.used_bytes(RecordKind.EVENT) <= CAPS[RecordKind.EVENT]
    records = live(recover(data).records)
    kept = [int.from_bytes(r.key) for r in records if r.kind is RecordKind.EVENT]
    gaps = [decode_gap(r) for r in records if r.kind is RecordKind.GAP]
    assert kept == list(range(kept[0], 101))
    assert len(gaps) == 1
    gap = gaps[0]
    assert gap is not None
    assert (int.from_bytes(gap.first), int.from_bytes(gap.last), gap.count) == (1, kept[0] - 1, kept[0] - 1)


def test_a_gap_goes_on_growing_after_a_restart() -> None:
    ledger, data = empty_ledger(), HEADER.encode()
    for number in range(1, 60):
        data += ledger.add([event(number)])
    ledger = Ledger(HEADER, live(recover(data).records), len(data), BUDGET)
    for number in range(60, 120):
        data += ledger.add([event(number)])
    records = live(recover(compact(data).data).records)
    gap = next(g for g in map(decode_gap, records) if g)
    events = [r for r in records if r.kind is RecordKind.EVENT]
    assert gap.count + len(events) == 119


def test_a_kind_that_holds_truths_refuses_when_full_and_enters_nothing() -> None:
    ledger = empty_ledger()
    ledger.add([Record(RecordKind.ENVELOPE, b"1", b"x" * 4000)])
    before = (ledger.file_bytes, ledger.live_bytes)
    with pytest.raises(JournalFull) as caught:
        ledger.add([Record(RecordKind.BOOT, b"", b"1"), Record(RecordKind.ENVELOPE, b"2", b"x" * 100)])
    assert (ledger.file_bytes, ledger.live_bytes) == before
    assert "envelope" in caught.value.message
    assert caught.value.next_step


def test_a_full_kind_still_takes_smaller_values_and_forgets() -> None:
    ledger = empty_ledger()
    ledger.add([Record(RecordKind.AGENT, b"1", b"x" * 4000)])
    ledger.add([Record(RecordKind.AGENT, b"1", b"x" * 3000)])
    ledger.add([Record(RecordKind.AGENT, b"1", b""), Record(RecordKind.AGENT, b"2", b"x" * 4000)])
    assert ledger.used_bytes(RecordKind.AGENT) > 4000


def test_the_oldest_contacts_are_forgotten_and_the_newest_stay() -> None:
    ledger, data = empty_ledger(), HEADER.encode()
    for number in range(100):
        data += ledger.add([Record(RecordKind.CONTACT, b"10.0.0.%d:1" % number, b"x" * 100)])
    contacts = [r.key for r in live(recover(data).records)]
    assert contacts[-1] == b"10.0.0.99:1"
    assert b"10.0.0.0:1" not in contacts
    assert not any(r.kind is RecordKind.GAP for r in recover(data).records)


def test_one_event_may_not_push_out_all_others() -> None:
    with pytest.raises(JournalFull):
        empty_ledger().add([event(1, size=3000)])


@pytest.mark.parametrize(
    "record", [Record(RecordKind.AGENT, b"k" * 70_000, b"x"), Record(RecordKind.AGENT, b"k", b"x" * 2**21)]
)
def test_a_record_that_the_format_cannot_hold_is_refused(record: Record) -> None:
    with pytest.raises(JournalFull, match="too big"):
        empty_ledger().add([record])


def test_forgetting_what_is_not_there_writes_nothing() -> None:
    assert empty_ledger().add([Record(RecordKind.AGENT, b"nobody", b"")]) == b""


def test_caps_that_exceed_the_total_are_refused() -> None:
    with pytest.raises(ValueError, match="total"):
        JournalBudget(total_bytes_max=1000)
    with pytest.raises(ValueError, match="cap"):
        JournalBudget(kind_bytes_max={RecordKind.BOOT: 1})


def test_an_empty_disk_gets_a_header_once() -> None:
    disk = Platter()
    assert start(disk, HEADER, keep_nothing).records == []
    assert disk.data == HEADER.encode()
    start(disk, Header(NODE, b"othersal"), keep_nothing)
    assert disk.replaced == 1


def test_a_torn_tail_is_cut_off_and_appends_go_on_behind_it() -> None:
    boot = Record(RecordKind.BOOT, b"", b"1")
    good = HEADER.encode() + encode_record(boot, HEADER.seed)
    disk = Platter(good + encode_record(event(1), HEADER.seed)[:-5])
    started = start(disk, HEADER, keep_nothing)
    assert started.recovered.torn
    assert disk.data == good
    disk.append(started.ledger.add([event(2)]))
    assert recover(disk.data).records == [boot, event(2)]
    assert started.ledger.file_bytes == len(disk.data)


def broken_in_the_middle() -> bytes:
    records = [encode_record(event(number), HEADER.seed) for number in range(3)]
    flipped = bytearray(records[1])
    flipped[40] ^= 4
    return HEADER.encode() + records[0] + bytes(flipped) + records[2]


def test_a_bad_record_is_put_aside_before_the_file_is_rewritten_without_it() -> None:
    disk = Platter(broken_in_the_middle())
    kept: list[Quarantined] = []

    def keep(quarantined: Sequence[Quarantined]) -> None:
        assert disk.replaced == 0
        kept.extend(quarantined)

    started = start(disk, HEADER, keep, budget=BUDGET)
    assert [r.key[-1] for r in started.records] == [0, 2]
    assert len(kept) == len(started.recovered.quarantined) == 1
    assert not recover(disk.data).quarantined
    disk.append(started.ledger.add([event(3)]))
    assert [r.key[-1] for r in recover(disk.data).records] == [0, 2, 3]


def test_a_full_disk_does_not_keep_a_damaged_journal_from_starting() -> None:
    disk = Platter(broken_in_the_middle())
    disk.full = True
    started = start(disk, HEADER, lambda _: None, budget=BUDGET)
    assert [r.key[-1] for r in started.records] == [0, 2]
    disk.full = False
    disk.append(started.ledger.add([event(3)]))
    assert [r.key[-1] for r in recover(disk.data).records] == [0, 2, 3]


def test_the_journal_of_another_node_is_refused_untouched() -> None:
    disk = Platter(HEADER.encode())
    with pytest.raises(JournalUnreadable, match="belongs to node"):
        start(disk, Header(NodeId(b"m" * 32), b"saltsalt"), keep_nothing)
    assert disk.data == HEADER.encode()


def test_a_signed_change_that_is_offered_twice_is_written_once_and_after_it_was_forgotten_again() -> None:
    ledger = Ledger(HEADER, [], 0, BUDGET)
    change, root = Record(RecordKind.ENVELOPE, b"k" * 48, b"body"), Record(RecordKind.ENVELOPE, b"k" * 16, b"body")
    first = ledger.add([change, root])
    assert ledger.add([change]) == b""
    assert len(ledger.add([root])) > 0
    ledger.add([Record(RecordKind.ENVELOPE, change.key, b"")])
    assert ledger.add([change, root]) == first
