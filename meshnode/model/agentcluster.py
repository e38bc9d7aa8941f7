"""AgentCluster: the wanted set of agents, in either of its two published shapes.

(a) ``spec.agents`` lists agents with replicas, resources and capabilities, and may say how to run them and where;
    ``spec.orchestrator`` describes levels.
(b) ``spec.replicas`` is a total that ``spec.regions`` distributes over regions and agent types, with ``auto_scaling``
    and ``resource_management``. What the regions leave over may be placed anywhere.

The document is stored whole as written; what is here is what it means.
"""

from fractions import Fraction
from itertools import pairwise

import msgspec

from meshnode.model.agent import GENERATION_MAX, REPLICAS_MAX, durability_of, labels_of, recipe_of
from meshnode.model.commands import JsonObject
from meshnode.model.durability import Durability
from meshnode.model.fields import Field, FieldInvalid, refuse_repeats
from meshnode.model.manifest import parse_manifest
from meshnode.model.recipe import Recipe
from meshnode.model.resources import Resources, optional, resources_of, share_of

KIND = "AgentCluster"
_SCOPES = ("global", "node", "agent-group")
_BY_AGENT = ("orchestrator", "agents")
_BY_REGION = ("replicas", "regions", "auto_scaling", "resource_management")
_SPLIT = "split it into several clusters"
_AGENT_OPTIONS = ("resources", "capabilities", "run", "tier", "region", "labels", "durability")
_WITHIN = "choose a total within the bounds, or move the bounds"


class Level(msgspec.Struct, frozen=True):
    """One level of control as described by shape (a). Recorded and shown; every node decides for itself."""

    name: str
    scope: str
    responsibilities: tuple[str, ...] = ()


class AgentSpec(msgspec.Struct, frozen=True):
    """One agent of shape (a). ``recipe``: its own ``run``; without one the ``Agent`` document of its name says how.

    ``durability`` ``None``: not said here.
    """

    name: str
    replicas: int
    resources: Resources
    capabilities: tuple[str, ...] = ()
    recipe: Recipe | None = None
    region: str = ""
    labels: dict[str, str] = {}
    durability: Durability | None = None


class RegionSpec(msgspec.Struct, frozen=True):
    """One region of shape (b): how many instances of which agent type."""

    name: str
    distribution: dict[str, int]


class AutoScaling(msgspec.Struct, frozen=True):
    """Bounds and thresholds of shape (b); thresholds are shares of 1."""

    enabled: bool = False
    min_replicas: int | None = None
    max_replicas: int | None = None
    target_utilization: Fraction | None = None
    scale_up_threshold: Fraction | None = None
    scale_down_threshold: Fraction | None = None


class Intent(msgspec.Struct, frozen=True):
    """What a spec means. ``replicas``: the total wanted; ``free``: those of them that no region claims.

    ``generation``: raised to restart all its units.
    """

    replicas: int
    free: int = 0
    levels: tuple[Level, ...] = ()
    agents: tuple[AgentSpec, ...] = ()
    regions: tuple[RegionSpec, ...] = ()
    auto_scaling: AutoScaling = AutoScaling()
    resources: dict[str, Resources] = {}
    notes: tuple[str, ...] = ()
    generation: int = 0


class AgentCluster(msgspec.Struct, frozen=True):
    """A checked manifest. ``spec``: as written; ``intent``: what it means; ``notes``: for whoever applies it."""

    api_version: str
    namespace: str
    name: str
    labels: dict[str, str]
    spec: JsonObject
    intent: Intent

    @property
    def kind(self) -> str:
        return KIND

    @property
    def notes(self) -> tuple[str, ...]:
        return self.intent.notes


def parse_agentcluster(manifest: JsonObject) -> AgentCluster:
    """Raises ``FieldInvalid``, which knows the path of the field; nothing is ever corrected silently."""
    envelope = parse_manifest(manifest)
    if envelope.kind != KIND:
        raise FieldInvalid(("kind",), f"is {envelope.kind}, not {KIND}", next_step=f"write kind: {KIND}")
    intent = _parse_spec(envelope.spec)
    spec: JsonObject = manifest["spec"]
    return AgentCluster(envelope.api_version, envelope.namespace, envelope.name, envelope.labels, spec, intent)


