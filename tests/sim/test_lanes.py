"""What is large goes by a second connection, and no break of it fails a call; one that forgets is noticed."""

import pytest

from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import Loss
from meshnode.links.hub import Hub
from meshnode.links.link import Link
from meshnode.links.roster import Roster
from meshnode.model.commands import AnyCommand, CallSkill
from meshnode.model.views import AnyView, Failure
from meshnode.node.core import Core
from meshnode.sim.node import Adapt, SimNode
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.watching import Watcher
from tests.sim.luck import noticed_by_some_seed


class Failures(Watcher):
    """Calls that users made and that failed, and how many did not."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, int], None] = {}
        self.failed: list[str] = []
        self.answered = 0

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        if isinstance(command, CallSkill):
            self._calls[node.name, number] = None

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        if (node.name, number) in self._calls:
            if isinstance(view, Failure):
                self.failed.append(f"{view.code}: {view.message}")
            else:
                self.answered += 1


def played(name: str, seed: int, tier: int = 1, adapt: tuple[tuple[int, Adapt], ...] = ()) -> tuple[Run, Failures]:
    run, failures = Run(SCENARIOS[name], seed=seed, nodes=3, tier=tier, adapt=adapt), Failures()
    run.world.audience.gather([failures])
    assert run.play().passed, run.report.violation
    return run, failures


def hubs(run: Run) -> list[Hub]:
    return [node.core.hub for node in run.world.nodes if node.core is not None]


@pytest.mark.parametrize(("seed", "tier"), [(1, 1), (2, 2)])
def test_no_break_of_a_lane_fails_a_call(seed: int, tier: int) -> None:
    run, failures = played("lanes-break", seed, tier)
    assert failures.failed == [] and failures.answered > 100
    assert sum(hub.counters["lane-dialled"] for hub in hubs(run)) > 10
    assert sum(hub.counters["frame-resent"] for hub in hubs(run)) > 0
    assert sum(hub.counters["frame-lost"] + hub.counters["lane-lost"] for hub in hubs(run)) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_breaks_of_either_are_lived_through(seed: int) -> None:
    _, failures = played("lanes-and-links-break", seed)
    assert failures.answered > 100


class Forgetful(Roster):
    """The planted fault: with a lane goes all that was under way by it."""

    def gone(self, link: Link, how: Loss, now: Instant, *, theirs: str = "", ours: str = "") -> None:
        super().gone(link, how, now, theirs=theirs, ours=ours)
        peer = self.get(link.peer)
        if peer is not None and how is Loss.RESET:
            self.end_session(peer)


def forget(core: Core) -> Core:
    core.hub._lanes.roster.__class__ = Forgetful
    return core


def test_a_lane_that_forgets_what_was_under_way_is_noticed() -> None:
    def notices(seed: int) -> bool:
        _, failures = played("lanes-break", seed, 2, tuple((number, Adapt(core=forget)) for number in range(3)))
        return bool(failures.failed)

    assert noticed_by_some_seed(notices, first=1)
