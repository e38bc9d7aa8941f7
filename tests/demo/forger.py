"""A real member that lies: it joins with its own invite, then says in others' names what they never said.

To every node it sends a directory row and a document change that claim to be the victim's, right in every respect but
the signature, which is its own.

    python -m tests.demo.forger DIR TOKEN '{"addresses": [...], "victim": {...}, "document": NAME, "mark": TEXT}'
"""

import asyncio
import json
import secrets
import sys
from pathlib import Path
from typing import Any

import msgspec

from meshnode.crdt import letters as state
from meshnode.crdt.envelope import VERSION, Envelope, actor_of, doc_id_of, seal
from meshnode.crdt.guard import Engine
from meshnode.daemon.joining import join
from meshnode.gossip import directory, letters
from meshnode.host import keystore
from meshnode.host.clock import SystemClock
from meshnode.host.credentials import Credentials
from meshnode.host.identity import Identity
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import Transport, TransportConfig
from meshnode.kernel import rng
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Channel, Dial, Effect, Send
from meshnode.links.hub import Hub, HubConfig
from meshnode.links.messages import CloseLink, LinkBytes, LinkLost, LinkOpened, PeerUp, Transmit
from meshnode.model.ids import MeshId, NodeId, NodeName, Region
from meshnode.security.clock import MeshClock

SEND_S = 6.0
LINGER_S = 0.7


def forged_row(order: dict[str, Any], identity: Identity) -> bytes:
    """The victim, of a later boot, has left for good: so says somebody else's key."""
    victim = order["victim"]
    facts = json.dumps({"machine": {"model": order["mark"]}}).encode()
    row = directory.Row(
        bytes.fromhex(victim["node"]), victim["boot"] + 50, 0, directory.Status.LEFT, (), facts, victim["wall_ms"]
    )
    body = msgspec.msgpack.encode(row)
    signature = identity.signer.sign(directory.CONTEXT, body)
    signed = letters.SignedRow(body, signature, Path(victim["member_file"]).read_bytes())
    return letters.encode(letters.Rows([signed]))


def forged_change(order: dict[str, Any], identity: Identity) -> bytes:
    """A new document in the victim's name."""
    victim = order["victim"]
    key = bytes.fromhex(victim["record_key"])
    doc = doc_id_of("AgentCluster", "default", order["document"])
    boot = victim["boot"]
    stamp = victim["wall_ms"] << 16
    fields = {
        "apiVersion": '"v1"', "spec.replicas": "666", "updated_hlc": str(stamp), "updated_by": f'"{victim["node"]}"',
    }  # fmt: skip
    change = Engine().draft(actor_of(key, doc, boot), fields)
    envelope = Envelope(
        VERSION, doc, "AgentCluster", "default", order["document"], bytes.fromhex(victim["node"]), boot, 1, stamp,
        [change],
    )  # fmt: skip
    return state.encode(state.Envelopes([seal(envelope, identity.signer)], eager=True))


class Forger:
    """Links like any node, and lies on every link that comes up."""

    def __init__(self, identity: Identity, order: dict[str, Any]) -> None:
        self._order, self._identity = order, identity
        self._clock = SystemClock(identity.not_before_ms)
        self._hub = Hub(
            HubConfig(
                mesh=MeshId(identity.mesh), node=identity.node, name=NodeName(identity.name),
                region=Region(identity.region), boot=1, run_id=secrets.token_bytes(8), member=identity.member_record,
            ),
            rng.fork(secrets.token_bytes(8), "forger"),
        )  # fmt: skip
        credentials = Credentials.of(identity, MeshClock(identity.not_before_ms), self._clock.now)
        self._transport = Transport(
            TransportConfig(listen=ListenerConfig(host="127.0.0.1")), credentials, self._tell, Counters()
        )
        self.lied_to: dict[NodeId, None] = {}
        self.done = asyncio.Event()

    async def run(self) -> int:
        self._transport.open()
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(self._transport.serve())
            await asyncio.sleep(0)
            for number, address in enumerate(self._order["addresses"], start=1):
                host, _, port = address.rpartition(":")
                self._transport.perform(Dial(number, host, int(port)))
            try:
                async with asyncio.timeout(SEND_S):
                    await self.done.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(LINGER_S)
            serving.cancel()
        return len(self.lied_to)

    def _tell(self, event: object) -> None:
        if isinstance(event, LinkOpened | LinkBytes | LinkLost):
            self._perform(self._hub.handle(event, self._clock.now()))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Transmit | CloseLink):
                self._transport.perform(effect)
            elif isinstance(effect, PeerUp):
                self._lie(effect.peer)

    def _lie(self, peer: NodeId) -> None:
        now = self._clock.now()
        row, change = forged_row(self._order, self._identity), forged_change(self._order, self._identity)
        self._perform(self._hub.handle(Send(peer, Channel.GOSSIP, row), now))
        self._perform(self._hub.handle(Send(peer, Channel.STATE, change), now))
        self.lied_to[peer] = None
        if len(self.lied_to) == len(self._order["addresses"]):
            self.done.set()


async def _lie_to_all(directory_: Path, order: dict[str, Any]) -> int:
    return await Forger(keystore.load(directory_), order).run()


def main(arguments: list[str]) -> int:
    folder, token, order = Path(arguments[0]), arguments[1], json.loads(arguments[2])
    join(str(folder), token)
    lied_to = asyncio.run(_lie_to_all(folder, order))
    sys.stdout.write(json.dumps({"lied_to": lied_to}) + "\n")
    return 0 if lied_to == len(order["addresses"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
