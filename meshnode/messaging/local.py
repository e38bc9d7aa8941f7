"""The units of this node that answer calls: which one gets the next."""

import bisect
from collections import OrderedDict

import msgspec

from meshnode.model.ids import AgentConn, InstanceId
from meshnode.model.units import agent_of


class Unit(msgspec.Struct, eq=False):
    """One connected agent process. ``takes``: it gets new calls; else it only finishes what it has."""

    name: InstanceId
    agent: str
    conn: AgentConn
    first_slot: int
    slots: int
    caller: str  # as which it calls others
    calls: int = 0
    takes: bool = True
    given: int = 0  # calls given without a slot, for taking turns between its slots
    emits_left: int = 0  # see ``states.emitted``
    emits_us: int | None = None

    def holds(self, slot: int) -> bool:
        return self.first_slot <= slot < self.first_slot + self.slots

    def instance(self, slot: int) -> str:
        """Who answers: the unit, or one of its actors."""
        return self.name if self.slots == 1 or slot < 0 else f"{self.agent}/{slot}"

    def next_slot(self) -> int:
        """Actors of one process take turns."""
        self.given += 1
        return self.first_slot + (self.given - 1) % self.slots


class _Fleet:
    """Units of one agent that take calls, by how many calls each has; among equals who waited longest is first.

    Of a single unit nothing need be kept in order, and that is the usual fleet.
    """

    def __init__(self) -> None:
        self._levels: dict[int, OrderedDict[InstanceId, Unit]] = {}  # empty while there is one unit
        self._least = 0
        self._by_slot: list[tuple[int, InstanceId]] = []
        self._units: dict[InstanceId, Unit] = {}
        self._only: Unit | None = None

    def __len__(self) -> int:
        return len(self._units)

    def add(self, unit: Unit) -> None:
        self._units[unit.name] = unit
        bisect.insort(self._by_slot, (unit.first_slot, unit.name))
        if self._levels:
            self._put(unit)
        else:
            self._arrange()

    def remove(self, unit: Unit) -> None:
        del self._units[unit.name]
        self._by_slot.remove((unit.first_slot, unit.name))
        if self._levels:
            self._take(unit)
        if len(self._units) < 2:
            self._arrange()

    def first(self) -> Unit | None:
        if self._only is not None or not self._units:
            return self._only
        while not self._levels.get(self._least):
            self._least += 1
        return next(iter(self._levels[self._least].values()))

    def of_slot(self, slot: int) -> Unit | None:
        at = bisect.bisect_right(self._by_slot, slot, key=lambda entry: entry[0]) - 1
        if at < 0:
            return None
        unit = self._units[self._by_slot[at][1]]
        return unit if unit.holds(slot) else None

    def moved(self, unit: Unit, by: int) -> None:
        if self._only is not None:
            unit.calls += by
            return
        self._take(unit)
        unit.calls += by
        self._put(unit)

    def _arrange(self) -> None:
        self._levels, self._only = {}, None
        if len(self._units) == 1:
            self._only = next(iter(self._units.values()))
            return
        for unit in self._units.values():
            self._put(unit)

    def _put(self, unit: Unit) -> None:
        level = self._levels.get(unit.calls)
        if level is None:
            level = self._levels[unit.calls] = OrderedDict()
        level[unit.name] = unit
        self._least = min(self._least, unit.calls)

    def _take(self, unit: Unit) -> None:
        level = self._levels[unit.calls]
        del level[unit.name]
        if not level:
            del self._levels[unit.calls]


class LocalUnits:
    """All connected units, by name and by connection. ``changes`` grows whenever one comes or goes."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._units: dict[InstanceId, Unit] = {}
        self._by_conn: dict[AgentConn, Unit] = {}
        self._fleets: dict[str, _Fleet] = {}
        self.changes = 0

    def up(self, name: InstanceId, conn: AgentConn, first_slot: int, slots: int) -> None:
        self.closing(name)
        agent = agent_of(name)
        unit = Unit(name, agent, conn, first_slot, slots, f"agent/{agent}/{self._node_name}")
        self._units[name] = self._by_conn[conn] = unit
        self._fleets.setdefault(agent, _Fleet()).add(unit)
        self.changes += 1

    def closing(self, name: InstanceId) -> None:
        unit = self._units.get(name)
        if unit is None or not unit.takes:
            return
        unit.takes = False
        fleet = self._fleets[unit.agent]
        fleet.remove(unit)
        if not fleet:
            del self._fleets[unit.agent]
        self.changes += 1

    def down(self, name: InstanceId) -> list[Unit]:
        """Its connections, which are no more. (More than one only if it came up again before it was missed.)"""
        self.closing(name)
        self._units.pop(name, None)
        gone = [unit for unit in self._by_conn.values() if unit.name == name]
        for unit in gone:
            del self._by_conn[unit.conn]
        return gone

    def of_conn(self, conn: AgentConn) -> Unit | None:
        return self._by_conn.get(conn)

    def taking(self, name: InstanceId) -> Unit | None:
        unit = self._units.get(name)
        return unit if unit is not None and unit.takes else None

    def busy(self, name: InstanceId) -> bool:
        """It works on a call."""
        unit = self._units.get(name)
        return unit is not None and unit.calls > 0

    def pick(self, agent: str, slot: int) -> Unit | None:
        """The unit that holds the slot; without one (-1) the unit with the fewest calls."""
        fleet = self._fleets.get(agent)
        if fleet is None:
            return None
        return fleet.first() if slot < 0 else fleet.of_slot(slot)

    def hand(self, agent: str) -> Unit | None:
        """The unit with the fewest calls takes one more. None: there is none, or it holds several slots."""
        fleet = self._fleets.get(agent)
        unit = fleet.first() if fleet is not None else None
        if fleet is None or unit is None or unit.slots != 1:
            return None
        fleet.moved(unit, 1)
        return unit

    def took(self, unit: Unit) -> None:
        self._count(unit, 1)

    def gave_back(self, conn: AgentConn, calls: int = 1) -> None:
        unit = self._by_conn.get(conn)
        if unit is not None:
            self._count(unit, -calls)

    def _count(self, unit: Unit, by: int) -> None:
        if unit.takes:
            self._fleets[unit.agent].moved(unit, by)
        else:
            unit.calls += by
