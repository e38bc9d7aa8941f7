"""One answer of each operation, for the OpenAPI document: real rows, so that they cannot say what rows do not have."""

from collections.abc import Mapping

import msgspec

from cloud_gateway.api import answers
from cloud_gateway.api.health import Health
from cloud_gateway.model import rows
from cloud_gateway.model.queries import AgentCount, GridCell, RegionCount
from cloud_gateway.model.rows import JsonObject, Row
from meshnode.model.view_parts import LinkView
from meshnode.model.views import EventView, WhyView

_AT = 1_790_000_000_000
_ID = "b2" * 32
NODE = rows.NodeRow(
    node_id=_ID, name="beta", region="dock", roles=["member"], boot=3, path="direct", rtt_ms=1.4, agents=1,
    cpu_percent=38.0, memory_percent=61.5, endpoints=["10.0.0.2:7070"], attributes={"region": "dock", "cpus": 4},
    proof_ms=_AT, as_of_ms=_AT,
)  # fmt: skip
INSTANCE = rows.InstanceRow(
    instance="words/0", agent="words", node="beta", region="dock", pid=4211, skills=["words.count"], epoch="3@beta",
    version=7, durability="replicated(1)", copies=["alpha"], as_of_ms=_AT,
)  # fmt: skip
OFFER = rows.OfferRow(
    skill="words.count", agent="words", node="beta", region="dock", description="Count words.",
    input_schema={"type": "object"}, rtt_ms=1.4, as_of_ms=_AT,
)  # fmt: skip
WISH = rows.WishRow(
    kind="AgentCluster", namespace="default", name="line3", wanted=3, running=2, pending=1,
    reason="no node with gpu_mem>=2Gi is ready", updated_ms=_AT, updated_by="alpha", as_of_ms=_AT,
)  # fmt: skip
EVENT = rows.EventRow(
    node_id=_ID, node="beta", region="dock", life=1, boot=3, number=812, at_ms=_AT, subject="agent/words",
    text="words/0 is running: pid 4211",
)  # fmt: skip
GAP = rows.GapRow(
    node_id=_ID, node="beta", life=1, first=1, last=40, count=40, noticed_ms=_AT,
    why="dropped by the node to stay in its budget",
)  # fmt: skip
COMMAND = rows.CommandRow(
    command_id="5f0c" * 8, verb="scale", body={"name": "words", "replicas": 3, "agent": ""}, by="127.0.0.1",
    asked_ms=_AT, changed_ms=_AT,
)  # fmt: skip
PROBLEM = rows.ProblemRow(text="gamma down: silent on 3 of 3 links", severity="error", link="nodes/gamma", since_ms=_AT)
CONFLICT = rows.ConflictRow(
    kind="AgentCluster", namespace="default", name="line3", field="spec.replicas", values=[3, 5],
    writers=["alpha", "beta"], as_of_ms=_AT,
)  # fmt: skip
CURSOR = rows.CursorRow(node_id=_ID, node="beta", boot=3, number=812, run="9c1f", last=812, as_of_ms=_AT)
AGENT = AgentCount(
    agent="words", instances=3, running=2, troubled=1, nodes=3, regions=["dock", "home"], skills=["words.count"],
    version_max=7,
)  # fmt: skip
REGION = RegionCount(region="dock", nodes={"ready": 2}, instances={"running": 5}, cpu_percent=38.0, memory_percent=61.5)
SOURCE = rows.SourceRow(node="alpha", mesh="plant-7", version="0.1.0", as_of_ms=_AT, puller="alpha")
REQUEST: JsonObject = {"verb": "scale", "body": {"name": "words", "replicas": 3}}


def _page(row: Row | AgentCount) -> msgspec.Struct:
    return answers.Page[Row | AgentCount](items=[row], next=None, as_of=_AT, stale=False)


def _one(row: Row | AgentCount | WhyView) -> msgspec.Struct:
    return answers.One[Row | AgentCount | WhyView](item=row, as_of=_AT, stale=False)


EXAMPLES: Mapping[str, msgspec.Struct] = {
    "/overview": answers.OverviewAnswer(
        nodes={"ready": 11, "down": 1}, instances={"running": 40}, regions=[REGION], skills=9, agents=4, wishes=3,
        pending=1, conflicts=1, gaps=0, events_total=8_120, problems=[PROBLEM], source=SOURCE, as_of=_AT, stale=False,
    ),
    "/regions": answers.All[RegionCount](items=[REGION], as_of=_AT, stale=False),
    "/grid": answers.GridAnswer(regions={"dock": [GridCell("beta", "ready", 38, 0)]}, as_of=_AT, stale=False),
    "/nodes": _page(NODE),
    "/instances": _page(INSTANCE),
    "/skills": _page(OFFER),
    "/clusters": _page(WISH),
    "/conflicts": _page(CONFLICT),
    "/problems": _page(PROBLEM),
    "/cursors": _page(CURSOR),
    "/gaps": _page(GAP),
    "/commands": _page(COMMAND),
    "/agents": _page(AGENT),
    "/skills/search": _page(OFFER),
    "/nodes/{name}": _one(NODE),
    "/nodes/{name}/load": answers.LoadAnswer(
        step_ms=60_000, measures={"cpu": [answers.LoadCell(_AT, 31.0, 38.0, 52.5)]}, as_of=_AT, stale=False
    ),
    "/nodes/{name}/links": answers.LinksAnswer(
        node="beta", items=[LinkView(peer="alpha", region="home", kind="neighbour", rtt_ms=1.4)], more=False,
        as_of=_AT, stale=False,
    ),
    "/instances/{agent}/{slot}": answers.All[rows.InstanceRow](items=[INSTANCE], as_of=_AT, stale=False),
    "/agents/{name}": _one(AGENT),
    "/clusters/{kind}/{namespace}/{name}": _one(WISH),
    "/commands/{command_id}": _one(COMMAND),
    "/events": answers.EventsAnswer(items=[EVENT], next=None, searched_to_ms=_AT, as_of=_AT, stale=False),
    "/journal": answers.JournalAnswer(items=[EVENT], gaps=[GAP], next=None, as_of=_AT, stale=False),
    "/why/{subject:path}": _one(WhyView(
        subject="node/beta", now="beta is ready",
        events=[EventView(at_ms=_AT, age_s=12.0, subject="node/beta", text="back after 40 s")],
    )),
    "/healthz": Health(ok=True, as_of=_AT, stale=False, reasons=[]),
}  # fmt: skip
