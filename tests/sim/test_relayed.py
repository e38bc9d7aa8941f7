"""Machines that nobody can dial reach each other through relays; a relay that does not carry is noticed."""

import pytest

from meshnode.gossip.dialback import REACHED, Trying
from meshnode.gossip.letters import Dialback, Tried, post
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.links.carriage import Carriage
from meshnode.links.tunnelwire import relay_at
from meshnode.model.ids import NodeId
from meshnode.node.core import Core
from meshnode.sim.node import Adapt, SimNode
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.wire.frame import Frame, Kind
from tests.sim.luck import noticed_by_some_seed


class Swallowing(Carriage):
    """The planted fault: it opens tunnels, and nothing comes out of them."""

    def carry(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        return [] if frame.kind is Kind.TUNNEL_DATA else super().carry(peer, frame, now)


def swallow(core: Core) -> Core:
    right = core.tunnels.carriage
    core.tunnels.carriage = Swallowing(
        right.config, right.ways, right.is_client, right.number, right.counters, right.secret
    )
    return core


class Obliging(Trying):
    """The planted fault: it says that it reached whoever asks, and dials nobody."""

    def asked(self, peer: NodeId, letter: Dialback, now: Instant) -> list[Effect]:
        return [post(peer, Tried(letter.number, REACHED))]


def oblige(core: Core) -> Core:
    parts = core.gossip._parts
    parts.trying = Obliging(parts.directory, parts.contacts.probe)
    return core


def undialable(node: SimNode) -> str:
    assert node.core is not None
    return node.core.gossip.undialable()


def test_who_cannot_be_dialled_finds_out_and_takes_relays_and_comes_back() -> None:
    run = Run(SCENARIOS["found-out"], seed=1, nodes=5)
    seen: dict[str, str] = {}
    run.world.at(60 * SECOND, lambda: seen.update({node.name: undialable(node) for node in run.world.nodes}))
    assert run.play().passed, run.report.violation
    first, second, shown, left, right = run.world.nodes
    assert {name for name, text in seen.items() if text} == {shown.name, left.name, right.name}
    assert "nobody can dial this node" in seen[left.name] and " tried 10.0." in seen[left.name]
    assert not undialable(first) and not undialable(second), "relays are dialled"
    run.world.run_for(150.0)  # it asks every two minutes
    assert not undialable(shown), "it can be dialled again, and knows"
    assert undialable(left) and undialable(right)
    named = {node.name: relays_named(node) for node in (shown, left, right)}
    assert named == {shown.name: 0, left.name: 2, right.name: 2}


def relays_named(node: SimNode) -> int:
    assert node.core is not None
    return sum(relay_at(host) is not None for host, _ in node.core.gossip.self_row().endpoints)


def test_a_neighbour_that_only_says_it_dialled_back_is_noticed() -> None:
    def notices(seed: int) -> bool:
        run = Run(SCENARIOS["found-out"], seed=seed, nodes=5, adapt=[(n, Adapt(core=oblige)) for n in range(5)])
        return "n3 shows n4 as unreachable" in run.play().violation  # these two have no way but relays

    assert noticed_by_some_seed(notices, first=1)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["relays-die", "ways-open", "found-out"])
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
    def notices(seed: int) -> bool:
        run = Run(SCENARIOS["ways-open"], seed=seed, nodes=5, adapt=[(n, Adapt(core=swallow)) for n in range(2)])
        noticed = "not within 45 s of the healing" in run.play().violation
        assert run.world.network.tunnels.opened == 0
        return noticed

    assert noticed_by_some_seed(notices, first=1)
