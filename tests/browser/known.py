"""A small fleet of which every row is known, behind a gateway of its own: what views must show, word for word.

Names and texts that came over a network may hold anything: some of these hold markup, and one is very long.
"""

import asyncio
import contextlib
import threading
from collections.abc import Generator

from cloud_gateway.api.app import Gateway
from cloud_gateway.api.server import listen, serve
from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import (
    CommandRow,
    ConflictRow,
    CursorRow,
    EventRow,
    GapRow,
    InstanceRow,
    LoadPoint,
    NodeRow,
    OfferRow,
    SourceRow,
    WishRow,
)
from cloud_gateway.store import Store, open_store
from meshnode.model.view_parts import LinkView
from meshnode.model.views import EventView, WhyView
from tests.browser.house import Served
from tests.gateway.api_kit import now_ms, settings_of

MARKUP = '<img src=x onerror="window.broken=1"><b>bold</b>'
LONG = "n" * 190
ANSWER_S = 10
BETA, GAMMA, DELTA, LONE = "b1" * 32, "c2" * 32, "d3" * 32, "e4" * 32


class KnownMesh:
    """Links of beta; nobody else has any."""

    async def links(self, node: str) -> list[LinkView]:
        if node != "beta":
            return []
        return [
            LinkView(peer="gamma", region="oslo", kind="neighbour", rtt_ms=42.0),
            LinkView(peer="delta", region="paris", kind="peer", rtt_ms=1.4),
            LinkView(peer=LONG, region=MARKUP, kind="neighbour", rtt_ms=None),
        ]

    async def why(self, subject: str) -> WhyView:
        return WhyView(subject=subject, now="", events=list[EventView]())


def nodes(at_ms: int) -> list[NodeRow]:
    beta = NodeRow(
        node_id=BETA, name="beta", region="paris", roles=["member", "gateway"], boot=7, path="direct", rtt_ms=11.0,
        agents=3, cpu_percent=37.0, memory_percent=52.0, celsius=61.0, endpoints=["10.0.0.5:7946"],
        attributes={"region": "paris", "site": "plant-7", "cpus": 8, "arch": "aarch64", "memory": 16 << 30, "gpus": 1,
                    "gpu_mem": 8 << 30},
        hardware={"cpu": {"model": "Cortex-A78", "usable": 8}}, proof_ms=at_ms, as_of_ms=at_ms,
    )  # fmt: skip
    gamma = NodeRow(
        node_id=GAMMA, name="gamma", region="oslo", state="unreachable", reason="silent on 3 of 3 links", path="mesh",
        attributes={"region": "oslo", "cpus": 4, "gpu_mem": 1 << 30}, proof_ms=at_ms - 200_000, as_of_ms=at_ms,
    )  # fmt: skip
    delta = NodeRow(node_id=DELTA, name="delta", region="paris", state="down", reason=MARKUP, drained=True,
                    attributes={"region": "paris", "cpus": 2}, proof_ms=at_ms - 90_000, as_of_ms=at_ms)  # fmt: skip
    lone = NodeRow(node_id=LONE, name=LONG, region=MARKUP, proof_ms=at_ms, as_of_ms=at_ms, attributes={MARKUP: MARKUP})
    return [beta, gamma, delta, lone]


def units(at_ms: int) -> list[InstanceRow]:
    both = InstanceRow(instance="words/0", agent="words", node="beta", region="paris", pid=4321, restarts=2,
                       skills=["words.count"], epoch="2@beta", version=41, durability="replicated(1)",
                       copies=["delta"], as_of_ms=at_ms)  # fmt: skip
    other = InstanceRow(instance="words/0", agent="words", node="gamma", region="oslo", pid=99, epoch="3@gamma",
                        skills=["words.count"], version=44, durability="replicated(1)", as_of_ms=at_ms)  # fmt: skip
    ill = InstanceRow(instance="words/1", agent="words", node="beta", region="paris", state="backoff",
                      reason="ended with exit code 3", restarts=9, as_of_ms=at_ms)  # fmt: skip
    strange = InstanceRow(instance=f"{LONG}/0", agent=LONG, node=LONG, region=MARKUP, reason=MARKUP, as_of_ms=at_ms)
    return [both, other, ill, strange]


def offers(at_ms: int) -> list[OfferRow]:
    takes = {"type": "object", "required": ["text"], "properties": {
        "text": {"type": "string", "description": "what to count in"},
        "kind": {"enum": ["words", "letters"], "default": "words"},
    }}  # fmt: skip
    gives = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    near = OfferRow(skill="words.count", agent="words", node="beta", region="paris", rtt_ms=11.0, as_of_ms=at_ms,
                    description="Count words\nOf any text.", input_schema=takes, output_schema=gives)  # fmt: skip
    far = OfferRow(skill="words.count", agent="words", node="gamma", region="oslo", description="Count words",
                   input_schema=takes, rtt_ms=42.0, excluded="the node is unreachable", as_of_ms=at_ms)  # fmt: skip
    strange = OfferRow(skill=MARKUP, agent=LONG, node=LONG, description=MARKUP, rtt_ms=90.0, as_of_ms=at_ms)
    return [near, far, strange]


