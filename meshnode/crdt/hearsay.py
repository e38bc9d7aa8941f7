"""What our peers are said to be given by others: not sent to them again, but announced a moment later.

Whoever passes a new envelope on names all whom he gives it, so that a clique does not send each of its members a change
as often as it has members. He may be mistaken, lie, or die before he is done: each pair of linked nodes therefore says
in one of its two directions what it holds, and who still lacks it another moment later asks. At once would be too
soon: announcements that waited on a link that was cut come before what they announce, which waited on another.
"""

from collections.abc import Iterable

import msgspec

from meshnode.crdt.envelope import Pin
from meshnode.crdt.history import Clock
from meshnode.model.ids import DocId, NodeId

DOCS_MAX = 1024  # of one peer; the oldest beyond them is left to repair


class Claim(msgspec.Struct, frozen=True):
    """A peer says that it holds so much of a document."""

    peer: NodeId
    pin: Pin
    clock: Clock


class Hearsay:
    """Documents by peer, in the order in which their changes came."""

    def __init__(self) -> None:
        self._left: dict[NodeId, dict[DocId, None]] = {}
        self._claims: dict[DocId, Claim] = {}

    def __bool__(self) -> bool:
        return bool(self._left) or bool(self._claims)

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
            self._left.pop(peer, None)

    def claim(self, doc: DocId, claim: Claim) -> None:
        """A peer announced more of it than is here. The last word is kept."""
        self._claims.pop(doc, None)
        self._claims[doc] = claim
        if len(self._claims) > DOCS_MAX:
            del self._claims[next(iter(self._claims))]

    def forget(self, peer: NodeId) -> None:
        self._left.pop(peer, None)
        for doc in [doc for doc, claim in self._claims.items() if claim.peer == peer]:
            del self._claims[doc]

    def take(self) -> dict[NodeId, list[DocId]]:
        """All that is to be announced now."""
        left, self._left = self._left, {}
        return {peer: list(docs) for peer, docs in left.items()}

    def take_claims(self) -> dict[DocId, Claim]:
        """All that is to be asked for now, where it is still lacking."""
        claims, self._claims = self._claims, {}
        return claims
