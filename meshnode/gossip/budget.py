"""How much gossip one link may carry: bytes by class, what matters first, and a little for everybody.

One bucket a link, filled at a pace the profile sets. Control and urgent letters always go, into debt if need be: they
are small, and late they are worthless. Soft facts go while the bucket has anything, repairs while it is well filled;
both have a small bucket of their own besides, a tenth of the pace, so nothing starves. Who is over budget waits:
soft facts coalesce meanwhile, a repair sheds what does not fit and finds it again.
"""

import enum
from dataclasses import dataclass

from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId

KIB = 1024
PACES = {"edge": 24 * KIB, "default": 96 * KIB, "relay": 384 * KIB}  # bytes a second and link
BURST_S = 8 / 3  # a full bucket, in seconds of its pace: 64 KiB on the edge, so a small mesh joins without waiting
FLOOR_SHARE = 10  # one in so many bytes is a class's own
HEADROOM_SHARE = 4  # a repair leaves this part of the bucket to those before it
LINKS_MAX = 1_024
DEBT_SHARE = 1  # buckets: nothing is owed beyond


class Kind(enum.IntEnum):
    """Classes, what matters most first."""

    CONTROL = 0
    URGENT = 1
    SOFT = 2
    REPAIR = 3


_KINDS = {3: Kind.REPAIR, 4: Kind.REPAIR, 5: Kind.REPAIR, 6: Kind.REPAIR, 17: Kind.REPAIR, 7: Kind.URGENT,
          11: Kind.SOFT, 12: Kind.SOFT}  # fmt: skip


def kind_of(body: bytes) -> Kind:
    """By the tag of an encoded letter: a small number right after the head of its array."""
    return _KINDS.get(body[1], Kind.CONTROL) if len(body) > 1 else Kind.CONTROL


@dataclass(slots=True)
class _Bucket:
    """Filled continuously; counts in millionths of a byte, so that no part of a microsecond is lost."""

    pace: int
    full: int
    level: int
    at_us: int

    def fill(self, now_us: int) -> None:
        self.level = min(self.full, self.level + max(0, now_us - self.at_us) * self.pace)
        self.at_us = max(self.at_us, now_us)

    def take(self, size: int, least: int = 0) -> None:
        self.level = max(least, self.level - size)

    def wait_us(self, size: int) -> int:
        return -(-max(0, size - self.level) // self.pace)


class Budget:
    """Of one link."""

    def __init__(self, pace: int, now_us: int) -> None:
        full = round(pace * BURST_S) * SECOND
        self._link = _Bucket(pace, full, full, now_us)
        floor, share = full // FLOOR_SHARE, max(1, pace // FLOOR_SHARE)
        self._floors = {kind: _Bucket(share, floor, floor, now_us) for kind in (Kind.SOFT, Kind.REPAIR)}

    def allowed(self, kind: Kind, now_us: int) -> int:
        """Bytes that may leave now."""
        self._fill(now_us)
        if kind not in self._floors:
            return self._link.full // SECOND
        spare = self._link.level - (self._link.full // HEADROOM_SHARE if kind is Kind.REPAIR else 0)
        return max(0, spare, self._floors[kind].level) // SECOND

    def ready_us(self, kind: Kind, size: int, now_us: int) -> int:
        """When so many bytes may leave, if nothing else does."""
        self._fill(now_us)
        if kind not in self._floors:
            return now_us
        kept = self._link.full // HEADROOM_SHARE if kind is Kind.REPAIR else 0
        wanted = min(size * SECOND, self._link.full - kept)
        floor = self._floors[kind]
        waits = [self._link.wait_us(wanted + kept)]
        if size * SECOND <= floor.full:
            waits.append(floor.wait_us(size * SECOND))
        return now_us + min(waits)

    def spend(self, kind: Kind, size: int, now_us: int) -> None:
        link = self._link
        link.fill(now_us)
        over = size * SECOND - max(0, link.level)
        link.take(size * SECOND, least=-link.full * DEBT_SHARE)
        if over > 0 and kind in self._floors:  # a floor nobody draws on fills up as well later
            self._floors[kind].fill(now_us)
            self._floors[kind].take(over)

    def _fill(self, now_us: int) -> None:
        self._link.fill(now_us)
        for floor in self._floors.values():
            floor.fill(now_us)


class Budgets:
    """Of all links of this node."""

    def __init__(self, profile: str = "default") -> None:
        self._pace = PACES[profile]
        self._links: dict[NodeId, Budget] = {}

    def _up(self, peer: NodeId, now_us: int) -> None:
        """A link that comes and goes does not come with a full bucket each time: nothing here is told of its end."""
        if peer not in self._links:
            if len(self._links) >= LINKS_MAX:
                del self._links[next(iter(self._links))]
            self._links[peer] = Budget(self._pace, now_us)

    def allowed(self, peer: NodeId, kind: Kind, now_us: int) -> int:
        return self._of(peer, now_us).allowed(kind, now_us)

    def ready_us(self, peer: NodeId, kind: Kind, size: int, now_us: int) -> int:
        return self._of(peer, now_us).ready_us(kind, size, now_us)

    def sent(self, peer: NodeId, body: bytes, now_us: int) -> None:
        """Every letter of this room that leaves is counted here, whoever wrote it."""
        self._of(peer, now_us).spend(kind_of(body), len(body), now_us)

    def _of(self, peer: NodeId, now_us: int) -> Budget:
        self._up(peer, now_us)
        return self._links[peer]
