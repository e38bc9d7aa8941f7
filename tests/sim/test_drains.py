"""Drained machines: each promise about them is kept without a planted fault, and seen to be broken by one."""

from dataclasses import replace

import pytest

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import RunAgent
from meshnode.sim.agents import SCRIPT
from meshnode.sim.drains import Drained
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.ledger import Accounts
from meshnode.sim.node import Adapt
from meshnode.sim.promises import NeverBack
from meshnode.sim.run import Run
from meshnode.sim.scenario import Plan, Scenario
from meshnode.sim.units import owners
from meshnode.sim.watching import Checker
from meshnode.sim.workloads import Pace
from tests.faults import sim as planted
from tests.sim.luck import noticed_by_some_seed

NODES = 3
BUSY = Accounts(adds_per_s=20.0, gets_per_s=30.0, clients=5, folds_per_s=0.3)
PLAIN = Scenario(
    name="plain", about="who runs the agent is drained, in turn", kinds=(Kind.DRAIN,),
    plan=lambda luck, nodes: [Fault(Kind.DRAIN, 10.0 + 9.0 * n, 8.0, (0,), 0.4, "meter") for n in range(3)],
    storm_s=40.0, settle_s=15.0, pace=Pace(writes_per_s=0.2, calls_per_s=0.2, skills=("words.count",)), accounts=BUSY,
)  # fmt: skip


# One that is noticed by how long it takes wants a drain that takes long.
PLANS: dict[type[Checker], Plan] = {Drained: lambda luck, nodes: [Fault(Kind.DRAIN, 6.0, 25.0, (0,), 0.4, "meter")]}


def played(adapt: Adapt, *judges: type[Checker], scenario: Scenario = PLAIN, seed: int = 5) -> Run:
    run = Run(scenario, seed=seed, nodes=NODES, adapt=[(n, adapt) for n in range(NODES)], judges=judges)
    run.play()
    return run


def test_drains_under_load_lose_nothing_double_nothing_and_fail_no_call() -> None:
    run = played(Adapt())
    assert run.report.passed, run.report.violation
    assert run.drained.emptied == 3, "each was found empty"
    assert run.report.payments["unknown"] == 0
    assert run.report.answers == {
        what: count for what, count in run.report.answers.items() if not what.startswith("CallSkill") or "ok" in what
    }


@pytest.mark.parametrize(
    ("adapt", "judge", "what"),
    [
        (planted.STUBBORN, Drained, "is drained, and still runs meter/0"),
        (planted.IMPATIENT, NeverBack, "were acknowledged before"),
    ],
)
def test_a_broken_promise_is_noticed(adapt: Adapt, judge: type[Checker], what: str) -> None:
    scenario = replace(PLAIN, plan=plan) if (plan := PLANS.get(judge)) else PLAIN

    def notices(seed: int) -> bool:
        violation = played(adapt, judge, scenario=scenario, seed=seed).report.violation
        return violation.startswith(f"{judge.__name__}: ") and what in violation

    assert noticed_by_some_seed(notices, first=5)


def test_a_machine_that_is_empty_and_takes_a_unit_is_noticed() -> None:
    """The others take what it has; it alone does not hear of its drain, and is asked to run something else."""
    long = replace(PLAIN, plan=lambda luck, nodes: [Fault(Kind.DRAIN, 4.0, 30.0, (0,))])

    def notices(seed: int) -> bool:
        run = Run(long, seed=seed, nodes=NODES, judges=[Drained], adapt=[(0, planted.STUBBORN)])
        run.world.at(20 * SECOND, lambda: run.world[0].ask(RunAgent(name="x2", argv=[SCRIPT, "x2.hello"])))
        violation = run.play().violation
        return violation.startswith("Drained: ") and "was drained and empty, and runs x2/0 now" in violation

    assert noticed_by_some_seed(notices, first=10)


def test_the_last_machine_keeps_what_runs_and_a_resumed_one_gets_it() -> None:
    plan = [Fault(Kind.DRAIN, 3.0 + 5.0 * n, 40.0 if n else 15.0, (n,)) for n in range(NODES)]
    run = Run(replace(PLAIN, plan=lambda luck, nodes: plan), seed=5, nodes=NODES)
    seen: dict[int, list[str]] = {}
    began_s = 12
    for at_s in (began_s + 14, began_s + 28):
        run.world.at(at_s * SECOND, lambda at_s=at_s: seen.setdefault(at_s, owners(run.world)["meter/0"]))
    report = run.play()
    assert report.passed, report.violation
    assert list(seen.values())[1] == ["n0"], seen
