"""The living index: which node offers which skill, as far as this node knows, and in which order to try them.

Fed by facts and by what calls observe; nothing is asked over the network to answer a question.
"""

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import LinkStats, Liveness
from meshnode.model.ids import NodeId
from meshnode.model.where import Attribute, parse_where, unfit
from meshnode.registry.offers import (
    AGENT_PREFIX,
    RUNNING,
    SKILL_PREFIX,
    SkillOffer,
    agent_key,
    decode_agent,
    decode_skill,
)
from meshnode.registry.records import Records
from meshnode.registry.units import AgentUnits, UnitSeen

__all__ = ["CAP_PREFIX", "Candidate", "Index", "UnitSeen"]

CAP_PREFIX = "cap/"
SHORT_QUEUE = 8  # calls in flight per local unit up to which no other node is worth the way
LOCAL_SUCCESS_MIN = 0.5
_FAR_US = 10 * SECOND  # ranks a node without a measured round trip after every measured one


class Candidate(msgspec.Struct, frozen=True):
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
        # skill -> (node, what follows the skill in its key) -> offer
        self._skills: dict[str, dict[tuple[NodeId, str], SkillOffer]] = {}
        self._agents: dict[NodeId, dict[str, AgentUnits]] = {}
        self._news: dict[NodeId, int] = {}
        self._records = Records()

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

    def observed(self, node: NodeId, agent: str, skill: str, took_us: int, now: Instant, *, ok: bool) -> None:
        """A call there ended after ``took_us``, the way included."""
        rtt = 0 if node == self._me else self._links.rtt_us(node) or 0
        self._records.observed((node, agent, skill), max(0, took_us - rtt), now.mono_us, ok=ok)

    def queued(self, node: NodeId, agent: str, by: int) -> None:
        """Calls of this node in flight there: one more or one less."""
        self._records.queued(node, agent, by)

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
        holders = self._skills.get(skill)
        if holders is None:
            return []
        found = [
            self._candidate(holder, skill, offer, slot, now)
            for (holder, _), offer in holders.items()
            if (node is None or holder == node) and (not agent or offer.agent == agent)
        ]
        return sorted(found, key=_order) if len(found) > 1 else found

    def resolve(
        self, address: str, *, now: Instant, node: NodeId | None = None, agent: str = "", slot: int = -1
    ) -> list[Candidate]:
        """``candidates`` over all skills with the capability of ``cap/TAG``."""
        tag = address.removeprefix(CAP_PREFIX)
        found = [
            self._candidate(holder, skill, offer, slot, now)
            for skill, holders in self._skills.items()
            for (holder, _), offer in holders.items()
            if tag in offer.tags and (node is None or holder == node) and (not agent or offer.agent == agent)
        ]
        return sorted(found, key=_order)

    def here(self, skill: str, agent: str, now: Instant) -> SkillOffer | None:
        """The offer of this node, where nothing speaks against it and its queue is short: then nobody else is looked
        for."""
        holders = self._skills.get(skill)
        offer = holders.get((self._me, "")) if holders is not None else None
        if offer is None or (agent and offer.agent != agent):
            return None
        return offer if self._short(self._me, skill, offer.agent, now) else None

    def agents_of(self, skill: str) -> list[str]:
        """Names of the agents that offer a skill, or a capability, anywhere; sorted."""
        if skill.startswith(CAP_PREFIX):
            tag = skill.removeprefix(CAP_PREFIX)
            every = (offer for holders in self._skills.values() for offer in holders.values())
            return sorted({offer.agent for offer in every if tag in offer.tags})
        return sorted({offer.agent for offer in self._skills.get(skill, {}).values()})

    def find(self, wanted: str, where: str = "", *, now: Instant) -> list[Candidate]:
        """The same for people: a skill, an agent, a capability (``cap/TAG`` or its tag), a glob of one, or "" for all.

        Raises:
            Invalid: ``where`` cannot be read.
        """
        constraints = parse_where(where)
        found = [
            self._candidate(holder, skill, offer, -1, now)
            for skill, holders in self._skills.items()
            for (holder, _), offer in holders.items()
            if _matches(wanted, skill, offer)
        ]
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

    def slots_on(self, node: NodeId, agent: str) -> list[int]:
        """First slots of the agent's running units on a node."""
        held = self._held(node, agent)
        return [unit.first_slot for unit in held.units(node) if unit.state == RUNNING] if held is not None else []

    def skills_of(self, node: NodeId, agent: str) -> list[str]:
        """Names, sorted."""
        return sorted(
            skill
            for skill, holders in self._skills.items()
            if any(holder == node and offer.agent == agent for (holder, _), offer in holders.items())
        )

    def plain_holder(self, node: NodeId, skill: str) -> str:
        """The agent of a node whose skill stands under its bare name; "" = none does."""
        offer = self._skills.get(skill, {}).get((node, ""))
        return offer.agent if offer is not None else ""

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

    # -- inside -------------------------------------------------------------------------------------------------------

    def _learn_skill(self, node: NodeId, rest: str, value: bytes) -> None:
        skill, _, second = rest.partition("@")
        offer = decode_skill(value) if value else None
        if offer is not None:
            self._skills.setdefault(skill, {})[node, second] = offer
            return
        holders = self._skills.get(skill)
        if holders is not None:
            holders.pop((node, second), None)
            if not holders:
                del self._skills[skill]

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

    def _candidate(self, node: NodeId, skill: str, offer: SkillOffer, slot: int, now: Instant) -> Candidate:
        local = node == self._me
        rtt = 0 if local else self._links.rtt_us(node)
        held = self._held(node, offer.agent)
        running = held.running if held is not None else 0
        excluded = self.excluded(node, now) or _idle(offer.agent, held, slot)
        expected = self._records.expected_us(
            (node, offer.agent, skill), rtt if rtt is not None else _FAR_US, running, now.mono_us
        )
        epoch = held.epoch_of(slot) if held is not None and slot >= 0 else 0
        short = local and self._short(node, skill, offer.agent, now)
        heard = now.mono_us if local else self._heard_us(node)
        age = 0 if heard is None else max(0, now.mono_us - heard)
        return Candidate(node, skill, offer, local, rtt, excluded, expected, short, epoch, age)

    def _held(self, node: NodeId, agent: str) -> AgentUnits | None:
        agents = self._agents.get(node)
        return agents.get(agent) if agents is not None else None

    def _short(self, node: NodeId, skill: str, agent: str, now: Instant) -> bool:
        held = self._held(node, agent)
        units = max(1, held.running) if held is not None else 1
        if self._records.queue(node, agent) >= SHORT_QUEUE * units:
            return False
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


def _matches(wanted: str, skill: str, offer: SkillOffer) -> bool:
    if not wanted:
        return True
    names: Iterable[str] = (skill, offer.agent, *offer.tags, *(f"{CAP_PREFIX}{tag}" for tag in offer.tags))
    if any(mark in wanted for mark in "*?["):
        return any(fnmatch.fnmatchcase(name, wanted) for name in names)
    return wanted in names


def _order(candidate: Candidate) -> tuple[bool, int, bool, int, NodeId, str, str]:
    return (
        bool(candidate.excluded), -candidate.epoch, not candidate.short_queue, candidate.expected_us, candidate.node,
        candidate.skill, candidate.offer.agent,
    )  # fmt: skip
