"""Where a holder of all regions hears of the others: a link on demand to one node of each, kept while it is wanted.

The greeting on that link says "whole", so the node at its end tells what it holds, and the periodic repair over it
finds what was missed. Each holder asks another node, drawn by rendezvous hash (Thaler, Ravishankar, 1998) of two ids.
"""

import hashlib
from collections.abc import Callable, Sequence

from meshnode.gossip.whereabouts import Whereabouts
from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import NodeId

ASK_EVERY_US = 20 * SECOND  # well within the time after which an unused link on demand is closed
DRAWN_MAX = 64  # members looked at in search of the one to ask


class Envoys:
    """``active``: this node holds all regions, and the mesh is so large that others do not."""

    def __init__(
        self, node: NodeId, region: str, where: Whereabouts, peers: Callable[[], Sequence[NodeId]],
        region_of: Callable[[NodeId], str], active: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._node, self._region, self._where = node, region, where
        self._peers, self._region_of, self._active = peers, region_of, active
        self._due_us: int | None = None
        self._asked: dict[str, NodeId] = {}

    def start(self, now: Instant) -> None:
        self._due_us = now.mono_us + SECOND

    def wake(self, now: Instant) -> list[NodeId]:
        """Nodes to keep a link to."""
        if self._due_us is None or self._due_us > now.mono_us:
            return []
        self._due_us = now.mono_us + ASK_EVERY_US
        if not self._active():
            return []
        linked = dict.fromkeys(self._peers())
        covered = {self._region_of(peer) for peer in linked if peer not in self._asked.values()}
        self._asked = {
            region: node
            for region in self._where.regions()
            if region not in (self._region, *covered) and (node := self._ask(region, linked)) is not None
        }
        return list(self._asked.values())

    def deadline(self) -> int | None:
        return self._due_us

    def _ask(self, region: str, linked: dict[NodeId, None]) -> NodeId | None:
        before = self._asked.get(region)
        if before is not None and before in linked and self._where.reachable(before):
            return before
        usable = [node for node in self._sample(region) if self._where.reachable(node)]
        return max(usable, key=lambda node: hashlib.blake2b(self._node + node, digest_size=8).digest(), default=None)

    def _sample(self, region: str) -> Sequence[NodeId]:
        inside = self._where.in_region(region)
        begin = int.from_bytes(self._node[:8]) % max(1, len(inside))
        return [*inside[begin:], *inside[:begin]][:DRAWN_MAX]
