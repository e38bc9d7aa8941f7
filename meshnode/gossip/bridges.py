"""Which nodes of a region link it to another one: all nodes agree, without a message.

Rendezvous on the circle of ids (Karger et al., "Consistent hashing", 1997): ids are hashes themselves, so the first
usable ones at or after the pair's own point serve. It costs a bisection of the sorted members, spreads the duties of
many pairs over them, and a node that comes or goes moves one duty of a pair at most.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from meshnode.model.ids import NodeId

BRIDGES = 3  # per pair of regions, on either side
PASSED_MAX = 128  # unusable nodes passed over in search of them


def elected(
    one: str, two: str, members: Sequence[NodeId], usable: Callable[[NodeId], bool] | None = None
) -> list[NodeId]:
    """The bridges between two regions on the side whose sorted ``members`` these are."""
    if not members:
        return []
    begin = bisect_left(members, meeting_point(one, two))
    found: list[NodeId] = []
    for step in range(min(len(members), PASSED_MAX)):
        node = members[(begin + step) % len(members)]
        if usable is None or usable(node):
            found.append(node)
            if len(found) == BRIDGES:
                break
    return found


def on_duty(
    node: NodeId, mine: str, others: Iterable[str], members: Sequence[NodeId], usable: Callable[[NodeId], bool]
) -> list[str]:
    """The ``others`` towards which ``elected`` names this node of region ``mine``, by one look at who stands before it.

    It serves the points behind the third usable node before it.
    """
    at, before = bisect_left(members, node), 0
    for step in range(1, min(len(members), PASSED_MAX)):
        first = members[at - step]
        before += usable(first)
        if before == BRIDGES:
            return [other for other in others if _between(first, meeting_point(mine, other), node)]
    return list(others)


def _between(first: bytes, point: bytes, last: bytes) -> bool:
    """On the circle, ``first`` left out."""
    return first < point <= last if first < last else point > first or point <= last


@lru_cache(maxsize=4096)
def meeting_point(one: str, two: str) -> bytes:
    """Where on the circle of ids a pair of regions looks for its bridges; the same from both sides."""
    return hashlib.blake2b("\0".join(sorted((one, two))).encode(), digest_size=32).digest()
