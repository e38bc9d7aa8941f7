"""What would become of the mesh if a document were applied, and the small edits of documents that commands make."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from meshnode.deployments.reader import read
from meshnode.deployments.wants import Declared, rows
from meshnode.kernel.blobs import digest_of
from meshnode.kernel.instant import Instant
from meshnode.model.agent import KIND as AGENT
from meshnode.model.agent import parse_agent_spec
from meshnode.model.agentcluster import parse_spec
from meshnode.model.commands import JsonObject
from meshnode.model.declared import parse_declared
from meshnode.model.errors import Invalid, NotFound
from meshnode.model.ids import AgentName
from meshnode.model.view_parts import PlanRow
from meshnode.model.views import PlanView
from meshnode.scheduler.messages import Want
from meshnode.scheduler.views import Intended

ROWS_MAX = 2_000
Fields = JsonObject  # of a document as stored: "spec.replicas": 3


class Planner(Protocol):
    """The scheduler, as far as plans go."""

    def intended(
        self, agent: AgentName, want: Want | None, now: Instant, drains: Mapping[str, str] | None = None
    ) -> Sequence[Intended]: ...


class Written(msgspec.Struct, frozen=True):
    """A document as a manifest would make it."""

    kind: str
    namespace: str
    name: str
    spec: JsonObject


def plan(documents: Iterable[Declared], manifest: JsonObject, planner: Planner, now: Instant) -> PlanView:
    """Rows of every agent that the manifest concerns; without one, of all agents. Raises ``Invalid``."""
    held = list(documents)
    if not manifest:
        return plan_change(held, held, planner, now)
    parsed = parse_declared(manifest)
    new = Written(parsed.kind, parsed.namespace, parsed.name, parsed.spec)
    others = [each for each in held if (each.kind, each.namespace, each.name) != (new.kind, new.namespace, new.name)]
    found = plan_change(held, [*others, new], planner, now)
    return msgspec.structs.replace(found, notes=[*parsed.notes, *found.notes])


def plan_change(before: Iterable[Declared], after: Iterable[Declared], planner: Planner, now: Instant) -> PlanView:
    """Without a difference: how what is wanted now stands."""
    old, new = read(before), read(after)
    was, will = ({want.agent: want for want in reading.wants} for reading in (old, new))
    names = sorted({**was, **will})
    changed = [name for name in names if was.get(name) != will.get(name)]
    notes = [p.message for subject, found in sorted(new.problems.items()) for p in found
             if old.problems == new.problems or p not in old.problems.get(subject, ())]  # fmt: skip
    drains = new.drains if new.drains != old.drains else None
    concerned = names if drains is not None else changed or names
    found = [row for name in concerned for row in planner.intended(name, will.get(name), now, drains)]
    if len(found) > ROWS_MAX:
        notes.append(f"{len(found) - ROWS_MAX} more rows are not shown")
    items = [
        PlanRow(unit=row.unit, action=row.action, node=row.node, reason=row.reason, now_on=row.now_on)
        for row in found[:ROWS_MAX]
    ]
    return PlanView(items=items, notes=notes)


def digest(source: bytes) -> str:
    """By which a file is known: see kernel/blobs."""
    return digest_of(source)


def same_wish(fields: Fields, spec: JsonObject) -> bool:
    """Whether a document wants what another run of that name would: the same recipe in the same place.

    How often and near which node may differ: those are changed by other commands.
    """
    try:
        held, asked = parse_agent_spec(_spec_of(fields)), parse_agent_spec(spec)
    except Invalid:
        return False
    return (held.recipe, held.on, held.region, held.labels, held.durability) == (
        asked.recipe, asked.on, asked.region, asked.labels, asked.durability,
    )  # fmt: skip


def runs(fields: Fields, agent: str) -> bool:
    """Whether a cluster names an agent."""
    try:
        return any(row.agent == agent for row in rows(parse_spec(_spec_of(fields))))
    except Invalid:
        return False


def scaled(kind: str, fields: Fields, replicas: int, agent: str = "") -> Fields:
    """The fields of a document with another number of replicas. Raises ``Invalid`` or ``NotFound``."""
    changed = dict(fields)
    if kind == AGENT:
        changed["spec.replicas"] = replicas
        parse_agent_spec(_spec_of(changed))
        return changed
    if "spec.agents" in fields:
        changed["spec.agents"] = _scaled_list(fields["spec.agents"], replicas, agent)
    elif agent:
        changed |= _scaled_share(fields, replicas, agent)
    else:
        changed["spec.replicas"] = replicas
    parse_spec(_spec_of(changed))
    return changed


def _scaled_list(listed: list[JsonObject], replicas: int, agent: str) -> list[JsonObject]:
    names = [str(each.get("name", "")) for each in listed]
    if not agent and len(names) != 1:
        raise Invalid(
            f"the cluster has {len(names)} agents: {', '.join(names[:8])}", next_step="say which one: --agent NAME"
        )
    which = agent or names[0]
    if which not in names:
        raise NotFound(f"the cluster has no agent {which}", next_step=f"it has {', '.join(names[:8]) or 'none'}")
    return [{**each, "replicas": replicas} if each.get("name") == which else each for each in listed]


def _scaled_share(fields: Fields, replicas: int, agent: str) -> Fields:
    """Only where one region has all of an agent it is clear where more of them go."""
    regions: list[JsonObject] = fields.get("spec.regions", [])
    having = [no for no, each in enumerate(regions) if agent in each.get("agent_distribution", {})]
    if not having:
        raise NotFound(f"no region of the cluster has an agent {agent}", next_step="add it to an agent_distribution")
    if len(having) > 1:
        names = ", ".join(str(regions[no].get("name")) for no in having)
        raise Invalid(
            f"agent {agent} is distributed over {names}", next_step="apply the cluster with the new distribution"
        )
    place = regions[having[0]]
    before = int(place["agent_distribution"][agent])
    moved = {**place, "agent_distribution": {**place["agent_distribution"], agent: replicas}}
    found: Fields = {"spec.regions": [moved if no == having[0] else each for no, each in enumerate(regions)]}
    if "spec.replicas" in fields:
        found["spec.replicas"] = int(fields["spec.replicas"]) + replicas - before
    return found


def _spec_of(fields: Fields) -> JsonObject:
    return {key.removeprefix("spec."): value for key, value in fields.items() if key.startswith("spec.")}
