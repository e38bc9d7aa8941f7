"""From documents to wants: which agents the mesh is to run, how, how often and where.

What one document says, and what those that name one agent want of it. ``reader`` puts all of them together.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from meshnode.deployments.drains import intent_of
from meshnode.kernel.instant import MS
from meshnode.model.agent import KIND as AGENT
from meshnode.model.agent import AgentIntent, parse_agent_spec
from meshnode.model.agentcluster import KIND as CLUSTER
from meshnode.model.agentcluster import Intent, parse_spec
from meshnode.model.commands import JsonObject
from meshnode.model.durability import AUTO, Durability
from meshnode.model.errors import Invalid
from meshnode.model.ids import AgentName
from meshnode.model.manifest import AGENT_NAME, NAMESPACE_DEFAULT
from meshnode.model.nodewish import KIND as NODE
from meshnode.model.recipe import ACTOR, Recipe
from meshnode.model.resources import Resources
from meshnode.model.units import ACTORS_A_WORKER
from meshnode.scheduler.messages import LOST_AFTER_US, Want

CONTRADICTION, NO_RECIPE, NO_AGENT_NAMED, TWO_RECIPES = (
    "ConcurrentChangesContradict", "NoRecipe", "NoAgentNamed", "TwoRecipes",
)  # fmt: skip


class Declared(Protocol):
    """A stored document, as far as it wants something."""

    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> JsonObject: ...


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Why a document, or one agent of it, starts nothing. ``agent`` "": all of it."""

    reason: str
    message: str
    agent: str = ""


class Row(msgspec.Struct, frozen=True):
    """``count`` instances of ``agent`` in ``region`` ("": wherever the agent may run)."""

    agent: str
    region: str
    count: int
    resources: Resources = Resources()
    labels: dict[str, str] = {}
    durability: Durability | None = None
    recipe: Recipe | None = None


class Reading(msgspec.Struct, frozen=True):
    """What all documents say together. ``problems`` by document; ``governed``: agents whose number clusters say;
    ``drains``: nodes by name, with the reason, or ""."""

    wants: tuple[Want, ...]
    problems: dict[str, tuple[Problem, ...]]
    governed: dict[str, tuple[str, ...]] = {}
    drains: dict[str, str] = {}


def subject_of(document: Declared) -> str:
    """``agent/words``, ``node/beta`` or ``cluster/default/team``: what ``why`` calls it."""
    if document.kind in (AGENT, NODE):
        return f"{document.kind.lower()}/{document.name}"
    return f"cluster/{document.namespace}/{document.name}"


class Part(msgspec.Struct, frozen=True, gc=False):
    """What one document says by itself, and nothing else of it: ten thousand are kept.

    ``rows``: of a cluster; ``agent``: of an Agent; ``drain``: of a Node that is to be drained, the reason, or "".
    """

    name: str
    subject: str
    agent: AgentIntent | None = None
    drain: str | None = None
    rows: tuple[Row, ...] = ()
    generation: int = 0
    problem: Problem | None = None


def part_of(document: Declared) -> Part:
    """Never raises: what cannot be read is a part with a problem."""
    subject = subject_of(document)
    try:
        if document.kind == AGENT:
            return Part(document.name, subject, agent=_agent(document))
        if document.kind == NODE:
            node = intent_of(document)
            return Part(document.name, subject, drain=node.reason if node.drain else None)
        if document.kind != CLUSTER:
            return Part(document.name, subject)
        intent = parse_spec(document.spec)
    except Invalid as error:
        return Part(document.name, subject, problem=_contradiction(document, error))
    found = tuple(rows(intent))
    problem = _unnamed(intent.free) if intent.free and not found else None
    return Part(document.name, subject, rows=found, generation=intent.generation, problem=problem)


def rows(intent: Intent) -> list[Row]:
    """What a cluster wants, one row per agent and region. What no region claims is shared out among its agents."""
    found = [
        Row(agent.name, agent.region, agent.replicas, agent.resources, agent.labels, agent.durability, agent.recipe)
        for agent in intent.agents
    ]
    shares: dict[str, int] = {}
    for region in intent.regions:
        for agent, count in region.distribution.items():
            found.append(Row(agent, region.name, count, intent.resources.get(agent, Resources())))
            shares[agent] = shares.get(agent, 0) + count
    for agent, count in _shared(intent.free, shares or dict.fromkeys(intent.resources, 1)).items():
        found.append(Row(agent, "", count, intent.resources.get(agent, Resources())))
    return found


