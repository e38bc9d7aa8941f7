"""What an index asks about other nodes, as a test sets it."""

from collections.abc import Sequence

from meshnode.model.ids import NodeId


class Surroundings:
    """The ``Liveness`` and ``LinkStats`` of nodes: who is lost, and how far each peer is in us (None: not measured)."""

    def __init__(self) -> None:
        self.lost: dict[NodeId, None] = {}
        self.rtt: dict[NodeId, int | None] = {}

    def reachable(self, node: NodeId) -> bool:
        return node not in self.lost

    def peers(self) -> Sequence[NodeId]:
        return tuple(self.rtt)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return 0 if peer in self.rtt else None

    def rtt_us(self, peer: NodeId) -> int | None:
        return self.rtt.get(peer)
