"""Whole nodes, one of which loses what others write to documents it has: nobody drowns in what it is sent again."""

from meshnode.kernel.instant import SECOND
from meshnode.sim.run import Run
from meshnode.sim.scenarios import Scenario
from meshnode.sim.workloads import Pace
from tests.faults import sim as planted
from tests.sim.luck import noticed_by_some_seed

STORM_S, ROUND_S = 20.0, 4.0  # how long they write, and the shortest time between two comparisons of a node
NODES = 4
QUIET = Scenario(
    name="quiet", about="nothing happens", kinds=(), plan=lambda luck, nodes: [], storm_s=STORM_S, settle_s=0.5,
    pace=Pace(writes_per_s=1.0, calls_per_s=0.5, documents=2),
)  # fmt: skip


def test_a_node_that_loses_writes_is_given_each_a_few_times_a_round() -> None:
    runs: list[Run] = []

    def notices(seed: int) -> bool:
        runs.append(Run(QUIET, seed=seed, nodes=NODES, adapt=[(0, planted.ONE_SIDED)]))
        return "documents: " in runs[-1].play().violation

    assert noticed_by_some_seed(notices, first=5), "the fault is there"
    run = runs[-1]
    assert run.world.now_us > STORM_S * SECOND
    victim, *others = [node.core for node in run.world.nodes if node.core is not None]
    rounds = STORM_S / ROUND_S * NODES  # each node opens one
    assert 0 < victim.counters["rejected-change-lost"] <= 2 * rounds * STORM_S, "a write a second, two answers a round"
    applied = {core.documents.counters["applied"] for core in others}
    assert len(applied) == 1 and applied.pop() <= 2 * STORM_S, "nobody takes a write twice"
