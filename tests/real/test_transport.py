"""Two transports on loopback with real certificates."""

import asyncio
from pathlib import Path

import pytest

from meshnode.gossip.messages import DialFailed
from meshnode.kernel.effects import Dial
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.links.messages import CloseLink, LinkBytes, LinkLost, Transmit
from tests.real.transport_kit import found, link_up, member_of, running, with_source

pytestmark = pytest.mark.real


async def _pair(tmp_path: Path, story) -> None:
    founder = found(tmp_path / "a")
    async with running(founder) as a, running(member_of(founder, tmp_path / "b", "birch"), with_source("127.0.1.3")) as b:
        await story(a, b)


def test_two_nodes_know_each_other_and_exchange_bytes_of_any_size(tmp_path: Path) -> None:
    async def story(a, b) -> None:
        out, into = await link_up(b, a)
        assert (out.peer, out.name, out.inbound, out.dial_no) == (a.identity.node, "alder", False, 1)
        assert (into.peer, into.name, into.inbound, into.dial_no) == (b.identity.node, "birch", True, 0)
        assert into.address == "127.0.1.3"
        for size in (1, 16_384, 16_385, 1_000_000):
            sent = bytes(size)[:-1] + b"!"
            b.transport.perform(Transmit(out.link, sent))
            assert await a.bytes(size) == sent
            a.transport.perform(Transmit(into.link, sent))
            assert await b.bytes(size) == sent

    asyncio.run(_pair(tmp_path, story))
