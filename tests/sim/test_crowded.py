"""A node of many links pings most of them rarely; one that falls silent is found as soon as ever by others.

And the slow pace makes nobody look dead, nor does it make anybody ask whether the other is still there.
"""

import gc
from collections.abc import Generator

import pytest

from meshnode.gossip.detector import Detector
from meshnode.gossip.messages import MemberState
from meshnode.gossip.silence import Silence
from meshnode.kernel.instant import SECOND
from meshnode.links.config import PACE_MAX_US, HubConfig
from meshnode.links.hub import Hub
from meshnode.model.commands import PingNode
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.node import SimNode
from meshnode.sim.pulses import Held, Verdicts
from meshnode.sim.watching import Violated
from meshnode.sim.world import Setup, World
from tests.sim.luck import noticed_by_some_seed

FOUND_S = 8.0  # by everybody: silence of 3.5 s, half a second for helpers, three to refute it
QUIET_S = 25.0


@pytest.fixture(autouse=True)
def no_collections() -> Generator[None]:
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[int, None]:
    """Links over which somebody asked; they are only listened to."""
    found: dict[int, None] = {}
    asks = Silence.asks

    def heard(silence: Silence, heard_us: int | None) -> bool:
        wants = asks(silence, heard_us)
        if wants:
            found[id(silence)] = None
        return wants

    monkeypatch.setattr(Silence, "asks", heard)
    return found


class Crowded:
    """All of them have called the first one a moment ago, and keep the link for that."""

    def __init__(self, nodes: int, seed: int = 7) -> None:
        self.world = World(Setup(seed=seed, nodes=nodes, traced=False, tier=2, wire_us=2_000))
        self.middle, self.others = self.world[0], self.world.nodes[1:]
        self.world.start_all()
        assert self.world.run_till(lambda: not unmet_by_gossip(self.world), 60.0), unmet_by_gossip(self.world)
        questions = [(node, PingNode(name=self.middle.node_name)) for node in self.others]
        assert None not in self.world.ask_all(questions, 20.0)
        self.world.run_for(3.0)

    @property
    def hub(self) -> Hub:
        assert self.middle.core is not None
        return self.middle.core.hub

    def slow(self) -> list[SimNode]:
        """Whose link to the middle has the slow pace."""
        return [node for node in self.others if self.hub.pace_us(node.node) == PACE_MAX_US]

    @property
    def detector(self) -> Detector:
        assert self.middle.core is not None
        return self.middle.core.gossip._parts.detector

    def asks(self, asked: dict[int, None], about: list[SimNode]) -> int:
        """How many of these the middle has asked whether they are still there, because it heard nothing of them."""
        silences = [self.detector._silences.get(node.node) for node in about]
        return sum(id(silence) in asked for silence in silences if silence is not None)

    def silence(self, victim: SimNode) -> float:
        """It stops, and its connections stand; seconds until all others know, and ``Violated`` when that takes too long
        or one says it of another one."""
        self.world.audience.gather([Verdicts(self.world, [victim]), Held(self.world, [victim])])
        began_us = self.world.now_us
        victim.pause()
        if not self.world.run_till(lambda: not self._blind(victim), FOUND_S):
            blind = self._blind(victim)[0]
            raise Violated("Detection", self.world.now_us, victim.name, f"ready to {blind} all the time")
        took_s = (self.world.now_us - began_us) / SECOND
        self.world.run_for(QUIET_S)
        return took_s

    def _blind(self, victim: SimNode) -> list[str]:
        """Who would still send it a call."""
        cores = {node.name: node.core for node in self.world.nodes if node is not victim}
        return [name for name, core in cores.items() if core and core.gossip.state(victim.node) is MemberState.READY]


def test_of_a_crowd_of_links_one_that_falls_silent_is_found_in_time_and_no_other_one_is(
    asked: dict[int, None],
) -> None:
    crowd = Crowded(101)  # some of which are sent away as neighbours before they come for a call
    links, slow = len(crowd.hub.peers()), crowd.slow()
    assert links >= 65 and len(slow) >= links - 48
    asked.clear()
    crowd.world.run_for(QUIET_S)
    assert not crowd.asks(asked, slow)
    assert crowd.silence(slow[-1]) < FOUND_S


def test_a_detector_that_is_told_no_pace_asks_who_is_quiet_and_is_noticed(asked: dict[int, None]) -> None:
    crowd = Crowded(64)
    slow = crowd.slow()
    assert slow
    crowd.detector.pace_us = lambda _node: 0
    asked.clear()
    crowd.world.run_for(QUIET_S)
    assert crowd.asks(asked, slow) == len(slow)


def test_links_that_are_all_slow_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: a node of any size asks everybody to be quiet for long."""
    monkeypatch.setattr(HubConfig, "pace_us", lambda _self, _links: PACE_MAX_US)

    def notices(seed: int) -> bool:
        crowd = Crowded(12, seed)
        assert len(crowd.slow()) >= 6
        try:
            crowd.silence(crowd.others[-1])
        except Violated as violated:
            return "ready to" in str(violated)
        return False

    assert noticed_by_some_seed(notices, first=7)
