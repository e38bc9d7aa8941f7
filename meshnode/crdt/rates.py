"""Token buckets by node, bounded in number: who was silent longest is forgotten first."""

import msgspec

from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import NodeId


class Rates:
    """``per_s`` tokens a second for each node, saved up to ``burst``."""

    def __init__(self, *, per_s: int, burst: int, nodes_max: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._nodes_max = nodes_max
        self._left: dict[NodeId, _Left] = {}

    def take(self, node: NodeId, now: Instant) -> bool:
        """Spend one token; ``False`` if there is none."""
        found = self._left.get(node)
        if found is None or found.at_us != now.mono_us:
            found = self._refilled(node, found, now)
        if found.tokens < 1.0:
            return False
        found.tokens -= 1.0
        return True

    def _refilled(self, node: NodeId, found: "_Left | None", now: Instant) -> "_Left":
        """With what came since it was asked last; it becomes the one heard of last."""
        if found is None:
            found = _Left(float(self._burst), now.mono_us)
        self._left.pop(node, None)
        if len(self._left) >= self._nodes_max:
            del self._left[next(iter(self._left))]
        found.tokens = min(self._burst, found.tokens + (now.mono_us - found.at_us) * self._per_s / SECOND)
        found.at_us = now.mono_us
        self._left[node] = found
        return found


class _Left(msgspec.Struct, gc=False):
    tokens: float
    at_us: int
