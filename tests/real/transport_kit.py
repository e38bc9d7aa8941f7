"""Real nodes for tests of the sockets: real certificates, real ports on loopback, events in a queue."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from meshnode.host import keystore
from meshnode.host.clock import SystemClock
from meshnode.host.credentials import Credentials
from meshnode.host.identity import Identity
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import Told, Transport, TransportConfig
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial
from meshnode.kernel.instant import Instant
from meshnode.links.messages import LinkBytes, LinkOpened
from meshnode.security.authority import issue_leaf, make_csr, new_tls_key
from meshnode.security.clock import MeshClock
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.members import make_member

WALL_MS = 1_795_000_000_000
WAIT_S = 10.0
EventT = TypeVar("EventT")


def found(directory: Path, name: str = "alder") -> Identity:
    return keystore.create_mesh(directory, name=name, region="here", wall_ms=WALL_MS)[0]


def member_of(founder: Identity, directory: Path, name: str, *, wall_ms: int = WALL_MS) -> Identity:
    """Another node of the mesh, as if it had joined."""
    assert founder.admin is not None
    assert founder.enroller is not None
    record_key, tls_key = new_record_key(), new_tls_key()
    public = RecordSigner(record_key).public_key
    chain = issue_leaf(
        make_csr(tls_key, public),
        mesh=founder.mesh,
        name=name,
        record_key=public,
        enroller_key_pem=founder.enroller.key_pem.reveal(),
        enroller_cert_pem=founder.enroller.certificate_pem,
        wall_ms=wall_ms,
    )
    member = make_member(
        founder.admin,
        mesh=founder.mesh,
        name=name,
        record_key=public,
        roles=("member",),
        region="here",
        labels={},
        issued_ms=WALL_MS,
    )
    return keystore.store_admission(
        directory,
        root_sha256=founder.bundle.root_sha256,
        bundle=founder.bundle.data,
        member=member,
        chain_pem=chain,
        tls_key=tls_key,
        record_key=record_key,
        seeds=(),
    )


def _ignore(event: Told) -> None:
    """Who only reads ``events``."""


@dataclass
class Node:
    """A transport with its events."""

    identity: Identity
    counters: Counters
    transport: Transport = field(init=False)
    events: list[Told] = field(default_factory=list)
    hear: Callable[[Told], None] = field(default=_ignore)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _read: int = 0

    @property
    def port(self) -> int:
        return self.transport.address[1]

    def tell(self, event: Told) -> None:
        self.events.append(event)
        self.hear(event)
        self._news.set()

    async def next(self, kind: type[EventT]) -> EventT:
        """The next event of this kind; those before it are passed over."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while self._read < len(self.events):
                    event = self.events[self._read]
                    self._read += 1
                    if isinstance(event, kind):
                        return event
                self._news.clear()
                await self._news.wait()

    async def bytes(self, count: int) -> bytes:
        """The next ``count`` received bytes of whatever link."""
        received = b""
        while len(received) < count:
            received += (await self.next(LinkBytes)).data
        return received

    async def counted(self, name: str, at_least: int = 1) -> None:
        """Wait until a counter has reached a number."""
        async with asyncio.timeout(WAIT_S):
            while self.counters[name] < at_least:  # noqa: ASYNC110 - a counter wakes nobody
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(
    identity: Identity, config: TransportConfig | None = None, first: Sequence[Dial] = ()
) -> AsyncIterator[Node]:
    config = config or TransportConfig(listen=ListenerConfig(host="127.0.0.1"))
    counters = Counters()
    clock = SystemClock()
    credentials = Credentials.of(identity, MeshClock(WALL_MS), lambda: _at_wall(clock.now()))
    node = Node(identity, counters)
    transport = node.transport = Transport(config, credentials, node.tell, counters)
    transport.open()
    for dial in first:
        transport.perform(dial)
    serving = asyncio.ensure_future(transport.serve())
    await asyncio.sleep(0)
    try:
        yield node
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def _at_wall(now: Instant) -> Instant:
    """The certificates of these tests live around one day, whatever the calendar says."""
    return Instant(now.mono_us, WALL_MS, now.trust)


async def link_up(dialer: Node, listener: Node) -> tuple[LinkOpened, LinkOpened]:
    """One link; (the dialler's view, the listener's view)."""
    dialer.transport.perform(Dial(1, "127.0.0.1", listener.port, listener.identity.node))
    return await dialer.next(LinkOpened), await listener.next(LinkOpened)


def with_source(source: str, **limits: float) -> TransportConfig:
    config = TransportConfig(listen=ListenerConfig(host="127.0.0.1"), dial_from=source)
    return replace(config, **limits)
