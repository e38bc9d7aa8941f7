"""Rows go to the journal at a pace: a burst is a few writes, of the newest row of each node."""

import msgspec

from meshnode.gossip import directory as room
from meshnode.gossip.directory import Directory, Row, Status, read
from meshnode.gossip.letters import SignedRow
from meshnode.gossip.saving import KNOWN_US, PAUSE_US, RIPE_US, ROWS_MAX, Saving
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.records import Record
from meshnode.model.ids import NodeId
from tests.unit.gossip.test_subjects import Believer

BURST = 1_000


def row_of(number: int, incarnation: int = 0) -> SignedRow:
    facts = b'{"incarnation":%d}' % incarnation
    row = Row(NodeId(number.to_bytes(4) * 8), 1, incarnation, Status.ALIVE, (), facts, 0)
    return SignedRow(room.encode_row(row), bytes(64), b"record")


class Desk:
    """A directory, its saving, and what was written, by turn."""

    def __init__(self) -> None:
        trust = Believer()
        self.directory = Directory(trust, trust)
        self.saving = Saving(self.directory)
        self.now_us = 10 * SECOND
        self.writes: list[tuple[Record, ...]] = []
        self.lazily: list[bool] = []

    def turn(self, *rows: SignedRow, last: bool = False) -> None:
        for row in rows:
            merge = self.directory.offer(row)
            if merge is not None and merge.news:
                self.directory.hold(merge)
        for persist in self.saving.take(Instant(self.now_us, 0), last=last):
            self.writes.append(persist.records)
            self.lazily.append(persist.lazily)

    def rest(self) -> None:
        """Time passes until nothing is to be written any more."""
        while (due_us := self.saving.deadline()) is not None:
            assert due_us > self.now_us, "it would spin"
            self.now_us = due_us
            self.turn()

    def saved(self) -> dict[bytes, int]:
        """The incarnation that lies in the journal, by node."""
        rows = [msgspec.msgpack.decode(record.body, type=SignedRow) for write in self.writes for record in write]
        return {row.node: row.incarnation for row in (read(signed.body) for signed in rows)}


def test_the_first_row_of_a_node_is_written_at_once() -> None:
    desk = Desk()
    desk.turn(row_of(1))
    assert len(desk.writes) == 1 and desk.saving.deadline() is None
    desk.now_us += PAUSE_US
    desk.turn(row_of(2))
    assert [len(write) for write in desk.writes] == [1, 1]


def test_a_thousand_rows_that_change_one_by_one_are_a_few_writes() -> None:
    desk = Desk()
    for number in range(BURST):
        desk.now_us += 1 * MS
        desk.turn(row_of(number))
    desk.rest()
    assert len(desk.writes) <= 2 + BURST * MS // PAUSE_US
    assert max(map(len, desk.writes)) <= ROWS_MAX
    assert len(desk.saved()) == BURST


def test_of_a_row_that_changes_again_and_again_the_newest_is_written() -> None:
    desk = Desk()
    for incarnation in range(200):
        desk.now_us += 10 * MS
        desk.turn(row_of(1, incarnation))
    desk.rest()
    assert len(desk.writes) <= 2 + 200 * 10 * MS // PAUSE_US
    assert desk.saved() == {NodeId((1).to_bytes(4) * 8): 199}


def test_who_leaves_writes_all_that_waits() -> None:
    desk = Desk()
    desk.turn(*map(row_of, range(BURST)))
    assert len(desk.writes) == 1
    desk.turn(last=True)
    assert len(desk.saved()) == BURST and desk.saving.deadline() is None


def test_a_newer_row_of_a_node_that_the_journal_knows_waits_for_another_write() -> None:
    desk = Desk()
    desk.turn(row_of(1))
    desk.now_us += PAUSE_US
    desk.turn(row_of(1, 1))
    assert len(desk.writes) == 1, "the journal knows an older one of it"
    desk.now_us += PAUSE_US
    desk.turn(row_of(1, 2), row_of(2))
    assert desk.lazily == [False, False], "the second node was not known before"
    assert len(desk.writes[-1]) == 2 and desk.saved()[NodeId((1).to_bytes(4) * 8)] == 2
    desk.now_us += PAUSE_US
    desk.turn(row_of(1, 3), last=True)
    assert not desk.lazily[-1], "who leaves waits for nothing"


def test_newer_rows_of_known_nodes_wake_nobody_soon_and_after_a_while_go_with_any_turn() -> None:
    desk = Desk()
    desk.turn(row_of(1))
    desk.now_us += PAUSE_US
    began_us = desk.now_us
    desk.turn(row_of(1, 1))
    desk.now_us += RIPE_US - 1
    desk.turn(row_of(1, 2))
    assert desk.saving.deadline() == began_us + KNOWN_US and desk.saved()[NodeId((1).to_bytes(4) * 8)] == 0
    desk.now_us += 1
    desk.turn()
    assert desk.saved()[NodeId((1).to_bytes(4) * 8)] == 2 and desk.lazily[-1] and desk.saving.deadline() is None


def test_a_stream_of_newer_rows_of_known_nodes_is_one_write_a_while() -> None:
    desk = Desk()
    desk.turn(*map(row_of, range(8)))
    began_us, written = desk.now_us, len(desk.writes)
    for number in range(100):
        desk.now_us += 100 * MS
        desk.turn(row_of(number % 8, 1 + number))
    desk.rest()
    assert len(desk.writes) - written <= 1 + (desk.now_us - began_us) // RIPE_US
    assert desk.saved() == {
        NodeId(n.to_bytes(4) * 8): max(1 + at for at in range(100) if at % 8 == n) for n in range(8)
    }


def test_many_newer_rows_do_not_wait_in_memory() -> None:
    desk = Desk()
    desk.turn(*map(row_of, range(BURST)))
    desk.rest()
    desk.now_us += PAUSE_US
    desk.turn(*(row_of(number, 1) for number in range(BURST)))
    assert not desk.lazily[-1]
