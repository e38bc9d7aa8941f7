"""Counts over current rows, kept in step with every commit: what the overview shows, and how rare a value is."""

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from cloud_gateway.model.queries import AgentCount, AgentQuery, GridCell, Overview, RegionCount
from cloud_gateway.store.columns import LAYOUTS, Value, folded
from cloud_gateway.store.grid import Grid

# States of units that are well, or on their way: all others are trouble, as the grid and the agents' list count it.
WELL = frozenset({"running", "starting", "stopped", "stopping"})
NAMES_MAX = 50
# Filters with few enough values to count each.
_COUNTED: Mapping[str, tuple[str, ...]] = {
    "nodes": ("region", "state"),
    "instances": ("agent", "region", "state", "durability"),
    "skills": ("skill", "agent", "region"),
}
_PLACES = {kind: {column.name: at for at, column in enumerate(layout.columns)} for kind, layout in LAYOUTS.items()}


class Change(NamedTuple):
    """A current row that came (``old`` None), changed, or went (``new`` None): values of its columns; behind those of
    an instance the skills it offers, one a line."""

    kind: str
    old: tuple[Value, ...] | None
    new: tuple[Value, ...] | None


class _Mean:
    """Of the nodes that tell."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.count, self.total = 0, 0.0

    def add(self, value: Value, sign: int) -> None:
        if isinstance(value, float) and value >= 0:
            self.count += sign
            self.total += sign * value

    def value(self) -> float | None:
        return max(self.total, 0.0) / self.count if self.count else None


class _Units:
    """Of one agent in one region."""

    __slots__ = ("newest", "nodes", "offered", "states")

    def __init__(self) -> None:
        self.nodes = 0
        self.states: Counter[str] = Counter()
        self.offered: Counter[str] = Counter()
        self.newest: int | None = 0  # version; None: the unit that had it is gone, and the next is not known

    def __bool__(self) -> bool:
        return any(self.states.values())

    def version(self, version: int, sign: int) -> None:
        if self.newest is None:
            return
        if sign > 0:
            self.newest = max(self.newest, version)
        elif version == self.newest:
            self.newest = None


class Tallies:
    """May be asked from any thread; changed by one."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._rows: Counter[str] = Counter()
        self._values: dict[tuple[str, str], Counter[Value]] = defaultdict(Counter)
        self._by_region: dict[str, dict[str, Counter[str]]] = {
            "nodes": defaultdict(Counter),
            "instances": defaultdict(Counter),
        }
        self._means: dict[str, tuple[_Mean, _Mean]] = defaultdict(lambda: (_Mean(), _Mean()))
        self._agents: dict[str, dict[str, _Units]] = defaultdict(lambda: defaultdict(_Units))
        self._units_at: Counter[int] = Counter()
        self._troubled: Counter[str] = Counter()
        self._grid = Grid()
        self._pending = 0

    def apply(self, changes: Iterable[Change]) -> None:
        with self._guard:
            for kind, old, new in changes:
                if old is not None:
                    self._count(kind, old, -1)
                if new is not None:
                    self._count(kind, new, 1)
                if kind == "nodes":
                    self._grid.change(old, new)

    def rows(self, kind: str) -> int:
        return self._rows[kind]

    def having(self, kind: str, column: str, value: Value) -> int | None:
        """How many rows have that value; None: not counted."""
        if column not in _COUNTED.get(kind, ()):
            return None
        return self._values[kind, column][value]

    def values(self, kind: str, column: str) -> list[Value]:
        """The values there are."""
        with self._guard:
            return [value for value, count in self._values[kind, column].items() if count > 0]

    def grid(self) -> dict[str, list[GridCell]]:
        """See ``Store.grid``."""
        with self._guard:
            return self._grid.told(self._troubled)

    def agents(self, query: AgentQuery, newest: Callable[[str, str], int]) -> list[AgentCount]:
        """Instances by agent; see ``Store.agents``. ``newest`` looks up the highest version of an agent in a region."""
        q = folded(query.q)
        with self._guard:
            names = sorted(
                name
                for name in self._agents
                if name > query.after and (not query.agent or name in query.agent) and q in folded(name)
            )
            counted = (self._agent(name, query.region, newest) for name in names)
            return list(itertools.islice((agent for agent in counted if agent is not None), query.limit))

    def _agent(self, name: str, among: Sequence[str], newest: Callable[[str, str], int]) -> AgentCount | None:
        regions = {region: units for region, units in self._agents[name].items() if not among or region in among}
        for region, units in regions.items():
            if units.newest is None:
                units.newest = newest(name, region)
        states = _summed(units.states for units in regions.values())
        if not any(states.values()):
            return None
        skills = {skill for units in regions.values() for text in +units.offered for skill in text.split("\n") if skill}
        return AgentCount(
            agent=name,
            instances=sum(states.values()),
            running=states.get("running", 0),
            troubled=sum(count for state, count in states.items() if state not in WELL),
            nodes=sum(units.nodes for units in regions.values()),
            regions=sorted(regions)[:NAMES_MAX],
            skills=sorted(skills)[:NAMES_MAX],
            version_max=max(units.newest or 0 for units in regions.values()),
        )

    def regions(self) -> list[RegionCount]:
        with self._guard:
            names = sorted({*_alive(self._by_region["nodes"]), *_alive(self._by_region["instances"])})
            return [self._region(name) for name in names]

    def overview(self, events_total: int) -> Overview:
        regions = self.regions()
        return Overview(
            nodes=_summed(region.nodes for region in regions),
            instances=_summed(region.instances for region in regions),
            regions=regions,
            skills=len(self.values("skills", "skill")),
            agents=len(self.values("instances", "agent")),
            wishes=self._rows["wishes"],
            pending=self._pending,
            conflicts=self._rows["conflicts"],
            gaps=self._rows["gaps"],
            events_total=events_total,
        )

    def _region(self, name: str) -> RegionCount:
        cpu, memory = self._means[name]
        return RegionCount(
            region=name,
            nodes=dict(sorted((+self._by_region["nodes"][name]).items())),
            instances=dict(sorted((+self._by_region["instances"][name]).items())),
            cpu_percent=cpu.value(),
            memory_percent=memory.value(),
        )

    def _count(self, kind: str, values: tuple[Value, ...], sign: int) -> None:
        places = _PLACES[kind]
        self._rows[kind] += sign
        for column in _COUNTED.get(kind, ()):
            counter = self._values[kind, column]
            value = values[places[column]]
            counter[value] += sign
            if not counter[value]:
                del counter[value]
        if kind in self._by_region:
            region, state = str(values[places["region"]]), str(values[places["state"]])
            self._by_region[kind][region][state] += sign
        if kind == "nodes":
            cpu, memory = self._means[str(values[places["region"]])]
            cpu.add(values[places["cpu_percent"]], sign)
            memory.add(values[places["memory_percent"]], sign)
        elif kind == "instances":
            self._count_unit([str(values[places[name]]) for name in ("agent", "region", "node", "state")], values, sign)
        elif kind == "wishes":
            pending = values[places["pending"]]
            self._pending += sign * pending if isinstance(pending, int) else 0

    def _count_unit(self, names: Sequence[str], values: tuple[Value, ...], sign: int) -> None:
        agent, region, node, state = names
        units = self._agents[agent][region]
        units.states[state] += sign
        units.offered[str(values[-1])] += sign
        version = values[_PLACES["instances"]["version"]]
        assert isinstance(version, int)
        units.version(version, sign)
        # The pair's hash instead of the pair: a hundred thousand of them would weigh twice as much.
        pair = hash((agent, node))
        before = self._units_at[pair]
        self._units_at[pair] = before + sign
        if not before + sign:
            del self._units_at[pair]
        if before * (before + sign) == 0:
            units.nodes += sign
        if state not in WELL:
            self._grid.troubles_changed()
            self._troubled[node] += sign
            if not self._troubled[node]:
                del self._troubled[node]
        if not units:
            del self._agents[agent][region]


def _alive(regions: Mapping[str, Counter[str]]) -> list[str]:
    return [name for name, states in regions.items() if any(states.values())]


def _summed(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
