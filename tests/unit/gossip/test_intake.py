"""Rows in bulk: checked in slices, never passed on before, and at once when somebody speaks of their node."""

import itertools

import msgspec

from meshnode.gossip import alerts
from meshnode.gossip import directory as room
from meshnode.gossip.alerts import Alert
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.intake import FEW, SLICE, TOLD_MAX, WAITING_MAX, Intake
from meshnode.gossip.letters import AlertRumour, IHave, Push, Roots, Rows, SignedRow, decode, encode
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.instant import Instant
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import Box, Key, World, member_record, mesh

NOW = Instant(10_000_000, 0)


def row_of(key: Key, name: str, forged: bool = False) -> SignedRow:
    body = room.encode_row(Row(key.node, 1, 0, Status.ALIVE, (("nowhere", 1),), b"{}", 5))
    signature = bytes(64) if forged else key.sign(room.CONTEXT, body)
    return SignedRow(body, signature, member_record(key, name, "here"))


KEYS = [Key(f"bulk-{number}") for number in range(TOLD_MAX + 40)]
ROWS = [row_of(key, f"b{number}") for number, key in enumerate(KEYS)]


def send(world: World, box: Box, sender: Box, rows: list[SignedRow]) -> None:
    world.tell(box, ControlReceived(sender.id, Channel.GOSSIP, encode(Rows(rows))))


def known(box: Box) -> int:
    return sum(key.node in box.gossip.members() for key in KEYS)


def test_few_rows_are_checked_in_the_turn_they_come_in_and_many_in_slices() -> None:
    world, boxes = mesh(2)
    send(world, boxes[0], boxes[1], ROWS[:FEW])
    assert known(boxes[0]) == FEW
    send(world, boxes[0], boxes[1], ROWS)
    assert known(boxes[0]) == FEW
    seen: list[int] = []
    while known(boxes[0]) < len(KEYS) and len(seen) < 99:
        world.run_for(0.001)
        seen.append(known(boxes[0]))
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert known(boxes[0]) == len(KEYS) and max(steps) <= SLICE


def test_a_forged_row_of_a_bulk_is_refused_by_name_and_hides_none_behind_it() -> None:
    world, boxes = mesh(2)
    bad = [row_of(KEYS[0], "b0", forged=True), row_of(KEYS[1], "b1", forged=True)]
    send(world, boxes[0], boxes[1], [*bad, *ROWS])
    world.run_for(1.0)
    assert known(boxes[0]) == len(KEYS)
    assert [reject.reason for reject in boxes[0].rejects] == ["row-forged"] * 2


def test_an_alert_about_a_row_that_waits_is_heard() -> None:
    world, boxes = mesh(2)
    send(world, boxes[0], boxes[1], ROWS)
    about, by = KEYS[-1], KEYS[-2]
    body = msgspec.msgpack.encode(Alert(about.node, 1, 0, by.node, Evidence.REFUSED))
    letter = encode(Push(encode(AlertRumour(body, by.sign(alerts.CONTEXT, body)))))
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, letter))
    assert boxes[0].gossip.votes(about.node) == {by.node: Evidence.REFUSED}


def test_a_bulk_is_not_announced_row_by_row_but_compared_with_the_other_neighbours_at_its_end() -> None:
    world, boxes = mesh(3)
    sent: list[tuple[NodeId, object]] = []
    perform = boxes[0].gossip.wake

    def wake(now: Instant) -> object:
        effects = perform(now)
        sent.extend((effect.peer, decode(effect.body)) for effect in effects if isinstance(effect, Send))
        return effects

    boxes[0].gossip.wake = wake  # pyright: ignore[reportAttributeAccessIssue]
    send(world, boxes[0], boxes[1], ROWS)
    world.run_for(0.3)
    told = [letter for _, letter in sent if isinstance(letter, IHave)]
    assert sum(len(letter.ids) for letter in told) <= 2
    assert boxes[2].id in [peer for peer, letter in sent if isinstance(letter, Roots)]
    world.run_until(lambda: known(boxes[2]) == len(KEYS), 3.0)


def test_what_waits_is_bounded_and_no_row_waits_twice() -> None:
    intake = Intake()
    template = ROWS[0]
    for number in range(WAITING_MAX + 10):
        intake.add(KEYS[0].node, msgspec.structs.replace(template, signature=number.to_bytes(64)), NOW)
    intake.add(KEYS[0].node, msgspec.structs.replace(template, signature=bytes(64)), NOW)
    assert len(intake) == WAITING_MAX and intake.busy
    assert len(intake.about(KEYS[0].node)) == WAITING_MAX and not intake.busy
