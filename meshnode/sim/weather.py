"""Since when nothing has happened around a node: what a promise about time may be measured from."""

from meshnode.sim.faults import Kind, Misfortune
from meshnode.sim.node import SimNode
from meshnode.sim.world import World

# While one of these lasts anywhere, nothing is promised about time.
_ROUGH = (Kind.LOSS, Kind.SLOW, Kind.FULL, Kind.BROKEN, Kind.ONE_WAY, Kind.TORN)


class Weather:
    """Looks at the world and what befalls it; asks no daemon."""

    def __init__(self, world: World, misfortune: Misfortune) -> None:
        self._world, self._misfortune = world, misfortune
        self._unstored_us = 0  # when a journal was last seen to fail

    def look(self) -> None:
        """Every second. A journal finds out late that its disk is well again."""
        if any(node.alive and node.journal.failed for node in self._world.nodes):
            self._unstored_us = self._world.now_us

    def calm_since_us(self, node: SimNode) -> int | None:
        """``None``: it is not calm, or it is not clear with whom this node can talk."""
        if any(fault.kind in _ROUGH for fault in self._misfortune.lasting.values()) or not self._is_clean(node):
            return None
        begun = [max(other.started_us, other.resumed_us) for other in self._world.nodes]
        return max(self._misfortune.last_us, self._unstored_us, *begun)

    def whole(self) -> bool:
        """Everybody is there and can talk to everybody."""
        nodes = self._world.nodes
        return all(node.usable for node in nodes) and all(self._talk(a, b) for a in nodes for b in nodes if a is not b)

    def _is_clean(self, node: SimNode) -> bool:
        """All it can talk to can talk to each other, and nobody outside to any of them."""
        side = [other for other in self._world.nodes if other is node or self._talk(node, other)]
        if not all(other.usable for other in side if other.alive and not other.paused):
            return False
        present = [other for other in side if other.usable]
        outside = [other for other in self._world.nodes if other not in side and other.alive and not other.paused]
        within = all(self._talk(a, b) for a in present for b in present if a is not b)
        return within and not any(self._hear(a, b) or self._hear(b, a) for a in present for b in outside)

    def _talk(self, a: SimNode, b: SimNode) -> bool:
        return self._hear(a, b) and self._hear(b, a)

    def _hear(self, a: SimNode, b: SimNode) -> bool:
        return self._world.network.passes(a.name, b.name)
