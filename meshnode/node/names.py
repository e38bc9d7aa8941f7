"""Names of nodes for people, and which refusals were already told."""

from meshnode.kernel.ports import Trust
from meshnode.model.ids import NodeId, short

TOLD_MAX = 4_096


class Names:
    """NodeId -> name as admins signed it; unknown nodes go by their short id."""

    def __init__(self, me: NodeId, name: str, trust: Trust) -> None:
        self._me, self._name, self._trust = me, name, trust
        self._told: dict[tuple[NodeId, str], None] = {}

    def of(self, node: NodeId) -> str:
        if node == self._me:
            return self._name
        member = self._trust.member(node)
        return member.name if member is not None else short(node) or "unknown"

    def first_refusal(self, peer: NodeId, reason: str) -> bool:
        """Whether this kind of refusal of this peer was not told yet (bounded: then it is not told again)."""
        key = (peer, reason)
        if key in self._told or len(self._told) >= TOLD_MAX:
            return False
        self._told[key] = None
        return True