def parse_spec(spec: JsonObject) -> Intent:
    """The meaning of a stored spec. Raises ``FieldInvalid``: concurrent edits can merge into one that says too much."""
    return _parse_spec(Field(("spec",), spec))


def _parse_spec(spec: Field) -> Intent:
    fields = spec.fields((), (*_BY_AGENT, *_BY_REGION, "generation"))
    generation = fields["generation"].number(most=GENERATION_MAX) if "generation" in fields else 0
    return msgspec.structs.replace(_shape(spec, fields), generation=generation)


def _shape(spec: Field, fields: dict[str, Field]) -> Intent:
    mixed = next((fields[key] for key in _BY_REGION if key in fields), None)
    if "agents" not in fields and mixed is None:
        raise spec.invalid("says nothing about agents", next_step="add agents, or replicas and regions")
    if mixed is None:
        return _by_agent(fields)
    for key in _BY_AGENT:
        if key in fields:
            raise fields[key].invalid(
                f"cannot stand beside {mixed.path[-1]}: the number of replicas would be said twice",
                next_step="keep agents and orchestrator, or replicas, regions, auto_scaling and resource_management",
            )
    return _by_region(fields)


def _by_agent(fields: dict[str, Field]) -> Intent:
    listed = fields["agents"].items()
    agents = tuple(_agent(field) for field in listed)
    refuse_repeats(listed, [agent.name for agent in agents])
    total = sum(agent.replicas for agent in agents)
    if total > REPLICAS_MAX:
        raise fields["agents"].invalid(f"the replicas add up to {total}, the most is {REPLICAS_MAX}", next_step=_SPLIT)
    notes = () if agents else ("no agents are listed: nothing is wanted",)
    return Intent(replicas=total, levels=_levels(fields.get("orchestrator")), agents=agents, notes=notes)


def _agent(field: Field) -> AgentSpec:
    entry = field.fields(("name", "replicas"), _AGENT_OPTIONS)
    tags = entry["capabilities"].items(count_max=128) if "capabilities" in entry else []
    capabilities = tuple(tag.tag() for tag in tags)
    refuse_repeats(tags, capabilities)
    return AgentSpec(
        name=entry["name"].agent_type(),
        replicas=entry["replicas"].number(most=REPLICAS_MAX),
        resources=resources_of(entry.get("resources")),
        capabilities=capabilities,
        recipe=_own_recipe(entry),
        region=optional(entry, "region", Field.label) or "",
        labels=labels_of(entry.get("labels")),
        durability=optional(entry, "durability", durability_of),
    )


def _own_recipe(entry: dict[str, Field]) -> Recipe | None:
    if "run" in entry:
        return recipe_of(entry["run"], entry.get("tier"))
    if "tier" in entry:
        raise entry["tier"].invalid(
            "says how to run, but there is no run", next_step="add run, or write the tier into the Agent document"
        )
    return None


def _levels(orchestrator: Field | None) -> tuple[Level, ...]:
    if orchestrator is None:
        return ()
    entry = orchestrator.fields(("type",), ("levels",))
    entry["type"].choice(("hierarchical",))
    listed = entry["levels"].items(count_max=32) if "levels" in entry else []
    levels = tuple(_level(field) for field in listed)
    refuse_repeats(listed, [level.name for level in levels])
    return levels


def _level(field: Field) -> Level:
    entry = field.fields(("name", "scope"), ("responsibilities",))
    duties = entry["responsibilities"].items(count_max=128) if "responsibilities" in entry else []
    return Level(entry["name"].text(chars_max=63), entry["scope"].choice(_SCOPES), tuple(d.text() for d in duties))


