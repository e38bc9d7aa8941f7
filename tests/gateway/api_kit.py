"""A gateway over a made-up fleet that lives: for whoever works on the page, for the tests and for the benches.

    python -m tests.gateway.api_kit --nodes 200 --port 8765

prints its address with the token. Something changes every 100 to 250 ms; a request is accepted and applied within
seconds. ``serving(...)`` is the same inside a test.
"""

import argparse
import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from cloud_gateway.api.app import Gateway
from cloud_gateway.api.server import listen, serve
from cloud_gateway.api.settings import PAGE, ApiSettings, Rate
from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import CommandRow, CursorRow, EventRow, InstanceRow, LoadPoint, NodeRow, Row, SourceRow
from cloud_gateway.store import Store, open_store
from meshnode.model.errors import NotFound
from meshnode.model.view_parts import LinkView
from meshnode.model.views import EventView, WhyView
from tests.gateway.fleet import Fleet

TOKEN = "made-up-token-of-the-kit"
HOUR_MS = 3_600_000
_ANSWERS = {"queued": ("accepted", "kept by {node}"), "accepted": ("applied", "as it was asked")}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class MadeUpMesh:
    """The mesh's side of the door: neighbours and stories of a made-up fleet, always the same."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def links(self, node: str) -> list[LinkView]:
        names = [row.name for row in self._fleet.nodes]
        if node not in names:
            raise NotFound(f"node {node}: not known here")
        luck = random.Random(node)
        peers = luck.sample(self._fleet.nodes, min(len(self._fleet.nodes), 12))
        return [
            LinkView(peer=peer.name, region=peer.region, kind=luck.choice(("neighbour", "neighbour", "peer")),
                     rtt_ms=luck.uniform(0.2, 90), age_s=luck.uniform(0, 2))
            for peer in peers if peer.name != node
        ]  # fmt: skip

    async def why(self, subject: str) -> WhyView:
        kind, _, name = subject.partition("/")
        if kind not in ("node", "agent", "cluster", "call") or not name:
            raise NotFound(f"{subject}: not known here", next_step="ask for node/NAME, agent/NAME or cluster/NS/NAME")
        at_ms = now_ms() - 90_000
        return WhyView(subject=subject, now=f"{name} is as it is wanted", events=[
            EventView(at_ms=at_ms, age_s=90.0, subject=subject, text="silent on 3 of 3 links"),
            EventView(at_ms=at_ms + 60_000, age_s=30.0, subject=subject, text="back after 60 s"),
        ])  # fmt: skip


class Living:
    """Lets a fleet change. ``step`` is one commit: some loads, now and then a state, some events, what was asked."""

    def __init__(self, store: Store, fleet: Fleet, seed: int = 11) -> None:
        self._store, self._fleet, self._luck = store, fleet, random.Random(seed)
        self._nodes = list(fleet.nodes)
        self._instances = list(fleet.instances)

    async def fill(self, *, events: int = 2_000, hours: float = 1.0) -> None:
        for batch in self._fleet.batches():
            await self._store.commit(batch)
        await self._store.commit(self._fleet.events(events))
        await self._store.commit(Batch(rows={"gaps": [self._fleet.gap()]}))
        for minute in range(int(60 * hours), 0, -1):
            await self._store.commit(self._fleet.loads(now_ms() - minute * 60_000))

    async def run(self, *, fast_s: float = 0.1, slow_s: float = 0.25) -> None:
        while True:
            await asyncio.sleep(self._luck.uniform(fast_s, slow_s))
            await self.step()

    async def step(self) -> None:
        at_ms, luck = now_ms(), self._luck
        moved = [self._load(at, at_ms) for at in luck.sample(range(len(self._nodes)), min(len(self._nodes), 12))]
        rows: dict[str, list[Row]] = {"nodes": list(moved)}
        if luck.random() < 0.3:
            rows["instances"] = [self._unit(luck.randrange(len(self._instances)), at_ms)]
        rows["commands"] = [_further(row, self._nodes[0].name, at_ms) for row in await self._store.open_commands(20)]
        events = [self._event(node, at_ms) for node in moved[: luck.choice((0, 0, 1, 2))]]
        rows["cursors"] = [
            CursorRow(node_id=e.node_id, node=e.node, boot=1, number=e.number, last=e.number, as_of_ms=at_ms)
            for e in events
        ]
        loads = [LoadPoint(node_id=n.node_id, at_ms=at_ms, cpu=n.cpu_percent, memory=n.memory_percent) for n in moved]
        source = SourceRow(node=self._nodes[0].name, mesh="made-up", version="0", as_of_ms=at_ms)
        kept = {kind: found for kind, found in rows.items() if found}
        await self._store.commit(Batch(rows=kept, events=events, loads=loads, source=source))

    def _load(self, at: int, at_ms: int) -> NodeRow:
        old, luck = self._nodes[at], self._luck
        cpu = min(99.0, max(1.0, (old.cpu_percent or 50.0) + luck.uniform(-8, 8)))
        state = luck.choice(("ready",) * 60 + ("suspect", "down")) if luck.random() < 0.3 else old.state
        reason = "" if state == "ready" else "silent on 3 of 3 links"
        self._nodes[at] = msgspec.structs.replace(
            old, cpu_percent=cpu, load_average=cpu / 25, state=state, reason=reason, proof_ms=at_ms, as_of_ms=at_ms
        )
        return self._nodes[at]

    def _unit(self, at: int, at_ms: int) -> InstanceRow:
        state = self._luck.choice(("running",) * 9 + ("backoff", "failed"))
        old = self._instances[at]
        self._instances[at] = msgspec.structs.replace(old, state=state, version=old.version + 1, as_of_ms=at_ms)
        return self._instances[at]

    def _event(self, node: NodeRow, at_ms: int) -> EventRow:
        number = self._fleet.numbers[node.node_id] = self._fleet.numbers[node.node_id] + 1
        return EventRow(node_id=node.node_id, node=node.name, region=node.region, life=1, boot=1, number=number,
                        at_ms=at_ms, subject=f"node/{node.name}", text=f"cpu at {node.cpu_percent:.0f}%")  # fmt: skip


def _further(command: CommandRow, node: str, at_ms: int) -> CommandRow:
    """A request takes a second for each step."""
    if at_ms - command.changed_ms < 1_000:
        return command
    state, answer = _ANSWERS[command.state]
    if command.verb == "apply" and "kind" not in command.body.get("manifest", {}):
        state, answer = "failed", "manifest: kind: is needed"
    return msgspec.structs.replace(
        command, state=state, answer=answer.format(node=node), attempts=1, changed_ms=at_ms
    )  # fmt: skip


def settings_of(port: int, page: Path = PAGE, **more: object) -> ApiSettings:
    """Wide limits: a bench or a browser test asks more often than a person."""
    wide: dict[str, object] = {"reads": Rate(per_s=5_000, burst=20_000), "requests": Rate(per_s=100, burst=1_000)}
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    return ApiSettings(hosts=hosts, token=TOKEN, page=page, **(wide | more))


@contextlib.asynccontextmanager
async def serving(
    nodes: int = 200,
    *,
    port: int = 0,
    per_node: int = 10,
    alive: bool = True,
    url: str = "sqlite::memory:",
    **more: object,
) -> AsyncGenerator[str]:
    """The address of a gateway over a made-up fleet; ``more``: settings."""
    store = await open_store(url)
    await store.lead()
    fleet = Fleet(nodes, per_node=per_node, now_ms=now_ms())
    living = Living(store, fleet)
    await living.fill()
    await living.step()
    listener = listen("127.0.0.1", port)
    gateway = Gateway(store, MadeUpMesh(fleet), settings_of(listener.getsockname()[1], **more))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with serve(gateway, listener), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(gateway.run(), name="gateway-feed")]
        if alive:
            running.append(tasks.create_task(living.run(), name="living"))
        try:
            yield address
        finally:
            for task in running:
                task.cancel()
    await store.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--per-node", type=int, default=10, help="units of each node")
    parser.add_argument("--port", type=int, default=8765)
    given = parser.parse_args()
    async with serving(given.nodes, port=given.port, per_node=given.per_node) as address:
        print(f"{address}/#token={TOKEN}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