def wish(at_ms: int, **changes: object) -> WishRow:
    told: dict[str, object] = {
        "kind": "AgentCluster", "namespace": "default", "name": "line3", "wanted": 5, "running": 3, "pending": 2,
        "reason": "no node with gpu_mem>=48Gi is ready",
        "spec": {"agents": [{"name": "words", "replicas": 4},
                            {"name": "welder", "replicas": 1, "labels": {"x": MARKUP}}]},
        "status": {"agents": [{"agent": "words", "region": "", "wanted": 4, "running": 3, "starting": 0}]},
        "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Valid", "message": "5 instances are wanted"},
            {"type": "Pending", "status": "True", "reason": "NoNodeFits", "message": "2 of words wait"},
        ],
        "conflicts": ["spec.agents"], "updated_ms": at_ms - 60_000, "updated_by": "beta", "as_of_ms": at_ms,
    }  # fmt: skip
    return WishRow(**(told | changes))  # type: ignore[arg-type]


def conflicts(at_ms: int) -> list[ConflictRow]:
    return [
        ConflictRow(kind="AgentCluster", namespace="default", name="line3", field="spec.agents", values=[3, {"n": 5}],
                    writers=["beta", "gamma"], as_of_ms=at_ms),
        ConflictRow(kind="State", namespace="", name="words/0", field="total", values=[7, MARKUP],
                    writers=["gamma", "beta"], as_of_ms=at_ms),
    ]  # fmt: skip


def event(
    number: int, text: str, *, at_ms: int, subject: str = "agent/words", boot: int = 7, life: int = 1
) -> EventRow:
    return EventRow(node_id=BETA, node="beta", region="paris", life=life, boot=boot, number=number, at_ms=at_ms,
                    subject=subject, text=text)  # fmt: skip


def history(at_ms: int) -> list[EventRow]:
    """Events 41, 42 of boot 6; 50, 51 of boot 7; then a new life."""
    told = [
        event(41, "words/0: is running: pid 4321", at_ms=at_ms - 600_000, boot=6),
        event(42, "words/0: claimed in epoch 2", at_ms=at_ms - 500_000, boot=6),
        event(50, "started, boot 7", at_ms=at_ms - 400_000, subject="node/beta"),
        event(51, MARKUP, at_ms=at_ms - 300_000, subject=f"call/{LONG}"),
        event(1, "words/1: ended with exit code 3", at_ms=at_ms - 200_000, boot=1, life=2),
    ]
    return [*told, event(2, "scaled to 5", at_ms=at_ms - 100_000, boot=1, life=2, subject="cluster/default/line3")]


def gaps(at_ms: int) -> list[GapRow]:
    return [
        GapRow(node_id=BETA, node="beta", life=1, first=1, last=40, count=40, noticed_ms=at_ms,
               why="dropped by the node to stay in its budget"),
        GapRow(node_id=BETA, node="beta", life=1, first=52, last=0, count=0, noticed_ms=at_ms,
               why="its disk was lost before they were read"),
    ]  # fmt: skip


def loads(at_ms: int) -> list[LoadPoint]:
    """Each minute of the last hour, without minutes 20 to 30."""
    return [
        LoadPoint(node_id=BETA, at_ms=at_ms - minute * 60_000, cpu=20.0 + minute, memory=50.0)
        for minute in range(59, 0, -1)
        if not 20 <= minute <= 30
    ]


def everything() -> Batch:
    at_ms = now_ms()
    cursor = CursorRow(node_id=BETA, node="beta", life=2, boot=1, number=2, last=9, as_of_ms=at_ms)
    failed = CommandRow(command_id="c0ffee", verb="drain", body={"node": MARKUP}, state="failed", attempts=1,
                        by="cli", answer=f"no node is called {MARKUP}", asked_ms=at_ms - 5_000,
                        changed_ms=at_ms - 4_000)  # fmt: skip
    return Batch(
        source=SourceRow(node="beta", mesh="known", version="0", as_of_ms=at_ms),
        rows={
            "nodes": list(nodes(at_ms)), "instances": list(units(at_ms)), "skills": list(offers(at_ms)),
            "wishes": [wish(at_ms)], "conflicts": list(conflicts(at_ms)), "cursors": [cursor],
            "gaps": list(gaps(at_ms)), "commands": [failed],
        },
        events=history(at_ms),
        loads=loads(at_ms),
    )  # fmt: skip


class Known(Served):
    """The gateway of the known fleet; ``commit`` changes it."""

    def __init__(self) -> None:
        super().__init__(0)
        self._store: Store | None = None

    def commit(self, batch: Batch) -> None:
        assert self._loop is not None
        assert self._store is not None
        asyncio.run_coroutine_threadsafe(self._store.commit(batch), self._loop).result(ANSWER_S)

    def commands(self) -> list[CommandRow]:
        assert self._loop is not None
        assert self._store is not None
        return asyncio.run_coroutine_threadsafe(self._store.open_commands(100), self._loop).result(ANSWER_S)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._store = store = await open_store("sqlite::memory:")
        await store.commit(everything())
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        gateway = Gateway(store, KnownMesh(), settings_of(port))
        async with serve(gateway, listener), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(gateway.run(), name="feed"), tasks.create_task(_prove(store), name="proof")]
            self.address = f"http://127.0.0.1:{port}"
            ready.set()
            await self._end.wait()
            for task in running:
                task.cancel()
        await store.close()


async def _prove(store: Store) -> None:
    """The gateway's node stays in reach."""
    while True:
        await store.commit(Batch(source=SourceRow(node="beta", mesh="known", version="0", as_of_ms=now_ms())))
        await asyncio.sleep(1)


@contextlib.contextmanager
def known() -> Generator[Known]:
    house = Known()
    house.start()
    try:
        yield house
    finally:
        house.stop()
