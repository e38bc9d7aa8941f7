"""The mesh keeps its promises: workload x faults x seeds, in virtual time, on the very Core the daemon runs.

A failing one is played again by the line its report ends with: ``make sim SEED=.. NODES=.. SCENARIO=..``.
"""

import pytest

from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS

SEEDS = (2, 3)
NODES = 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_scenario_holds_at_every_step_and_heals(name: str, seed: int) -> None:
    scenario = SCENARIOS[name]
    fewest, most = scenario.nodes
    report = Run(scenario, seed=seed, nodes=max(fewest, min(NODES, most))).play()
    assert report.passed, f"SEED={seed} SCENARIO={name}: {report.violation}"
    assert report.answers
    assert sum(report.faults.values()) > 0


def test_a_larger_mesh_is_cut_in_half_and_heals() -> None:
    report = Run(SCENARIOS["cut-and-heal"], seed=7, nodes=24).play()
    assert report.passed, report.violation
    assert report.writes > 0
