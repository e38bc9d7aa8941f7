"""How the units of an agent stand, and what would become of them: for conditions, ``plan`` and ``why``."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.units import unit_id
from meshnode.scheduler.book import Book
from meshnode.scheduler.fitting import Part, astray, drained_words, layout, obstacle, stopped_by
from meshnode.scheduler.land import Facts
from meshnode.scheduler.messages import Claim, Want
from meshnode.scheduler.ports import LEFT, READY, UNREACHABLE, NodeFacts
from meshnode.scheduler.unit import Unit, name_of

RUNNING, STARTING, PENDING = "running", "starting", "pending"
KEEP, START, STOP, MOVE = "keep", "start", "stop", "move"


class UnitStanding(msgspec.Struct, frozen=True):
    """``state``: "running" (and reachable), "starting", "pending". ``obstacle``: a name, if no node could take it.
    ``stays``: why it is still on a node that is drained, if no other may have it."""

    unit: InstanceId
    first_slot: int
    slots: int
    region: str
    state: str
    node: str
    reason: str
    epoch: Epoch | None = None
    obstacle: str = ""
    stays: str = ""


class AgentStanding(msgspec.Struct, frozen=True):
    """The units that are wanted, by slot. Counts are of slots."""

    agent: AgentName
    units: tuple[UnitStanding, ...]

    def slots(self, state: str = "") -> int:
        return sum(unit.slots for unit in self.units if state in ("", unit.state))


class Intended(msgspec.Struct, frozen=True):
    """``action``: "keep", "start", "stop", "move", "pending"."""

    unit: InstanceId
    action: str
    node: str
    reason: str
    now_on: str = ""


class Viewer:
    """One look at the books with today's facts; changes nothing."""

    def __init__(self, land: Facts, me: NodeId, now_us: int) -> None:
        self._land, self._me, self._now_us = land, me, now_us

    def standing(self, book: Book) -> AgentStanding:
        want = book.want
        units = sorted((unit for unit in book.units.values() if unit.wanted), key=lambda unit: unit.part.first_slot)
        return AgentStanding(book.agent, tuple(self._unit(want, unit) for unit in units) if want is not None else ())

    def named(self, name: str) -> list[NodeId]:
        return self._land.named(name)

    def standing_on(
        self, name: str, units: Iterable[Unit], books: Mapping[AgentName, Book]
    ) -> list[UnitStanding]:  # fmt: skip
        """Those of ``units`` that are wanted and that this node has, by name."""
        found: dict[InstanceId, UnitStanding] = {}
        for unit in units:
            want, on = books[unit.agent].want, self._governor(unit)
            if unit.wanted and want is not None and on is not None and self._name(on) == name:
                found[unit.id] = self._unit(want, unit)
        return [found[unit] for unit in sorted(found)]

    def intended(self, book: Book, want: Want | None, units_max: int) -> list[Intended]:
        """Rows by slot; what is to stop comes last."""
        parts = {unit_id(book.agent, part.first_slot): part for part in layout(want, units_max)} if want else {}
        rows: dict[InstanceId, Intended] = {}
        homeless: list[Unit] = []
        for unit_no, part in parts.items():
            unit = book.units.get(unit_no)
            row = self._stays(book.want, want, unit, part) if unit is not None and want is not None else None
            if row is not None:
                rows[unit_no] = row
            else:
                homeless.append(_imagined(unit, unit_no, part))
        if want is not None:
            rows |= self._placed(book, want, homeless)
        found = [rows[unit_no] for unit_no in parts]
        for unit in sorted(book.units.values(), key=lambda unit: unit.part.first_slot):
            on = self._governor(unit)
            if on is not None and unit.id not in parts:
                found.append(Intended(unit.id, STOP, "", "it would not be wanted any more", self._name(on)))
        return found

    def _stays(self, before: Want | None, want: Want, unit: Unit, part: Part) -> Intended | None:
        """A unit that somebody has and that stays there."""
        on = self._governor(unit)
        facts = self._land.get(on) if on is not None else None
        if facts is None or astray(want, part.region, facts):
            return None
        changed = before is not None and (before.recipe, before.generation) != (want.recipe, want.generation)
        reason = "restarts: it is wanted in another way" if changed else "it has it"
        if unit.part.slots != part.slots:
            reason = f"restarts with {part.slots} instead of {unit.part.slots} slots"
        return Intended(unit.id, KEEP, facts.name, reason, facts.name)

    def _placed(self, book: Book, want: Want, homeless: Sequence[Unit]) -> dict[InstanceId, Intended]:
        rows: dict[InstanceId, Intended] = {}
        for place in book.places(want, homeless, self._land, self._me):
            unit, on = place.unit, place.unit.governor
            now_on = self._name(on) if on is not None else ""
            if place.first is None:
                rows[unit.id] = self._homeless(want, unit, now_on)
                continue
            node = self._name(place.first)
            why = "holds a copy of its state" if place.holder else "comes first in order"
            if on is None:
                rows[unit.id] = Intended(unit.id, START, node, f"{node} {why}")
            else:
                facts = self._land.get(on)
                cause = astray(want, unit.part.region, facts) if facts is not None else "it is gone"
                rows[unit.id] = Intended(unit.id, MOVE, node, f"{cause}; {node} {why}", now_on)
        return rows

    def _homeless(self, want: Want, unit: Unit, now_on: str) -> Intended:
        """No node may take it. On one that is drained it stays, unless it is pinned to it."""
        stays = self._stuck(want, unit)
        if stays:
            return Intended(unit.id, KEEP, now_on, f"it stays: {stays}", now_on)
        return Intended(unit.id, PENDING, "", self._nowhere(want, unit)[1], now_on)

    def _stuck(self, want: Want, unit: Unit) -> str:
        """Why a unit of a drained node cannot leave it; "" if it can, or need not."""
        has = self._land.get(unit.governor) if unit.governor is not None else None
        if has is None or not has.drained or has.state != READY or stopped_by(want, has):
            return ""
        pool = self._land.pool(want, unit.part)
        if any(node not in unit.refusals and not (node == self._me and unit.refused) for node in pool):
            return ""
        return f"{drained_words(has)}, and {self._no_other(want, unit, has)}"

    def _no_other(self, want: Want, unit: Unit, has: NodeFacts) -> str:
        others = [node for node in self._land.all() if node.node != has.node and node.state != LEFT]
        found = obstacle(want, unit.part, others) if others else None
        if found is not None:
            return found.message
        return self._nowhere(want, unit)[1] if others else "there is no other node"

    def _unit(self, want: Want, unit: Unit) -> UnitStanding:
        claim = self._claim(unit)
        part = unit.part
        if claim is None:
            blocked, reason = self._waiting(want, unit)
            return UnitStanding(
                unit.id, part.first_slot, part.slots, part.region, PENDING, "", reason, obstacle=blocked
            )
        facts = self._land.get(claim.node)
        state, reason = self._claimed(want, unit, claim, facts)
        node = self._name(claim.node)
        stays = self._stuck(want, unit)
        return UnitStanding(
            unit.id, part.first_slot, part.slots, part.region, state, node,
            f"it stays on {node}: {stays}" if stays else reason, claim.epoch, stays=stays,
        )  # fmt: skip

    def _claimed(self, want: Want, unit: Unit, claim: Claim, facts: NodeFacts | None) -> tuple[str, str]:
        if facts is None or facts.state != READY:
            name = self._name(claim.node)
            return PENDING, self._lost(want, name, facts)
        if claim.node == self._me and unit.mine is not None and unit.mine.failed:
            return PENDING, f"{facts.name} has it and it failed: {unit.mine.failed}"
        reason = unit.reason if claim.node == self._me else ""
        return (RUNNING if claim.running else STARTING), reason or f"{facts.name} has it"

    def _lost(self, want: Want, name: str, facts: NodeFacts | None) -> str:
        if facts is None or facts.state != UNREACHABLE:
            return f"{name}, which has it, is {facts.state if facts is not None else 'no member any more'}"
        silent_s = max(0, self._now_us - facts.lost_us) / SECOND
        return f"{name}, which has it, is unreachable for {silent_s:.1f} s of {want.lost_after_us / SECOND:g} s"

    def _waiting(self, want: Want, unit: Unit) -> tuple[str, str]:
        if unit.planned is not None and unit.open_us is not None:
            whose = "this node" if unit.planned == self._me else self._name(unit.planned)
            return "", f"waits for {whose}: its turn"
        if unit.planned_in and unit.open_us is not None:
            return "", f"waits for a node of region {unit.planned_in}: its turn"
        return self._nowhere(want, unit)

    def _nowhere(self, want: Want, unit: Unit) -> tuple[str, str]:
        found = None if self._land.pool(want, unit.part) else obstacle(want, unit.part, self._land.all())
        if found is not None:
            return found.reason, found.message
        refusals = {self._name(node): why for node, why in unit.refusals.items()}
        if unit.refused:
            refusals[self._name(self._me)] = unit.refused
        if not refusals:
            return "", "it waits to be placed"
        told = [f"{name}: {why}" for name, why in sorted(refusals.items())]
        return "Refused", f"no node takes it: {'; '.join(told[:4])}" + (" ..." if len(told) > 4 else "")

    def _governor(self, unit: Unit) -> NodeId | None:
        claim = self._claim(unit)
        return claim.node if claim is not None else None

    def _claim(self, unit: Unit) -> Claim | None:
        """The claim of the governor, this node's own included."""
        if unit.governor is None:
            return None
        if unit.governor == self._me and unit.mine is not None:
            return Claim(self._me, unit.id, unit.mine.epoch, unit.mine.running)
        return unit.claims.get(unit.governor)

    def _name(self, node: NodeId) -> str:
        return name_of(node, self._land)


def drained(nodes: Sequence[NodeFacts], drains: Mapping[str, str]) -> list[NodeFacts]:
    """Nodes as they would be if just these (name -> reason) were drained."""
    return [
        msgspec.structs.replace(node, drained=node.name in drains, drained_for=drains.get(node.name, ""))
        for node in nodes
    ]


def _imagined(unit: Unit | None, unit_no: InstanceId, part: Part) -> Unit:
    """A unit as it would be, beside the book."""
    imagined = Unit(unit_no)
    imagined.part = part
    if unit is not None:
        imagined.refusals, imagined.refused = dict(unit.refusals), unit.refused
        imagined.last, imagined.governor = unit.last, unit.governor
    return imagined
