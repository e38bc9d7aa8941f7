"""Finding nodes on the same LAN by mDNS. Advisory in every way: TLS decides who somebody is, and no mDNS is no failure.

Announced is one ``_meshnode._tcp.local.`` service per node. Its text names the mesh only by a hash, so that nodes of
other meshes do not call on each other and an onlooker learns no name. The library behind it is big, so it is only
imported where discovery is wanted.
"""

import asyncio
import contextlib
import hashlib
import logging
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from meshnode.gossip.messages import Discovered
from meshnode.kernel.counters import Counters
from meshnode.model.ids import NodeId, short

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncZeroconf

log = logging.getLogger(__name__)

SERVICE = "_meshnode._tcp.local."
QUEUE_MAX = 64
ADDRESSES_MAX = 8
ASK_MS = 3000


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscoveryConfig:
    """``addresses``: what to announce; empty = those of all interfaces but loopback, and anew when these change."""

    mesh: str
    node: NodeId
    port: int
    addresses: tuple[str, ...] = ()
    again_s: float = 60.0  # without a network: until the next try, half of it at least


class Discovery:
    """``serve`` announces and listens until cancelled. Where mDNS is impossible it tries again for ever, now and then:
    a machine may get its network late, or another one.
    """

    def __init__(self, config: DiscoveryConfig, tell: Callable[[Discovered], None], counters: Counters) -> None:
        self._config = config
        self._tell = tell
        self._counters = counters
        self._seen: asyncio.Queue[str] = asyncio.Queue(QUEUE_MAX)
        self._own = f"{short(config.node)}.{SERVICE}"
        self._trouble = ""  # as told in the log, once

    async def serve(self) -> None:
        while True:
            trouble = await self._session()
            if trouble:
                if trouble != self._trouble:
                    log.warning("no discovery on this network, trying again", extra={"error": trouble})
                await asyncio.sleep(self._config.again_s * random.uniform(0.5, 1.0))
            self._trouble = trouble

    async def _session(self) -> str:
        """Until this machine has other addresses, or mDNS fails: then why."""
        from zeroconf import Error
        from zeroconf.asyncio import AsyncZeroconf

        announced = self._addresses()
        try:
            mdns = AsyncZeroconf()
        except OSError as error:
            return str(error)
        try:
            await self._announce(mdns, announced)
            await self._browse(mdns, announced)
        except (OSError, Error) as error:
            return str(error) or type(error).__name__
        finally:
            await mdns.async_close()
        return ""

    def _addresses(self) -> list[str]:
        return list(self._config.addresses or own_addresses())

    async def _announce(self, mdns: "AsyncZeroconf", addresses: list[str]) -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(
            SERVICE,
            self._own,
            port=self._config.port,
            parsed_addresses=addresses,
            properties={"mesh": mesh_tag(self._config.mesh), "v": "1"},
        )
        # A twin on this LAN (a copied directory) is for the links to find out, with proof.
        await mdns.async_register_service(info, cooperating_responders=True)  # pyright: ignore[reportUnknownMemberType] - untyped result

    async def _browse(self, mdns: "AsyncZeroconf", announced: list[str]) -> None:
        from zeroconf.asyncio import AsyncServiceBrowser

        browser = AsyncServiceBrowser(mdns.zeroconf, SERVICE, handlers=[self._changed])
        try:
            while self._addresses() == announced:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._config.again_s):
                        await self._resolve(mdns)
        finally:
            await browser.async_cancel()

    def _changed(self, zeroconf: "Zeroconf", service_type: str, name: str, state_change: "ServiceStateChange") -> None:
        del zeroconf, service_type
        if state_change.name == "Removed" or name == self._own:
            return
        with contextlib.suppress(asyncio.QueueFull):  # a flood of names is not a reason to grow
            self._seen.put_nowait(name)

    async def _resolve(self, mdns: "AsyncZeroconf") -> None:
        from zeroconf.asyncio import AsyncServiceInfo

        while True:
            name = await self._seen.get()
            info = AsyncServiceInfo(SERVICE, name)
            if not await info.async_request(mdns.zeroconf, ASK_MS) or info.port is None:
                continue
            if info.properties.get(b"mesh") != mesh_tag(self._config.mesh).encode():
                self._counters.add("discovered-other-mesh")
                continue
            for address in info.parsed_scoped_addresses()[:ADDRESSES_MAX]:
                self._counters.add("discovered")
                self._tell(Discovered(address, info.port))


def mesh_tag(mesh: str) -> str:
    return hashlib.sha256(b"meshnode/mdns\0" + mesh.encode()).hexdigest()[:16]


def own_addresses() -> list[str]:
    """IPv4 and global IPv6 addresses of this machine, loopback and link-local ones left out."""
    found: list[str] = []
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith(("127.", "169.254.")):
                found.append(address.address)
            if address.family == socket.AF_INET6 and not address.address.startswith(("::1", "fe80")):
                found.append(address.address.partition("%")[0])
    return found[:ADDRESSES_MAX]
