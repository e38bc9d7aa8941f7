"""The living index: which node offers which skill, as far as this node knows, and in which order to try them.

Fed by facts and by what calls observe; nothing is asked over the network to answer a question.
"""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import LinkStats, Liveness
from meshnode.model.ids import NodeId
from meshnode.model.where import Attribute, unfit
from meshnode.registry.abroad import Abroad, OfferAbroad
from meshnode.registry.best import FAR_US, Best, Place
from meshnode.registry.fits import Fits
from meshnode.registry.lanes import Lanes, Part
from meshnode.registry.offers import (
    AGENT_PREFIX,
    RUNNING,
    SKILL_PREFIX,
    SkillOffer,
    agent_key,
    decode_agent,
    decode_skill,
)
from meshnode.registry.ranks import EVERYBODY, Ranks, closed, opened
from meshnode.registry.records import Records
from meshnode.registry.units import AgentUnits, UnitSeen

__all__ = ["CAP_PREFIX", "Candidate", "Index", "UnitSeen"]

CAP_PREFIX = "cap/"
SHORT_QUEUE = 8  # calls in flight per local unit up to which no other node is worth the way
LOCAL_SUCCESS_MIN = 0.5
GONE_MAX = 64  # nodes that keep their place though nothing is known of them any more, beside as many as have something


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """One node that offers a skill. ``excluded`` "" means it may be called now, else it says why not, and since when.

    ``epoch``: with a slot asked for, the counter of who claims it there.
    """

    node: NodeId
    skill: str
    offer: SkillOffer
    local: bool
    rtt_us: int | None
    excluded: str
    expected_us: int = 0
    short_queue: bool = False
    epoch: int = 0
    age_us: int = 0  # since anything was heard of the node


def _nothing(_: NodeId) -> Mapping[str, Attribute]:
    return {}