def _by_region(fields: dict[str, Field]) -> Intent:
    listed = fields["regions"].items() if "regions" in fields else []
    regions = tuple(_region(field) for field in listed)
    refuse_repeats(listed, [region.name for region in regions])
    placed = sum(sum(region.distribution.values()) for region in regions)
    replicas = fields["replicas"].number(most=REPLICAS_MAX) if "replicas" in fields else placed
    if placed > replicas:
        raise fields["regions"].invalid(
            f"the agent_distribution adds up to {placed}, but spec.replicas is {replicas}",
            next_step=f"set spec.replicas to {placed}, or distribute fewer",
        )
    if placed > REPLICAS_MAX:
        raise fields["regions"].invalid(
            f"the agent_distribution adds up to {placed}, the most is {REPLICAS_MAX}", next_step=_SPLIT
        )
    managed = fields["resource_management"].entries() if "resource_management" in fields else {}
    resources = {Field(value.path, key).agent_type(): resources_of(value) for key, value in managed.items()}
    intent = Intent(
        replicas=replicas, free=replicas - placed, regions=regions, auto_scaling=_auto_scaling(fields, replicas),
        resources=resources,
    )  # fmt: skip
    return msgspec.structs.replace(intent, notes=_notes(intent))


def _region(field: Field) -> RegionSpec:
    entry = field.fields(("name",), ("agent_distribution",))
    counts = entry["agent_distribution"].entries() if "agent_distribution" in entry else {}
    return RegionSpec(
        name=entry["name"].label(),
        distribution={Field(n.path, key).agent_type(): n.number(most=REPLICAS_MAX) for key, n in counts.items()},
    )


def _notes(intent: Intent) -> tuple[str, ...]:
    if not intent.replicas:
        return ("no replicas are asked for: nothing is wanted",)
    if not intent.free:
        return ()
    named = intent.resources or any(region.distribution for region in intent.regions)
    notes = [f"{intent.free} of {intent.replicas} replicas are in no region's distribution: they are placed freely"]
    if not named:
        notes.append("no agent type is named anywhere: nothing says which agents these replicas are")
    return tuple(notes)


def _auto_scaling(fields: dict[str, Field], replicas: int) -> AutoScaling:
    if "auto_scaling" not in fields:
        return AutoScaling()
    at = fields["auto_scaling"]
    entry = at.fields(
        (),
        (
            "enabled",
            "min_replicas",
            "max_replicas",
            "target_utilization",
            "scale_up_threshold",
            "scale_down_threshold",
        ),
    )
    scaling = AutoScaling(
        enabled=entry["enabled"].flag() if "enabled" in entry else False,
        min_replicas=optional(entry, "min_replicas", lambda f: f.number(most=REPLICAS_MAX)),
        max_replicas=optional(entry, "max_replicas", lambda f: f.number(most=REPLICAS_MAX)),
        target_utilization=optional(entry, "target_utilization", share_of),
        scale_up_threshold=optional(entry, "scale_up_threshold", share_of),
        scale_down_threshold=optional(entry, "scale_down_threshold", share_of),
    )
    _check_bounds(entry, scaling, fields.get("replicas"), replicas)
    _check_thresholds(entry, scaling)
    return scaling


def _check_bounds(entry: dict[str, Field], scaling: AutoScaling, asked: Field | None, replicas: int) -> None:
    least, most = scaling.min_replicas, scaling.max_replicas
    if least is not None and most is not None and least > most:
        raise entry["min_replicas"].invalid(
            f"is {least}, more than max_replicas, which is {most}", next_step="lower it, or raise max_replicas"
        )
    if not scaling.enabled or asked is None:
        return
    if least is not None and replicas < least:
        raise asked.invalid(f"is {replicas}, less than auto_scaling.min_replicas, which is {least}", next_step=_WITHIN)
    if most is not None and replicas > most:
        raise asked.invalid(f"is {replicas}, more than auto_scaling.max_replicas, which is {most}", next_step=_WITHIN)


def _check_thresholds(entry: dict[str, Field], scaling: AutoScaling) -> None:
    """A cluster that scales down at or above the point where it scales up swings for ever."""
    rising = ("scale_down_threshold", "target_utilization", "scale_up_threshold")
    shares = (scaling.scale_down_threshold, scaling.target_utilization, scaling.scale_up_threshold)
    given = [(key, share) for key, share in zip(rising, shares, strict=True) if share is not None]
    for (low_key, low), (high_key, high) in pairwise(given):
        if low > high or (low == high and "target_utilization" not in (low_key, high_key)):
            raise entry[low_key].invalid(
                f"is {float(low):g}, {high_key} is {float(high):g}: scaling would never come to rest",
                next_step="order them: scale_down_threshold, target_utilization, scale_up_threshold",
            )
