"""What lies beyond the region: for a skill that nobody here takes, the catalogue names regions, and one of the bridges
of each is asked who offers it there.

A hundred calls that wait for one skill are one question. What was learned counts for a few seconds (``registry/
abroad.py``), that nobody answered for a moment: then it is asked anew. Invariants: what is under way and what is kept
is bounded by ``QUESTS_MAX``; a bridge is asked once a quest; every question ends, for the switch ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Catalogue, RegionOffer
from meshnode.messaging.messages import CallEnded
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.node.beyond_letters import (
    WHY_CHARS_MAX,
    Detail,
    OfferTold,
    Question,
    decode_detail,
    decode_question,
    encode,
)
from meshnode.registry.abroad import KEPT_US, OfferAbroad
from meshnode.registry.index import CAP_PREFIX, Candidate, Index
from meshnode.registry.offers import SkillOffer, decode_skill, encode_offer

QUESTS_MAX = 256
FINDS_MAX = 256  # people and programs that wait for one quest
REGIONS_AT_ONCE = 3
BRIDGES_MAX = 3  # asked of one region, one after the other
REST_US = 1 * SECOND  # nobody had it, or nobody answered: so long that counts
ASK_MS = 2_000  # for one bridge, the dial included
TICKETS_BELOW = -(1 << 48)  # the switch's tickets of this room; those of journals count down from -1
NAMED_MAX = 3
_OF_ANOTHER = "region is "  # a constraint's words for a node of another region


class Told(msgspec.Struct, frozen=True):
    """One offer of another region. ``through``: the bridge that told of it; ``heard_us``: when it had heard of it."""

    region: str
    through: NodeId
    node: NodeId
    skill: str
    offer: SkillOffer
    heard_us: int
    told_us: int


class Gap(msgspec.Struct, frozen=True):
    """A region that should have it, and no offer came from there. ``reached``: somebody there said so."""

    region: str
    why: str
    age_us: int
    reached: bool


class Findings(msgspec.Struct, frozen=True):
    """The end of a quest."""

    told: tuple[Told, ...]
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """What the room asks of the node. ``elsewhere``: the facts of that node's region are not held here. ``ask`` puts a
    question to a node under a ticket. ``news``: calls that wait are to look again. ``young``: why the own region is not
    known in full yet, "" if it is. ``answer``: the reply to a command that waited for findings."""

    me: NodeId
    index: Index
    region_of: Callable[[NodeId], str]
    elsewhere: Callable[[NodeId], bool]
    reachable: Callable[[NodeId], bool]
    name_of: Callable[[NodeId], str]
    ask: Callable[[int, NodeId, bytes, Instant], Sequence[Effect]]
    news: Callable[[Instant], Sequence[Effect]]
    young: Callable[[Instant], str]
    answer: Callable[[int, Findings, Instant], Effect]


Key = tuple[str, str, NodeId | None]  # address, where, the only node that may answer


@dataclass(slots=True)
class _Asking:
    """One region being asked. ``left``: bridges not asked yet; ``tried``: what came of the others."""

    key: Key
    region: RegionOffer
    node: NodeId
    left: list[NodeId]
    tried: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Quest:
    """``until_us`` None: under way."""

    waiting: list[RegionOffer]
    asking: dict[int, _Asking] = field(default_factory=dict[int, _Asking])
    told: list[Told] = field(default_factory=list[Told])
    gaps: list[Gap] = field(default_factory=list[Gap])
    finds: dict[int, None] = field(default_factory=dict[int, None])
    until_us: int | None = None

    def stands(self, now: Instant) -> bool:
        return self.until_us is None or self.until_us > now.mono_us

    def findings(self) -> Findings:
        return Findings(tuple(self.told), tuple(self.gaps))


class Beyond:
    """Implements ``kernel.ports.Beyond``."""

    def __init__(self, around: Around, catalogue: Catalogue) -> None:
        self._around = around
        self.catalogue = catalogue
        self.counters = Counters()
        self._quests: dict[Key, _Quest] = {}
        self._tickets: dict[int, Key] = {}
        self._last_ticket = TICKETS_BELOW

    # -- for the switch -----------------------------------------------------------------------------------------------

    def open(self, address: str, node: NodeId | None, now: Instant, /) -> bool:
        quest = self._standing((address, "", node), now)
        if quest is not None:
            return quest.until_us is None
        return self._has_room() and any(region.bridges for region in self._regions(address, node, now))

    def why(self, address: str, node: NodeId | None, now: Instant, /) -> tuple[str, str] | None:
        quest = self._standing((address, "", node), now)
        gaps = quest.gaps if quest is not None else [_unasked(each) for each in self._regions(address, node, now)]
        if gaps:
            code = "unavailable" if all(gap.reached for gap in gaps) else "unreachable"
            return code, "; ".join(gap.why for gap in gaps[:NAMED_MAX])
        return None if node is not None else self._unknown(now)

    def seek(self, address: str, node: NodeId | None, now: Instant) -> list[Effect]:
        """A call waits for it."""
        key = address, "", node
        return [] if self._standing(key, now) is not None else self._begin(key, now)

    # -- for people ---------------------------------------------------------------------------------------------------

    def address_of(self, wanted: str, now: Instant) -> str:
        """What the catalogue is asked for a word of people: a skill, or a tag without its prefix. "" if it has none."""
        for address in (wanted, CAP_PREFIX + wanted):
            if self._regions(address, None, now):
                return address
        return ""

    def find(self, command_no: int, address: str, where: str, now: Instant) -> list[Effect]:
        """Ends in one reply to the command, in this turn if it is known."""
        key = address, where, None
        quest = self._standing(key, now)
        effects = self._begin(key, now) if quest is None else []
        quest = self._quests.get(key)
        if quest is None or quest.until_us is not None or len(quest.finds) >= FINDS_MAX:
            known = quest.findings() if quest is not None else Findings((), tuple(self._unasked(address, now)))
            return [*effects, self._around.answer(command_no, known, now)]
        quest.finds[command_no] = None
        return effects

    def dropped(self, command_no: int) -> None:
        """Whoever asked is gone; what was asked is of use to the next."""
        for quest in self._quests.values():
            quest.finds.pop(command_no, None)

    # -- questions under way ------------------------------------------------------------------------------------------

    def ended(self, ended: CallEnded, now: Instant) -> list[Effect]:
        """The end of a question to a bridge."""
        key = self._tickets.pop(ended.ticket, None)
        if key is None:
            return []
        quest = self._quests[key]
        asking = quest.asking.pop(ended.ticket)
        try:
            detail = _answer(ended)
        except RemoteError as error:
            self.counters.add(error.reason)
            return self._next(quest, asking, str(error), now)
        told = self._judged(asking, detail, now)
        if not told and detail.offers:
            self.counters.add("beyond-offers-refused")
            return self._next(quest, asking, "what it said is not of its region", now)
        if not told:
            why = f"region {asking.region.region}: {self._around.name_of(asking.node)} says: {detail.why or 'nobody'}"
            quest.gaps.append(Gap(asking.region.region, why, 0, reached=True))
            return self._go_on(key, quest, now)
        quest.told += told
        if not key[1]:
            for each in told:
                offer = OfferAbroad(each.node, each.skill, each.offer, each.heard_us, now.mono_us + KEPT_US)
                self._around.index.learn_abroad(key[0], offer)
        return [*self._go_on(key, quest, now), *self._around.news(now)]

    def _begin(self, key: Key, now: Instant) -> list[Effect]:
        self._forget(now)
        regions = self._regions(key[0], key[2], now)
        if not regions or not self._has_room():
            return []
        reachable = [region for region in regions if region.bridges]
        quest = self._quests[key] = _Quest(reachable, gaps=[_unasked(each) for each in regions if not each.bridges])
        return self._go_on(key, quest, now)

    def _go_on(self, key: Key, quest: _Quest, now: Instant) -> list[Effect]:
        """Ask further regions while nobody has it; end when nobody is asked any more."""
        effects: list[Effect] = []
        while quest.waiting and not quest.told and len(quest.asking) < REGIONS_AT_ONCE:
            region = quest.waiting.pop(0)
            left = list(region.bridges[:BRIDGES_MAX])
            effects += self._ask(quest, _Asking(key, region, left.pop(0), left), now)
        if quest.asking:
            return effects
        quest.until_us = now.mono_us + (KEPT_US if quest.told else REST_US)
        effects += [self._around.answer(command_no, quest.findings(), now) for command_no in quest.finds]
        quest.finds.clear()
        return effects if quest.told else [*effects, *self._around.news(now)]

    def _ask(self, quest: _Quest, asking: _Asking, now: Instant) -> list[Effect]:
        self._last_ticket -= 1
        self._tickets[self._last_ticket] = asking.key
        quest.asking[self._last_ticket] = asking
        self.counters.add("beyond-asked")
        question = Question(asking.key[0], asking.key[1])
        return list(self._around.ask(self._last_ticket, asking.node, encode(question), now))

    def _next(self, quest: _Quest, asking: _Asking, why: str, now: Instant) -> list[Effect]:
        """No answer from there: the region's next bridge, or a reason why nobody of it was heard."""
        asking.tried.append(f"{self._around.name_of(asking.node)}: {why}")
        if asking.left:
            asking.node = asking.left.pop(0)
            return self._ask(quest, asking, now)
        if asking.key[2] is not None:
            gap = Gap(asking.region.region, asking.tried[0], 0, reached=False)
        else:
            gap = _unasked(asking.region, "; ".join(asking.tried))
        quest.gaps.append(gap)
        return self._go_on(asking.key, quest, now)

    def _judged(self, asking: _Asking, detail: Detail, now: Instant) -> list[Told]:
        """What of an answer counts: offers of what was asked for, on nodes of that region."""
        address, _, only = asking.key
        tag = address.removeprefix(CAP_PREFIX)
        found: list[Told] = []
        for each in detail.offers:
            node, offer = NodeId(each.node), decode_skill(each.value)
            if offer is None or self._around.region_of(node) != asking.region.region or only not in (None, node):
                continue
            if tag in offer.tags if tag != address else each.skill == address:
                heard_us = now.mono_us - each.age_ms * MS
                told = Told(asking.region.region, asking.node, node, each.skill, offer, heard_us, now.mono_us)
                found.append(told)
        return found

    # -- what is known ------------------------------------------------------------------------------------------------

    def _standing(self, key: Key, now: Instant) -> _Quest | None:
        quest = self._quests.get(key)
        return quest if quest is not None and quest.stands(now) else None

    def _regions(self, address: str, node: NodeId | None, now: Instant) -> Sequence[RegionOffer]:
        around = self._around
        if node is None:
            return self.catalogue.regions_of(address, now.mono_us)
        if node == around.me or not around.elsewhere(node) or not around.reachable(node):
            return ()
        return (RegionOffer(around.region_of(node), "some", "", 0, (node,)),)

    def _unasked(self, address: str, now: Instant) -> list[Gap]:
        return [_unasked(region) for region in self._regions(address, None, now)]

    def _unknown(self, now: Instant) -> tuple[str, str] | None:
        """Why nobody may say that there is nobody."""
        silent = self.catalogue.silent(now.mono_us)
        if silent:
            more = f" and {len(silent) - NAMED_MAX} more" if len(silent) > NAMED_MAX else ""
            return "unavailable", f"nothing is known yet of what region {', '.join(silent[:NAMED_MAX])}{more} offers"
        young = self._around.young(now)
        return ("unavailable", young) if young else None

    def _has_room(self) -> bool:
        return len(self._tickets) < QUESTS_MAX and sum(q.until_us is None for q in self._quests.values()) < QUESTS_MAX

    def _forget(self, now: Instant) -> None:
        for key in [key for key, quest in self._quests.items() if not quest.stands(now)]:
            del self._quests[key]
        over = len(self._quests) - QUESTS_MAX + 1
        if over > 0:
            for key in [key for key, quest in self._quests.items() if quest.until_us is not None][:over]:
                del self._quests[key]


