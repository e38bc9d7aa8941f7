"""Who lives where, by region and by name: kept as rows change, so that nobody walks the directory to find out.

Members of a region are sorted by id: a draw by luck is one index, an election one bisection (``bridges.py``), and both
are the same on every node whatever the order in which rows arrived.
"""

from bisect import bisect_left
from collections.abc import Sequence

from meshnode.model.ids import NodeId


class Census:
    """The living members."""

    def __init__(self) -> None:
        self._regions: dict[str, list[NodeId]] = {}
        self._names: dict[str, tuple[NodeId, ...]] = {}

    def regions(self) -> list[str]:
        """Sorted; those with at least one member."""
        return sorted(self._regions)

    def in_region(self, region: str) -> Sequence[NodeId]:
        """Sorted. The list lives on: read it, never keep it."""
        return self._regions.get(region, ())

    def named(self, name: str) -> NodeId | None:
        """Of several with one name the smallest id, as all nodes see it."""
        return min(self._names.get(name, ()), default=None)

    def enter(self, node: NodeId, region: str, name: str) -> None:
        """Entering twice does nothing."""
        inside = self._regions.setdefault(region, [])
        at = bisect_left(inside, node)
        if at == len(inside) or inside[at] != node:
            inside.insert(at, node)
        holders = self._names.get(name, ())
        if node not in holders:
            self._names[name] = (*holders, node)

    def leave(self, node: NodeId, region: str, name: str) -> None:
        """Leaving twice does nothing."""
        inside = self._regions.get(region, [])
        at = bisect_left(inside, node)
        if at < len(inside) and inside[at] == node:
            del inside[at]
        if not inside:
            self._regions.pop(region, None)
        others = tuple(holder for holder in self._names.get(name, ()) if holder != node)
        if others:
            self._names[name] = others
        else:
            self._names.pop(name, None)
