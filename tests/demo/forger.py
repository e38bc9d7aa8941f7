"""A real member that lies: it joins with its own invite, then says in others' names what they never said.

To every node it sends a directory row and a document change that claim to be the victim's, right in every respect but
the signature, which is its own.

    python -m tests.demo.forger DIR TOKEN '{"addresses": [...], "victim": {...}, "document": NAME, "mark": TEXT}'
"""

import asyncio
import json
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
from meshnode.host.identity import Identity
from meshnode.kernel.effects import Channel, Effect, Send
from meshnode.links.messages import PeerUp
from meshnode.model.ids import NodeId
from tests.demo.lone import Lone

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
        self._lone = Lone(identity, self._heard)
        self.lied_to: dict[NodeId, None] = {}
        self.done = asyncio.Event()

    async def run(self) -> int:
        async with self._lone.served():
            for number, address in enumerate(self._order["addresses"], start=1):
                host, _, port = address.rpartition(":")
                self._lone.dial(number, host, int(port))
            try:
                async with asyncio.timeout(SEND_S):
                    await self.done.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(LINGER_S)
        return len(self.lied_to)

    def _heard(self, effect: Effect) -> None:
        if not isinstance(effect, PeerUp):
            return
        row, change = forged_row(self._order, self._identity), forged_change(self._order, self._identity)
        self._lone.send(Send(effect.peer, Channel.GOSSIP, row))
        self._lone.send(Send(effect.peer, Channel.STATE, change))
        self.lied_to[effect.peer] = None
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
