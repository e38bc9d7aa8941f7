"""Every checker is shown the fault it is there for. One that cannot fail would prove nothing."""

from dataclasses import replace

import pytest

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import CallSkill, RunAgent
from meshnode.sim.agents import SCRIPT
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.node import Adapt, SimNode
from meshnode.sim.run import Run
from meshnode.sim.safety import (
    IN_FLIGHT_MAX,
    Bounds,
    ComesToRest,
    GenuineRows,
    NoFalseDeath,
    NoTwins,
    OneAnswer,
    RisingBoots,
)
from meshnode.sim.scenarios import Scenario
from meshnode.sim.watching import Checker
from meshnode.sim.workloads import Pace
from meshnode.sim.writes import KeptWrites
from tests.faults import sim as planted
from tests.sim.luck import noticed_by_some_seed

CALM = Scenario(
    name="calm", about="nothing happens", kinds=(), plan=lambda luck, nodes: [], storm_s=25.0, settle_s=10.0,
    pace=Pace(writes_per_s=3.0, calls_per_s=4.0),
)  # fmt: skip


def played(adapt: Adapt, *judges: type[Checker], seed: int = 5, plan: tuple[Fault, ...] = ()) -> str:
    scenario = replace(CALM, plan=lambda luck, nodes: list(plan))
    return Run(scenario, seed=seed, nodes=3, adapt=[(0, adapt)], judges=judges).play().violation


def is_noticed(adapt: Adapt, judge: type[Checker], *plan: Fault) -> bool:
    def notices(seed: int) -> bool:
        return played(adapt, judge, seed=seed, plan=plan).startswith(f"{judge.__name__}: ")

    return noticed_by_some_seed(notices, first=5)


def test_a_calm_mesh_passes() -> None:
    assert played(Adapt()) == ""


@pytest.mark.parametrize(
    ("adapt", "judge"),
    [
        (planted.FORGETFUL, KeptWrites),
        (planted.HASTY, KeptWrites),
        (planted.AMNESIAC, KeptWrites),
        (planted.SWALLOWING, OneAnswer),
        (planted.STAMMERING, OneAnswer),
        (planted.RESTLESS, ComesToRest),
    ],
)
def test_a_planted_fault_is_noticed_by_its_checker(adapt: Adapt, judge: type[Checker]) -> None:
    assert is_noticed(adapt, judge)


def test_a_timer_that_fires_late_makes_calls_late() -> None:
    silent = Fault(Kind.PAUSE, 8.0, 12.0, (1,))
    cut = Fault(Kind.CUT, 4.0, 15.0, (0,))
    assert is_noticed(planted.LATE, OneAnswer, silent, cut)


def test_a_boot_that_was_not_counted_is_noticed_when_it_is_used_again() -> None:
    kill = Fault(Kind.KILL, 5.0, 1.0, (0,))
    assert is_noticed(planted.FORGETFUL, RisingBoots, kill)


def test_a_store_that_loses_merges_is_noticed_when_all_should_be_equal() -> None:
    quiet = replace(CALM, storm_s=3.0, settle_s=0.3, pace=Pace(writes_per_s=1.0, documents=1))

    def notices(seed: int) -> bool:
        return "documents: " in Run(quiet, seed=seed, nodes=3, adapt=[(0, planted.ONE_SIDED)]).play().violation

    assert noticed_by_some_seed(notices, first=5)


def test_acknowledged_writes_that_a_power_cut_takes_are_noticed_after_it() -> None:
    """The checker of durability is not there; the one of the end result is."""
    power = Fault(Kind.POWER, 12.0, 1.0, (0,))
    powerless = replace(CALM, plan=lambda luck, nodes: [power])

    def notices(seed: int) -> bool:
        run = Run(powerless, seed=seed, nodes=3, adapt=[(0, planted.HASTY)], judges=[KeptWrites])
        run.writes.replied = lambda node, number, view: _believed(run.writes, node, number)  # type: ignore[method-assign]
        return "which it acknowledged" in run.play().violation

    assert noticed_by_some_seed(notices, first=5)


def _believed(writes: KeptWrites, node: SimNode, number: int) -> None:
    pending = writes._pending.pop((node.name, number), None)
    if pending is not None:
        writes._promise(node, pending)


@pytest.mark.parametrize(("gullible", "caught"), [(True, True), (False, False)])
@pytest.mark.parametrize("judge", [GenuineRows, KeptWrites])
def test_a_forged_record_is_noticed_where_signatures_are_not_checked(
    judge: type[Checker], *, gullible: bool, caught: bool
) -> None:
    def violation(seed: int) -> str:
        adapt = planted.GULLIBLE if gullible else Adapt()
        run = Run(CALM, seed=seed, nodes=3, adapt=[(0, adapt)], judges=[judge])
        liar, victim = run.world[1], run.world[2]
        run.world.at(15 * SECOND, lambda: planted.lie(liar, victim))
        return run.play().violation

    if caught:
        assert noticed_by_some_seed(lambda seed: violation(seed).startswith(f"{judge.__name__}: "), first=5)
    else:
        assert violation(5) == ""


def test_a_living_node_shown_as_dead_is_noticed() -> None:
    def notices(seed: int) -> bool:
        run = Run(CALM, seed=seed, nodes=3, judges=[NoFalseDeath])
        run.world.at(24 * SECOND, planted.secret_cut(run.world, [0], rejects=True))
        return run.play().violation.startswith("NoFalseDeath: ")

    assert noticed_by_some_seed(notices, first=5)


def test_a_mesh_that_stays_apart_after_the_healing_is_noticed() -> None:
    def notices(seed: int) -> bool:
        run = Run(CALM, seed=seed, nodes=3, judges=[RisingBoots])
        run.world.at(15 * SECOND, planted.secret_cut(run.world, [0], rejects=False))
        run.misfortune.heal = lambda: None  # type: ignore[method-assign]
        violation = run.play().violation
        return violation.startswith("Liveness: ") and "ready: " in violation

    assert noticed_by_some_seed(notices, first=5)


def test_a_copied_directory_is_noticed() -> None:
    def notices(seed: int) -> bool:
        run = Run(CALM, seed=seed, nodes=3, judges=[NoTwins])
        planted.copied_directory(run.world, 1, 2)
        return run.play().violation.startswith("NoTwins: ")

    assert noticed_by_some_seed(notices, first=5)


def test_a_table_without_a_limit_is_noticed() -> None:
    words = [SCRIPT, "deaf.ear", "answer_ms=100000"]

    def notices(seed: int) -> bool:
        run = Run(CALM, seed=seed, nodes=1, adapt=[(0, planted.BOUNDLESS)], judges=[Bounds])
        node = run.world[0]

        def flood() -> None:
            for _ in range(IN_FLIGHT_MAX + 1):
                node.ask(CallSkill(skill="deaf.ear", deadline_s=60.0))

        run.world.at(6 * SECOND, lambda: node.ask(RunAgent(name="deaf", argv=words, cwd="/")))
        run.world.at(9 * SECOND, flood)
        return run.play().violation.startswith("Bounds: ")

    assert noticed_by_some_seed(notices, first=5)


def test_a_run_in_which_its_fault_never_happened_fails() -> None:
    run = Run(replace(CALM, kinds=(Kind.KILL,)), seed=5, nodes=2)
    assert run.play().violation.startswith("Coverage: ")
