"""What the core remembers of its rooms' deadlines is never older than the rooms themselves."""

import pytest

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.node import rooms
from meshnode.node.core import Core
from meshnode.node.rooms import NAMES, TOUCHES, Rooms
from meshnode.sim.lazily import LazyRun
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of rooms whose deadline was remembered wrongly, for each time the core is asked for its own."""
    remembered = Rooms.deadline
    found: list[str] = []

    def deadline(each: Rooms) -> int | None:
        due_us = remembered(each)
        asked = {name: room.deadline() for name, room in zip(NAMES, each.all, strict=True)}
        wrong = [name for name, at_us in asked.items() if at_us is not None and (due_us is None or at_us < due_us)]
        # What went straight may have moved the links later, and they are asked again when that comes.
        early = due_us != earliest(*asked.values()) and not each._loose  # pyright: ignore[reportPrivateUsage]
        found.append(",".join(wrong) or "too early" * early)
        return due_us

    monkeypatch.setattr(Rooms, "deadline", deadline)
    return found


@pytest.mark.parametrize(
    "scenario", ["cut-and-heal", "kill-and-move", "slow-and-torn-disks", "drain-and-die", "one-node", "relays-die"]
)
def test_whatever_happens_the_core_is_due_when_its_first_room_is(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(monkeypatch)
    Run(SCENARIOS[scenario], seed=7, nodes=SCENARIOS[scenario].nodes[0]).play()
    assert len(found) > 500
    assert [wrong for wrong in found if wrong] == []


def test_nor_is_what_was_promised_from_memory_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch)
    assert LazyRun(seed=2).play() == ""
    assert len(found) > 10_000
    assert [wrong for wrong in found if wrong] == []


def test_a_room_that_is_told_something_without_a_line_for_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOUCHES, rooms.MemberChanged, 0)
    found = watched(monkeypatch)
    Run(SCENARIOS["cut-and-heal"], seed=7, nodes=4).play()
    assert any("scheduler" in wrong for wrong in found)


def test_a_lone_frame_of_which_the_rooms_are_not_told_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def sooner(_: Rooms, number: int, due_us: int) -> None:
        """Takes it and forgets it."""

    monkeypatch.setattr(Rooms, "sooner", sooner)
    found = watched(monkeypatch)
    Run(SCENARIOS["cut-and-heal"], seed=7, nodes=4).play()
    assert any("hub" in wrong for wrong in found)


def test_what_one_room_tells_another_in_a_wake_is_done_in_that_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has one turn of it; a room that wakes another one for ever has some rounds, and then another turn."""
    woken = Core.wake
    left: list[int] = []

    def wake(core: Core, now: Instant) -> list[Effect]:
        effects = woken(core, now)
        due_us = core.deadline()
        left.append(0 if due_us is None else max(0, now.mono_us - due_us + 1))
        return effects

    monkeypatch.setattr(Core, "wake", wake)
    Run(SCENARIOS["kill-and-move"], seed=7, nodes=4).play()
    assert len(left) > 100
    assert not any(left)
