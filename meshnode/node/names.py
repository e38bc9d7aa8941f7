"""Names of nodes for people."""

from meshnode.kernel.ports import Trust
from meshnode.model.ids import NodeId, short


class Names:
    """NodeId -> name as admins signed it; unknown nodes go by their short id."""

    def __init__(self, me: NodeId, name: str, trust: Trust) -> None:
        self._me, self._name, self._trust = me, name, trust

    def of(self, node: NodeId) -> str:
        if node == self._me:
            return self._name
        member = self._trust.member(node)
        return member.name if member is not None else short(node) or "unknown"
