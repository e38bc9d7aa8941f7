"""What a node of a fleet sees of its own region: the ``Survey`` from which spokesmen make the catalogue."""

from collections.abc import Iterable, Iterator, Sequence

from meshnode.gossip.membership import Gossip
from meshnode.gossip.summaries import PLAIN, Gauge
from meshnode.model.ids import NodeId

SKILL = "skill/"  # before the name of one, as the key of a soft fact


class Sight:
    """Soft facts of the region's members, read when somebody asks."""

    def __init__(self, gossip: Gossip) -> None:
        self._gossip = gossip

    def offers(self) -> Iterator[tuple[str, Sequence[str], NodeId]]:
        for node in self._members():
            for key in self._gossip.soft(node):
                if key.startswith(SKILL):
                    yield key.removeprefix(SKILL), (), node

    def held(self) -> frozenset[str]:
        """Skills somebody offers whose facts this node holds: those of its region, in a small mesh of all."""
        gossip = self._gossip
        nodes = gossip.members() if gossip.holds_all() else self._members()
        return frozenset(
            key.removeprefix(SKILL) for node in nodes for key in gossip.soft(node) if key.startswith(SKILL)
        )

    def best(self, node: NodeId) -> str:  # noqa: ARG002 - all machines of a fleet are alike
        return PLAIN

    def gauges(self) -> Iterable[Gauge]:
        return [Gauge() for node in self._members() if self._gossip.reachable(node)]

    def _members(self) -> Sequence[NodeId]:
        return self._gossip.in_region(self._gossip.config.region)
