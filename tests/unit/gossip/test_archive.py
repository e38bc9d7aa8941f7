"""Rows of the journal at a start: a few checked at once, the rest in slices, or when their node is spoken of."""

import itertools

import msgspec

from meshnode.gossip import alerts
from meshnode.gossip.alerts import Alert
from meshnode.gossip.archive import FIRST
from meshnode.gossip.directory import Row, Status, encode_row
from meshnode.gossip.intake import SLICE
from meshnode.gossip.letters import AlertRumour, Push, Rows, SignedRow, encode
from meshnode.gossip.messages import Described
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Channel, GiveBack
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import ControlReceived
from tests.unit.gossip.test_intake import row_of
from tests.unit.gossip.world import Box, Key, World, mesh

KEYS = [Key(f"kept-{number}") for number in range(FIRST + 5 * SLICE)]
ROWS = [row_of(key, f"k{number}") for number, key in enumerate(KEYS)]


def record_of(row: SignedRow, key: Key) -> Record:
    return Record(RecordKind.DIRECTORY, key.node, msgspec.msgpack.encode(row))


def again(*more: Record) -> tuple[World, Box, Box]:
    """Of two nodes the first starts over a journal of many rows."""
    world, boxes = mesh(2)
    box = boxes[0]
    world.kill(box)
    box.journal.clear()
    for record in (*(record_of(row, key) for row, key in zip(ROWS, KEYS, strict=True)), *more):
        box.journal[record.kind, record.key] = record
    box.writes = 0
    world.run_for(1.0)
    world.boot(box)
    return world, box, boxes[1]


def known(box: Box) -> int:
    return sum(key.node in box.gossip.members() for key in KEYS)


def test_a_start_checks_a_few_rows_and_the_rest_in_slices() -> None:
    world, box, _ = again()
    seen = [known(box)]
    assert seen == [FIRST]
    while seen[-1] < len(KEYS) and len(seen) < 99:
        world.run_for(0.001)
        seen.append(known(box))
    assert seen[-1] == len(KEYS)
    assert max(after - before for before, after in itertools.pairwise(seen)) <= SLICE


def test_rows_of_the_journal_are_written_once_though_others_bring_them_too() -> None:
    world, box, other = again()
    for at in range(0, len(ROWS), 100):
        world.tell(box, ControlReceived(other.id, Channel.GOSSIP, encode(Rows(ROWS[at : at + 100]))))
    world.run_for(1.0)
    assert known(box) == len(KEYS)
    assert box.writes <= 2  # the neighbour's row, and where it answered


def test_those_this_node_had_links_to_are_checked_before_all_others() -> None:
    friend = KEYS[-1]
    _, box, _ = again(Record(RecordKind.CONTACT, b"nowhere:1", friend.node))
    assert friend.node in box.gossip.members() and KEYS[-2].node not in box.gossip.members()


def test_a_row_that_the_disk_has_spoilt_is_passed_over_and_hides_none_behind_it() -> None:
    spoilt = [record_of(row_of(key, "x", forged=True), key) for key in KEYS[-3:-1]]
    torn = Record(RecordKind.DIRECTORY, KEYS[-4].node, spoilt[0].body[:-9])
    world, box, _ = again(*spoilt, torn)
    world.run_for(1.0)
    assert known(box) == len(KEYS) - 3 and KEYS[-1].node in box.gossip.members()


def test_an_alert_about_a_node_whose_row_waits_is_heard() -> None:
    world, box, other = again()
    about, by = KEYS[-1], KEYS[-2]
    body = msgspec.msgpack.encode(Alert(about.node, 1, 0, by.node, Evidence.REFUSED))
    letter = encode(Push(encode(AlertRumour(body, by.sign(alerts.CONTEXT, body)))))
    world.tell(box, ControlReceived(other.id, Channel.GOSSIP, letter))
    assert box.gossip.votes(about.node) == {by.node: Evidence.REFUSED}


def test_a_forged_row_of_a_node_that_waits_is_refused_and_what_was_known_of_it_is_told() -> None:
    world, box, other = again()
    body = encode_row(Row(KEYS[-1].node, 2, 0, Status.ALIVE, (), b"{}", 5))
    forged = SignedRow(body, bytes(64), ROWS[-1].member)
    world.tell(box, ControlReceived(other.id, Channel.GOSSIP, encode(Rows([forged]))))
    assert [reject.reason for reject in box.rejects] == ["row-forged"]
    told = [fact.node for _, fact in box.facts if isinstance(fact, Described)]
    assert KEYS[-1].node in told and KEYS[-1].node in box.gossip.members()


def test_neighbours_are_not_compared_with_before_all_is_checked_and_then_at_once() -> None:
    world, box, other = again()
    world.run_until(lambda: other.id in box.links, 5.0)
    world.run_until(lambda: known(box) == len(KEYS), 1.0)
    world.run_until(lambda: known(other) == len(KEYS), 3.0)


def test_once_all_are_checked_the_memory_they_took_is_given_back() -> None:
    world, box, _ = again()
    assert not any(isinstance(fact, GiveBack) for _, fact in box.facts)
    world.run_until(lambda: known(box) == len(KEYS), 1.0)
    world.run_for(5.0)
    assert sum(isinstance(fact, GiveBack) for _, fact in box.facts) == 1
