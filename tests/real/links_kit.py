"""A node's links on a real port, and a member of its mesh that says over TLS whatever bytes a test gives it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from meshnode.host.clock import SystemClock
from meshnode.host.identity import Identity
from meshnode.host.transport import TransportConfig
from meshnode.kernel.effects import Channel, Dial, Effect, Reject, Send
from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import fork
from meshnode.links.config import HubConfig
from meshnode.links.hello import Goaway, Hello, body_of, frame_of
from meshnode.links.hub import Hub, Input
from meshnode.links.messages import (
    CloseLink,
    ControlReceived,
    FramesReceived,
    LinkBytes,
    LinkLost,
    LinkOpened,
    PeerDown,
    PeerUp,
    Transmit,
)
from meshnode.model.ids import MeshId, NodeName, Region
from meshnode.security.tls import client_context
from meshnode.wire.frame import Flag, Frame, FrameReader, Kind, encode
from tests.real.transport_kit import Node, found, member_of, running, with_source

WAIT_S = 10.0  # a bound for a broken test, not a pace
WINDOW = 1 << 20


def config_of(identity: Identity, **limits: int) -> HubConfig:
    return HubConfig(
        mesh=MeshId(identity.mesh), node=identity.node, name=NodeName(identity.name), region=Region(identity.region),
        boot=1, run_id=identity.node[:8], member=identity.member_record, **limits,
    )  # fmt: skip


class Linked:
    """A transport with the links over it, as a node has them. ``held``: what came waits, as in one long turn."""

    def __init__(self, node: Node, **limits: int) -> None:
        self.node, self.told = node, list[Effect]()
        self.hub = Hub(config_of(node.identity, **limits), fork(node.identity.node[:8], "links"))
        self._clock = SystemClock()
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._held: list[Input] | None = None
        node.hear = self._heard

    @contextlib.contextmanager
    def held(self) -> Generator[list[Input]]:
        """Everything that comes meanwhile is one turn at the end, as behind a slow one."""
        self._held = waiting = list[Input]()
        try:
            yield waiting
        finally:
            self._held, now = None, self._clock.now()
            for event in waiting:
                self._perform(self.hub.take(event, now))
            self._perform(self.hub.flush(now))

    def send(self, peer: Identity, body: bytes) -> None:
        self._perform(self.hub.handle(Send(peer.node, Channel.GOSSIP, body), self._clock.now()))

    async def until(self, so: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: {self.hub.counters.snapshot()}, {self.told[-5:]}") from None

    def bodies(self, sender: Identity) -> list[bytes]:
        """Letters and payloads of calls that were taken from one peer, in order."""
        bodies: list[bytes] = []
        for effect in self.told:
            match effect:
                case ControlReceived(peer, _, body) if peer == sender.node:
                    bodies.append(body)
                case FramesReceived(peer, frames) if peer == sender.node:
                    bodies += [frame.payload for frame in frames]
                case _:
                    pass
        return bodies

    def refused(self) -> list[str]:
        return [effect.reason for effect in self.told if isinstance(effect, Reject)]

    def downs(self, peer: Identity) -> list[PeerDown]:
        return [effect for effect in self.told if isinstance(effect, PeerDown) and effect.peer == peer.node]

    def ups(self, peer: Identity) -> int:
        return sum(isinstance(effect, PeerUp) and effect.peer == peer.node for effect in self.told)

    def _heard(self, event: object) -> None:
        if not isinstance(event, LinkOpened | LinkBytes | LinkLost):
            return
        if self._held is not None:
            self._held.append(event)
            self._news.set()
        else:
            self._perform(self.hub.handle(event, self._clock.now()))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Transmit | CloseLink):
                self.node.transport.perform(effect)
            else:
                self.told.append(effect)
        self._news.set()
        due_us = self.hub.deadline()
        if self._timer is not None:
            self._timer.cancel()
        if due_us is not None:
            wait_s = max(0, due_us - self._clock.now().mono_us) / SECOND
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._perform(self.hub.wake(self._clock.now()))

    def rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Rogue:
    """One TLS connection of a member, blocking; used from a thread. It reads only when a test says so."""

    def __init__(self, identity: Identity, port: int) -> None:
        self.identity = identity
        context = client_context(identity.chain_path, identity.key_path, identity.bundle.root_pem)
        self._tcp = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S, source_address=("127.0.1.9", 0))
        self.tls = context.wrap_socket(self._tcp)
        self._reader, self._frames = FrameReader(), list[Frame]()

    def hello(self, **fields: object) -> Hello:
        me = self.identity
        plain = Hello(
            (1, 1), me.mesh, me.node, me.name, me.region, 1, b"roguerun", 1, b"", b"freshfre", 0, 0, 0, WINDOW,
            me.member_record,
        )  # fmt: skip
        return msgspec.structs.replace(plain, **fields)

    def say(self, *frames: Frame) -> None:
        self.say_bytes(b"".join(map(encode, frames)))

    def say_bytes(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the other end may have had enough
            self.tls.sendall(data)

    def come_up(self, **fields: object) -> Hello:
        """HELLO, and the WELCOME it is answered with."""
        self.say(frame_of(Kind.HELLO, self.hello(**fields)))
        return body_of(self.hear(Kind.WELCOME), Hello)

    def hear(self, kind: Kind) -> Frame:
        """The next frame of this kind; those before it are passed over."""
        while True:
            for at, frame in enumerate(self._frames):
                if frame.kind is kind:
                    del self._frames[: at + 1]
                    return frame
            self._frames.clear()
            data = self.tls.recv(65536)
            assert data, f"the connection ended before a {kind.name}"
            self._frames += self._reader.feed(data)

    def farewell(self) -> str:
        """The reason of the GOAWAY that ends it."""
        return body_of(self.hear(Kind.GOAWAY), Goaway).reason

    def close(self) -> None:
        self.tls.close()
        self._tcp.close()


def letter(body: bytes, channel: int = Channel.GOSSIP) -> Frame:
    return Frame(Kind.CONTROL, Flag.SEQUENCED.value, channel, payload=body)


@dataclass
class Scene:
    """A node, an honest peer with a link to it, and a member who is neither."""

    victim: Linked
    honest: Linked
    member: Identity
    rogues: list[Rogue] = field(default_factory=list[Rogue])

    async def rogue(self) -> Rogue:
        """TLS stands; not a word was said."""
        made = await asyncio.to_thread(Rogue, self.member, self.victim.node.port)
        self.rogues.append(made)
        return made

    async def up(self, **fields: object) -> Rogue:
        """Its link stands."""
        rogue = await self.rogue()
        await asyncio.to_thread(rogue.come_up, **fields)
        return rogue

    async def all_well(self) -> None:
        """The honest peer's link never broke, and carries letters both ways."""
        victim, honest = self.victim, self.honest
        body = b"letter %d" % len(victim.told)
        honest.send(victim.node.identity, body)
        await victim.until(lambda: body in victim.bodies(honest.node.identity), "an honest letter arrives")
        victim.send(honest.node.identity, body)
        await honest.until(lambda: body in honest.bodies(victim.node.identity), "so does one to the honest peer")
        assert not victim.downs(honest.node.identity) and not honest.downs(victim.node.identity)


@contextlib.asynccontextmanager
async def scene(directory: Path, transport: TransportConfig | None = None, **limits: int) -> AsyncGenerator[Scene]:
    founder = found(directory / "a")
    birch, rowan = (member_of(founder, directory / name, name) for name in ("birch", "rowan"))
    async with running(founder, transport) as a, running(birch, with_source("127.0.1.3")) as b:
        made = Scene(Linked(a, **limits), Linked(b), rowan)
        b.transport.perform(Dial(1, "127.0.0.1", a.port, founder.node))
        await made.victim.until(lambda: made.victim.ups(birch), "the honest peer has a link")
        try:
            yield made
        finally:
            for rogue in made.rogues:
                rogue.close()
            made.victim.rest()
            made.honest.rest()
