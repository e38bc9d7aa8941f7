"""Who stands by its facts on a link that comes up: whoever may not have been heard in time, and nobody else."""

import pytest

from meshnode.gossip.messages import Publish
from meshnode.gossip.soft import SoftState
from tests.unit.gossip.world import Box, World, mesh

COUNT = 12


def told() -> tuple[World, list[Box]]:
    """Each said something half a minute ago."""
    world, boxes = mesh(COUNT, 1, ("east", "west"))
    for box in boxes:
        world.tell(box, Publish("skill/words", box.name.encode()))
    world.run_for(30.0)
    return world, boxes


def healed(cut_s: float) -> tuple[World, list[Box], int]:
    """And how many refreshes were signed as two halves met after so long a cut, those of their time aside."""
    world, boxes = told()
    world.cut(boxes[::2], boxes[1::2])
    world.run_for(cut_s)
    before = signed(boxes)
    world.heal()
    world.run_until(world.all_ready, 10.0)
    return world, boxes, signed(boxes) - before


def signed(boxes: list[Box]) -> int:
    return sum(1 + box.gossip._parts.soft._mine.beat for box in boxes)


def lacking(boxes: list[Box]) -> list[tuple[str, str]]:
    return [(a.name, b.name) for a in boxes for b in boxes if a is not b and not a.gossip.soft(b.id)]


def test_after_a_short_cut_nobody_signs_for_a_link_and_no_fact_expires() -> None:
    world, boxes, more = healed(25.0)
    assert more == 0
    for _ in range(20):
        world.run_for(10.0)
        assert lacking(boxes) == []


def test_after_a_long_cut_those_who_meet_stand_by_their_facts() -> None:
    world, boxes, more = healed(300.0)
    assert more > 0
    world.run_for(20.0)
    assert lacking(boxes) == []


def test_who_starts_again_hears_at_once_that_old_facts_hold() -> None:
    world, boxes = told()
    world.run_for(20.0)
    others = boxes[1:]
    before = signed(others)
    world.kill(boxes[0])
    world.run_for(2.0)
    world.boot(boxes[0])
    world.run_until(world.all_ready, 10.0)
    more = signed(others) - before
    assert more > 0
    world.run_for(10.0)
    assert all(boxes[0].gossip.soft(box.id) for box in others)


def test_a_node_that_signs_for_each_link_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    up = SoftState.up
    monkeypatch.setattr(SoftState, "up", lambda self, peer, now, **_: up(self, peer, now))
    assert healed(25.0)[2] > 0
