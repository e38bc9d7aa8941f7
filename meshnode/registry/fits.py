"""Which nodes fit a constraint, as sets: every value of an attribute has the nodes that have it.

A constraint is put to each value once, not to each node; what it gave is kept until some attribute changes.
"""

from collections.abc import Callable, Mapping

from meshnode.model.ids import NodeId
from meshnode.model.where import Attribute, Constraint, misses, parse_where, unfit
from meshnode.registry.ranks import EVERYBODY, Ranks

KEPT_MAX = 512  # texts, constraints, and names of attributes


class Fits:
    """``attributes`` is asked when a node enters, and again when ``described`` says that it has changed. The values of
    an attribute are put in order when a constraint first names it."""

    def __init__(self, ranks: Ranks, attributes: Callable[[NodeId], Mapping[str, Attribute]]) -> None:
        self._ranks = ranks
        self._attributes = attributes
        self._read: dict[NodeId, dict[str, Attribute]] = {}
        self._stale: dict[NodeId, None] = {}
        self._values: dict[str, dict[Attribute, int]] = {}
        self._edition = 0  # of the ranks, when the values were put in order
        self._texts: dict[str, tuple[Constraint, ...]] = {}
        self._sets: dict[Constraint, int] = {}

    def parse(self, where: str) -> tuple[Constraint, ...]:
        """Raises ``Invalid``: ``where`` cannot be read."""
        known = self._texts.get(where)
        if known is None:
            known = parse_where(where)
            _make_room(self._texts)
            self._texts[where] = known
        return known

    def of(self, where: str) -> int:
        """The nodes that fit. Raises ``Invalid``: ``where`` cannot be read."""
        constraints = self.parse(where)
        if constraints:
            self._refresh()
        bits = EVERYBODY
        for constraint in constraints:
            known = self._sets.get(constraint)
            bits &= self._judge(constraint) if known is None else known
        return bits

    def described(self, node: NodeId) -> None:
        """Its attributes may have changed."""
        if node in self._ranks:
            self._stale[node] = None

    def enter(self, node: NodeId) -> None:
        self._stale[node] = None

    def leave(self, node: NodeId) -> None:
        self._read.pop(node, None)
        self._stale.pop(node, None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _judge(self, constraint: Constraint) -> int:
        bits, one, other = 0, (constraint,), misses(constraint)
        for value, nodes in self._values_of(constraint.name).items():
            if not other(value) and not unfit(one, {constraint.name: value}):
                bits |= nodes
        _make_room(self._sets)
        self._sets[constraint] = bits
        return bits

    def _values_of(self, name: str) -> dict[Attribute, int]:
        values = self._values.get(name)
        if values is None:
            _make_room(self._values)
            values = self._values[name] = {}
            for rank, node in enumerate(self._ranks):
                value = self._read.get(node, {}).get(name)
                if value is not None:
                    values[value] = values.get(value, 0) | 1 << rank
        return values

    def _refresh(self) -> None:
        if self._edition != self._ranks.edition:
            self._edition = self._ranks.edition
            self._values.clear()
            self._sets.clear()
        for node in self._stale:
            before, now = self._read.get(node, {}), dict(self._attributes(node))
            if now != before:
                self._read[node] = now
                self._move(self._ranks.bit(node), before, now)
        self._stale.clear()

    def _move(self, bit: int, before: dict[str, Attribute], now: dict[str, Attribute]) -> None:
        """One node has other values now."""
        self._sets.clear()
        for name, values in self._values.items():
            was, value = before.get(name), now.get(name)
            if was is not None:
                values[was] &= ~bit
                if not values[was]:
                    del values[was]
            if value is not None:
                values[value] = values.get(value, 0) | bit


def _make_room(
    kept: dict[str, tuple[Constraint, ...]] | dict[Constraint, int] | dict[str, dict[Attribute, int]],
) -> None:
    if len(kept) >= KEPT_MAX:
        kept.clear()
