"""What the core remembers of its rooms' deadlines is never older than the rooms themselves."""

import pytest

from meshnode.kernel.machine import earliest
from meshnode.node.core import Core
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", ["cut-and-heal", "kill-and-move"])
def test_whatever_happens_the_core_is_due_when_its_first_room_is(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered, asked = Core.deadline, 0

    def deadline(core: Core) -> int | None:
        nonlocal asked
        asked += 1
        due = remembered(core)
        rooms = core._rooms()
        clock_due_us = core._clock_due_us
        assert due == earliest(clock_due_us, *(room.deadline() for room in rooms))
        return due

    monkeypatch.setattr(Core, "deadline", deadline)
    Run(SCENARIOS[scenario], seed=7, nodes=4).play()
    assert asked > 1_000
