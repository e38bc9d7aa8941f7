"""Which nodes fit a constraint, as sets: every value of an attribute has the nodes that have it.

A constraint is put to each value once, not to each node; what it gave is kept until some attribute changes.
"""

from collections.abc import Callable, Mapping

from meshnode.model.ids import NodeId
from meshnode.model.where import Attribute, Constraint, parse_where, unfit
from meshnode.registry.ranks import EVERYBODY, Ranks, closed, opened

KEPT_MAX = 512  # texts, and constraints


class Fits:
    """``attributes`` is asked when a node enters, and again when ``described`` says that it has changed."""

    def __init__(self, ranks: Ranks, attributes: Callable[[NodeId], Mapping[str, Attribute]]) -> None:
        self._ranks = ranks
        self._attributes = attributes
        self._values: dict[str, dict[Attribute, int]] = {}
        self._read: dict[NodeId, dict[str, Attribute]] = {}
        self._stale: dict[NodeId, None] = {}
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
        if constraints and self._stale:
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

    def enter(self, node: NodeId, rank: int) -> None:
        self._move(opened, rank)
        self._stale[node] = None

    def leave(self, node: NodeId, rank: int) -> None:
        self._forget(node, 1 << rank)
        self._stale.pop(node, None)
        self._move(closed, rank)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _judge(self, constraint: Constraint) -> int:
        bits, one = 0, (constraint,)
        for value, nodes in self._values.get(constraint.name, {}).items():
            if not unfit(one, {constraint.name: value}):
                bits |= nodes
        _make_room(self._sets)
        self._sets[constraint] = bits
        return bits

    def _refresh(self) -> None:
        for node in self._stale:
            now, bit = dict(self._attributes(node)), self._ranks.bit(node)
            if now != self._read.get(node):
                self._forget(node, bit)
                self._read[node] = now
                for name, value in now.items():
                    values = self._values.setdefault(name, {})
                    values[value] = values.get(value, 0) | bit
                self._sets.clear()
        self._stale.clear()

    def _forget(self, node: NodeId, bit: int) -> None:
        for name, value in self._read.pop(node, {}).items():
            values = self._values[name]
            values[value] &= ~bit
            if not values[value]:
                del values[value]
                if not values:
                    del self._values[name]

    def _move(self, moved: Callable[[int, int], int], rank: int) -> None:
        self._sets.clear()
        for values in self._values.values():
            for value, bits in values.items():
                values[value] = moved(bits, rank)


def _make_room(kept: dict[str, tuple[Constraint, ...]] | dict[Constraint, int]) -> None:
    if len(kept) >= KEPT_MAX:
        kept.clear()
