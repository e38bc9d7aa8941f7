"""A member with a valid certificate that is no node: it links with one daemon and says whatever it is given.

    python -m tests.real.hostile_member DIR HOST:PORT

A line on stdin is a letter of gossip in hex. On stdout: ``up`` when the link stands, ``down`` when it is gone (it dials
again), and ``heard HEX`` for each letter that came.
"""

import asyncio
import secrets
import sys
from pathlib import Path

from meshnode.host import keystore
from meshnode.host.clock import SystemClock
from meshnode.host.credentials import Credentials
from meshnode.host.identity import Identity
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import Transport, TransportConfig
from meshnode.kernel import rng
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Channel, Dial, Effect, Send
from meshnode.kernel.instant import SECOND
from meshnode.links.hub import Hub, HubConfig
from meshnode.links.messages import (
    CloseLink,
    ControlReceived,
    LinkBytes,
    LinkLost,
    LinkOpened,
    PeerDown,
    PeerUp,
    Transmit,
)
from meshnode.model.ids import MeshId, NodeId, NodeName, Region
from meshnode.security.clock import MeshClock

LINE_BYTES_MAX = 4 * 1024 * 1024


class Member:
    """One link, kept up; letters in and out."""

    def __init__(self, identity: Identity, host: str, port: int) -> None:
        self._dial = Dial(1, host, port)
        self._clock = SystemClock(identity.not_before_ms)
        self._hub = Hub(
            HubConfig(
                mesh=MeshId(identity.mesh), node=identity.node, name=NodeName(identity.name),
                region=Region(identity.region), boot=1, run_id=secrets.token_bytes(8), member=identity.member_record,
            ),
            rng.fork(secrets.token_bytes(8), "hostile"),
        )  # fmt: skip
        credentials = Credentials.of(identity, MeshClock(identity.not_before_ms), self._clock.now)
        config = TransportConfig(listen=ListenerConfig(host="127.0.0.1"))
        self._transport = Transport(config, credentials, self._told, Counters())
        self._peer: NodeId | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, said: asyncio.StreamReader) -> None:
        """Until stdin ends."""
        self._transport.open()
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._transport.serve(), name="transport")
            await asyncio.sleep(0)
            self._transport.perform(self._dial)
            while line := await said.readline():
                if self._peer is not None:
                    letter = Send(self._peer, Channel.GOSSIP, bytes.fromhex(line.decode().strip()))
                    self._perform(self._hub.handle(letter, self._clock.now()))
            serving.cancel()

    def _told(self, event: object) -> None:
        if isinstance(event, LinkOpened | LinkBytes | LinkLost):
            self._perform(self._hub.handle(event, self._clock.now()))
        if isinstance(event, LinkLost):
            self._transport.perform(self._dial)

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Transmit() | CloseLink():
                    self._transport.perform(effect)
                case PeerUp(peer):
                    self._peer = peer
                    print("up", flush=True)
                case PeerDown():
                    self._peer = None
                    print("down", flush=True)
                case ControlReceived(_, Channel.GOSSIP, body):
                    print("heard", body.hex(), flush=True)
                case _:
                    pass
        self._arm()

    def _arm(self) -> None:
        """Pings are answered and acknowledgements sent in time, as a link of any node would."""
        due_us = self._hub.deadline()
        if self._timer is not None:
            self._timer.cancel()
        if due_us is not None:
            wait_s = max(0, due_us - self._clock.now().mono_us) / SECOND
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)

    def _wake(self) -> None:
        self._perform(self._hub.wake(self._clock.now()))


async def _run(directory: Path, address: str) -> None:
    host, _, port = address.rpartition(":")
    said = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), sys.stdin)
    await Member(keystore.load(directory), host, int(port)).run(said)


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2]))
