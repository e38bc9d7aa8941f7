"""A member with a valid certificate that is no node: it links with one daemon and says whatever it is given.

    python -m tests.real.hostile_member DIR HOST:PORT

A line on stdin is a letter of gossip in hex. On stdout: ``up`` when the link stands, ``down`` when it is gone (it dials
again), and ``heard HEX`` for each letter that came.
"""

import asyncio
import sys
from pathlib import Path

from meshnode.host import keystore
from meshnode.host.identity import Identity
from meshnode.kernel.effects import Channel, Effect, Send
from meshnode.links.messages import ControlReceived, PeerDown, PeerUp
from meshnode.model.ids import NodeId
from tests.demo.lone import Lone

LINE_BYTES_MAX = 4 * 1024 * 1024


class Member:
    """One link, kept up; letters in and out."""

    def __init__(self, identity: Identity, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._lone = Lone(identity, self._heard, self._dial)
        self._peer: NodeId | None = None

    async def run(self, said: asyncio.StreamReader) -> None:
        """Until stdin ends."""
        async with self._lone.served():
            self._dial()
            while line := await said.readline():
                if self._peer is not None:
                    self._lone.send(Send(self._peer, Channel.GOSSIP, bytes.fromhex(line.decode().strip())))

    def _dial(self) -> None:
        self._lone.dial(1, self._host, self._port)

    def _heard(self, effect: Effect) -> None:
        match effect:
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


async def _run(directory: Path, address: str) -> None:
    host, _, port = address.rpartition(":")
    said = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(said), sys.stdin)
    await Member(keystore.load(directory), host, int(port)).run(said)


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2]))
