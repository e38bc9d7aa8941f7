"""How far the mesh is from what an AgentCluster wants: counts, and the reasons for what is missing.

Judged from what this node knows right now; a node it cannot reach runs nothing, as far as it can tell.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from meshnode.model.agentcluster import Intent, Resources, parse_spec
from meshnode.model.commands import JsonObject
from meshnode.model.errors import Invalid
from meshnode.model.quantity import show_bytes, show_milli
from meshnode.model.views import Condition

# Conditions are for people: past this many reasons the rest is counted.
_REASONS_MAX = 8


class NodeFacts(msgspec.Struct, frozen=True):
    """One known node. ``cpus`` and ``memory_bytes`` 0: not known. ``running``: names, one per running instance."""

    name: str
    region: str
    reachable: bool
    cpus: float
    memory_bytes: int
    gpus: int
    running: tuple[str, ...] = ()


class Wanted(msgspec.Struct, frozen=True):
    """``count`` instances of ``agent`` ("": of any of the cluster's) in ``region`` ("": anywhere)."""

    agent: str
    region: str
    count: int
    resources: Resources = Resources()


class Standing(msgspec.Struct, frozen=True):
    """A want and how many instances of it run. An agent counts by its name, whoever started it."""

    wanted: Wanted
    running: int


def desired(intent: Intent) -> list[Wanted]:
    """What a cluster wants, one row per agent (and region)."""
    rows = [Wanted(agent.name, "", agent.replicas, agent.resources) for agent in intent.agents]
    for region in intent.regions:
        for agent, count in region.distribution.items():
            rows.append(Wanted(agent, region.name, count, intent.resources.get(agent, Resources())))
    if intent.free:
        rows.append(Wanted("", "", intent.free))
    return rows


def standing(intent: Intent, nodes: Sequence[NodeFacts]) -> list[Standing]:
    """What runs of each row. Instances beyond a region's share count for the freely placed ones."""
    spare = Counter((node.region, agent) for node in nodes if node.reachable for agent in node.running)
    types = {agent for region in intent.regions for agent in region.distribution} | set(intent.resources)
    found: list[Standing] = []
    for row in desired(intent):
        running = 0
        for place in sorted(spare):
            region, agent = place
            if (agent == row.agent or (not row.agent and agent in types)) and row.region in ("", region):
                taken = min(spare[place], row.count - running)
                spare[place] -= taken
                running += taken
        found.append(Standing(row, running))
    return found


def status_of(_namespace: str, _name: str, spec: JsonObject, nodes: Sequence[NodeFacts]) -> JsonObject:
    """The counts, as shown under ``status``; empty while the spec says nothing that could be counted."""
    try:
        rows = standing(parse_spec(spec), nodes)
    except Invalid:
        return {}
    wanted, running = _totals(rows)
    return {
        "wanted": wanted,
        "running": running,
        "pending": wanted - running,
        "agents": [
            {"agent": r.wanted.agent, "region": r.wanted.region, "wanted": r.wanted.count, "running": r.running}
            for r in rows
        ],
    }


def conditions(namespace: str, name: str, spec: JsonObject, nodes: Sequence[NodeFacts]) -> list[Condition]:
    """Accepted, Schedulable, Ready, Pending: in this order, each with its reason."""
    try:
        intent = parse_spec(spec)
    except Invalid as error:
        return [_contradictory(namespace, name, error)]
    rows = standing(intent, nodes)
    return [
        Condition(type="Accepted", status="True", reason="Valid", message=f"{intent.replicas} instances are wanted"),
        _schedulable(rows, nodes),
        _ready(rows),
        _pending(rows),
    ]


def _contradictory(namespace: str, name: str, error: Invalid) -> Condition:
    """Every write was valid when it was made; two made apart can merge into a spec that is not."""
    return Condition(
        type="Accepted",
        status="False",
        reason="ConcurrentChangesContradict",
        message=f"{error.message}. Apply {namespace}/{name} again to settle it",
    )


def _ready(rows: Sequence[Standing]) -> Condition:
    wanted, running = _totals(rows)
    if not wanted:
        return Condition(type="Ready", status="True", reason="NothingWanted", message="no instances are wanted")
    message = f"{running} of {wanted} wanted instances run"
    if running == wanted:
        return Condition(type="Ready", status="True", reason="AllRunning", message=message)
    return Condition(type="Ready", status="False", reason="InstancesMissing", message=message)


def _pending(rows: Sequence[Standing]) -> Condition:
    wanted, running = _totals(rows)
    if running == wanted:
        return Condition(type="Pending", status="False", reason="NothingPending", message="nothing is missing")
    return Condition(
        type="Pending",
        status="True",
        reason="PlacementNotInThisRelease",
        message=f"{wanted - running} instances are pending: placement is not part of this release, nothing starts "
        "these instances yet. Agents of these names that somebody starts with meshnode run are counted",
    )


def _schedulable(rows: Sequence[Standing], nodes: Sequence[NodeFacts]) -> Condition:
    """Whether each missing instance would fit somewhere by itself; not whether all of them fit together."""
    found = [reason for row in rows if row.running < row.wanted.count and (reason := _obstacle(row.wanted, nodes))]
    if not found:
        message = "every missing instance would fit on some known node, taken by itself"
        return Condition(type="Schedulable", status="True", reason="NodesFound", message=message)
    reasons = list(dict.fromkeys(found))
    message = "; ".join(text for _, text in reasons[:_REASONS_MAX])
    if len(reasons) > _REASONS_MAX:
        message += f"; and {len(reasons) - _REASONS_MAX} more"
    return Condition(type="Schedulable", status="False", reason=reasons[0][0], message=message)


def _obstacle(wanted: Wanted, nodes: Sequence[NodeFacts]) -> tuple[str, str] | None:
    """Why no known node can take an instance: (reason, message)."""
    near = [node for node in nodes if wanted.region in ("", node.region)]
    alive = [node for node in near if node.reachable]
    if not near:
        return (
            ("RegionUnknown", f"region {wanted.region} has no known node") if nodes else ("NoNode", "no node is known")
        )
    if not alive:
        where = f"region {wanted.region}" if wanted.region else "the mesh"
        return "NodesUnreachable", f"no known node of {where} is reachable now"
    if any(not _lacking(node, wanted.resources) for node in alive):
        return None
    where = f"no known node in region {wanted.region}" if wanted.region else "no known node"
    everywhere = [lack for lack in _lacking(alive[0], wanted.resources) if all(_lacks(n, wanted, lack) for n in alive)]
    needs = " and ".join(everywhere) or f"all of {', '.join(_asked(wanted.resources))} at once"
    return "TooBig", f"agent {wanted.agent}: {where} has {needs}"


def _lacks(node: NodeFacts, wanted: Wanted, lack: str) -> bool:
    return lack in _lacking(node, wanted.resources)


def _lacking(node: NodeFacts, need: Resources) -> list[str]:
    """What a node has too little of, in words; what is not known is given the benefit of the doubt."""
    cpu, memory, gpu = _words(need)
    lacking: list[str] = []
    if node.cpus and need.cpu_milli > node.cpus * 1000:
        lacking.append(cpu)
    if node.memory_bytes and need.memory_bytes > node.memory_bytes:
        lacking.append(memory)
    if need.gpu_milli > node.gpus * 1000:
        lacking.append(gpu)
    return lacking


def _asked(need: Resources) -> list[str]:
    amounts = (need.cpu_milli, need.memory_bytes, need.gpu_milli)
    return [word for word, amount in zip(_words(need), amounts, strict=True) if amount]


def _words(need: Resources) -> tuple[str, str, str]:
    return (
        f"{show_milli(need.cpu_milli)} cpu",
        f"{show_bytes(need.memory_bytes)} memory",
        f"{show_milli(need.gpu_milli)} gpu",
    )


def _totals(rows: Sequence[Standing]) -> tuple[int, int]:
    return sum(row.wanted.count for row in rows), sum(row.running for row in rows)
