"""The crowd that a bench lets dial: every one of its nodes comes up, also those that had to dial twice."""

import asyncio
from pathlib import Path

import pytest

from bench.gossip.identities import admitted
from bench.talk.crowd import HOST, Crowd
from bench.talk.ends import End, hub_config, serving
from meshnode.host import keystore
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import Told, TransportConfig
from meshnode.kernel.effects import Effect
from meshnode.links.messages import PeerUp

pytestmark = pytest.mark.real
NODES, WAIT_S = 12, 20.0


def test_every_node_of_a_crowd_has_its_link(tmp_path: Path):
    paths = [tmp_path / f"n{number}" for number in range(NODES + 1)]
    admitted(paths, ["here"] * len(paths))
    assert asyncio.run(nodes_up(paths)) == NODES


async def nodes_up(paths: list[Path]) -> int:
    up, news = 0, asyncio.Event()

    def hear(event: Told | Effect) -> None:
        nonlocal up
        if isinstance(event, PeerUp):
            up += 1
            news.set()

    identity = keystore.load(paths[0])
    # Two handshakes at once: most of the crowd waits for its turn, some of it in vain.
    door = ListenerConfig(host=HOST, half_open_max=2, half_open_per_source_max=1)
    listener = End(identity, hub_config(identity), TransportConfig(listen=door), hear)
    async with serving([listener]):
        crowd = Crowd(listener.port, paths[1:])
        async with serving(crowd.ends):
            crowd.begin()
            async with asyncio.timeout(WAIT_S):
                while up < NODES:
                    news.clear()
                    await news.wait()
            return len(listener.hub.peers())
