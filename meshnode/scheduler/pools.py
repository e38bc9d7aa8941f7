"""Which nodes a unit may be started on, found before they are ranked: sets kept as nodes change, not walks over all.

Most units of a mesh ask for the same few things, so every such asking ("shape") has a set of its own, made once by one
look at the nodes and from then on told of each node that changes. A set is divided by region: in a large mesh a region
is chosen first, and only its nodes are ranked (``seats.py``).
"""

from collections.abc import Iterable, Iterator

import msgspec

from meshnode.model.ids import NodeId
from meshnode.model.resources import Resources
from meshnode.scheduler.fitting import Part
from meshnode.scheduler.messages import Want
from meshnode.scheduler.ports import READY, NodeFacts

WEIGHT_UNKNOWN = 1000
EVERYWHERE = ""  # the one division of a pool that is not divided


class Shape(msgspec.Struct, frozen=True):
    """What a unit asks of the node it is started on."""

    on: str
    region: str
    labels: tuple[tuple[str, str], ...]
    need: Resources

    def fits(self, node: NodeFacts) -> bool:
        """Whether a unit may be started there now, refusals apart."""
        if node.state != READY or node.drained:
            return False
        if (self.on and node.name != self.on) or (self.region and node.region != self.region):
            return False
        if any(node.labels.get(key) != value for key, value in self.labels):
            return False
        need = self.need
        return (
            (not node.cpu_milli or need.cpu_milli <= node.cpu_milli)
            and (not node.memory_bytes or need.memory_bytes <= node.memory_bytes)
            and need.gpu_milli <= node.gpus * 1000
        )


def shape_of(want: Want, part: Part) -> Shape:
    return Shape(want.on, part.region, tuple(sorted(want.labels.items())), want.resources.times(part.slots))


class Pool:
    """The nodes that fit a shape, with their weights. ``divided``: by region; else all are in one division."""

    def __init__(self, shape: Shape, *, divided: bool) -> None:
        self.shape, self.divided = shape, divided
        self.divisions: dict[str, dict[NodeId, int]] = {}
        self.weights: dict[str, int] = {}  # sums
        self._where: dict[NodeId, str] = {}

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._where

    def __iter__(self) -> Iterator[NodeId]:
        """In no order that means anything."""
        return iter(self._where)

    def where(self, node: NodeId) -> str | None:
        """The division a node is in; ``None``: in none."""
        return self._where.get(node)

    def put(self, node: NodeFacts) -> None:
        """What is known of a node now, whether it fits or not."""
        self.remove(node.node)
        if not self.shape.fits(node):
            return
        division, weight = node.region if self.divided else EVERYWHERE, node.cpu_milli or WEIGHT_UNKNOWN
        self._where[node.node] = division
        self.divisions.setdefault(division, {})[node.node] = weight
        self.weights[division] = self.weights.get(division, 0) + weight

    def remove(self, node: NodeId) -> None:
        division = self._where.pop(node, None)
        if division is None:
            return
        inside = self.divisions[division]
        self.weights[division] -= inside.pop(node)
        if not inside:
            del self.divisions[division], self.weights[division]


def pool_of(want: Want, part: Part, nodes: Iterable[NodeFacts], *, divided: bool = False) -> Pool:
    """By one look at all of ``nodes``."""
    pool = Pool(shape_of(want, part), divided=divided)
    for node in nodes:
        pool.put(node)
    return pool
