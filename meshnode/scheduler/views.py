"""How the units of an agent stand, and what would become of them: for conditions, ``plan`` and ``why``."""

from collections.abc import Mapping, Sequence

import msgspec

from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.units import unit_id
from meshnode.scheduler.book import Book, Exact
from meshnode.scheduler.messages import Claim, Want
from meshnode.scheduler.ordering import Part, layout, misplaced, obstacle
from meshnode.scheduler.ports import READY, UNREACHABLE, NodeFacts
from meshnode.scheduler.unit import Unit, name_of

RUNNING, STARTING, PENDING = "running", "starting", "pending"
KEEP, START, STOP, MOVE = "keep", "start", "stop", "move"
_NEVER = Exact({})


class UnitStanding(msgspec.Struct, frozen=True):
    """``state``: "running" (and reachable), "starting", "pending". ``obstacle``: a name, if no node could take it."""

    unit: InstanceId
    first_slot: int
    slots: int
    region: str
    state: str
    node: str
    reason: str
    epoch: Epoch | None = None
    obstacle: str = ""


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

    def __init__(self, facts: Mapping[NodeId, NodeFacts], me: NodeId, now_us: int) -> None:
        self._facts, self._me, self._now_us = facts, me, now_us

    def standing(self, book: Book) -> AgentStanding:
        want = book.want
        units = sorted((unit for unit in book.units.values() if unit.wanted), key=lambda unit: unit.part.first_slot)
        return AgentStanding(book.agent, tuple(self._unit(want, unit) for unit in units) if want is not None else ())

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
        facts = self._facts.get(on) if on is not None else None
        if facts is None or misplaced(want, part.region, facts):
            return None
        changed = before is not None and (before.recipe, before.generation) != (want.recipe, want.generation)
        reason = "restarts: it is wanted in another way" if changed else "it has it"
        if unit.part.slots != part.slots:
            reason = f"restarts with {part.slots} instead of {unit.part.slots} slots"
        return Intended(unit.id, KEEP, facts.name, reason, facts.name)

    def _placed(self, book: Book, want: Want, homeless: Sequence[Unit]) -> dict[InstanceId, Intended]:
        rows: dict[InstanceId, Intended] = {}
        for place in book.places(want, homeless, list(self._facts.values()), self._me, exact=_NEVER):
            unit, on = place.unit, place.unit.governor
            now_on = self._name(on) if on is not None else ""
            if place.first is None:
                rows[unit.id] = Intended(unit.id, PENDING, "", self._nowhere(want, unit)[1], now_on)
                continue
            node = self._name(place.first)
            why = "holds a copy of its state" if place.holder else "comes first in order"
            if on is None:
                rows[unit.id] = Intended(unit.id, START, node, f"{node} {why}")
            else:
                astray = misplaced(want, unit.part.region, self._facts[on]) if on in self._facts else "it is gone"
                rows[unit.id] = Intended(unit.id, MOVE, node, f"{astray}; {node} {why}", now_on)
        return rows

    def _unit(self, want: Want, unit: Unit) -> UnitStanding:
        claim = self._claim(unit)
        part = unit.part
        if claim is None:
            blocked, reason = self._waiting(want, unit)
            return UnitStanding(
                unit.id, part.first_slot, part.slots, part.region, PENDING, "", reason, obstacle=blocked
            )
        facts = self._facts.get(claim.node)
        state, reason = self._claimed(want, unit, claim, facts)
        node = self._name(claim.node)
        return UnitStanding(
            unit.id, part.first_slot, part.slots, part.region, state, node, reason, claim.epoch
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
        return self._nowhere(want, unit)

    def _nowhere(self, want: Want, unit: Unit) -> tuple[str, str]:
        found = obstacle(want, unit.part, list(self._facts.values()))
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
        return name_of(node, self._facts)


def _imagined(unit: Unit | None, unit_no: InstanceId, part: Part) -> Unit:
    """A unit as it would be, beside the book."""
    imagined = Unit(unit_no)
    imagined.part = part
    if unit is not None:
        imagined.refusals, imagined.refused = dict(unit.refusals), unit.refused
        imagined.last, imagined.governor = unit.last, unit.governor
    return imagined
