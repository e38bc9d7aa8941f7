"""A member that asks, tells or announces without end: each kind is refused by name, and costs others little."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.broadcast import PROMISES_MAX
from meshnode.gossip.letters import (
    Doubt,
    Graft,
    Greeting,
    IHave,
    Letter,
    Neighbours,
    Probe,
    Pull,
    Repair,
    Roots,
    Standing,
    encode,
)
from meshnode.gossip.manners import BYTES_BURST, Manners, Overdone, Throttle, blame
from meshnode.gossip.messages import MemberState, Publish
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.repair import RepairSums
from meshnode.model.ids import NodeId
from tests.unit.gossip.liar import Liar, answered, pushed, reasons
from tests.unit.gossip.world import Box, World, mesh

ROOT = bytes(8)
FLOODS: dict[str, tuple[Letter, int]] = {
    "flood-greetings": (Neighbours([]), 600),
    "flood-repairs": (Roots(ROOT, ROOT, ROOT), 2_200),
    "flood-pulls": (Pull(0, []), 1_100),
    "flood-grafts": (Graft([bytes(16)] * 200), 40),
    "flood-probes": (Probe(NodeId(bytes(32))), 1_100),
    "flood-standings": (Standing([]), 80),
    "flood-doubts": (Doubt(1, 99), 9),
}


def liar(count: int = 4) -> tuple[World, list[Box], Liar]:
    """The last of a mesh is one."""
    world, boxes = mesh(count)
    return world, boxes[:-1], Liar(world, boxes[-1])


@pytest.mark.parametrize("reason", FLOODS)
def test_letters_without_end_are_refused_by_name_and_counted(reason: str) -> None:
    world, (victim, *_), bad = liar()
    letter, count = FLOODS[reason]
    bad.send(victim, *([letter] * count))
    assert reasons(victim) == [reason]
    assert victim.gossip.counters[reason] == len(victim.rejects) > 0
    assert {reject.peer for reject in victim.rejects} == {bad.id}
    world.run_for(120.0)
    before = len(victim.rejects)
    bad.send(victim, letter)
    assert len(victim.rejects) == before, "it is heard again when it has become quiet"
    assert world.all_ready()


def test_more_bytes_than_anybody_needs_are_dropped_unread() -> None:
    world, (victim, *_), bad = liar(2)
    junk = bytes(500_000)
    bad.raw(victim, *([junk] * (BYTES_BURST // len(junk) + 3)))
    assert reasons(victim) == ["letter-malformed", "flood-bytes"]
    world.run_for(5.0)
    bad.send(victim, Probe(victim.id))
    assert victim.rejects[-1].reason == "flood-bytes"


def test_other_neighbours_are_heard_during_a_flood() -> None:
    world, (victim, other, *_), bad = liar()
    bad.raw(victim, *([bytes(500_000)] * 40))
    world.tell(other, Publish("load", b"7"))
    world.run_for(0.1)
    assert victim.gossip.soft(other.id)["load"][0] == b"7"


def test_sums_that_never_end_are_answered_within_the_budget() -> None:
    """Ten bytes ask for every bucket of the directory: the link's budget bounds what leaves, not the asking."""
    world, boxes = mesh(40)
    bad = Liar(world, boxes[-1])
    victim = next(box for box in boxes if bad.id in box.links)
    ask = Repair(0, RepairSums({}))
    alone = answered(bad.send(victim, ask), bad.id)
    sent = 0
    for _ in range(100):
        sent += answered(bad.send(victim, *([ask] * 20)), bad.id)
        world.run_for(0.1)
    assert sent <= 10 * 106 * 1024 + 2 * 256 * 1024 + alone
    assert 0 < sent < 2_000 * alone / 2


def test_everything_pulled_again_and_again_leaves_at_the_pace_of_the_link() -> None:
    world, boxes = mesh(40)
    bad = Liar(world, boxes[-1])
    victim = next(box for box in boxes if bad.id in box.links)
    everybody: list[bytes] = [bytes(node) for node in victim.gossip.members()]
    sent = sum(answered(bad.send(victim, Pull(0, everybody * 50)), bad.id) for _ in range(50))
    assert sent <= 512 * 1024
    world.run_for(60.0)
    assert answered(bad.send(victim, Pull(0, everybody)), bad.id) > 1_000, "later it is told again"


def test_keys_nobody_holds_are_owed_to_nobody() -> None:
    world, (victim, *_), bad = liar()
    bad.send(victim, *(Pull(2, [bad.id + b"%d/%d" % (turn, key) for key in range(2_000)]) for turn in range(5)))
    (box,) = [box for peer, box in victim.gossip._parts.soft._outbox._peers.items() if peer == bad.id]  # pyright: ignore[reportPrivateUsage]
    assert len(box.pending) <= 2
    assert world.all_ready()


def test_announcements_nobody_keeps_leave_room_for_those_of_others() -> None:
    world, (victim, other, *_), bad = liar()
    ids = [number.to_bytes(16) for number in range(1, PROMISES_MAX + 1_000)]
    bad.send(victim, *(IHave(ids[at : at + 256]) for at in range(0, len(ids), 256)))
    assert reasons(victim) == ["flood-ids"]
    Liar(world, other).send(victim, IHave([b"x" * 16]))
    broadcast = victim.gossip._parts.broadcast  # pyright: ignore[reportPrivateUsage]
    assert b"x" * 16 in broadcast._missing  # pyright: ignore[reportPrivateUsage]
    world.run_for(10.0)
    assert not broadcast._missing and not broadcast._promises  # pyright: ignore[reportPrivateUsage]


