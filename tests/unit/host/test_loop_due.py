"""What a turn of the loop makes due."""

import pytest

from meshnode.host.loop import READ_FIRST_US
from meshnode.kernel.instant import MS
from meshnode.links.messages import Transmit
from meshnode.model.ids import LinkId
from tests.unit.host.test_loop import FRAMES, Stage, event, play


@pytest.mark.parametrize("alone", [True, False])
def test_what_a_turn_makes_due_leaves_with_it(alone: bool) -> None:
    """One round of the event loop and one write a link, not two."""
    link = LinkId(1)

    async def scene(stage: Stage) -> None:
        machine = stage.machine
        machine.answers = lambda _e: machine.due.append(round(stage.loop.time() * 1e6)) or [Transmit(link, b"heard")]
        machine.says = [Transmit(link, b", passed on")]
        stage.driver.start()
        await stage.run(1 * MS)
        stage.driver.tell(FRAMES if alone else event(1))
        await stage.run(1 * MS)
        assert machine.heard[1:] == ["AgentFrames" if alone else "event 1", "wake"]
        assert stage.driver.turns == 1

    assert play(scene).performed == [Transmit(link, b"heard, passed on")]


def test_after_a_standstill_nothing_leaves_before_the_sockets_were_read() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due = [100 * MS]
        stage.driver.start()
        stage.suspended = 3_600_000 * MS
        stage.tell(1)
        stage.machine.answers = lambda _e: stage.machine.due.append(0) or []
        await stage.run(1 * MS)
        assert "wake" not in stage.machine.heard
        await stage.run(READ_FIRST_US + 1 * MS)
        assert "wake" in stage.machine.heard

    play(scene)


@pytest.mark.parametrize("busy", [True, False])
def test_a_deadline_that_was_early_wakes_nobody_and_between_two_halves_of_a_call_it_is_no_turn(busy: bool) -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.due, stage.machine.early = [50 * MS], [10 * MS]
        stage.driver.start()
        await stage.run(9 * MS if busy else 1 * MS)
        stage.driver.tell(FRAMES)
        assert stage.driver.turns == 1
        await stage.run(10 * MS if busy else 20 * MS)
        assert stage.driver.turns == (1 if busy else 2)
        await stage.run(60 * MS)

    assert play(scene).machine.told == [("start", 0), ("AgentFrames", 9 * MS if busy else 1 * MS), ("wake", 50 * MS)]
