"""Who comes first for a unit: the same answer on every node that knows the same.

Fewest units of the agent first, then the preferred node, then capacity-weighted rendezvous order (Thaler and
Ravishankar 1998; weights after Schindelhauer and Schomaker 2005: ``-w / ln u``). In a divided pool the regions are
drawn first, each by the weight of all its nodes, and then the nodes of one region among themselves ("skeleton-based"
rendezvous): a node is as likely to come first as if all were drawn at once, and only one region is looked at.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

import msgspec

from meshnode.model.ids import NodeId
from meshnode.scheduler.pools import Pool

_MASK = (1 << 64) - 1

Without = Mapping[NodeId, object]
Rank = tuple[bool, float, str]  # of a division: full ones last, then as drawn, then by name


class Seat(msgspec.Struct, frozen=True):
    """Where a unit comes first. ``node`` ``None``: with one of the nodes of a division, and they know which."""

    division: str
    level: int
    node: NodeId | None


class Seats:
    """The nodes of a pool, by how many units of one agent they have or are about to have.

    The search for the first touches only divisions with the fewest units, and nodes of one of them: a thousand slots on
    a hundred nodes stay cheap. ``full``: whether a region says that it has nothing left of what is asked for; it comes
    after the others among nodes with equally many units. ``home``: nodes are ranked in that division alone.
    """

    def __init__(
        self, agent: str, pool: Pool, counts: Mapping[NodeId, int], near: NodeId | None = None, *,
        full: Callable[[str], bool] = lambda _: False, home: str | None = None,
    ) -> None:  # fmt: skip
        self._pool, self._seed, self._home = pool, seed_of(agent), home
        self._near = near if near is not None and near in pool else None
        self._full = {division: full(division) for division in pool.divisions}
        self._counts: dict[NodeId, int] = {}  # of those that have any
        self._levels: dict[int, dict[str, dict[NodeId, None]]] = {}  # above 0
        self._sizes: dict[int, dict[str, int]] = {0: {name: len(nodes) for name, nodes in pool.divisions.items()}}
        for node, count in counts.items():
            if count:
                self._move(node, count)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._pool

    def count(self, node: NodeId) -> int:
        return self._counts.get(node, 0)

    def first(self, slot: int, without: Without) -> Seat | None:
        """That of the first in order who is not left out."""
        for level in sorted(self._sizes):
            near = self._near
            if near is not None and self.count(near) == level and near not in without:
                return Seat(self._pool.where(near) or "", level, near)
            left = self._left(level, without)
            rank = min((self._rank(name, slot) for name, size in left.items() if size > 0), default=None)
            if rank is None:
                continue
            if self._home not in (None, rank[-1]):
                return Seat(rank[-1], level, None)
            return Seat(rank[-1], level, min(self._keys(rank[-1], level, slot, without))[1])
        return None

    def before(self, node: NodeId, slot: int, without: Without) -> int:
        """How many come before a node of the pool that is not left out."""
        level, found = self.count(node), self.below(node, without)
        if node == self._near:
            return found
        own = self._pool.where(node)
        assert own is not None, "asked of the nodes of the pool only"
        left, near = self._left(level, without), self._near
        ahead = near is not None and self.count(near) == level and near not in without
        rank, others = self._rank(own, slot), dict[NodeId, object](without)
        if ahead:
            assert near is not None
            left[self._pool.where(near) or ""] -= 1
            others[near] = None
        found += sum(size for name, size in left.items() if name != own and self._rank(name, slot) < rank)
        key = self._key(own, node, slot)
        return found + ahead + sum(other < key for other in self._keys(own, level, slot, others))

    def below(self, node: NodeId, without: Without) -> int:
        """How many are certainly before a node: those with fewer units."""
        own = self.count(node)
        return sum(sum(self._left(level, without).values()) for level in self._sizes if level < own)

    def order(self, slot: int, without: Without) -> list[NodeId]:
        """All that are not left out, first in order first. A sort of them all: for small pools, and for proof."""

        def key(node: NodeId) -> tuple[int, bool, Rank, tuple[float, NodeId]]:
            division = self._pool.where(node) or ""
            return self.count(node), node != self._near, self._rank(division, slot), self._key(division, node, slot)

        return sorted((node for node in self._pool if node not in without), key=key)

    def take(self, seat: Seat) -> None:
        """One more unit is planned there."""
        if seat.node is not None:
            self._move(seat.node, self.count(seat.node) + 1)
        else:
            self._sizes[seat.level][seat.division] -= 1
            self._add(seat.level + 1, seat.division)

    def seat_of(self, node: NodeId) -> Seat:
        return Seat(self._pool.where(node) or "", self.count(node), node)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _move(self, node: NodeId, count: int) -> None:
        division, before = self._pool.where(node), self.count(node)
        if division is None:
            return
        self._sizes[before][division] -= 1
        if before:
            del self._levels[before][division][node]
        self._counts[node] = count
        self._levels.setdefault(count, {}).setdefault(division, {})[node] = None
        self._add(count, division)

    def _add(self, level: int, division: str) -> None:
        sizes = self._sizes.setdefault(level, {})
        sizes[division] = sizes.get(division, 0) + 1

    def _left(self, level: int, without: Without) -> dict[str, int]:
        """How many of each division are at a level and not left out."""
        left = dict(self._sizes[level])
        for node in without:
            division = self._pool.where(node)
            if division is not None and self.count(node) == level:
                left[division] -= 1
        return left

    def _rank(self, division: str, slot: int) -> Rank:
        score = _score(self._seed ^ _seed_of_region(division), slot, self._pool.weights[division])
        return self._full[division], -score, division

    def _keys(self, division: str, level: int, slot: int, without: Without) -> Iterator[tuple[float, NodeId]]:
        inside = self._pool.divisions[division]
        nodes = self._levels[level].get(division, {}) if level else inside
        for node in nodes:
            if node not in without and (level or node not in self._counts):
                yield -_score(self._seed ^ int.from_bytes(node[:8]), slot, inside[node]), node  # ids are hashes already

    def _key(self, division: str, node: NodeId, slot: int) -> tuple[float, NodeId]:
        weight = self._pool.divisions[division][node]
        return -_score(self._seed ^ int.from_bytes(node[:8]), slot, weight), node


def seed_of(agent: str) -> int:
    return int.from_bytes(hashlib.blake2b(agent.encode(), digest_size=8).digest())


@lru_cache(maxsize=4096)
def _seed_of_region(region: str) -> int:
    return int.from_bytes(hashlib.blake2b(region.encode(), digest_size=8, person=b"region").digest())


def _score(seed: int, slot: int, weight: int) -> float:
    """Higher comes first. SplitMix64's mixer over (seed, slot), turned into a weighted draw."""
    mixed = (seed + (slot + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    mixed ^= mixed >> 31
    return -weight / math.log(((mixed >> 12) + 0.5) / (1 << 52))
