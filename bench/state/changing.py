"""One of thousands of documents is changed on one node: until all its peers hold it, and what each of them is sent."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

from bench.nodes import Nodes
from bench.rows import Meter, Row, quantile
from bench.state.effort import Effort
from bench.state.rooms import NAMESPACE, Clock, Replica, Trusted, Wire, record
from bench.state.thousands import fill
from bench.state.writers import manifest
from bench.waiting import until
from meshnode.client.client import Client
from meshnode.model.errors import LocalError

EVERYWHERE_MS, PEER_BYTES = 150.0, 2_000.0
PAUSE_S, WAIT_S, AGAIN_S = 0.05, 30.0, 0.001
AFTER_S = 1.0


async def changing(effort: Effort) -> AsyncIterator[Row]:
    yield await asyncio.to_thread(_everywhere, effort)
    yield sent(effort)


class Listener(threading.Thread):
    """Reads the events of one node as they come. ``heard``: when it told of a document, on CLOCK_MONOTONIC."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.heard: dict[str, float] = {}

    def run(self) -> None:
        try:
            for told in self._client.events(follow=True):
                self.heard[f"{told.event.subject} {told.event.text}"] = time.monotonic()
                if told.event.subject.startswith("cluster/"):
                    self.heard[told.event.subject] = time.monotonic()
        except LocalError:
            return  # the mesh is being ended


def _everywhere(effort: Effort) -> Row:
    meter = Meter()
    plan = [(f"node-{number}", f"region-{number % 2}") for number in range(effort.peers + 1)]
    with Nodes(plan) as mesh:
        mesh.form()
        for name in mesh.names:
            mesh.kill(name)
        fill(mesh, effort.documents)
        for name in mesh.names:
            mesh.up(name)
        mesh.whole()
        author, *others = mesh.names
        listeners = [Listener(mesh.clients[name]) for name in others]
        for listener in listeners:
            listener.start()
        took_ms = [_one(mesh, author, listeners, number) for number in range(effort.single_changes)]
    why = (
        f"through the local API: from the order to one node until the event stream of the last of {effort.peers} peers "
        f"tells of it; each holds {effort.documents:,} documents; p99, median {quantile(took_ms, 0.5):.0f}"
    )
    return meter.row("one-change", quantile(took_ms, 0.99), "ms", EVERYWHERE_MS, n=len(took_ms), why=why)


def _one(mesh: Nodes, author: str, listeners: list[Listener], number: int) -> float:
    name = f"doc-{number}"
    subject = f"cluster/{NAMESPACE}/{name}"
    began = time.monotonic()
    mesh.clients[author].apply(manifest(name, 7_000 + number))
    until(
        f"{name} is not everywhere",
        lambda: all(listener.heard.get(subject, 0.0) >= began for listener in listeners),
        WAIT_S,
        AGAIN_S,
    )
    last = max(listener.heard[subject] for listener in listeners)
    time.sleep(PAUSE_S)
    return (last - began) * 1000


def sent(effort: Effort) -> Row:
    """What a change costs each peer: letters of the room, before TLS; all that follows until nobody has a question, and
    in the second after it, when what was left to others is announced."""
    meter, clock, trusted = Meter(), Clock(), Trusted(effort.peers + 1)
    author = Replica(trusted, 0, clock)
    for number in range(100):
        author.write(f"doc-{number}", record(number))
    peers = [Replica(trusted, at, clock, restored=author.kept) for at in range(1, effort.peers + 1)]
    wire = Wire([author, *peers])
    wire.link((one, other) for one in range(effort.peers + 1) for other in range(one))
    wire.settle()
    before = dict(wire.bytes)
    wire.say(author, author.write("doc-7", record(7_000)))
    wire.settle()
    wire.run(clock, AFTER_S)
    most = max(wire.bytes[peer.at] - before[peer.at] for peer in peers)
    same = len({replica.documents.root() for replica in wire.replicas}) == 1
    why = (
        f"in process: letters to one of {effort.peers} peers, all linked, for one change and in the second after it; "
        f"roots equal: {same}"
    )
    return meter.row("one-change-bytes", most, "B", PEER_BYTES, n=effort.peers, why=why, ok=most <= PEER_BYTES and same)
