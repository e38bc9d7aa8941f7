"""Which nodes satisfy constraints, without looking at each: verdicts are made for distinct values, not for nodes."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from cloud_gateway.model.rows import NodeRow
from meshnode.model.where import Attribute, Constraint, parse_where, unfit

_KEPT_MAX = 64  # answers to constraints, the last ones asked
_SHAPES_MAX = 4096


class Fitness:
    """Attributes of nodes by name of the attribute, then of the node. May be asked from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._columns: dict[str, dict[str, Attribute]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._kept: OrderedDict[Constraint, frozenset[str]] = OrderedDict()
        self._values: dict[Attribute, Attribute] = {}
        self._shapes: dict[frozenset[str], frozenset[str]] = {}  # most nodes have the same attributes: held once

    def put(self, nodes: Iterable[NodeRow]) -> None:
        """These have changed."""
        with self._guard:
            for node in nodes:
                if self._put(node):
                    self._kept.clear()

    def delete(self, names: Iterable[str]) -> None:
        with self._guard:
            for name in names:
                for attribute in self._names.pop(name, frozenset()):
                    del self._columns[attribute][name]
            self._kept.clear()

    def fitting(self, where: str) -> frozenset[str] | None:
        """Names of the nodes that satisfy all constraints; None: there are none to satisfy. Raises ``Invalid``."""
        constraints = parse_where(where)
        if not constraints:
            return None
        with self._guard:
            fitting = self._satisfying(constraints[0])
            for constraint in constraints[1:]:
                fitting &= self._satisfying(constraint)
            return fitting

    def _put(self, node: NodeRow) -> bool:
        had = self._names.get(node.name, frozenset())
        has = frozenset(node.attributes)
        changed = had != has
        for attribute in had - has:
            del self._columns[attribute][node.name]
        for attribute, value in node.attributes.items():
            column = self._columns.setdefault(attribute, {})
            if column.get(node.name) != value or node.name not in column:
                column[node.name] = self._values.setdefault(value, value) if len(self._values) < 65536 else value
                changed = True
        if changed:
            if len(self._shapes) > _SHAPES_MAX:
                self._shapes.clear()
            self._names[node.name] = self._shapes.setdefault(has, has)
        return changed

    def _satisfying(self, constraint: Constraint) -> frozenset[str]:
        kept = self._kept.get(constraint)
        if kept is None:
            column = self._columns.get(constraint.name, {})
            fits = {value: not unfit((constraint,), {constraint.name: value}) for value in set(column.values())}
            kept = frozenset(name for name, value in column.items() if fits[value])
            self._kept[constraint] = kept
            if len(self._kept) > _KEPT_MAX:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(constraint)
        return kept
