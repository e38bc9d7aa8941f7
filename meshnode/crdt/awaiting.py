"""Envelopes whose author this node does not know yet, or that he may not write as far as is known here.

The word that lets them in, a member record or a policy, may come later than they do and by another road, when nobody
who could bring them again is in reach. Until then nothing of them is proven, not even by whom they are: so whoever
brings such has a share of his own, and a flood of forgeries pushes out nothing but what came by the same hand.
"""

import msgspec

from meshnode.model.ids import NodeId

ENVELOPES_MAX, BYTES_MAX = 2_048, 8 * 1024 * 1024
SHARE_MAX, SHARE_BYTES_MAX = 256, 1024 * 1024  # of what one peer brought


class _Share(msgspec.Struct):
    """What one peer brought, and its author, in order of arrival."""

    items: dict[bytes, NodeId] = {}
    bytes: int = 0


class Awaiting:
    """Bounded for each peer and in all: the one that waited longest goes, of the peer that has most here."""

    def __init__(
        self, *, envelopes_max: int = ENVELOPES_MAX, bytes_max: int = BYTES_MAX, share_max: int = SHARE_MAX,
        share_bytes_max: int = SHARE_BYTES_MAX,
    ) -> None:  # fmt: skip
        self._envelopes_max, self._bytes_max = envelopes_max, bytes_max
        self._share_max, self._share_bytes_max = share_max, share_bytes_max
        self._shares: dict[NodeId, _Share] = {}
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def holds(self, via: NodeId, data: bytes) -> bool:
        """``via`` brought it before."""
        share = self._shares.get(via)
        return share is not None and data in share.items

    def hold(self, via: NodeId, author: NodeId, data: bytes) -> int:
        """How many others had to go for it."""
        share = self._shares.setdefault(via, _Share())
        share.items[data] = author
        self._count, self._bytes, share.bytes = self._count + 1, self._bytes + len(data), share.bytes + len(data)
        gone = 0
        while len(share.items) > self._share_max or share.bytes > self._share_bytes_max:
            gone += self._drop_oldest(via)
        while self._count > self._envelopes_max or self._bytes > self._bytes_max:
            gone += self._drop_oldest(max(self._shares, key=self._weight))
        return gone

    def release(self, node: NodeId | None = None) -> dict[NodeId, list[bytes]]:
        """By peer, in order of arrival, all that ``node`` wrote or brought; they are held no more. ``None``: all."""
        found: dict[NodeId, list[bytes]] = {}
        for via, share in list(self._shares.items()):
            some = [data for data, author in share.items.items() if node is None or node in (author, via)]
            for data in some:
                self._drop(via, data)
            if some:
                found[via] = some
        return found

    def _weight(self, via: NodeId) -> int:
        share = self._shares[via]
        return share.bytes * self._envelopes_max + len(share.items) * self._bytes_max

    def _drop_oldest(self, via: NodeId) -> int:
        self._drop(via, next(iter(self._shares[via].items)))
        return 1

    def _drop(self, via: NodeId, data: bytes) -> None:
        share = self._shares[via]
        del share.items[data]
        self._count, self._bytes, share.bytes = self._count - 1, self._bytes - len(data), share.bytes - len(data)
        if not share.items:
            del self._shares[via]