def _shared(free: int, shares: dict[str, int]) -> dict[str, int]:
    """In proportion, the largest remainders rounded up; equal ones by name."""
    total = sum(shares.values())
    if not free or not shares:
        return {}
    if not total:
        shares, total = dict.fromkeys(shares, 1), len(shares)
    found = {agent: free * share // total for agent, share in shares.items()}
    rest = free - sum(found.values())
    for agent in sorted(shares, key=lambda agent: (-(free * shares[agent] % total), agent))[:rest]:
        found[agent] += 1
    return {agent: count for agent, count in found.items() if count}


def _agent(document: Declared) -> AgentIntent:
    if document.namespace != NAMESPACE_DEFAULT:
        raise Invalid(f"an agent's name is unique in its mesh, but this one is in namespace {document.namespace}")
    if not AGENT_NAME.fullmatch(document.name):
        raise Invalid("this is no name for an agent")
    return parse_agent_spec(document.spec)


def _contradiction(document: Declared, error: Invalid) -> Problem:
    """Every write was valid when it was made; two made apart can merge into a spec that is not."""
    name = document.name if document.kind in (AGENT, NODE) else f"{document.namespace}/{document.name}"
    return Problem(CONTRADICTION, f"{error.message}. Apply {name} again to settle it")


@lru_cache(maxsize=1024)
def _unnamed(free: int) -> Problem:
    """One object for all that ask for as many."""
    return Problem(
        NO_AGENT_NAMED,
        f"{free} replicas are asked for, and nothing says of which agents: name them in a region's "
        "agent_distribution or in resource_management",
    )


def want_of(
    name: str, agent: AgentIntent | None, asked: Sequence[tuple[str, Row]], generation: int,
    problems: dict[str, list[Problem]],
) -> Want | None:  # fmt: skip
    """What is wanted of one agent, by its own document and by ``asked``: rows of clusters with the subject of each, in
    the order of subjects. What stands against it is added to ``problems``, by subject."""
    recipe = _recipe(name, agent, asked, problems)
    if recipe is None:
        for subject in dict.fromkeys(subject for subject, _ in asked):
            problems.setdefault(subject, []).append(_no_recipe(name, subject))
        return None
    base = agent or AgentIntent(recipe)
    wanted = Want(
        agent=AgentName(name), recipe=recipe, replicas=base.replicas,
        slots_a_unit=ACTORS_A_WORKER if recipe.tier == ACTOR else 1, on=base.on, near=base.near, region=base.region,
        labels=base.labels, resources=base.resources, durability=base.durability,
        lost_after_us=base.lost_after_ms * MS or LOST_AFTER_US, generation=base.generation + generation,
        source=f"agent/{name}",
    )  # fmt: skip
    return _governed(wanted, [row for _, row in asked], [subject for subject, _ in asked]) if asked else wanted


def _governed(want: Want, asked: Sequence[Row], subjects: Sequence[str]) -> Want:
    """Clusters that name an agent say how many of it are wanted, and may say more than its own document does."""
    regions: dict[str, int] = {}
    labels: dict[str, str] = {}
    need = Resources()
    for row in asked:
        region = row.region or want.region
        regions[region] = regions.get(region, 0) + row.count
        labels.update(row.labels)
        need = Resources(
            max(need.cpu_milli, row.resources.cpu_milli), max(need.memory_bytes, row.resources.memory_bytes),
            max(need.gpu_milli, row.resources.gpu_milli),
        )  # fmt: skip
    named = tuple((region, regions[region]) for region in sorted(regions) if region != want.region and regions[region])
    sources = list(dict.fromkeys(subjects))
    return msgspec.structs.replace(
        want, replicas=sum(regions.values()), regions=named, labels=labels or want.labels,
        resources=need if need != Resources() else want.resources,
        durability=next((row.durability for row in asked if row.durability is not None), want.durability or AUTO),
        source=sources[0] if len(sources) == 1 else f"{sources[0]} and {len(sources) - 1} more",
    )  # fmt: skip


def _recipe(
    name: str, agent: AgentIntent | None, asked: Sequence[tuple[str, Row]], problems: dict[str, list[Problem]]
) -> Recipe | None:
    """A cluster's own recipe goes before the Agent document's; of two clusters' the first by name goes on."""
    chosen: tuple[str, Recipe] | None = None
    for subject, row in asked:
        if row.recipe is None:
            continue
        if chosen is None:
            chosen = subject, row.recipe
        elif chosen[1] != row.recipe:
            problems.setdefault(subject, []).append(
                Problem(TWO_RECIPES, f"agent {name}: {chosen[0]} says otherwise how to run it, and goes first", name)
            )
    if chosen is not None:
        return chosen[1]
    return agent.recipe if agent is not None else None


def _no_recipe(name: str, subject: str) -> Problem:
    return Problem(
        NO_RECIPE,
        f"agent {name}: nothing says how to run it. Start it once with meshnode run FILE --name {name}, or add run to "
        f"it in {subject}",
        name,
    )
