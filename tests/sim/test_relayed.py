"""Machines that nobody can dial reach each other through relays; a relay that does not carry is noticed."""

import pytest

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.links.carriage import Carriage
from meshnode.model.ids import NodeId
from meshnode.node.core import Core
from meshnode.sim.node import Adapt
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.wire.frame import Frame, Kind


class Swallowing(Carriage):
    """The planted fault: it opens tunnels, and nothing comes out of them."""

    def carry(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        return [] if frame.kind is Kind.TUNNEL_DATA else super().carry(peer, frame, now)


def swallow(core: Core) -> Core:
    right = core.tunnels.carriage
    core.tunnels.carriage = Swallowing(right.config, right.ways, right.is_client, right.number, right.counters)
    return core


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["relays-die", "ways-open"])
def test_calls_go_on_and_every_session_is_exactly_once(name: str, seed: int) -> None:
    run = Run(SCENARIOS[name], seed=seed, nodes=5)
    assert run.play().passed, run.report.violation
    assert run.world.network.tunnels.opened >= 1


def test_a_direct_way_takes_over_from_the_relay() -> None:
    run = Run(SCENARIOS["ways-open"], seed=3, nodes=5)
    assert run.play().passed, run.report.violation
    *_, shown, left, right = run.world.nodes
    ways = [hider.core.hub.via(shown.node) for hider in (left, right) if hider.core is not None]
    assert ways == [b"", b""], "once it can be dialled, no relay is between"
    assert left.core is not None and left.core.hub.via(right.node), "these two have no other way"


def test_a_relay_that_swallows_what_it_carries_is_noticed() -> None:
    run = Run(SCENARIOS["ways-open"], seed=1, nodes=5, adapt=[(n, Adapt(core=swallow)) for n in range(2)])
    assert "not within 45 s of the healing" in run.play().violation
    assert run.world.network.tunnels.opened == 0
