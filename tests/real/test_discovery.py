"""mDNS between two nodes on this machine, where its network lets multicast through."""

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncGenerator

import pytest

from meshnode.gossip.messages import Discovered
from meshnode.host.discovery import Discovery, DiscoveryConfig, own_addresses
from meshnode.kernel.counters import Counters
from meshnode.model.ids import NodeId

pytestmark = pytest.mark.real


def _node(name: str) -> NodeId:
    return NodeId(hashlib.sha256(name.encode()).digest())


@contextlib.asynccontextmanager
async def _serving(discovery: Discovery) -> AsyncGenerator[None]:
    task = asyncio.ensure_future(discovery.serve())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _multicast_works() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.sendto(b"", ("224.0.0.251", 5353))
        except OSError:
            return False
    return bool(own_addresses())


@pytest.mark.skipif(not _multicast_works(), reason="this machine has no network that takes multicast")
def test_nodes_of_one_mesh_find_each_other_and_ignore_other_meshes() -> None:
    async def story() -> None:
        found: asyncio.Queue[Discovered] = asyncio.Queue()
        counters = Counters()
        asking = Discovery(
            DiscoveryConfig(mesh="one.mesh", node=_node("a"), port=7001, addresses=("127.0.1.1",)),
            found.put_nowait,
            counters,
        )
        friend = DiscoveryConfig(mesh="one.mesh", node=_node("b"), port=7002, addresses=("127.0.1.2",))
        stranger = DiscoveryConfig(mesh="two.mesh", node=_node("c"), port=7003, addresses=("127.0.1.3",))
        async with (
            _serving(Discovery(stranger, found.put_nowait, Counters())),
            _serving(Discovery(friend, lambda _: None, Counters())),
            _serving(asking),
            asyncio.timeout(20),
        ):
            assert await found.get() == Discovered("127.0.1.2", 7002)
            while not counters["discovered-other-mesh"]:  # noqa: ASYNC110 - a counter wakes nobody
                await asyncio.sleep(0.05)
        assert found.empty()

    asyncio.run(story())


def test_a_machine_without_multicast_goes_on_and_asks_for_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        tries = asyncio.Queue[None]()

        def refused(*_: object) -> None:
            tries.put_nowait(None)
            raise OSError(19, "No such device")

        monkeypatch.setattr("zeroconf.asyncio.AsyncZeroconf", refused)
        config = DiscoveryConfig(mesh="one.mesh", node=_node("a"), port=7001, again_s=0.01)
        async with _serving(Discovery(config, lambda _: None, Counters())), asyncio.timeout(5):
            for _ in range(3):
                await tries.get()

    asyncio.run(story())


@pytest.mark.skipif(not _multicast_works(), reason="this machine has no network that takes multicast")
def test_a_machine_that_moves_announces_its_new_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        found: asyncio.Queue[Discovered] = asyncio.Queue()
        here = ["127.0.1.1"]
        monkeypatch.setattr("meshnode.host.discovery.own_addresses", lambda: list(here))
        mover = DiscoveryConfig(mesh="one.mesh", node=_node("m"), port=7004, again_s=0.2)
        other = DiscoveryConfig(mesh="one.mesh", node=_node("o"), port=7005, addresses=("127.0.1.9",))
        async with (
            _serving(Discovery(mover, lambda _: None, Counters())),
            _serving(Discovery(other, found.put_nowait, Counters())),
            asyncio.timeout(20),
        ):
            assert await found.get() == Discovered("127.0.1.1", 7004)
            here[:] = ["127.0.1.2"]
            while await found.get() != Discovered("127.0.1.2", 7004):
                pass

    asyncio.run(story())
