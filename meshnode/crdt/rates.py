"""Token buckets by node, bounded in number: who was silent longest is forgotten first."""

from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import NodeId


class Rates:
    """``per_s`` tokens a second for each node, saved up to ``burst``."""

    def __init__(self, *, per_s: int, burst: int, nodes_max: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._nodes_max = nodes_max
        self._left: dict[NodeId, tuple[float, int]] = {}

    def take(self, node: NodeId, now: Instant) -> bool:
        """Spend one token; ``False`` if there is none."""
        left, at = self._left.pop(node, (float(self._burst), now.mono_us))
        left = min(self._burst, left + (now.mono_us - at) * self._per_s / SECOND)
        if len(self._left) >= self._nodes_max:
            del self._left[next(iter(self._left))]
        self._left[node] = (left - 1.0 if left >= 1.0 else left, now.mono_us)
        return left >= 1.0
