"""Views of a node -> rows. What nodes tell of their machines comes from any version of meshnode: what is not there,
or is of another shape, is left out."""

from collections.abc import Mapping

import msgspec

from cloud_gateway.mesh.census import Census
from cloud_gateway.model.rows import ConflictRow, InstanceRow, LoadPoint, NodeRow, OfferRow, WishRow
from meshnode.model.document_views import DocumentView
from meshnode.model.units import agent_of
from meshnode.model.view_parts import ConflictView
from meshnode.model.views import AgentView, NodeView, SkillView
from meshnode.model.where import Attribute

# A node heard of within this is what its load says.
LOAD_FRESH_S = 15.0


class _Cpu(msgspec.Struct, frozen=True):
    usable: float | None = None
    architecture: str | None = None


class _Memory(msgspec.Struct, frozen=True):
    limit_bytes: int | None = None


class _Accelerator(msgspec.Struct, frozen=True):
    memory_bytes: int | None = None


class _Machine(msgspec.Struct, frozen=True):
    arch: str | None = None


class _Facts(msgspec.Struct, frozen=True):
    cpu: _Cpu = _Cpu()
    memory: _Memory = _Memory()
    accelerators: list[_Accelerator] | None = None
    machine: _Machine = _Machine()


def node_row(view: NodeView, now_ms: int) -> NodeRow:
    load = view.load
    return NodeRow(
        node_id=view.node_id, name=view.name, region=view.region, state=view.state, reason=view.reason,
        roles=view.roles, boot=view.boot, path=view.path, rtt_ms=view.rtt_ms, agents=view.agents,
        drained=view.drained, cpu_percent=number(load, "cpu_percent"),
        memory_percent=number(load, "memory_percent"), disk_percent=number(load, "disk_percent"),
        accelerator_percent=number(load, "accelerator_percent"), celsius=number(load, "hottest_celsius"),
        load_average=number(load, "load_average"), endpoints=view.endpoints, attributes=attributes(view),
        hardware=view.hardware, load={name: value for name, value in load.items() if name != "age_s"},
        proof_ms=proven_ms(view.age_s, now_ms), as_of_ms=now_ms,
    )  # fmt: skip


def attributes(view: NodeView) -> dict[str, Attribute]:
    """What constraints on nodes are measured against, by the names that ``meshnode find --where`` knows."""
    facts = _facts(view.hardware)
    cards = facts.accelerators or ()
    return {
        **view.labels,
        "node": view.name,
        "region": view.region,
        "cpus": facts.cpu.usable or 0,
        "memory": facts.memory.limit_bytes or 0,
        "gpus": len(cards),
        "gpu_mem": sum(card.memory_bytes or 0 for card in cards),
        "arch": facts.cpu.architecture or facts.machine.arch or "",
    }


def load_point(view: NodeView, now_ms: int) -> LoadPoint | None:
    """None where nothing fresh is known. Nodes tell their load when it changes: one heard of just now is what it
    said last."""
    if not view.load or not 0 <= view.age_s <= LOAD_FRESH_S or view.state not in ("ready", "suspect"):
        return None
    load = view.load
    return LoadPoint(
        node_id=view.node_id, at_ms=now_ms, cpu=number(load, "cpu_percent"), memory=number(load, "memory_percent"),
        disk=number(load, "disk_percent"), accelerator=number(load, "accelerator_percent"),
        load=number(load, "load_average"),
    )  # fmt: skip


def instance_row(view: AgentView, census: Census, now_ms: int) -> InstanceRow:
    return InstanceRow(
        instance=view.instance, agent=agent_of(view.instance), node=view.node, region=census.region(view.node),
        state=view.state, reason=view.reason, pid=view.pid, restarts=view.restarts, skills=view.skills,
        slots=view.slots, epoch=view.epoch, version=view.version, durability=view.durability, copies=view.copies,
        as_of_ms=proven_ms(view.age_s, now_ms),
    )  # fmt: skip


def offer_row(view: SkillView, now_ms: int) -> OfferRow:
    return OfferRow(
        skill=view.skill, agent=view.agent, node=view.node, region=view.region, description=view.description,
        input_schema=view.input_schema, output_schema=view.output_schema, rtt_ms=view.rtt_ms,
        excluded=view.excluded, as_of_ms=proven_ms(view.age_s, now_ms),
    )  # fmt: skip


def wish_row(view: DocumentView, now_ms: int) -> WishRow:
    pending = number(view.status, "pending") or 0
    return WishRow(
        kind=view.kind, namespace=view.namespace, name=view.name, wanted=int(number(view.status, "wanted") or 0),
        running=int(number(view.status, "running") or 0), pending=int(pending), reason=reason_of(view),
        spec=view.spec, status=view.status, conditions=[msgspec.structs.asdict(each) for each in view.conditions],
        conflicts=view.conflicts, updated_ms=view.updated_ms, updated_by=view.updated_by, as_of_ms=now_ms,
    )  # fmt: skip


def reason_of(view: DocumentView) -> str:
    """Why a document is not fulfilled; "" if it is."""
    held = {condition.type: condition for condition in view.conditions}
    for name, wrong in (("Accepted", "False"), ("Schedulable", "False"), ("Pending", "True")):
        condition = held.get(name)
        if condition is not None and condition.status == wrong:
            return condition.message or condition.reason
    return ""


def conflict_row(view: ConflictView, now_ms: int) -> ConflictRow:
    return ConflictRow(
        kind=view.kind, namespace=view.namespace, name=view.name, field=view.field, values=view.values,
        writers=view.writers, as_of_ms=now_ms,
    )  # fmt: skip


def proven_ms(age_s: float, now_ms: int) -> int:
    """0: never since the gateway's node started."""
    return now_ms - round(age_s * 1000) if age_s >= 0 else 0


def number(facts: Mapping[str, object], name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _facts(hardware: Mapping[str, object]) -> _Facts:
    try:
        return msgspec.convert(hardware, _Facts)
    except msgspec.ValidationError:
        return _Facts()
