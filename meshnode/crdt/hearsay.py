"""What our peers are said to be given by others: not sent to them again, but announced a moment later.

Whoever passes a new envelope on names all whom he gives it, so that a clique does not send each of its members a change
as often as it has members. He may be mistaken, lie, or die before he is done: each pair of linked nodes therefore says
in one of its two directions what it holds, and who lacks it asks.
"""

from collections.abc import Iterable

from meshnode.model.ids import DocId, NodeId

DOCS_MAX = 1024  # of one peer; the oldest beyond them is left to repair


class Hearsay:
    """Documents by peer, in the order in which their changes came."""

    def __init__(self) -> None:
        self._left: dict[NodeId, dict[DocId, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._left)

    def leave(self, peers: Iterable[NodeId], doc: DocId) -> None:
        """Others bring a change of it to these peers."""
        for peer in peers:
            docs = self._left.setdefault(peer, {})
            docs[doc] = None
            if len(docs) > DOCS_MAX:
                del docs[next(iter(docs))]

    def confirm(self, peer: NodeId, docs: Iterable[DocId]) -> None:
        """It has said itself that it holds what is here."""
        left = self._left.get(peer, {})
        for doc in docs:
            left.pop(doc, None)
        if not left:
            self.forget(peer)

    def forget(self, peer: NodeId) -> None:
        self._left.pop(peer, None)

    def take(self) -> dict[NodeId, list[DocId]]:
        """All that is to be announced now."""
        left, self._left = self._left, {}
        return {peer: list(docs) for peer, docs in left.items()}