class Index:
    """Skills and units by node. ``heard_us``: when there was last a sign of life of a node, ``None`` = never;
    ``attributes``: what constraints are measured against."""

    def __init__(
        self,
        me: NodeId,
        liveness: Liveness,
        links: LinkStats,
        *,
        heard_us: Callable[[NodeId], int | None],
        attributes: Callable[[NodeId], Mapping[str, Attribute]] = _nothing,
    ) -> None:
        self._me = me
        self._liveness = liveness
        self._links = links
        self._heard_us = heard_us
        self._attributes = attributes
        self._lanes = Lanes()
        self._mine: dict[str, SkillOffer] = {}  # of this node, under bare names
        self._agents: dict[NodeId, dict[str, AgentUnits]] = {}
        self._running: dict[str, int] = {}  # agent -> the nodes where a unit of it runs
        self._abroad = Abroad()
        self._news: dict[NodeId, int] = {}
        self.changes = 0  # grows with everything learned: what was decided before may be decided otherwise now
        self._records = Records()
        self._ranks = Ranks()
        self._places = GONE_MAX  # so many, before those that stand for nothing are looked for
        self._fits = Fits(self._ranks, attributes)
        self._best = Best(
            me, self._ranks, liveness, links, self._records, short=self._short, running=self._units_running
        )

    # -- what is learned ----------------------------------------------------------------------------------------------

    def learn(self, node: NodeId, key: str, value: bytes) -> None:
        """A soft fact changed; an empty value withdraws it. Facts of other rooms are ignored."""
        if key.startswith(SKILL_PREFIX):
            self._learn_skill(node, key.removeprefix(SKILL_PREFIX), value)
        elif key.startswith(AGENT_PREFIX):
            self._learn_agent(node, key.removeprefix(AGENT_PREFIX), value)
        else:
            return
        self._news[node] = self._news.get(node, 0) + 1
        self.changes += 1

    def observed(self, node: NodeId, agent: str, skill: str, took_us: int, now: Instant, *, ok: bool) -> None:
        """A call there ended after ``took_us``, the way included."""
        rtt = 0 if node == self._me else self._links.rtt_us(node) or 0
        self._records.observed((node, agent, skill), max(0, took_us - rtt), now.mono_us, ok=ok)

    def answered(self, node: NodeId, agent: str, skill: str, took_us: Sequence[int], now: Instant) -> None:
        """Calls there were answered well, one after the other."""
        rtt, key, records = (
            0 if node == self._me else self._links.rtt_us(node) or 0,
            (node, agent, skill),
            self._records,
        )
        for each_us in took_us:
            records.observed(key, max(0, each_us - rtt), now.mono_us, ok=True)

    def queued(self, node: NodeId, agent: str, by: int) -> None:
        """Calls of this node in flight there: so many more, or less."""
        self._records.queued(node, agent, by)

    def learn_abroad(self, address: str, offer: OfferAbroad) -> None:
        """Another region's offer under the address that was asked for. It counts for a moment, and only where nobody
        whose facts are held here may be called."""
        self._abroad.put(address, offer)
        self.changes += 1

    def described(self, node: NodeId) -> None:
        """What constraints on it are measured against may have changed."""
        self._fits.described(node)

    def news(self, node: NodeId) -> int:
        """Counts what was learned of a node: who refused a call may be asked again once this has grown."""
        return self._news.get(node, 0)

    # -- who answers --------------------------------------------------------------------------------------------------

    def candidates(
        self, skill: str, *, now: Instant, node: NodeId | None = None, agent: str = "", slot: int = -1
    ) -> list[Candidate]:
        """Who offers exactly this skill, best first, unusable ones last: the order in which to try them.

        Order: usable; of a slot the highest epoch; here while the queue is short; expected time; then node id, so that
        every node with equal knowledge agrees.
        """
        found = self._all(self._lanes.of_skill(skill), slot, now, node=node, agent=agent)
        if skill in self._abroad:
            found += self._beyond(skill, found, slot, now, node=node, agent=agent)
        return sorted(found, key=_order) if len(found) > 1 else found

    def resolve(
        self, address: str, *, now: Instant, node: NodeId | None = None, agent: str = "", slot: int = -1
    ) -> list[Candidate]:
        """``candidates`` over all skills with the capability of ``cap/TAG``."""
        parts = self._lanes.of_tag(address.removeprefix(CAP_PREFIX))
        found = self._all(parts, slot, now, node=node, agent=agent)
        if address in self._abroad:
            found += self._beyond(address, found, slot, now, node=node, agent=agent)
        return sorted(found, key=_order)

    def top(self, address: str, where: str = "", *, k: int, now: Instant) -> list[Candidate]:
        """The first ``k`` that may be called now and fit ``where``, of what ``candidates``, or ``resolve`` for
        ``cap/TAG``, would give: without looking at all of them. Other regions' offers are not among them.

        Raises:
            Invalid: ``where`` cannot be read.
        """
        if address.startswith(CAP_PREFIX):
            return self._top(self._lanes.of_tag(address.removeprefix(CAP_PREFIX)), where, k, now)
        return self._top(self._lanes.of_skill(address), where, k, now)

    def at_slot(self, skill: str, agent: str, slot: int, now: Instant) -> list[Candidate]:
        """Those of ``candidates`` for a slot of an agent that may be called now, in its order: where that slot runs."""
        found: list[Candidate] = []
        for lane, bits in self._lanes.of_skill(skill):
            if lane.agent != agent:
                continue
            for node, _ in self._ranks.nodes(bits & self._running.get(agent, 0)):
                held = self._held(node, agent)
                if held is not None and held.runs(slot):
                    found.append(self._candidate(node, skill, lane.offers[node], slot, now))
        return sorted((candidate for candidate in found if not candidate.excluded), key=_order)

    def here(self, skill: str, agent: str, now: Instant) -> SkillOffer | None:
        """The offer of this node, where nothing speaks against it and its queue is short, or nobody else has the skill:
        then nobody else is looked for."""
        offer = self._mine.get(skill)
        if offer is None or (agent and offer.agent != agent):
            return None
        if self._short(self._me, skill, offer.agent, now):
            return offer
        alone = self._lanes.only(skill, self._ranks.bit(self._me))
        return offer if alone and self._works(self._me, skill, offer.agent, now) else None

    def alone(self, node: NodeId, skill: str, agent: str, among: NodeId | None) -> bool:
        """Whether one agent of ``node`` alone offers the skill: nobody else would be called, whatever is measured.
        ``agent``: only that one is asked for, "" = any; ``among``: only that node is."""
        bit = self._ranks.bit(node)
        only = EVERYBODY if among is None else self._ranks.bit(among)
        found = [bits & only for lane, bits in self._lanes.of_skill(skill) if not agent or lane.agent == agent]
        return bool(bit) and [bits for bits in found if bits] == [bit]

    def agents_of(self, skill: str) -> list[str]:
        """Names of the agents that offer a skill, or a capability, anywhere; sorted."""
        tag = skill.removeprefix(CAP_PREFIX)
        parts = self._lanes.of_skill(skill) if tag == skill else self._lanes.of_tag(tag)
        return sorted({lane.agent for lane, _ in parts} or self._abroad.agents(skill))

    def find(self, wanted: str, where: str = "", *, now: Instant, most: int = 0) -> list[Candidate]:
        """The same for people: a skill, an agent, a capability (``cap/TAG`` or its tag), a glob of one, or "" for all.

        ``most``: whoever asks reads no more of them; then all are looked at only if fewer may be called. 0: all.

        Raises:
            Invalid: ``where`` cannot be read.
        """
        parts = self._lanes.named(_matcher(wanted), CAP_PREFIX)
        if most:
            best = self._top(parts, where, most, now)
            if len(best) == most:
                return best
        constraints = self._fits.parse(where)
        found = self._all(parts, -1, now)
        if constraints:
            found = [
                self._judged(candidate, unfit(constraints, self._attributes(candidate.node))) for candidate in found
            ]
        return sorted(found, key=_order)

    # -- what runs where ----------------------------------------------------------------------------------------------

    def units(self, agent: str = "") -> Iterator[UnitSeen]:
        """Units of one agent ("" = of all), by node, agent and first slot; also on nodes that cannot be reached now."""
        for node, agents in sorted(self._agents.items()):
            for name, held in sorted(agents.items()):
                if not agent or name == agent:
                    yield from held.units(node)

    def units_on(self, node: NodeId, agent: str) -> Iterator[UnitSeen]:
        """Those of one agent on one node, by first slot."""
        held = self._held(node, agent)
        return held.units(node) if held is not None else iter(())

    def offered(self, of: Iterable[NodeId] | None = None) -> Iterator[tuple[str, tuple[str, ...], NodeId]]:
        """Skill, tags and node of all that is offered by agents at work, as far as this node knows; ``of`` some nodes
        only."""
        among = EVERYBODY
        if of is not None:
            among = 0
            for node in of:
                among |= self._ranks.bit(node)
        for lane in self._lanes:
            for node, _ in self._ranks.nodes(lane.bits & among & self._running.get(lane.agent, 0)):
                yield lane.skill, lane.offers[node].tags, node

    def slots_on(self, node: NodeId, agent: str) -> list[int]:
        """First slots of the agent's running units on a node."""
        held = self._held(node, agent)
        return [unit.first_slot for unit in held.units(node) if unit.state == RUNNING] if held is not None else []

    def runner(self, agent: str, slot: int) -> NodeId | None:
        """Where a slot runs, by the highest epoch; also in regions whose skills are not held here."""
        best: tuple[int, NodeId] | None = None
        for node, _ in self._ranks.nodes(self._running.get(agent, 0)):
            held = self._held(node, agent)
            if held is not None and held.runs(slot):
                best = max(best or (-1, node), (held.epoch_of(slot), node))
        return best[1] if best is not None else None

    def skills_of(self, node: NodeId, agent: str) -> list[str]:
        """Names, sorted."""
        return sorted({lane.skill for lane in self._lanes.of_agent(agent) if node in lane.offers})

    def plain_holder(self, node: NodeId, skill: str) -> str:
        """The agent of a node whose skill stands under its bare name; "" = none does."""
        lanes = (lane for lane, _ in self._lanes.of_skill(skill))
        return next((lane.agent for lane in lanes if not lane.second and node in lane.offers), "")

    def agents_on(self, node: NodeId) -> int:
        """How many agents a node tells of."""
        return len(self._agents.get(node, {}))

    def excluded(self, node: NodeId, now: Instant) -> str:
        """Why no call goes to a node now, and the age of that knowledge; "" if one may."""
        if node == self._me or self._liveness.reachable(node):
            return ""
        heard = self._heard_us(node)
        age = "never heard" if heard is None else f"last heard {max(0, now.mono_us - heard) / SECOND:.1f} s ago"
        return f"unreachable, {age}"

    def lost_lately(self, node: NodeId, within_us: int, now: Instant) -> bool:
        """It cannot be reached now, and gave a sign of life so short a time ago."""
        heard = self._heard_us(node)
        return bool(self.excluded(node, now)) and heard is not None and now.mono_us - heard <= within_us

    # -- inside -------------------------------------------------------------------------------------------------------

    def _learn_skill(self, node: NodeId, rest: str, value: bytes) -> None:
        skill, _, second = rest.partition("@")
        offer = decode_skill(value) if value else None
        if node == self._me and not second:
            self._mine.pop(skill, None)
        if offer is None:
            self._lanes.remove(node, self._ranks.bit(node), skill, second)
            return
        self._lanes.put(node, self._bit(node), skill, second, offer)
        if node == self._me and not second:
            self._mine[skill] = offer

    def _learn_agent(self, node: NodeId, rest: str, value: bytes) -> None:
        key = agent_key(rest)
        if key is None:
            return
        agent, page = key
        agents = self._agents.get(node, {})
        held = agents.get(agent) or AgentUnits(agent)
        held.learn(page, decode_agent(value) if value else None)
        if held:
            self._agents.setdefault(node, agents)[agent] = held
        elif agent in agents:
            del agents[agent]
            if not agents:
                del self._agents[node]
        self._ran(node, agent, held.running if held else 0)

    def _ran(self, node: NodeId, agent: str, units: int) -> None:
        bit = self._bit(node) if units else self._ranks.bit(node)  # first of all: a new place moves the others
        bits = self._running.get(agent, 0)
        bits = bits | bit if units else bits & ~bit
        if bits:
            self._running[agent] = bits
        else:
            self._running.pop(agent, None)

    def _bit(self, node: NodeId) -> int:
        """Its place in sets of nodes; a new node gets one."""
        bit = self._ranks.bit(node)
        if bit:
            return bit
        if len(self._ranks) >= self._places:
            self._tidy()
        rank = self._ranks.enter(node)
        self._lanes.enter(rank)
        self._running = {agent: opened(bits, rank) for agent, bits in self._running.items()}
        self._fits.enter(node)
        return 1 << rank

    def _tidy(self) -> None:
        """Nodes that nothing is known of lose their places; not at once, since who starts again is known again soon."""
        gone = [
            node
            for node in self._ranks
            if node not in self._agents and not self._lanes.offers_any(self._ranks.bit(node))
        ]
        for node in gone:
            rank = self._ranks.leave(node)
            self._lanes.leave(rank)
            self._running = {agent: closed(bits, rank) for agent, bits in self._running.items()}
            self._fits.leave(node)
        self._places = 2 * len(self._ranks) + GONE_MAX

    def _top(self, parts: list[Part], where: str, k: int, now: Instant) -> list[Candidate]:
        fits = self._fits.of(where)
        open_: list[Part] = []
        for lane, bits in parts:
            left = bits & fits & self._running.get(lane.agent, 0)
            if left:
                open_.append((lane, left))
        return [self._usable(place, now) for place in self._best.of(open_, k, now)] if open_ else []

    def _usable(self, place: Place, now: Instant) -> Candidate:
        """The candidate of a place: reachable, its agent at work."""
        long, expected, node, skill, _, lane = place
        local = node == self._me
        heard = None if local else self._heard_us(node)
        age = 0 if heard is None else max(0, now.mono_us - heard)
        rtt = 0 if local else self._links.rtt_us(node)
        return Candidate(node, skill, lane.offers[node], local, rtt, "", expected, local and not long, 0, age)

    def _all(
        self, parts: list[Part], slot: int, now: Instant, *, node: NodeId | None = None, agent: str = ""
    ) -> list[Candidate]:
        found: list[Candidate] = []
        only = EVERYBODY if node is None else self._ranks.bit(node)
        for lane, bits in parts:
            if not agent or lane.agent == agent:
                found += [
                    self._candidate(holder, lane.skill, lane.offers[holder], slot, now)
                    for holder, _ in self._ranks.nodes(bits & only)
                ]
        return found

    def _candidate(
        self, node: NodeId, skill: str, offer: SkillOffer, slot: int, now: Instant, told: OfferAbroad | None = None
    ) -> Candidate:
        """``told``: by a bridge, whose word counts for what this node does not know of the agent."""
        local = node == self._me
        rtt = 0 if local else self._links.rtt_us(node)
        held = self._held(node, offer.agent)
        running = held.running if held is not None else 0
        idle = "" if held is None and told is not None else _idle(offer.agent, held, slot)
        excluded = self.excluded(node, now) or idle
        expected = self._records.expected_us(
            (node, offer.agent, skill), rtt if rtt is not None else FAR_US, running, now.mono_us
        )
        epoch = held.epoch_of(slot) if held is not None and slot >= 0 else 0
        short = local and self._short(node, skill, offer.agent, now)
        heard = now.mono_us if local else self._heard_us(node) if told is None else told.heard_us
        age = 0 if heard is None else max(0, now.mono_us - heard)
        return Candidate(node, skill, offer, local, rtt, excluded, expected, short, epoch, age)

    def _beyond(
        self, address: str, own: list[Candidate], slot: int, now: Instant, *, node: NodeId | None, agent: str
    ) -> list[Candidate]:
        """Offers of other regions, while none of ours may be called."""
        if any(not candidate.excluded for candidate in own):
            return []
        return [
            self._candidate(told.node, told.skill, told.offer, slot, now, told=told)
            for told in self._abroad.of(address, now.mono_us)
            if node in (None, told.node) and agent in ("", told.offer.agent)
        ]

    def _held(self, node: NodeId, agent: str) -> AgentUnits | None:
        agents = self._agents.get(node)
        return agents.get(agent) if agents is not None else None

    def _units_running(self, node: NodeId, agent: str) -> int:
        held = self._held(node, agent)
        return held.running if held is not None else 0

    def _short(self, node: NodeId, skill: str, agent: str, now: Instant) -> bool:
        held = self._held(node, agent)
        units = max(1, held.running) if held is not None else 1
        return self._records.queue(node, agent) < SHORT_QUEUE * units and self._works(node, skill, agent, now)

    def _works(self, node: NodeId, skill: str, agent: str, now: Instant) -> bool:
        return self._records.success((node, agent, skill), now.mono_us) >= LOCAL_SUCCESS_MIN

    def _judged(self, candidate: Candidate, reason: str) -> Candidate:
        return msgspec.structs.replace(candidate, excluded=candidate.excluded or reason) if reason else candidate


def _idle(agent: str, held: AgentUnits | None, slot: int) -> str:
    """Why an agent of a reachable node cannot answer, "" if it can."""
    if held is None:
        return f"{agent} does not run there"
    if slot >= 0:
        return "" if held.runs(slot) else f"slot {slot} of {agent} does not run there"
    return "" if held.running else f"{agent} does not run there: {held.why_not()}"


def _matcher(wanted: str) -> Callable[[str], bool]:
    if not wanted:
        return lambda _: True
    if any(mark in wanted for mark in "*?["):
        return lambda name: fnmatch.fnmatchcase(name, wanted)
    return lambda name: name == wanted


def _order(candidate: Candidate) -> tuple[bool, int, bool, int, NodeId, str, str]:
    return (
        bool(candidate.excluded), -candidate.epoch, not candidate.short_queue, candidate.expected_us, candidate.node,
        candidate.skill, candidate.offer.agent,
    )  # fmt: skip
