"""Nodes, units, skills and documents of a made-up fleet, as a node's local API shows them; they change when stirred."""

import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from cloud_gateway.model.rows import InstanceRow, NodeRow, OfferRow, WishRow
from meshnode.model import document_views, views
from tests.gateway.fleet import Fleet

MESH = "made-up"
ViewT = TypeVar("ViewT")


class Roster:
    """What a fleet is made of. Pages come in the order that the local API promises."""

    def __init__(self, fleet: Fleet, seed: int = 3) -> None:
        here = fleet.nodes[0].node_id
        self._luck = random.Random(seed)
        self.nodes = sorted(
            (_node(row, here=row.node_id == here) for row in fleet.nodes), key=lambda view: view.node_id
        )
        self.units = sorted((_unit(row) for row in fleet.instances), key=_unit_key)
        self.offers = [_offer(row, rank) for rank, row in enumerate(fleet.offers, 1)]
        self.documents = [_document(row) for row in fleet.wishes]
        self._node_ids = [view.node_id for view in self.nodes]
        self._unit_keys = [_unit_key(view) for view in self.units]

    def nodes_page(self, after: str, limit: int) -> list[views.NodeView]:
        return _page(self.nodes, self._node_ids, after, limit)

    def units_page(self, after: str, limit: int) -> list[views.AgentView]:
        return _page(self.units, self._unit_keys, after, limit)

    def offers_page(self, after: int, limit: int) -> list[views.SkillView]:
        return self.offers[after : after + limit or None]

    def stir(self, nodes: int, units: int) -> None:
        """So many nodes tell another load, so many units another state or version."""
        luck = self._luck
        for at in luck.sample(range(len(self.nodes)), min(nodes, len(self.nodes))):
            load = {**self.nodes[at].load, "cpu_percent": round(luck.uniform(1, 99), 1)}
            self.nodes[at] = msgspec.structs.replace(self.nodes[at], load=load)
        for at in luck.sample(range(len(self.units)), min(units, len(self.units))):
            state = luck.choice(("running",) * 9 + ("backoff",))
            self.units[at] = msgspec.structs.replace(self.units[at], state=state, version=self.units[at].version + 1)


def status(roster: Roster, fleet: Fleet) -> views.StatusView:
    here = fleet.nodes[0]
    return views.StatusView(
        name=here.name, mesh=MESH, region=here.region, version="0", uptime_s=1.0, boot=1, listen="",
        peers_connected=len(roster.nodes) - 1, nodes_known=len(roster.nodes), nodes_reachable=len(roster.nodes),
        documents=len(roster.documents), documents_root="", directory_root="", agents_running=len(roster.units),
        agents_total=len(roster.units), clock="", journal_bytes=0, counters={}, handle_max_ms=0.0, problems=[],
        hardware={}, load={},
    )  # fmt: skip


def identity(fleet: Fleet) -> views.IdentityView:
    here = fleet.nodes[0]
    return views.IdentityView(
        mesh=MESH, name=here.name, node_id=here.node_id, record_key="", certificate_sha256="",
        certificate_expires_ms=0, root_sha256="", roles=["gateway"], region=here.region, enroller=False,
    )  # fmt: skip


def _page(items: Sequence[ViewT], keys: Sequence[str], after: str, limit: int) -> list[ViewT]:
    at = bisect_right(keys, after) if after else 0
    return list(items[at : at + limit if limit else None])


def _unit_key(view: views.AgentView) -> str:
    return f"{view.instance}@{view.node}"


def _node(row: NodeRow, *, here: bool) -> views.NodeView:
    facts = row.attributes
    load = {"cpu_percent": row.cpu_percent, "memory_percent": row.memory_percent, "disk_percent": row.disk_percent,
            "load_average": row.load_average}  # fmt: skip
    if row.accelerator_percent is not None:
        load["accelerator_percent"] = row.accelerator_percent
    cards = [{"memory_bytes": facts["gpu_mem"], "model": "made-up"}] if facts["gpus"] else []
    return views.NodeView(
        name=row.name, node_id=row.node_id, state=row.state, region=row.region, roles=row.roles, boot=row.boot,
        incarnation=1, path="-" if here else row.path, age_s=0.5, rtt_ms=row.rtt_ms, reason=row.reason,
        endpoints=row.endpoints,
        hardware={"cpu": {"model": "made-up", "usable": facts["cpus"], "architecture": facts["arch"]},
                  "memory": {"limit_bytes": facts["memory"]}, "accelerators": cards},
        load=load, agents=row.agents, self_node=here, labels={"site": str(facts["site"])},
    )  # fmt: skip


def _unit(row: InstanceRow) -> views.AgentView:
    return views.AgentView(
        name=row.agent, instance=row.instance, node=row.node, state=row.state, reason=row.reason, pid=row.pid,
        restarts=row.restarts, skills=row.skills, age_s=0.5, epoch=row.epoch, version=row.version,
        durability=row.durability, copies=row.copies,
    )  # fmt: skip


def _offer(row: OfferRow, rank: int) -> views.SkillView:
    return views.SkillView(
        rank=rank, skill=row.skill, agent=row.agent, instance=f"{row.agent}/0", node=row.node, region=row.region,
        description=row.description, input_schema=row.input_schema, output_schema=row.output_schema,
        rtt_ms=row.rtt_ms, age_s=0.5, excluded=row.excluded,
    )  # fmt: skip


def _document(row: WishRow) -> document_views.DocumentView:
    return document_views.DocumentView(
        kind=row.kind, namespace=row.namespace, name=row.name, doc_id=row.name, api_version="v1", spec=row.spec,
        heads=[], changes=1, updated_ms=row.updated_ms, updated_by=row.updated_by, conflicts=[], conditions=[],
        status={"wanted": row.wanted, "running": row.running, "pending": row.pending},
    )  # fmt: skip
