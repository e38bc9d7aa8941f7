"""A member that lies about who is alive, whom it observes and how it is: what a single liar cannot reach."""

import pytest

from meshnode.gossip import council
from meshnode.gossip.facts import VALUE_BYTES_MAX
from meshnode.gossip.letters import ALIAS_BYTES, Neighbours, ProbeAck, SoftBatch, Standing
from meshnode.gossip.messages import MemberState, Publish
from meshnode.gossip.soft import KEYS_MAX
from meshnode.gossip.verdict import Evidence
from meshnode.model.ids import NodeId
from tests.unit.gossip.liar import Liar, reasons
from tests.unit.gossip.world import Box, World, mesh


def liar(count: int = 5) -> tuple[World, list[Box], Liar]:
    """The last of a mesh is one."""
    world, boxes = mesh(count)
    return world, boxes[:-1], Liar(world, boxes[-1])


def downs(boxes: list[Box], world: World) -> list[str]:
    """Who called a running node down, ever."""
    return [f"{a.name} about {b.name}" for a in boxes for b in boxes if MemberState.DOWN in world.states(a, b)]


# -- about who is alive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Evidence)[1:])
def test_one_observer_alone_calls_nobody_down_in_a_mesh_of_more_than_three(kind: Evidence) -> None:
    world, boxes, bad = liar()
    for box in boxes:
        bad.send(box, *(bad.alert(other, kind) for other in boxes if other is not box))
    world.run_for(10.0)
    assert downs(boxes, world) == []
    assert all(world.state(a, b) is MemberState.READY for a in boxes for b in boxes)


def test_one_observer_alone_calls_nobody_down_where_most_are_not_neighbours() -> None:
    world, boxes, bad = liar(24)
    near = [box for box in boxes if bad.id in box.links]
    for _ in range(3):
        for box in near:
            bad.send(box, bad.alerts(boxes))
        world.run_for(1.0)
    world.run_for(20.0)
    assert downs(boxes, world) == []
    assert all(world.state(a, b) is MemberState.READY for a in boxes for b in boxes)


def conspiracy(count: int = 16, liars: int = 5) -> tuple[World, list[Box], list[Liar]]:
    """The last of a mesh, all at once: each refuses to hear of the first, and again after each of its answers."""
    world, boxes = mesh(count)
    honest, bad = boxes[:-liars], [Liar(world, box) for box in boxes[-liars:]]
    victim = honest[0]
    for _ in range(24):
        for each in bad:
            row = each.box.gossip.row(victim.id)
            assert row is not None
            for peer in [box for box in boxes if each.id in box.links]:
                each.send(peer, each.alert(victim, incarnation=row.incarnation))
        world.run_for(0.25)
    world.run_for(6.0)
    return world, honest, bad


def test_members_that_accuse_one_together_and_again_reach_nothing() -> None:
    """It answers at a pace others take, and whoever did not see it gone itself waits for the answer."""
    world, honest, _ = conspiracy()
    assert downs(honest, world) == []
    assert all(world.state(box, honest[0]) is MemberState.READY for box in honest)
    assert "flood-rows" not in [reason for box in honest for reason in reasons(box)], "no answer was too much"


def test_without_time_to_answer_two_liars_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(council, "HEARING_US", -1)
    monkeypatch.setattr(council, "HEARING_LONG_US", -1)
    monkeypatch.setattr(council, "HEARING_TRIPS", 0)
    world, honest, _ = conspiracy()
    assert downs(honest, world)


def test_a_view_that_calls_all_others_down_is_outvoted_by_the_next_neighbour() -> None:
    """A node that starts knows nobody's state; the first to tell it may be the liar."""
    world, boxes, bad = liar(6)  # with the liar so many that all are linked
    reborn = boxes[0]
    world.kill(reborn)
    world.boot(reborn)
    unready = [(box.id[:ALIAS_BYTES], "down") for box in boxes[1:]]
    world.run_until(lambda: bad.id in reborn.links, 20.0)
    bad.send(reborn, *([Standing(unready)] * 5))
    world.run_until(world.all_ready, 20.0)
    bad.send(reborn, Standing(unready))
    world.run_for(2.0)
    assert world.all_ready(), "who was vouched for once is not called down by hearsay"


def test_whoever_vouches_for_a_dead_node_keeps_it_from_nobody() -> None:
    """A silent node that one neighbour claims to hear is not called down; it is avoided, and replaced all the same."""
    world, boxes, bad = liar()
    silent = boxes[0]
    world.freeze(silent)
    for _ in range(100):
        for box in boxes[1:]:
            bad.send(box, ProbeAck(silent.id, 0))
        world.run_for(0.1)
    states = {world.state(box, silent) for box in boxes[1:]}
    assert states <= {MemberState.UNREACHABLE, MemberState.DOWN}
    assert all("heard by" in box.gossip.reason(silent.id) or world.state(box, silent) is MemberState.DOWN
               for box in boxes[1:])  # fmt: skip


def test_whoever_vouches_for_a_killed_node_does_not_delay_its_death() -> None:
    world, boxes, bad = liar()
    dead = boxes[0]
    world.kill(dead)
    for _ in range(15):
        for box in boxes[1:]:
            bad.send(box, ProbeAck(dead.id, 0))
        world.run_for(0.1)
    assert {world.state(box, dead) for box in boxes[1:]} == {MemberState.DOWN}


