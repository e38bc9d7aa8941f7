"""Urgent rumours to everybody: Plumtree over the neighbours.

Source: Leitao, Pereira, Rodrigues, "Epidemic Broadcast Trees", 2007. Eager neighbours get a rumour in full, lazy ones
its id (batched); who misses one asks for it and becomes eager; a second copy makes its sender lazy. New links exchange
recent ids. A rumour's id is the hash of its bytes, so nobody can put another content under a known id.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshnode.gossip.letters import ID_BYTES, IDS_MAX, Graft, IHave, Prune, Push, post
from meshnode.gossip.manners import Overdone
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import LinkStats
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

LAZY_BATCH_US = 20 * MS
LAZY_FRAME = 64  # ids in one letter
LAZY_MAX = 1024  # ids that wait for one neighbour; what is beyond, the repair brings
RECENT_US = 30 * SECOND
SEEN_MAX = 8192
CACHE_MAX = 512
CACHE_BYTES_MAX = 4 * 1024 * 1024
GRAFTS_MAX = 8_192
PROMISES_MAX = 2_048  # of one neighbour: who announces what it does not have must not fill the table
DUPLICATES_US = SECOND


@dataclass(slots=True)
class _Branch:
    """One neighbour in the tree."""

    eager: bool = True
    lazy_ids: dict[bytes, None] = field(default_factory=dict[bytes, None])
    duplicate_us: int = -DUPLICATES_US


class Broadcast:
    """The tree as this node sees it."""

    def __init__(self, links: LinkStats) -> None:
        self._links = links
        self._branches: dict[NodeId, _Branch] = {}
        self._seen: dict[bytes, int] = {}  # id -> when, oldest first
        self._cache: dict[bytes, bytes] = {}
        self._cache_bytes = 0
        self._missing: dict[bytes, list[NodeId]] = {}
        self._promised: dict[bytes, NodeId] = {}  # who announced a missing one first
        self._promises: dict[NodeId, int] = {}
        self._graft_due: Timers[bytes] = Timers()
        self._flush_us: int | None = None

    # -- neighbours ---------------------------------------------------------------------------------------------------

    def up(self, peer: NodeId, now: Instant) -> list[Effect]:
        """A new link: tell what was new lately, or a rumour sent at the instant of the break would be lost."""
        self._branches[peer] = _Branch()
        recent = [i for i, at in self._seen.items() if i in self._cache and at > now.mono_us - RECENT_US]
        return [post(peer, IHave(recent[-IDS_MAX:]))] if recent else []

    def down(self, peer: NodeId) -> None:
        self._branches.pop(peer, None)

    # -- rumours ------------------------------------------------------------------------------------------------------

    def spread(self, rumour: bytes, now: Instant, source: NodeId | None = None) -> list[Effect]:
        """Pass on an accepted rumour, ours (``source`` None) or a neighbour's."""
        number = rumour_id(rumour)
        self.note(rumour, now)
        effects: list[Effect] = []
        for peer, branch in self._branches.items():
            if peer == source:
                branch.eager = True
            elif branch.eager:
                effects.append(post(peer, Push(rumour)))
            else:
                self._tell_later(branch, number, now)
        return effects

    def announce(self, rumour: bytes, now: Instant, source: NodeId) -> None:
        """Offer lazily what a repair brought: most neighbours have it already."""
        number = rumour_id(rumour)
        if number not in self._seen:
            self.note(rumour, now)
            for peer, branch in self._branches.items():
                if peer != source:
                    self._tell_later(branch, number, now)

    def note(self, rumour: bytes, now: Instant) -> None:
        """This rumour is known here; a later copy of it is a duplicate."""
        number = rumour_id(rumour)
        self._seen.pop(number, None)
        self._seen[number] = now.mono_us
        if number not in self._cache:
            self._cache[number] = rumour
            self._cache_bytes += len(rumour)
        self._settle(number)
        self._trim()

    def duplicate(self, peer: NodeId, rumour: bytes, now: Instant) -> list[Effect] | None:
        """``None`` for a rumour not seen before. A second copy within a second makes its sender lazy."""
        if rumour_id(rumour) not in self._seen:
            return None
        branch = self._branches.get(peer)
        if branch is None or not branch.eager:
            return [post(peer, Prune())] if branch is not None else []
        again = now.mono_us - branch.duplicate_us < DUPLICATES_US
        branch.duplicate_us = now.mono_us
        if not again or sum(b.eager for b in self._branches.values()) <= 1:
            return []
        branch.eager = False
        return [post(peer, Prune())]

    # -- letters ------------------------------------------------------------------------------------------------------

    def told(self, peer: NodeId, ids: Sequence[bytes], now: Instant) -> None:
        """A neighbour has these; what does not come by itself soon is asked for. Raises ``Overdone``: too many."""
        for number in ids:
            if number in self._seen or (number not in self._missing and not self._promise(peer, number)):
                continue
            holders = self._missing.setdefault(number, [])
            if peer not in holders:
                holders.append(peer)
            if number not in self._graft_due:
                self._graft_due.set(number, now.mono_us + self._patience_us(peer))
        if self._promises.get(peer, 0) >= PROMISES_MAX:
            raise Overdone("flood-ids", f"it announces more than {PROMISES_MAX} rumours and brings none of them", peer)

    def grafted(self, peer: NodeId, ids: Sequence[bytes]) -> list[Effect]:
        branch = self._branches.get(peer)
        if branch is not None:
            branch.eager = True
        return [post(peer, Push(self._cache[number])) for number in ids if number in self._cache]

    def pruned(self, peer: NodeId) -> None:
        branch = self._branches.get(peer)
        if branch is not None:
            branch.eager = False

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for number in self._graft_due.pop_due(now.mono_us):
            effects += self._ask(number, now)
        if self._flush_us is not None and self._flush_us <= now.mono_us:
            self._flush_us = None
            for peer, branch in self._branches.items():
                if branch.lazy_ids:
                    ids = list(branch.lazy_ids)
                    letters = [IHave(ids[at : at + LAZY_FRAME]) for at in range(0, len(ids), LAZY_FRAME)]
                    effects += [post(peer, letter) for letter in letters]
                    branch.lazy_ids.clear()
        return effects

    def deadline(self) -> int | None:
        return earliest(self._graft_due.deadline(), self._flush_us)

    def _ask(self, number: bytes, now: Instant) -> list[Effect]:
        holders = self._missing.get(number, [])
        while holders:
            peer = holders.pop(0)
            branch = self._branches.get(peer)
            if branch is not None:
                branch.eager = True
                self._graft_due.set(number, now.mono_us + self._patience_us(peer))
                return [post(peer, Graft([number]))]
        self._settle(number)  # nobody left to ask: the repair brings it
        return []

    def _promise(self, peer: NodeId, number: bytes) -> bool:
        """Whether there is room for another one by this neighbour."""
        promises = self._promises.get(peer, 0)
        if len(self._missing) >= GRAFTS_MAX or promises >= PROMISES_MAX:
            return False
        self._promised[number], self._promises[peer] = peer, promises + 1
        return True

    def _tell_later(self, branch: _Branch, number: bytes, now: Instant) -> None:
        if len(branch.lazy_ids) < LAZY_MAX:
            branch.lazy_ids[number] = None
            if self._flush_us is None:
                self._flush_us = now.mono_us + LAZY_BATCH_US

    def _patience_us(self, peer: NodeId) -> int:
        rtt = self._links.rtt_us(peer) or 50 * MS
        return min(SECOND, max(50 * MS, 2 * rtt + 20 * MS))

    def _settle(self, number: bytes) -> None:
        """It is missing no more, or nobody has it."""
        self._missing.pop(number, None)
        peer = self._promised.pop(number, None)
        if peer is not None:
            self._promises[peer] -= 1
            if not self._promises[peer]:
                del self._promises[peer]
        self._graft_due.cancel(number)

    def _trim(self) -> None:
        while len(self._cache) > CACHE_MAX or self._cache_bytes > CACHE_BYTES_MAX:
            oldest = next(iter(self._cache))
            self._cache_bytes -= len(self._cache.pop(oldest))
        while len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]


def rumour_id(rumour: bytes) -> bytes:
    return hashlib.blake2b(rumour, digest_size=ID_BYTES).digest()
