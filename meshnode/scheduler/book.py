"""All units of one agent, and how many of them each node has."""

from collections.abc import Iterable, Mapping
from itertools import groupby

import msgspec

from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.units import unit_id
from meshnode.scheduler.fitting import Part, astray, drained_words, layout
from meshnode.scheduler.land import Facts
from meshnode.scheduler.messages import Want
from meshnode.scheduler.ports import READY, Known, NodeFacts
from meshnode.scheduler.seats import Seat, Seats
from meshnode.scheduler.unit import Unit, loss_in_words, name_of


class Place(msgspec.Struct, frozen=True):
    """Where a unit that nobody has belongs. ``ahead``: nodes that come before the asking one; -1: it may not at all.

    ``first`` ``None`` and a ``region``: with a node of that region, which another than ours ranks for itself.
    """

    unit: Unit
    first: NodeId | None
    ahead: int
    holder: bool  # the first is first because it holds the newest copy
    region: str = ""


class Book:
    """The units of one agent. ``counts`` follows their governors."""

    def __init__(self, agent: AgentName) -> None:
        self.agent = agent
        self.want: Want | None = None
        self.units: dict[InstanceId, Unit] = {}
        self.counts: dict[NodeId, int] = {}
        self.open: dict[InstanceId, Unit] = {}
        self.dirty: dict[InstanceId, Unit] = {}
        self.place_us: int | None = None  # when the plan is looked at again
        self.turning: InstanceId | None = None  # the one unit of this node that is being restarted by a new recipe

    def unit(self, unit: InstanceId) -> Unit:
        found = self.units.get(unit)
        if found is None:
            found = self.units[unit] = Unit(unit)
        return found

    def set_want(self, want: Want | None, units_max: int, *, fresh: bool) -> None:
        """Every unit that may be concerned becomes dirty."""
        before, self.want = self.want, want
        parts = layout(want, units_max) if want is not None else []
        wanted: dict[InstanceId, None] = {}
        for part in parts:
            unit = self.unit(unit_id(self.agent, part.first_slot))
            wanted[unit.id] = None
            if before is not None and want is not None and unit.wanted:
                self._rewant(unit, otherwise=unit.part.slots != part.slots or _runs_otherwise(before, want))
            if not unit.wanted:
                unit.fresh, unit.open_us = fresh, None
            unit.wanted, unit.part = True, part
        for unit in self.units.values():
            unit.wanted = unit.id in wanted
        self.dirty = dict(self.units)

    def _rewant(self, unit: Unit, *, otherwise: bool) -> None:
        """What failed may do better in another way."""
        if otherwise:
            unit.failures = unit.refused_until_us = 0
            if unit.mine is not None:
                unit.mine.outdated = True

    def govern(self, unit: Unit, node: NodeId | None) -> None:
        if unit.governor == node:
            return
        if unit.governor is not None:
            self.counts[unit.governor] -= 1
            if not self.counts[unit.governor]:
                del self.counts[unit.governor]
        if node is not None:
            self.counts[node] = self.counts.get(node, 0) + 1
        unit.governor = node

    def forget(self, unit: Unit) -> None:
        self.govern(unit, None)
        self.open.pop(unit.id, None)
        self.dirty.pop(unit.id, None)
        self.units.pop(unit.id, None)

    def openness(self, unit: Unit, facts: NodeFacts | None, now_us: int, patience_us: int) -> int | None:
        """Whether others, or this node, may claim a unit that ``facts`` tells the governor of; when to look again.

        ``patience_us``: how long it may be where it does not belong. What leaves a drained node leaves at once.
        """
        want, moves_us = self.want, None
        if want is None or facts is None or facts.state != READY or not astray(want, unit.part.region, facts):
            unit.astray_us = None
        else:
            unit.astray_us = now_us if unit.astray_us is None else unit.astray_us
            moves_us = unit.astray_us + (0 if facts.drained else patience_us)
        if unit.governor is None or (moves_us is not None and moves_us <= now_us):
            if unit.open_us is None:
                unit.open_us = now_us
            self.open[unit.id] = unit
            return None
        unit.open_us = None
        self.open.pop(unit.id, None)
        return moves_us

    def places(
        self, want: Want, units: Iterable[Unit], land: Facts, me: NodeId, *, exact: "Exact | None" = None
    ) -> list[Place]:
        """The plan for units that nobody has (or that are where they do not belong), in the order of their slots.

        Without ``exact`` everybody's places are named, else only those of the nodes this one is ranked with.
        """
        counts = dict(self.counts)
        found: list[Place] = []
        ordered = sorted(units, key=lambda unit: unit.part.first_slot)
        for _, group in groupby(ordered, key=lambda unit: (unit.part.region, unit.part.slots)):
            alike = list(group)
            pool = land.pool(want, alike[0].part)
            home = (pool.where(me) or "") if exact is not None and pool.divided else None
            seats = _seats(self.agent, want, alike[0].part, land, counts, home)
            for unit in alike:
                place, seat = _place(unit, seats, me, exact)
                found.append(place)
                if seat is not None:
                    seats.take(seat)
                    if seat.node is not None:
                        counts[seat.node] = counts.get(seat.node, 0) + 1
        return found