def test_observers_that_do_not_exist_do_not_save_a_dead_node() -> None:
    world, boxes, bad = liar()
    dead, ghosts = boxes[0], [NodeId(number.to_bytes(32)) for number in range(16)]
    for box in boxes[1:]:
        bad.send(box, bad.alert(dead, Evidence.SILENT, observers=ghosts))
    world.run_for(3.0)
    world.kill(dead)
    world.run_until(lambda: all(world.state(box, dead) is MemberState.DOWN for box in boxes[1:]), 3.0)


# -- about its neighbours ----------------------------------------------------------------------------------------------


def test_a_node_that_claims_everybody_as_its_observer_is_avoided_when_it_is_silent() -> None:
    """It reaches that nobody may call it down for silence alone, not that it is called."""
    world, boxes, bad = liar(12)
    near = [box for box in boxes if bad.id in box.links]
    everybody = [box.id for box in boxes]
    for box in near:
        bad.send(box, Neighbours((everybody * 30)[:300]))
        assert len(box.gossip.observers(bad.id)) <= len(boxes)
    world.freeze(bad.box)
    world.run_for(12.0)
    assert all(world.state(box, bad.box) in (MemberState.UNREACHABLE, MemberState.DOWN) for box in near)


def test_links_that_do_not_stand_keep_only_the_liars_own_facts_from_others() -> None:
    """Who is told by an owner itself is not told again: a false claim of links withholds nobody else's facts."""
    world, boxes, bad = liar(12)
    for box in boxes:
        if bad.id in box.links:
            bad.send(box, Neighbours([other.id for other in boxes]))
    speaker = boxes[0]
    world.tell(speaker, Publish("load", b"9"))
    world.run_for(2.0)
    assert all(box.gossip.soft(speaker.id)["load"][0] == b"9" for box in boxes if box is not speaker)


# -- about itself ------------------------------------------------------------------------------------------------------


def test_thousands_of_keys_are_refused_by_name_and_the_first_ones_stay() -> None:
    _, (victim, *_), bad = liar()
    facts = [bad.fact(f"skill/s{number}", b"v", number + 1) for number in range(2 * KEYS_MAX)]
    for at in range(0, len(facts), 64):
        bad.send(victim, SoftBatch(facts[at : at + 64]))
    assert reasons(victim) == ["soft-too-many-keys"]
    assert victim.gossip.counters["soft-too-many-keys"] == KEYS_MAX
    assert len(victim.gossip.soft(bad.id)) == KEYS_MAX


def test_a_new_boot_for_every_key_does_not_get_around_the_limit() -> None:
    _, (victim, *_), bad = liar()
    for boot in range(2, 400):
        bad.send(victim, SoftBatch([bad.fact(f"skill/{boot}", b"v", 1, boot)]))
    assert len(victim.gossip.soft(bad.id)) == 1


@pytest.mark.parametrize("value", [b"", b"\xff", bytes(VALUE_BYTES_MAX), b"{" * 1_000, bytes(range(13))])
def test_absurd_numbers_are_a_value_like_any_other_here(value: bytes) -> None:
    """What a load means is read where it is shown, see tests/unit/node; here nothing may break of it."""
    world, (victim, other, *_), bad = liar()
    bad.send(victim, SoftBatch([bad.fact("load", value, 2**53)]))
    assert not victim.rejects
    world.run_until(lambda: other.gossip.soft(bad.id).get("load", (b"",))[0] == value, 60.0)  # by a repair


def test_a_value_over_the_limit_is_refused() -> None:
    _, (victim, *_), bad = liar()
    bad.send(victim, SoftBatch([bad.fact("load", bytes(VALUE_BYTES_MAX + 1), 5)]))
    assert reasons(victim) == ["soft-malformed"]


def test_a_fact_that_changes_all_the_time_is_passed_on_at_the_pace_of_a_batch() -> None:
    world, boxes, bad = liar(12)
    victim = next(box for box in boxes if bad.id in box.links)
    begun = {box.name: box.sent_bytes for box in boxes}
    for turn in range(100):
        bad.send(victim, SoftBatch([bad.fact("load", b"%d" % step, turn * 50 + step + 1) for step in range(50)]))
        world.run_for(0.1)
    spent = sum(box.sent_bytes - begun[box.name] for box in boxes)
    assert spent <= 10 * 1024 * len(boxes) * 6, f"{spent} bytes for 5,000 changes within 10 s"


def test_ages_of_the_future_and_of_the_stone_age_change_nothing() -> None:
    world, (victim, *_), bad = liar()
    bad.send(victim, SoftBatch([bad.fact("skill/a", b"v", 5, age_ms=2**53)]))
    assert "skill/a" not in victim.gossip.soft(bad.id), "a fact that old is dead on arrival"
    bad.send(victim, SoftBatch([bad.fact("skill/b", b"v", 6, age_ms=0)]))
    world.run_for(1.0)
    assert "skill/b" in victim.gossip.soft(bad.id)
