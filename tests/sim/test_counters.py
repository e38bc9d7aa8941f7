"""What is counted on both sides of a cut, through the doors of whole nodes, adds up on all of them."""

import pytest

from meshnode.crdt import gate, writing
from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.kinds import OURS
from meshnode.kernel.rng import Random
from meshnode.model.commands import AddToCounter, ListDocuments
from meshnode.model.document_views import AppliedView, DocumentsView
from meshnode.model.ids import NodeId
from meshnode.sim.liveness import settle
from meshnode.sim.workloads import KIND
from meshnode.sim.world import Setup, World
from tests.sim.luck import noticed_by_some_seed
from tests.sim.test_authority import cluster, cut, done

NODES = 4


def counted(seed: int) -> tuple[int, list[int]]:
    """What was acknowledged in all, and what each node shows once the cut is over."""
    luck, total = Random(seed), 0
    world = World(
        Setup(seed=seed, nodes=NODES, traced=False, documents=DocumentsConfig(generation_changes=20, kinds=OURS))
    )
    world.start_all()
    world.run_for(1.0)
    settle(world, 30.0)
    done(world, 0, cluster("c0", 0))
    settle(world, 30.0)
    apart = cut(world, 0, 1)
    for _ in range(80):
        amount = luck.randint(-3, 10)
        asked = AddToCounter(kind=KIND, namespace="default", name="c0", counter="orders", amount=amount)
        view = world.ask(world[luck.randrange(NODES)], asked)
        assert isinstance(view, AppliedView), view
        total += amount
    world[2].kill()
    world[2].start()
    world.network.heal(apart)
    settle(world, 60.0)
    return total, [shown(world, number) for number in range(NODES)]


def shown(world: World, number: int) -> int:
    view = world.ask(world[number], ListDocuments(kind=KIND))
    assert isinstance(view, DocumentsView)
    return view.items[0].counters["orders"]


@pytest.mark.parametrize("seed", [1, 2])
def test_what_both_sides_counted_adds_up_over_generations_and_a_crash(seed: int) -> None:
    total, told = counted(seed)
    assert told == [total] * NODES


def test_a_counter_that_two_nodes_write_loses_what_one_of_them_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_all(name: str, _node: NodeId) -> str:
        return f"count:{name}@{'0' * 12}"

    def anybody(_field: str, _author: NodeId) -> bool:
        return True

    monkeypatch.setattr(writing, "counter_field", of_all)
    monkeypatch.setattr(gate, "may_set", anybody)

    def notices(seed: int) -> bool:
        total, told = counted(seed)
        return told != [total] * NODES

    assert noticed_by_some_seed(notices, first=1)
