"""A mesh of several regions was cut in two for 45 s: how soon each takes each for ready again, and that it lasts."""

import pytest

from meshnode.gossip.contacts import Contacts
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import Subject
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.network import Cut
from meshnode.sim.world import Setup, World
from tests.sim.luck import noticed_by_some_seed

NODES, CUT_S, REST_S = 16, 45.0, 4.0
WHOLE_S = 2.0


def healed(seed: int) -> tuple[float, int]:
    """(seconds until all are ready to all, how often somebody was doubted again in the seconds after)."""
    world = World(Setup(seed=seed, nodes=NODES, traced=False, tier=2))
    world.start_all()
    assert world.run_till(lambda: not unmet_by_gossip(world), 60.0), unmet_by_gossip(world)
    world.run_for(20.0)
    cut = halved(world)
    world.run_for(CUT_S)
    assert unready(world) > NODES, "the halves know that they are cut"
    world.network.heal(cut)
    began_us = world.now_us
    assert world.run_till(lambda: not unready(world), 20.0)
    whole_s, doubts = (world.now_us - began_us) / SECOND, 0
    for _ in range(round(REST_S / 0.05)):
        world.run_for(0.05)
        doubts += unready(world)
    return whole_s, doubts


def halved(world: World) -> Cut:
    regions = sorted({node.plan.identity.region for node in world.nodes})
    inside = [node.name for node in world.nodes if node.plan.identity.region in regions[::2]]
    outside = [node.name for node in world.nodes if node.name not in inside]
    return world.network.cut(Cut(tuple(pair for a in inside for b in outside for pair in ((a, b), (b, a)))))


def unready(world: World) -> int:
    """Pairs of which the one does not take the other for ready."""
    return sum(
        node.core is not None and node.core.gossip.state(other.node) is not MemberState.READY
        for node in world.nodes
        for other in world.nodes
        if node is not other
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_two_halves_are_one_soon_after_the_cut_and_nobody_is_doubted_again(seed: int) -> None:
    whole_s, doubts = healed(seed)
    assert whole_s <= WHOLE_S
    assert doubts == 0


def test_old_evidence_that_outlives_an_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Subject.advance

    def held_on(subject: Subject, boot: int, incarnation: int, *, elsewhere: bool = False) -> None:
        advance(subject, boot, incarnation, elsewhere=elsewhere and subject.linked)

    def deaf(_contacts: Contacts, _node: NodeId) -> None:
        """Dials into the cut go on counting."""

    monkeypatch.setattr(Subject, "advance", held_on)
    monkeypatch.setattr(Contacts, "spoke", deaf)

    def notices(seed: int) -> bool:
        whole_s, doubts = healed(seed)
        return whole_s > WHOLE_S or doubts > 0

    assert noticed_by_some_seed(notices, first=1)
