"""Urgent rumours to everybody: Plumtree over the neighbours, with two parents.

Source: Leitao, Pereira, Rodrigues, "Epidemic Broadcast Trees", 2007. Eager neighbours get a rumour in full, lazy ones
its id; who misses one asks for it and becomes eager; who brings twice what is known becomes lazy. New links exchange
recent ids. A rumour's id is the hash of its bytes, so nobody can put another content under a known id.

The first parent brings a rumour in full. The second one, a lazy neighbour that was asked to, tells its id within 40 ms:
it takes the first one's place as soon as that one breaks or falls silent, and if it is ahead several times in a row the
two change places (the paper's section 3.8, with time in the place of hops). All others tell ids five times as late, and
only to those who have not told them first: what they are for is a tree that has lost both parents.

So soon are the ids told of a rumour that comes alone. Of a stream of them each neighbour is told twice a second: a
letter of one id costs its reader half of what the rumour itself does. Whoever asks for all from now on, since its
parent is lost, is told at once what waits for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from meshnode.gossip.alerts import Answerable
from meshnode.gossip.letters import ID_BYTES, IDS_MAX, Graft, IHave, Prune, Push, encode, is_alert, is_row, post
from meshnode.gossip.manners import Overdone
from meshnode.kernel.effects import Channel, Effect, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import LinkStats
from meshnode.kernel.timers import Timers
from meshnode.model.ids import UNKNOWN_NODE, NodeId

# By then the second parent tells what it has. Sooner, it would only be in the way of the rumour itself.
SOON_US = 40 * MS
LATER_US = 200 * MS  # by then all others do, if nobody told them; of two neighbours the one with the smaller id
LATEST_US = 350 * MS  # the other one: mostly it has been told by then, and one letter serves a link
PACE_US = 500 * MS  # between two letters of ids to one neighbour
REST_US = SECOND  # to one that is told later
LAZY_FRAME = 64  # ids in one letter
LAZY_MAX = 1024  # ids that wait for one neighbour; what is beyond, the repair brings
RECENT_US = 30 * SECOND
ALERTS_US = 600 * SECOND
PRUNE_AGAIN_US = 300 * MS
EAGER_ENOUGH = 3  # with so many, one more begins as a lazy one: where many links come at once all would carry all
SEEN_MAX = 8192
CACHE_MAX = 512
CACHE_BYTES_MAX = 4 * 1024 * 1024
GRAFTS_MAX = 8_192
PROMISES_MAX = 2_048  # of one neighbour: who announces what it does not have must not fill the table
DUPLICATES_US = 10 * SECOND  # what was too many before counts no more
SURPLUS = 2  # so many more copies too many than news, and a neighbour becomes lazy
STARVED_US = 50 * MS  # a timer so late: what is missing may have come, and lies unread
LEAD_US = 5 * MS  # so long before the rumour its id came: another neighbour had it even earlier
LEADS = 3  # rumours in a row


@dataclass(slots=True)
class _Branch:
    """One neighbour in the tree. ``first``: of the two this one tells first; ``soon``: this is its second parent."""

    first: bool
    eager: bool = True
    soon: bool = False
    lazy_ids: dict[bytes, int] = field(default_factory=dict[bytes, int])  # with when each came, oldest first
    told_us: int = -REST_US  # ids, last
    tells_us: int = -REST_US  # it told some itself, last
    pruned_us: int = -PRUNE_AGAIN_US  # when it was told last that it is lazy
    duplicate_us: int = -DUPLICATES_US  # of the last copy too many
    surplus: int = 0  # so many more of those than news it brought lately

    def ripe_us(self) -> int:
        """From when on it may be told the ids that wait, if there is a turn for it anyway."""
        since_us = next(iter(self.lazy_ids.values()))
        if self.soon:
            return since_us + SOON_US
        if self.first:
            return max(since_us + LATER_US, self.told_us + REST_US)
        # Of a stream, too, the other one tells first; what it has not told when its turn is over it lacks.
        turn_us = min(self.tells_us, since_us) + REST_US
        return max(since_us + LATEST_US, turn_us + LATEST_US - LATER_US, self.told_us + REST_US)


@dataclass(slots=True)
class _Missing:
    """A rumour that was announced and has not come. ``by``: who did it first, at ``since_us``."""

    by: NodeId
    since_us: int
    holders: list[NodeId]
    recent: bool = False  # told on new links only: that it is missing says nothing about the tree
    put_off: bool = False  # this machine was too busy to read it, once


class Broadcast:
    """The tree as this node sees it."""

    def __init__(self, links: LinkStats, me: NodeId = UNKNOWN_NODE) -> None:
        self._links, self._me = links, me
        self._branches: dict[NodeId, _Branch] = {}
        self._second: NodeId | None = None
        self._leader: tuple[NodeId, int] | None = None  # who was ahead of the first parent, and how often in a row
        self._seen: dict[bytes, int] = {}  # id -> when, oldest first
        self._cache: dict[bytes, bytes] = {}
        self._cache_bytes = 0
        self._missing: dict[bytes, _Missing] = {}
        self._promises: dict[NodeId, int] = {}
        self._graft_due: Timers[bytes] = Timers()

    # -- neighbours ---------------------------------------------------------------------------------------------------

    def up(self, peer: NodeId, now: Instant, *, stranger: bool = False) -> list[Effect]:
        """A new link: tell what was new lately, or a rumour sent at the instant of the break would be lost.

        ``stranger``: it was not known before, so it may have nobody else who tells it in full.
        """
        self._branches.pop(peer, None)
        eager = sum(branch.eager for branch in self._branches.values())
        self._branches[peer] = _Branch(self._me < peer, stranger or eager < EAGER_ENOUGH)
        if peer == self._second:
            self._second = None  # the link that was lazy is no more
        # The other end may have enough, and this one has nobody yet who would tell it in full.
        first = [] if eager else [post(peer, Graft([]))]
        recent = self._recent(now.mono_us)
        return [*first, *self._choose(), *([post(peer, IHave(recent, recent=True))] if recent else [])]

    def down(self, peer: NodeId) -> list[Effect]:
        """The tree may have been cut there: the second parent takes over at once, not when something is missed."""
        branch = self._branches.pop(peer, None)
        if branch is None:
            return []
        if peer == self._second:
            self._second = None
        if not branch.eager:
            return self._choose()
        heir = self._second or self._nearest()
        return self._promote(heir) if heir is not None else []

    # -- rumours ------------------------------------------------------------------------------------------------------

    def spread(self, rumour: bytes, now: Instant, source: NodeId | None = None) -> list[Effect]:
        """Pass on an accepted rumour, ours (``source`` None) or a neighbour's."""
        number = rumour_id(rumour)
        missing = self._missing.get(number)
        self.note(rumour, now)
        effects: list[Effect] = []
        lazily: list[_Branch] = []
        letter = encode(Push(rumour))
        for peer, branch in self._branches.items():
            if peer == source:
                continue
            if branch.eager:
                effects.append(Send(peer, Channel.GOSSIP, letter))
            elif missing is None or peer not in missing.holders:
                lazily.append(branch)
        _tell_later(lazily, number, now)
        if source is not None and source in self._branches and not (missing is not None and missing.recent):
            effects += self._brought(source)
        return [*effects, *self._raced(missing, source, now)]

    def announce(self, rumour: bytes, now: Instant, source: NodeId) -> None:
        """Offer lazily what a repair brought: most neighbours have it already."""
        number = rumour_id(rumour)
        if number not in self._seen:
            self.note(rumour, now)
            _tell_later([branch for peer, branch in self._branches.items() if peer != source], number, now)

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
        """``None`` for a rumour not seen before. Who brings more copies than news becomes lazy: where many rumours come
        at once from all sides, each of several parents is the first now and then, and all would carry all."""
        number = rumour_id(rumour)
        if number not in self._seen:
            return None
        branch = self._branches.get(peer)
        if branch is None:
            return []
        branch.lazy_ids.pop(number, None)
        if not branch.eager:
            if now.mono_us - branch.pruned_us < PRUNE_AGAIN_US:
                return []  # it was told, and what was under way still arrives
            branch.pruned_us = now.mono_us
            return [post(peer, Prune(soon=peer == self._second))]
        branch.surplus = 1 + (branch.surplus if now.mono_us - branch.duplicate_us < DUPLICATES_US else 0)
        branch.duplicate_us = now.mono_us
        if branch.surplus < SURPLUS or sum(b.eager for b in self._branches.values()) <= 1:
            return []
        branch.eager, branch.pruned_us = False, now.mono_us
        if self._second is None:
            self._second = peer
        return [post(peer, Prune(soon=peer == self._second))]

    # -- letters ------------------------------------------------------------------------------------------------------

    def told(self, peer: NodeId, ids: Sequence[bytes], now: Instant, *, recent: bool = False) -> None:
        """A neighbour has these; what does not come by itself soon is asked for. Raises ``Overdone``: too many."""
        branch = self._branches.get(peer)
        if branch is not None and not recent:
            branch.tells_us = now.mono_us
        for number in ids:
            if number in self._seen:
                if branch is not None:
                    branch.lazy_ids.pop(number, None)
                continue
            missing = self._missing.get(number) or self._promise(peer, number, now, recent=recent)
            if missing is None:
                continue
            missing.recent &= recent
            if peer not in missing.holders:
                missing.holders.append(peer)
            if number not in self._graft_due:
                self._graft_due.set(number, now.mono_us + self._patience_us(peer))
        if self._promises.get(peer, 0) >= PROMISES_MAX:
            raise Overdone("flood-ids", f"it announces more than {PROMISES_MAX} rumours and brings none of them", peer)

    def grafted(self, peer: NodeId, ids: Sequence[bytes], now: Instant, *, only: bool = False) -> list[Effect]:
        """It wants these, and from now on all. Without ids: from now on. ``only``: these."""
        held: list[Effect] = [post(peer, Push(self._cache[number])) for number in ids if number in self._cache]
        branch = self._branches.get(peer)
        if branch is None or only:
            return held
        for number in ids:
            branch.lazy_ids.pop(number, None)
        waiting = _letters(peer, branch, now) if branch.lazy_ids else []  # it may have lost who would have brought them
        return [*held, *waiting, *self._raise(peer)]

    def pruned(self, peer: NodeId, *, soon: bool = False) -> list[Effect]:
        branch = self._branches.get(peer)
        if branch is None:
            return []
        branch.eager, branch.soon = False, soon
        return self._choose()

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        late_us = now.mono_us - (self._graft_due.deadline() or now.mono_us)
        due = self._graft_due.pop_due(now.mono_us)
        due = self._put_off(due, late_us, now) if late_us >= STARVED_US else due
        return self._ask(due, now) + self._flush(now)

    def deadline(self) -> int | None:
        return earliest(self._graft_due.deadline(), self._ids_us())

    def _ids_us(self) -> int | None:
        """When ids are told next. What has time waits a moment for those that are told soon: one turn for all."""
        soon = first = None
        for branch in self._branches.values():
            if not branch.lazy_ids:
                continue
            due_us = max(branch.ripe_us(), branch.told_us + PACE_US)
            if branch.soon:
                soon = due_us if soon is None or due_us < soon else soon
            else:
                first = due_us if first is None or due_us < first else first
        return min(soon, first + SOON_US) if soon is not None and first is not None else earliest(soon, first)

    def _flush(self, now: Instant) -> list[Effect]:
        """Tell ids to all who may be told, once somebody is to be."""
        effects: list[Effect] = []
        if _over(self._ids_us(), now.mono_us):
            for peer, branch in self._branches.items():
                if branch.lazy_ids and branch.ripe_us() <= now.mono_us:
                    effects += _letters(peer, branch, now)
        return effects

    def _put_off(self, numbers: Sequence[bytes], late_us: int, now: Instant) -> list[bytes]:
        """What is to be asked for all the same. On a starved machine all is late, and to ask would bring it twice, over
        one link more each time: once a rumour is waited for as much longer as this machine was late."""
        urgent: list[bytes] = []
        for number in numbers:
            missing = self._missing.get(number)
            if missing is None or missing.put_off:
                urgent.append(number)
                continue
            missing.put_off = True
            self._graft_due.set(number, now.mono_us + min(late_us, SECOND))
        return urgent

    def _ask(self, numbers: Sequence[bytes], now: Instant) -> list[Effect]:
        """Each of who announced it first and was not asked yet, one letter to each."""
        asked: dict[tuple[NodeId, bool], list[bytes]] = {}
        for number in numbers:
            missing = self._missing.get(number)
            peer = self._next_holder(missing) if missing is not None else None
            if missing is None or peer is None:
                self._settle(number)  # nobody left to ask: the repair brings it
                continue
            self._graft_due.set(number, now.mono_us + self._patience_us(peer))
            asked.setdefault((peer, missing.recent), []).append(number)
        effects: list[Effect] = []
        for (peer, only), wanted in asked.items():
            effects += [post(peer, Graft(wanted[at : at + IDS_MAX], only)) for at in range(0, len(wanted), IDS_MAX)]
            effects += [] if only else self._raise(peer)
        return effects

    def _next_holder(self, missing: _Missing) -> NodeId | None:
        while missing.holders:
            peer = missing.holders.pop(0)
            if peer in self._branches:
                return peer
        return None

    # -- the second parent --------------------------------------------------------------------------------------------

    def _raced(self, missing: _Missing | None, source: NodeId | None, now: Instant) -> list[Effect]:
        """Whose id came well before the rumour has the shorter way to its origin; one time may be chance.

        It had the rumour without this node, so it stays linked to the origin when the old parent and it change places.
        """
        if source is None:
            return []
        early = missing is not None and missing.by != source and now.mono_us >= missing.since_us + LEAD_US
        branch = self._branches.get(missing.by) if missing is not None and early else None
        if missing is None or branch is None or branch.eager:
            self._leader = None
            return []
        before = self._leader
        times = before[1] + 1 if before is not None and before[0] == missing.by else 1
        self._leader = (missing.by, times)
        return self._swap(source, missing.by) if times >= LEADS else []

    def _swap(self, parent: NodeId, other: NodeId) -> list[Effect]:
        self._branches[parent].eager, self._second = False, parent
        return [*self._promote(other), post(parent, Prune(soon=True))]

    def _promote(self, peer: NodeId) -> list[Effect]:
        """It is to bring rumours in full from now on."""
        self._leader = None
        return [post(peer, Graft([])), *self._raise(peer)]

    def _brought(self, peer: NodeId) -> list[Effect]:
        """News, in full."""
        branch = self._branches[peer]
        if not branch.eager:
            return self._raise(peer)
        branch.surplus = max(0, branch.surplus - 1)
        return []

    def _raise(self, peer: NodeId) -> list[Effect]:
        """Both ends of the link say it is eager."""
        branch = self._branches[peer]
        branch.eager, branch.soon, branch.surplus = True, False, 0
        if peer != self._second:
            return []
        self._second = None
        return self._choose()

    def _choose(self) -> list[Effect]:
        """Ask a lazy neighbour to tell ids soon, if none does."""
        if self._second is not None:
            return []
        self._second = self._nearest()
        return [post(self._second, Prune(soon=True))] if self._second is not None else []

    def _nearest(self) -> NodeId | None:
        """The lazy neighbour with the shortest round trip."""
        lazy = [peer for peer, branch in self._branches.items() if not branch.eager]
        return min(lazy, key=lambda peer: self._links.rtt_us(peer) or SECOND, default=None)

    # -- ids ----------------------------------------------------------------------------------------------------------

    def _recent(self, now_us: int) -> list[bytes]:
        """Ids of what came lately and can still be sent, oldest first: the newest of them if there are many.

        Not of rows: a new link compares all of them at once (``doorway.py``); many who meet would ask for each twice.
        Alerts are told longer, one about each: who was reported lost beyond a cut must hear of it to answer, and one
        link, and one alert, is enough.
        """
        ids: list[bytes] = []
        answerable = Answerable()
        for number, at_us in reversed(self._seen.items()):
            if at_us <= now_us - ALERTS_US or len(ids) >= IDS_MAX:
                break
            rumour = self._cache.get(number)
            if rumour is None or is_row(rumour):
                continue
            if at_us > now_us - RECENT_US or (is_alert(rumour) and answerable.adds(rumour)):
                ids.append(number)
        ids.reverse()
        return ids

    def _promise(self, peer: NodeId, number: bytes, now: Instant, *, recent: bool) -> _Missing | None:
        """Wait for one more by this neighbour, if there is room."""
        promises = self._promises.get(peer, 0)
        if len(self._missing) >= GRAFTS_MAX or promises >= PROMISES_MAX:
            return None
        self._promises[peer] = promises + 1
        missing = self._missing[number] = _Missing(peer, now.mono_us, [], recent)
        return missing

    def _patience_us(self, peer: NodeId) -> int:
        rtt = self._links.rtt_us(peer) or 50 * MS
        return min(SECOND, max(50 * MS, 2 * rtt + 20 * MS))

    def _settle(self, number: bytes) -> None:
        """It is missing no more, or nobody has it."""
        missing = self._missing.pop(number, None)
        if missing is not None:
            self._promises[missing.by] -= 1
            if not self._promises[missing.by]:
                del self._promises[missing.by]
            self._graft_due.cancel(number)

    def _trim(self) -> None:
        while len(self._cache) > CACHE_MAX or self._cache_bytes > CACHE_BYTES_MAX:
            oldest = next(iter(self._cache))
            self._cache_bytes -= len(self._cache.pop(oldest))
        while len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]


def _over(at_us: int | None, now_us: int) -> bool:
    return at_us is not None and at_us <= now_us


def _tell_later(branches: Iterable[_Branch], number: bytes, now: Instant) -> None:
    for branch in branches:
        if len(branch.lazy_ids) < LAZY_MAX:
            branch.lazy_ids[number] = now.mono_us


def _letters(peer: NodeId, branch: _Branch, now: Instant) -> list[Effect]:
    ids = list(branch.lazy_ids)
    branch.lazy_ids.clear()
    branch.told_us = now.mono_us
    return [post(peer, IHave(ids[at : at + LAZY_FRAME])) for at in range(0, len(ids), LAZY_FRAME)]


@lru_cache(maxsize=64)
def rumour_id(rumour: bytes) -> bytes:
    """Asked for several times while one rumour is handled."""
    return blake2b(rumour, digest_size=ID_BYTES).digest()
