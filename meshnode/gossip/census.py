"""Who lives where, by region and by name: kept as rows change, so that nobody walks the directory to find out.

Members of a region are sorted by id: a draw by luck is one index, an election one bisection (``bridges.py``), and both
are the same on every node whatever the order in which rows arrived.
"""

from bisect import bisect_left
from collections.abc import Sequence

from meshnode.model.ids import NodeId


class Census:
    """The living members."""

    def __init__(self, base: "Census | None" = None) -> None:
        """``base``: whom to begin with. It must not change any more; a region or name that changes is copied first."""
        self._base = base
        self._regions: dict[str, list[NodeId]] = {}
        # One node, as nearly always, or several. None: the base knows some, here there are none left.
        self._names: dict[str, NodeId | tuple[NodeId, ...]] = {}
        self._sorted: list[str] | None = None

    def regions(self) -> list[str]:
        """Sorted; those with at least one member."""
        if self._sorted is None:
            below = self._base.regions() if self._base is not None else []
            inhabited = {**dict.fromkeys(below, True), **{name: bool(nodes) for name, nodes in self._regions.items()}}
            self._sorted = sorted(name for name, some in inhabited.items() if some)
        return self._sorted

    def in_region(self, region: str) -> Sequence[NodeId]:
        """Sorted. The list lives on: read it, never keep it."""
        inside = self._regions.get(region)
        if inside is None and self._base is not None:
            return self._base.in_region(region)
        return inside or ()

    def named(self, name: str) -> NodeId | None:
        """Of several with one name the smallest id, as all nodes see it."""
        return min(self.holders(name), default=None)

    def holders(self, name: str) -> tuple[NodeId, ...]:
        """All members of that name."""
        held = self._names.get(name)
        if held is None:
            return self._base.holders(name) if self._base is not None else ()
        return held if isinstance(held, tuple) else (held,)

    def enter(self, node: NodeId, region: str, name: str) -> None:
        """Entering twice does nothing."""
        inside = self.in_region(region)
        at = bisect_left(inside, node)
        if at == len(inside) or inside[at] != node:
            self._own(region).insert(at, node)
        holders = self.holders(name)
        if node not in holders:
            self._names[name] = (*holders, node) if holders else node

    def leave(self, node: NodeId, region: str, name: str) -> None:
        """Leaving twice does nothing."""
        inside = self.in_region(region)
        at = bisect_left(inside, node)
        if at < len(inside) and inside[at] == node:
            del self._own(region)[at]
        self._let_go(region)
        holders = self.holders(name)
        if node in holders:
            others = tuple(holder for holder in holders if holder != node)
            self._names[name] = others[0] if len(others) == 1 else others
            if not others and self._base is None:
                del self._names[name]

    def _own(self, region: str) -> list[NodeId]:
        inside = self._regions.get(region)
        if inside is None:
            inside = self._regions[region] = list(self.in_region(region))
        if len(inside) <= 1:
            self._sorted = None  # it may appear or vanish
        return inside

    def _let_go(self, region: str) -> None:
        if self._base is None and not self._regions.get(region, True):
            del self._regions[region]
