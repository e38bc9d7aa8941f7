"""The checkers of agents that survive: each is shown the fault it is there for, and passes where there is none."""

from dataclasses import replace

import pytest

from meshnode.kernel.instant import SECOND
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.ledger import Accounts
from meshnode.sim.node import Adapt
from meshnode.sim.promises import AcknowledgedOnce, AnsweredInTime, NeverBack
from meshnode.sim.run import Run
from meshnode.sim.scenario import Scenario
from meshnode.sim.units import owners
from meshnode.sim.watching import Checker
from meshnode.sim.workloads import Pace
from tests.faults import sim as planted
from tests.sim.luck import noticed_by_some_seed

NODES = 3
BUSY = Accounts(adds_per_s=6.0, gets_per_s=3.0, again=0.5, folds_per_s=0.3)
PLAIN = Scenario(
    name="plain", about="one thing happens", kinds=(), plan=lambda luck, nodes: [], storm_s=30.0, settle_s=15.0,
    pace=Pace(writes_per_s=0.2, calls_per_s=0.2, skills=("words.count",)), accounts=BUSY,
)  # fmt: skip
KILLED = Fault(Kind.NODE_KILL, 8.0, 6.0, (0,), agent="meter")
CUT = Fault(Kind.CUT, 6.0, 14.0, (0,), agent="meter")


def played(fault: Fault, adapt: Adapt, *judges: type[Checker], nodes: int = NODES, seed: int = 5) -> str:
    scenario, everywhere = replace(PLAIN, plan=lambda luck, nodes: [fault]), [(n, adapt) for n in range(nodes)]
    return Run(scenario, seed=seed, nodes=nodes, adapt=everywhere, judges=judges).play().violation


def is_noticed(
    fault: Fault, adapt: Adapt, judge: type[Checker], what: str, *, by: str = "", nodes: int = NODES
) -> bool:
    def notices(seed: int) -> bool:
        violation = played(fault, adapt, judge, nodes=nodes, seed=seed)
        return violation.startswith(f"{by or judge.__name__}: ") and what in violation

    return noticed_by_some_seed(notices, first=5)


@pytest.mark.parametrize("fault", [KILLED, CUT])
def test_without_a_planted_fault_every_promise_is_kept(fault: Fault) -> None:
    assert played(fault, Adapt()) == ""


@pytest.mark.parametrize(
    ("adapt", "fault", "judge", "what"),
    [
        (planted.DOUBLE_COUNT, CUT, AcknowledgedOnce, "a total of"),
        (planted.LOSE_ACK, KILLED, AcknowledgedOnce, "which was acknowledged"),
        (planted.DROP_MERGE, CUT, AcknowledgedOnce, "which was acknowledged"),
        (planted.IDLE, KILLED, AnsweredInTime, "of calm"),
    ],
)
def test_a_broken_promise_is_noticed(adapt: Adapt, fault: Fault, judge: type[Checker], what: str) -> None:
    assert is_noticed(fault, adapt, judge, what)


@pytest.mark.parametrize(("judge", "what"), [(AcknowledgedOnce, "which was"), (NeverBack, "were acknowledged before")])
def test_a_state_read_from_an_old_checkpoint_is_noticed(judge: type[Checker], what: str) -> None:
    """On a node alone: where there are others, they have what was acknowledged since."""
    assert is_noticed(KILLED, planted.STALE_RESTORE, judge, what, nodes=1)


def test_two_owners_that_do_not_yield_are_noticed() -> None:
    assert is_noticed(CUT, planted.TWO_OWNERS, AcknowledgedOnce, "owners: meter/0 runs on ", by="Liveness")


def test_one_node_that_breaks_a_rule_is_enough() -> None:
    scenario = replace(PLAIN, plan=lambda luck, nodes: [KILLED])

    def notices(seed: int) -> bool:
        run = Run(scenario, seed=seed, nodes=NODES, adapt=[(0, planted.LOSE_ACK)], judges=[AcknowledgedOnce])
        return "which was acknowledged" in run.play().violation

    assert noticed_by_some_seed(notices, first=5)


@pytest.mark.parametrize("kind", [Kind.BROKEN, Kind.FULL])
def test_a_unit_leaves_a_node_whose_disk_takes_nothing(kind: Kind) -> None:
    ill = Fault(kind, 6.0, 20.0, (0,), agent="meter")
    run = Run(replace(PLAIN, plan=lambda luck, nodes: [ill]), seed=5, nodes=NODES)
    seen: list[list[str]] = []
    for at_s in (10, 25):
        run.world.at(at_s * SECOND, lambda: seen.append(owners(run.world)["meter/0"]))
    report = run.play()
    assert report.passed, report.violation
    assert seen[0] == ["n0"] and seen[1] != ["n0"]
    assert report.payments["unknown"] == 0


def test_processes_of_a_killed_daemon_are_adopted_by_the_next_one() -> None:
    """Its machine says so: the same process serves, and works the calls that wait for it."""
    blink = Fault(Kind.KILL, 8.0, 0.1, (0,), agent="meter")
    run = Run(replace(PLAIN, plan=lambda luck, nodes: [blink]), seed=5, nodes=1)
    before: list[object] = []
    owner = run.world[0]
    run.world.at(8 * SECOND, lambda: before.append(owner.agents.running()))
    report = run.play()
    assert report.passed, report.violation
    assert before == [owner.agents.running()]
    assert owner.core is not None and owner.core.boot == 2
