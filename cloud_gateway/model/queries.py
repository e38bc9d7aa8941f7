"""Questions to a store and their answers. A store may assume that they were checked (``checked``)."""

import msgspec

from cloud_gateway.model.listings import LIMIT_DEFAULT, LIMIT_MAX, LISTINGS
from cloud_gateway.model.rows import EventRow, GapRow, Key, Row

Bound = str | int | float | None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of current rows. ``where``: column -> any of these values. ``sort``: a column of the
    listing, "-" before it for descending. ``after``: (value of the sort column, *key) of the last row of the page
    before."""

    kind: str
    where: dict[str, list[str]] = {}
    q: str = ""
    sort: str = ""
    limit: int = LIMIT_DEFAULT
    after: tuple[Bound, ...] | None = None


class Listed(msgspec.Struct, frozen=True):
    """``after``: for the next page; None: this is the last."""

    items: list[Row]
    after: tuple[Bound, ...] | None = None


class Told(msgspec.Struct, frozen=True):
    """``Listed``, with its rows as they are sent: each is JSON."""

    items: list[msgspec.Raw]
    after: tuple[Bound, ...] | None = None


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Events of all nodes, newest first. ``subject``: "KIND/NAME" or "KIND/"; ``q``: part of the text, ignoring case.
    ``after``: opaque, from the page before. A page may end early with an ``after``, when few of very many events
    fit."""

    node: str = ""
    region: str = ""
    subject: str = ""
    q: str = ""
    from_ms: int = 0
    to_ms: int = 0  # 0 = now
    limit: int = LIMIT_DEFAULT
    after: str = ""


class EventsListed(msgspec.Struct, frozen=True):
    """``searched_to_ms``: events from here on were looked at."""

    items: list[EventRow]
    after: str = ""
    searched_to_ms: int = 0


class JournalQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One node's journal, oldest first, from behind (``life``, ``number``)."""

    node_id: str
    life: int = 0
    number: int = 0
    limit: int = LIMIT_DEFAULT


class JournalListed(msgspec.Struct, frozen=True):
    """``gaps``: those that lie within or before the items of this page."""

    items: list[EventRow]
    gaps: list[GapRow]
    more: bool = False


class SkillQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Who offers a skill, ranked: callable first, then near and quick. ``skill`` may be a glob; ``where`` are
    constraints on the node as ``meshnode find --where`` takes them. ``after``: rank to go on behind."""

    skill: str = ""
    where: str = ""
    region: str = ""
    limit: int = LIMIT_DEFAULT
    after: int = 0


class AgentQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Instances grouped by agent, by its name. ``agent``, ``region``: any of these; ``q``: part of the agent's name,
    ignoring case. ``after``: the name to go on behind."""

    agent: list[str] = []
    region: list[str] = []
    q: str = ""
    limit: int = LIMIT_DEFAULT
    after: str = ""


class AgentCount(msgspec.Struct, frozen=True, kw_only=True):
    """One agent over all its units. ``troubled``: units that are not well (as in ``GridCell``); ``nodes``: how many
    run units of it; ``regions``, ``skills``: sorted, the first 50."""

    agent: str
    instances: int
    running: int
    troubled: int
    nodes: int
    regions: list[str] = []
    skills: list[str] = []
    version_max: int = 0


class LoadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """History of one node. Measures: cpu, memory, disk, accelerator, load. ``step_ms``: at least this; the answer
    says."""

    node_id: str
    from_ms: int
    to_ms: int
    step_ms: int = 60_000


class RegionCount(msgspec.Struct, frozen=True, kw_only=True):
    """One region at one glance."""

    region: str
    nodes: dict[str, int] = {}  # by state
    instances: dict[str, int] = {}  # by state
    cpu_percent: float | None = None  # mean over nodes that tell
    memory_percent: float | None = None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The whole fleet at one glance. ``events_1h``: events written in the last hour."""

    nodes: dict[str, int]
    instances: dict[str, int]
    regions: list[RegionCount]
    skills: int
    agents: int
    wishes: int
    pending: int
    conflicts: int
    gaps: int
    events_total: int


class GridCell(msgspec.Struct, frozen=True, array_like=True):
    """One node of the grid, small: name, state, cpu percent (-1 = not known), units that are not well."""

    name: str
    state: str
    cpu: int
    troubled: int


def checked(query: Query) -> str:
    """Why a store must not be asked this, "" if it may."""
    listing = LISTINGS.get(query.kind)
    if listing is None:
        return f"kind: {query.kind} is not a list; there are {', '.join(LISTINGS)}"
    for column in query.where:
        if column not in listing.filters:
            return f"{column}: cannot be filtered; there are {', '.join(listing.filters)}"
    if query.sort and query.sort.removeprefix("-") not in {name.removeprefix("-") for name in listing.sorts}:
        return f"sort: {query.sort} is not one of {', '.join(listing.sorts)}, or one of them with - before it"
    if not 1 <= query.limit <= LIMIT_MAX:
        return f"limit: must be between 1 and {LIMIT_MAX}"
    return ""


__all__ = [
    "AgentCount", "AgentQuery", "Bound", "EventQuery", "EventsListed", "GridCell", "JournalListed", "JournalQuery",
    "Key", "Listed", "LoadQuery", "Overview", "Query", "RegionCount", "SkillQuery", "Told", "checked",
]  # fmt: skip
