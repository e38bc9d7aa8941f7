"""A made-up fleet of any size, the same for the same seed: what stores, the API, the page and the benches are tried
on."""

import json
import random
from collections.abc import Iterator

from cloud_gateway.model.batch import Batch
from cloud_gateway.model.rows import (
    ConflictRow,
    CursorRow,
    EventRow,
    GapRow,
    InstanceRow,
    LoadPoint,
    NodeRow,
    OfferRow,
    ProblemRow,
    Row,
    SourceRow,
    WishRow,
)

AGENTS = ("inspector", "watcher", "planner", "words", "sorter", "welder", "counter", "greeter")
CITIES = (
    "amsterdam",
    "berlin",
    "chicago",
    "denver",
    "frankfurt",
    "geneva",
    "hamburg",
    "istanbul",
    "jakarta",
    "kyoto",
    "lagos",
    "madrid",
    "nairobi",
    "oslo",
    "paris",
    "quito",
)
_STATES = ("ready",) * 94 + ("suspect",) * 2 + ("unreachable",) * 2 + ("down",) * 2
_LIVES = ("running",) * 95 + ("backoff",) * 2 + ("starting",) * 2 + ("failed",)
_TEXTS = (
    "is running: pid {n}",
    "goes to {node}: it holds a copy of its state",
    "restarted after it ended with exit code {n}",
    "claimed in epoch {n}",
    "merged {n} entries of the other side",
    "scaled to {n}",
)
BATCH_ROWS = 5_000


