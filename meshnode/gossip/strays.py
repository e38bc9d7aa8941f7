"""Who is lost, and which of them this node looks for: a bounded few, drawn so that somebody looks for each.

Own lost neighbours first. Of all others the few whose hash with our id is smallest: every node draws other ones, so two
halves of a mesh that were cut for days dial each other all the time without anybody dialling ten thousand.
"""

import hashlib
from bisect import bisect_left, insort

from meshnode.model.ids import NodeId

STRAYS = 4
OWN_MAX = 16  # neighbours lost last
FEW = 1  # of either kind, for who has all the links it wants


class Strays:
    """The lost ones, kept as verdicts change."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._own: dict[NodeId, int] = {}  # with their boot, in the order of loss
        self._others: list[NodeId] = []  # by score: of ten thousand it is reckoned again, not kept
        self._boots: dict[NodeId, int] = {}

    def __contains__(self, node: NodeId) -> bool:
        return node in self._own or node in self._boots

    def __len__(self) -> int:
        return len(self._own) + len(self._boots)

    def lose(self, node: NodeId, boot: int, *, ours: bool) -> None:
        """``ours``: a neighbour of this node, lost by evidence of its own."""
        if ours:
            self._take_out(node)
            self._own.setdefault(node, boot)
            if len(self._own) > OWN_MAX:
                oldest = next(iter(self._own))
                self._put_in(oldest, self._own.pop(oldest))
        elif node not in self._own:
            self._put_in(node, boot)

    def find(self, node: NodeId) -> int | None:
        """It is lost no more. The boot it was lost under; ``None`` if it was not lost."""
        boot = self._own.pop(node, None)
        return boot if boot is not None else self._take_out(node)

    def sought(self, *, few: bool = False) -> list[NodeId]:
        """Whom to look for now. ``few``: one link is enough to hear of the others, and a mesh of which half comes back
        must not spend its processors on handshakes that all but a few of are closed again."""
        own, strays = list(self._own), self._others[: FEW if few else STRAYS]
        return [*(own[-FEW:] if few else own), *strays]

    def _put_in(self, node: NodeId, boot: int) -> None:
        if node not in self._boots:
            insort(self._others, node, key=self._score)
        self._boots[node] = boot

    def _take_out(self, node: NodeId) -> int | None:
        boot = self._boots.pop(node, None)
        if boot is not None:
            del self._others[bisect_left(self._others, self._score(node), key=self._score)]
        return boot

    def _score(self, node: NodeId) -> bytes:
        """Another one for each node, whatever ids somebody makes."""
        return hashlib.blake2b(self._me + node, digest_size=8).digest() + node
