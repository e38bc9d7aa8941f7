"""Nodes in the order of their ids, so that a set of them is one int: bit i stands for the i-th node.

Sets are cut by ``&`` and read from the lowest bit up, which is the order in which equally good nodes are tried. A new
node moves those behind it up by one place: rare, and cheap beside asking every node at every question.
"""

from bisect import bisect_left
from collections.abc import Iterator

from meshnode.model.ids import NodeId

EVERYBODY = -1  # all bits


class Ranks:
    """The places. ``edition`` counts the changes: a set kept from before one means other nodes."""

    def __init__(self) -> None:
        self._nodes: list[NodeId] = []
        self.edition = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: NodeId) -> bool:
        return self.bit(node) != 0

    def __iter__(self) -> Iterator[NodeId]:
        return iter(self._nodes)

    def bit(self, node: NodeId) -> int:
        """0: it has no place."""
        rank = bisect_left(self._nodes, node)
        return 1 << rank if rank < len(self._nodes) and self._nodes[rank] == node else 0

    def enter(self, node: NodeId) -> int:
        """The place of a new node: every set must be ``opened`` there."""
        rank = bisect_left(self._nodes, node)
        self._nodes.insert(rank, node)
        self.edition += 1
        return rank

    def leave(self, node: NodeId) -> int:
        """The place it had: every set must be ``closed`` there."""
        rank = bisect_left(self._nodes, node)
        del self._nodes[rank]
        self.edition += 1
        return rank

    def nodes(self, bits: int) -> Iterator[tuple[NodeId, int]]:
        """Each with its own bit, in the order of their ids."""
        while bits:
            low = bits & -bits
            yield self._nodes[low.bit_length() - 1], low
            bits ^= low


def opened(bits: int, rank: int) -> int:
    """The set with room for a node at ``rank``, which is not in it."""
    below = bits & ((1 << rank) - 1)
    return (bits ^ below) << 1 | below


def closed(bits: int, rank: int) -> int:
    """The set without the place ``rank``."""
    below = bits & ((1 << rank) - 1)
    return bits >> rank + 1 << rank | below