class Fleet:
    """``nodes`` machines in ``regions`` regions with ``per_node`` units each. Times end at ``now_ms``."""

    def __init__(self, nodes: int, *, per_node: int = 10, regions: int = 12, seed: int = 7, now_ms: int) -> None:
        self.now_ms, self._luck = now_ms, random.Random(seed)
        self.nodes = [self._node(number, regions) for number in range(nodes)]
        self.instances = [row for node in self.nodes for row in self._instances(node, per_node)]
        self.offers = [self._offer(row) for row in self.instances]
        self.wishes = [self._wish(agent) for agent in AGENTS]
        self.numbers = dict.fromkeys((node.node_id for node in self.nodes), 0)

    def batches(self) -> Iterator[Batch]:
        """All current rows, in commits of bounded size."""
        source = SourceRow(node=self.nodes[0].name, mesh="made-up", version="0", as_of_ms=self.now_ms)
        yield Batch(
            source=source,
            rows={
                "wishes": list(self.wishes),
                "conflicts": [
                    ConflictRow(
                        kind="AgentCluster",
                        namespace="default",
                        name="sorter",
                        field="spec.replicas",
                        values=[3, 5],
                        writers=[self.nodes[0].name, self.nodes[-1].name],
                        as_of_ms=self.now_ms,
                    )
                ],
                "problems": [
                    ProblemRow(
                        text=f"{n.name} {n.state}: {n.reason}",
                        severity="error",
                        link=f"nodes/{n.name}",
                        since_ms=n.proof_ms,
                    )
                    for n in self.nodes
                    if n.state == "down"
                ][:50],
            },
        )
        for kind, rows in (("nodes", self.nodes), ("instances", self.instances), ("skills", self.offers)):
            for at in range(0, len(rows), BATCH_ROWS):
                yield Batch(rows={kind: list[Row](rows[at : at + BATCH_ROWS])})

    def events(self, count: int, *, body_bytes: int = 120, spread_ms: int = 3_600_000, nodes: int = 0) -> Batch:
        """The next ``count`` events of the first ``nodes`` (0: all) nodes, with the cursors that count them."""
        luck, among = self._luck, self.nodes[: nodes or len(self.nodes)]
        events: list[EventRow] = []
        touched: dict[str, NodeRow] = {}
        for at in range(count):
            node = luck.choice(among)
            self.numbers[node.node_id] += 1
            touched[node.node_id] = node
            text = luck.choice(_TEXTS).format(n=luck.randrange(1, 9999), node=luck.choice(self.nodes).name)
            if len(text) < body_bytes:
                text += " " + json.dumps(
                    {"cpu": luck.random(), "rows": [luck.randrange(99999) for _ in range(body_bytes // 8)]}
                )
            events.append(
                EventRow(
                    node_id=node.node_id,
                    node=node.name,
                    region=node.region,
                    life=1,
                    boot=1,
                    number=self.numbers[node.node_id],
                    at_ms=self.now_ms - spread_ms + spread_ms * at // count,
                    subject=f"agent/{luck.choice(AGENTS)}",
                    text=text[:body_bytes],
                )
            )
        cursors = [
            CursorRow(
                node_id=n.node_id,
                node=n.name,
                boot=1,
                number=self.numbers[n.node_id],
                run="00",
                last=self.numbers[n.node_id],
            )
            for n in touched.values()
        ]
        return Batch(events=events, rows={"cursors": list[Row](cursors)})

    def loads(self, at_ms: int) -> Batch:
        """One sample of every node."""
        luck = self._luck
        return Batch(
            loads=[
                LoadPoint(
                    node_id=n.node_id,
                    at_ms=at_ms,
                    cpu=luck.uniform(5, 95),
                    memory=luck.uniform(20, 80),
                    load=luck.random(),
                )
                for n in self.nodes
            ]
        )

    def gap(self) -> GapRow:
        node = self.nodes[0]
        return GapRow(
            node_id=node.node_id,
            node=node.name,
            life=1,
            first=1,
            last=40,
            count=40,
            noticed_ms=self.now_ms,
            why="dropped by the node to stay in its budget",
        )

    # -- one row ----------------------------------------------------------------------------------------------------

    def _node(self, number: int, regions: int) -> NodeRow:
        luck = self._luck
        region = CITIES[number % min(regions, len(CITIES))]
        state = luck.choice(_STATES)
        gpu = number % 4 == 0
        percent = luck.uniform(3, 97)
        return NodeRow(
            node_id=luck.randbytes(32).hex(),
            name=f"{region}-{number:05d}",
            region=region,
            state=state,
            reason="" if state == "ready" else "silent on 3 of 3 links",
            roles=["member"],
            boot=luck.randrange(1, 40),
            path="direct" if number % 50 == 0 else "mesh",
            rtt_ms=luck.uniform(0.2, 180),
            agents=10,
            cpu_percent=percent,
            memory_percent=luck.uniform(10, 90),
            disk_percent=luck.uniform(5, 80),
            load_average=percent / 25,
            accelerator_percent=luck.uniform(0, 100) if gpu else None,
            celsius=luck.uniform(35, 80),
            endpoints=[f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}:7946"],
            attributes={
                "region": region,
                "site": f"plant-{number % 40}",
                "cpus": luck.choice((4, 8, 16, 64)),
                "arch": "x86_64",
                "memory": luck.choice((8, 16, 64, 256)) << 30,
                "gpus": int(gpu),
                "gpu_mem": (24 << 30) * gpu,
            },
            hardware={"cpu": {"model": "made-up", "usable": 8}, "memory": {"limit_bytes": 16 << 30}},
            proof_ms=self.now_ms - luck.randrange(0, 9000),
            as_of_ms=self.now_ms,
        )

    def _instances(self, node: NodeRow, per_node: int) -> list[InstanceRow]:
        luck = self._luck
        rows: list[InstanceRow] = []
        for at in range(per_node):
            agent = AGENTS[at % len(AGENTS)]
            rows.append(
                InstanceRow(
                    instance=f"{agent}/{luck.randrange(10**9)}",
                    agent=agent,
                    node=node.name,
                    region=node.region,
                    state=luck.choice(_LIVES),
                    pid=luck.randrange(300, 60000),
                    restarts=luck.choice((0, 0, 0, 1, 4)),
                    skills=[f"{agent}.run", f"{agent}.ask"],
                    epoch=f"{luck.randrange(9)}@{node.name}",
                    version=luck.randrange(5000),
                    durability="replicated(1)",
                    copies=[luck.choice(CITIES)],
                    as_of_ms=self.now_ms,
                )
            )
        return rows

    def _offer(self, row: InstanceRow) -> OfferRow:
        luck = self._luck
        return OfferRow(
            skill=f"{row.agent}.{luck.choice(('run', 'ask', 'count', 'judge'))}",
            agent=row.agent,
            node=row.node,
            region=row.region,
            description=f"What {row.agent} can do for you",
            input_schema={"type": "object"},
            rtt_ms=luck.uniform(0.2, 180),
            excluded="" if row.state == "running" else row.state,
            as_of_ms=self.now_ms,
        )

    def _wish(self, agent: str) -> WishRow:
        wanted = self._luck.randrange(3, 900)
        pending = self._luck.choice((0, 0, 0, 2))
        return WishRow(
            kind="AgentCluster",
            namespace="default",
            name=agent,
            wanted=wanted,
            running=wanted - pending,
            pending=pending,
            reason="no node with gpu_mem>=48Gi is ready" if pending else "",
            updated_ms=self.now_ms - 60_000,
            updated_by=self.nodes[0].name,
            as_of_ms=self.now_ms,
            conditions=[
                {
                    "type": "Ready",
                    "status": "False" if pending else "True",
                    "reason": "Pending" if pending else "AllRun",
                    "message": f"{wanted - pending} of {wanted} run",
                }
            ],
        )