# -- the other side ----------------------------------------------------------------------------------------------------


def told_to_peer(index: Index, region: str, name_of: Callable[[NodeId], str], payload: bytes, now: Instant) -> bytes:
    """What this node answers a question from beyond: its own region only, and it never asks on.

    Raises:
        RemoteError: the payload is no question.
        Invalid: its constraints cannot be read.
    """
    question = decode_question(payload)
    parts = [question.where, f"region={region}" if region else ""]
    where = ",".join(part for part in parts if part)
    best = index.top(question.address, where, k=question.limit, now=now)
    offers = [_told(candidate) for candidate in best]
    return encode(Detail(offers, "" if offers else _nobody(index, question.address, where, name_of, now)))


def _told(candidate: Candidate) -> OfferTold:
    return OfferTold(candidate.node, candidate.skill, encode_offer(candidate.offer), candidate.age_us // MS)


def _nobody(index: Index, address: str, where: str, name_of: Callable[[NodeId], str], now: Instant) -> str:
    """In words, with who of this region would have it if it could be called."""
    found = [each for each in index.find(address, where, now=now) if not each.excluded.startswith(_OF_ANOTHER)]
    gone = [f"{name_of(each.node)}: {each.excluded}" for each in found[:NAMED_MAX]]
    return ("; ".join(gone) or "nobody of this region offers it")[:WHY_CHARS_MAX]


def _answer(ended: CallEnded) -> Detail:
    if ended.code:
        raise RemoteError("beyond-unanswered", ended.message[:160])
    return decode_detail(ended.payload)


def _unasked(region: RegionOffer, tried: str = "") -> Gap:
    age = region.age_us / SECOND
    has = f"region {region.region} has it ({region.amount}, told {age:.0f} s ago)"
    why = f"{has}, and none of its bridges can be reached: {tried or 'none is known to be up'}"
    return Gap(region.region, why, region.age_us, reached=False)
