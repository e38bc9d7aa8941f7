"""Where a unit fits and where it does not: one want, one node, and why not in words."""

from collections.abc import Iterable, Sequence

import msgspec

from meshnode.model.resources import Resources
from meshnode.scheduler.messages import Want
from meshnode.scheduler.ports import READY, NodeFacts

_NAMES_MAX = 4
NOTHING = Resources()


class Part(msgspec.Struct, frozen=True):
    """One unit of a want: which slots it holds and where they belong."""

    first_slot: int
    slots: int
    region: str


def layout(want: Want, units_max: int) -> list[Part]:
    """The units of a want, by first slot; a region's share is not mixed with another's. At most ``units_max``."""
    parts: list[Part] = []
    at = 0
    shares = [(region, count) for region, count in want.regions if count > 0]
    placed = sum(count for _, count in shares)
    for region, count in [*shares, (want.region, want.replicas - placed)]:
        end = min(at + count, want.replicas)
        while at < end and len(parts) < units_max:
            slots = min(max(1, want.slots_a_unit), end - at)
            parts.append(Part(at, slots, region))
            at += slots
    return parts


def misplaced(want: Want, region: str, node: NodeFacts) -> str:
    """Why a node is not one of those a unit belongs on; "" if it is."""
    if want.on and node.name != want.on:
        return f"it may only run on {want.on}"
    if region and node.region != region:
        return f"it belongs into region {region}"
    for key, value in want.labels.items():
        if node.labels.get(key) != value:
            return f"it needs the label {key}={value}"
    return ""


def drained_words(node: NodeFacts) -> str:
    """``beta is drained (new disk)``; "" if it is not."""
    why = f" ({node.drained_for})" if node.drained_for else ""
    return f"{node.name} is drained{why}" if node.drained else ""


def astray(want: Want, region: str, node: NodeFacts) -> str:
    """Why a unit that a node has belongs elsewhere now; "" if it does not."""
    return misplaced(want, region, node) or drained_words(node)


def stopped_by(want: Want, node: NodeFacts) -> str:
    """Why a unit of a node ends there although no other may have it: it is drained, and pinned to it; "" if not."""
    if not node.drained or want.on != node.name:
        return ""
    return f"it may only run on {want.on}, and {drained_words(node)}"


def lacking(need: Resources, node: NodeFacts, taken: Resources = NOTHING) -> list[str]:
    """What a node has too little of beside what is ``taken``, in words; what is not known is not held against it."""
    asked = need.plus(taken)
    lacks = Resources(
        cpu_milli=need.cpu_milli if node.cpu_milli and asked.cpu_milli > node.cpu_milli else 0,
        memory_bytes=need.memory_bytes if node.memory_bytes and asked.memory_bytes > node.memory_bytes else 0,
        gpu_milli=need.gpu_milli if asked.gpu_milli > node.gpus * 1000 else 0,
    )
    return lacks.words()


def able(want: Want, part: Part, nodes: Iterable[NodeFacts]) -> list[NodeFacts]:
    """Nodes that a unit may be started on now, refusals apart."""
    anywhere = not (want.on or part.region or want.labels)
    need = want.resources.times(part.slots)
    modest = need == NOTHING
    return [
        node
        for node in nodes
        if node.state == READY
        and not node.drained
        and (anywhere or not misplaced(want, part.region, node))
        and (modest or not lacking(need, node))
    ]


class Obstacle(msgspec.Struct, frozen=True):
    """Why a unit can be started nowhere: a name for programs, words for people."""

    reason: str
    message: str


def obstacle(want: Want, part: Part, nodes: Sequence[NodeFacts]) -> Obstacle | None:
    """``None``: some node could take it."""
    if able(want, part, nodes):
        return None
    if not nodes:
        return Obstacle("NoNode", "no node is known")
    if want.on and not any(node.name == want.on for node in nodes):
        return Obstacle("NodeUnknown", f"it may only run on {want.on}, and no node of that name is known")
    if part.region and not any(node.region == part.region for node in nodes):
        return Obstacle("RegionUnknown", f"region {part.region} has no known node")
    fitting = [node for node in nodes if not misplaced(want, part.region, node)]
    where = f" of region {part.region}" if part.region else ""
    if not fitting:
        labels = ", ".join(f"{key}={value}" for key, value in want.labels.items())
        return Obstacle("NoNodeFits", f"no known node{where} has {labels or 'what it asks for'}")
    alive = [node for node in fitting if node.state == READY]
    if not alive:
        return Obstacle("NodesUnreachable", f"{named(fitting)} cannot be reached now")
    taking = [node for node in alive if not node.drained]
    if not taking:
        return Obstacle("NodesDrained", _all_drained(want, fitting, alive))
    return Obstacle("TooBig", _too_big(want.resources.times(part.slots), where, taking))


def _all_drained(want: Want, fitting: Sequence[NodeFacts], alive: Sequence[NodeFacts]) -> str:
    if want.on:
        return f"it may only run on {want.on}, and {drained_words(alive[0])}"
    lost = [node for node in fitting if node.state != READY]
    by_name = sorted(alive, key=lambda node: node.name)
    told = "; ".join(drained_words(node) for node in by_name[:_NAMES_MAX])
    told += f" and {len(alive) - _NAMES_MAX} more" if len(alive) > _NAMES_MAX else ""
    return f"{told}; {named(lost)} cannot be reached now" if lost else f"{told}, and no other node fits"


def _too_big(need: Resources, where: str, alive: Sequence[NodeFacts]) -> str:
    everywhere = [
        lack for lack in lacking(need, alive[0]) if all(lack in lacking(need, node) for node in alive)
    ]  # fmt: skip
    needs = " and ".join(everywhere) or f"all of {', '.join(need.words())} at once"
    return f"no known node{where} has {needs}"


def named(nodes: Sequence[NodeFacts]) -> str:
    """Names for people, cut short."""
    names = [node.name for node in nodes]
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return ", ".join(names[:_NAMES_MAX]) + more