def test_a_node_that_signs_rows_without_end_is_passed_on_seldom() -> None:
    """News of a row is a letter to everybody: whoever raises its incarnation all the time must not have the mesh."""
    world, (victim, *others), bad = liar(5)
    rows = [pushed(bad.row(1, number)) for number in range(1, 500)]
    effects = bad.send(victim, *rows)
    pushes = [effect for effect in effects if isinstance(effect, Send) and effect.peer == others[0].id]
    assert len(pushes) <= 40
    assert reasons(victim) == ["flood-rows"]
    world.run_for(600.0)
    bad.send(victim, pushed(bad.row(2)))
    row = victim.gossip.row(bad.id)
    assert row is not None and row.boot == 2


def test_an_observer_that_reports_everybody_is_stopped_by_its_neighbours_and_named_by_them() -> None:
    world, boxes = mesh(20)
    bad = Liar(world, boxes[-1])
    victim = next(box for box in boxes if bad.id in box.links)
    living = [box for box in boxes if box is not bad.box]
    for _ in range(30):
        bad.send(victim, bad.alerts(living))
        world.run_for(0.2)
    assert "flood-alerts" in reasons(victim)
    assert {reject.peer for reject in victim.rejects} == {bad.id}
    raised = [box.gossip.self_row().incarnation for box in living]
    assert max(raised) <= 16
    world.run_for(30.0)
    assert all(world.state(a, b) is MemberState.READY for a in boxes for b in boxes)
    downs = [box.name for box in living for other in living if MemberState.DOWN in world.states(box, other)]
    assert not downs


def test_doubts_force_few_refutations() -> None:
    world, (victim, *_), bad = liar()
    for _ in range(40):
        bad.send(victim, Doubt(victim.boot, victim.gossip.self_row().incarnation))
        world.run_for(1.0)
    assert reasons(victim) == ["flood-doubts"]
    assert victim.gossip.self_row().incarnation <= 8


def test_greetings_without_end_do_not_grow_a_room() -> None:
    world, (victim, *_), bad = liar()
    strangers = [NodeId(number.to_bytes(32)) for number in range(300)]
    bad.send(victim, *([Greeting(demanded=False, links=strangers)] * 100), *([Neighbours(strangers)] * 100))
    assert len(victim.gossip.observers(bad.id)) <= 4, "only known nodes observe anybody"
    assert victim.gossip.members() == victim.gossip.known() and world.all_ready()


# -- the limits themselves ---------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 5)), max_size=60))
def test_a_throttle_lets_no_more_through_than_it_says(steps: list[tuple[int, int]]) -> None:
    throttle: Throttle[str] = Throttle(10, SECOND / 2)
    now_us, taken = 0, 0
    for wait_us, count in steps:
        now_us += wait_us
        taken += count if throttle.takes("x", now_us, count) else 0
    assert taken <= 10 + now_us * 2 / SECOND + 1e-6


def test_a_throttle_forgets_the_oldest_keys() -> None:
    throttle: Throttle[int] = Throttle(1, SECOND, keys_max=3)
    assert all(throttle.takes(key, 0) for key in range(4))
    assert len(throttle) == 3
    assert throttle.takes(0, 0) and not throttle.takes(3, 0)


@given(st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 9), st.integers(1, 5)), max_size=80))
def test_a_throttle_that_forgets_whose_time_is_over_answers_as_one_for_each(steps: list[tuple[int, int, int]]) -> None:
    shared: Throttle[int] = Throttle(10, SECOND / 2)
    single: list[Throttle[int]] = [Throttle(10, SECOND / 2) for _ in range(10)]
    now_us = 0
    for wait_us, key, count in steps:
        now_us += wait_us
        assert shared.takes(key, now_us, count) is single[key].takes(key, now_us, count)


def test_a_throttle_keeps_nobody_whose_time_is_over() -> None:
    throttle: Throttle[int] = Throttle(4, SECOND)
    for key in range(1_000):
        assert throttle.takes(key, key * SECOND // 10)
    assert len(throttle) <= 11


def test_what_is_forged_uses_up_nobodys_share() -> None:
    """Limits of authors are counted after the check: else a liar could silence an honest observer by forgeries."""
    world, (victim, other, *_), bad = liar()
    honest = Liar(world, other)
    for incarnation in range(600):
        letter = encode(honest.alert(bad.box, Evidence.SILENT, incarnation))
        bad.raw(victim, letter[:-1] + bytes((letter[-1] ^ 1,)))
    assert reasons(victim) == ["alert-forged"]
    before = len(victim.rejects)
    honest.send(victim, honest.alert(bad.box, Evidence.SILENT))
    assert len(victim.rejects) == before


def test_an_honest_mesh_meets_no_limit() -> None:
    """Joins, a kill, a cut of half of it and its end: nobody is ever called rude."""
    world, boxes = mesh(24)
    world.kill(boxes[5])
    world.run_for(10.0)
    world.cut(boxes[:12], boxes[12:])
    world.run_for(60.0)
    world.heal()
    world.boot(boxes[5], seeds=["n0"])
    world.run_until(world.all_ready, 30.0)
    world.run_for(30.0)
    assert {reject.reason for box in boxes for reject in box.rejects} == set()


def test_whoever_is_guilty_is_named_not_who_brought_it() -> None:
    manners, now = Manners(), Instant(0, 0)
    author = NodeId(b"a" * 32)
    for _ in range(32):
        manners.row(author, now)
    with pytest.raises(Overdone) as caught:
        manners.row(author, now)
    assert (caught.value.by, caught.value.reason) == (author, "flood-rows")
    assert "more than 1 a second" in str(caught.value)
    assert blame(NodeId(b"b" * 32), caught.value).peer == author