class Exact:
    """Whether it is worth knowing exactly how many are ahead of this node: the answer costs a look at its region."""

    def __init__(self, turns: Mapping[InstanceId, int]) -> None:
        self._turns = turns  # unit -> how many turns have passed

    def wanted(self, unit: Unit, at_least: int) -> bool:
        return at_least <= self._turns.get(unit.id, -1)


def _place(unit: Unit, seats: Seats, me: NodeId, exact: Exact | None) -> tuple[Place, Seat | None]:
    slot = unit.part.first_slot
    without: dict[NodeId, object] = {**unit.refusals}
    if unit.refused:
        without[me] = None
    if unit.governor is not None:
        without[unit.governor] = None
    keeper = unit.last.holder if unit.last is not None else None
    holder = keeper if keeper is not None and keeper in seats and keeper not in without else None
    seat = seats.seat_of(holder) if holder is not None else seats.first(slot, without)
    first, region = (seat.node, seat.division) if seat is not None else (None, "")
    ahead = 0 if first == me else _ahead(unit, seats, me, without, holder, exact)
    return Place(unit, first, ahead, holder is not None, region), seat


def _ahead(
    unit: Unit, seats: Seats, me: NodeId, without: dict[NodeId, object], holder: NodeId | None, exact: Exact | None
) -> int:
    """How many come before this node, who is not first: exactly so only where it is worth the look."""
    if me not in seats or me in without:
        return -1
    ahead = max(1, seats.below(me, without))
    if exact is not None and exact.wanted(unit, ahead):
        others = {**without, holder: None} if holder is not None else without
        return seats.before(me, unit.part.first_slot, others) + (holder is not None)
    return ahead


def _seats(
    agent: AgentName, want: Want, part: Part, land: Facts, counts: Mapping[NodeId, int], home: str | None
) -> Seats:
    pool, need = land.pool(want, part), want.resources.times(part.slots)
    near = next((node for node in land.named(want.near) if node in pool), None) if want.near else None
    return Seats(agent, pool, counts, near, full=lambda region: land.full(region, need), home=home)


def _runs_otherwise(before: Want, want: Want) -> bool:
    return (before.recipe, before.generation, before.durability) != (want.recipe, want.generation, want.durability)


def why(place: Place, ahead: int, nodes: Known, now_us: int) -> str:
    """Why this node takes a unit, with ``ahead`` nodes before it that did not."""
    unit = place.unit
    if unit.governor is not None:
        has = nodes.get(unit.governor)
        drained = drained_words(has) if has is not None else ""
        cause = drained or f"{name_of(unit.governor, nodes)} is not where it belongs any more"
    elif unit.last is not None:
        cause = loss_in_words(unit.last, nodes.get(unit.last.node), now_us)
    else:
        cause = "it is wanted and nobody had it"
    if ahead == 0:
        return f"{cause}; this node {'holds a copy of its state' if place.holder else 'comes first in order'}"
    first = name_of(place.first, nodes) if place.first is not None else f"a node of region {place.region}"
    return f"{cause}; {first} came first and did not take it, so it is this node's turn"
