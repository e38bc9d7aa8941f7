"""The books of all agents: which units are known, who tells of them, and which are to be judged anew."""

from collections.abc import Sequence

from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.units import agent_of
from meshnode.scheduler.book import Book
from meshnode.scheduler.messages import Claim
from meshnode.scheduler.unit import Unit, is_about


class Shelf:
    """``dirty``: books with something to judge or to place. ``known_max``: units learned from others or the journal."""

    def __init__(self, known_max: int) -> None:
        self._known_max = known_max
        self._known = 0
        self._by_node: dict[NodeId, dict[InstanceId, None]] = {}
        self.books: dict[AgentName, Book] = {}
        self.dirty: dict[AgentName, Book] = {}

    def book(self, agent: AgentName) -> Book:
        book = self.books.get(agent)
        if book is None:
            book = self.books[agent] = Book(agent)
        return book

    def unit(self, unit: InstanceId) -> Unit | None:
        book = self.books.get(agent_of(unit))
        return book.units.get(unit) if book is not None else None

    def of_node(self, node: NodeId) -> list[Unit]:
        """What another node tells of, or told of lately."""
        return [unit for each in self._by_node.get(node, {}) if (unit := self.unit(each)) is not None]

    def touch(self, unit: Unit) -> None:
        """It is to be judged anew."""
        book = self.books[unit.agent]
        book.dirty[unit.id] = unit
        self.dirty[unit.agent] = book

    def learn(self, unit: InstanceId) -> Unit | None:
        """A unit, also one that was not known yet; ``None``: there is no room to know of it."""
        found = self.unit(unit)
        if found is None and self._known < self._known_max:
            self._known += 1
            found = self.book(agent_of(unit)).unit(unit)
            found.learned = True
        return found

    def hear(self, node: NodeId, agent: AgentName, claims: Sequence[Claim], now_us: int, *, believed: bool) -> None:
        """All that a node tells of an agent's units. ``believed``: what it tells no more counts for a moment longer."""
        said = {claim.unit: claim for claim in claims if is_about(claim, node, agent)}
        held = self._by_node.setdefault(node, {})
        for unit_id in [each for each in held if each not in said and agent_of(each) == agent]:
            unit = self.unit(unit_id)
            if unit is not None and unit.unsay(node, now_us, believed=believed):
                self.touch(unit)
            if unit is None or not (node in unit.claims or node in unit.refusals):
                del held[unit_id]
        for claim in said.values():
            unit = self.learn(claim.unit)
            if unit is not None:
                held[unit.id] = None
                if unit.hear(claim):
                    self.touch(unit)

    def forget(self, unit: Unit) -> None:
        self._known -= unit.learned
        self.books[unit.agent].forget(unit)
