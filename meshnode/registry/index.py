"""The living index: which node offers which skill, as far as this node knows, and in which order to try them.

Fed by facts; nothing is asked over the network to answer a question.
"""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from meshnode.kernel.ports import LinkStats, Liveness
from meshnode.model.ids import NodeId
from meshnode.registry.offers import (
    AGENT_PREFIX,
    SKILL_PREFIX,
    InstanceOffer,
    SkillOffer,
    decode_instance,
    decode_skill,
)

_FAR_US = 10_000_000  # ranks a node without a measured round trip after every measured one


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node that offers a skill. ``excluded`` "" means it may be called now."""

    node: NodeId
    skill: str
    offer: SkillOffer
    local: bool
    rtt_us: int | None
    excluded: str


class Index:
    """Skills and instances by node."""

    def __init__(self, me: NodeId, liveness: Liveness, links: LinkStats) -> None:
        self._me = me
        self._liveness = liveness
        self._links = links
        self._skills: dict[str, dict[NodeId, SkillOffer]] = {}
        self._instances: dict[NodeId, dict[str, InstanceOffer]] = {}

    def learn(self, node: NodeId, key: str, value: bytes) -> None:
        """A soft fact changed; an empty value withdraws it. Facts of other rooms are ignored."""
        if key.startswith(SKILL_PREFIX):
            self._learn_skill(node, key.removeprefix(SKILL_PREFIX), value)
        elif key.startswith(AGENT_PREFIX):
            self._learn_instance(node, key.removeprefix(AGENT_PREFIX), value)

    def candidates(self, skill: str, *, node: NodeId | None = None, agent: str = "") -> list[Candidate]:
        """Who offers exactly this skill, best first, unusable ones last: the order in which to try them.

        Order: usable, local, direct by round trip, then node id, so that every node with equal knowledge agrees.
        """
        holders = self._skills.get(skill, {})
        return self._ranked(
            (skill, holder, offer) for holder, offer in holders.items() if _fits(holder, offer, node, agent)
        )

    def find(self, wanted: str) -> list[Candidate]:
        """The same for people: a skill, an agent, a glob of either, or "" for all."""
        return self._ranked(
            (skill, holder, offer)
            for skill, holders in self._skills.items()
            for holder, offer in holders.items()
            if _matches(wanted, skill, offer.agent)
        )

    def skills_of(self, node: NodeId, agent: str) -> list[str]:
        """Names, sorted."""
        return sorted(
            skill
            for skill, holders in self._skills.items()
            if (offer := holders.get(node)) is not None and offer.agent == agent
        )

    def instances(self) -> list[tuple[NodeId, str, InstanceOffer]]:
        return [
            (node, agent, offer)
            for node, agents in sorted(self._instances.items())
            for agent, offer in sorted(agents.items())
        ]

    def agents_on(self, node: NodeId) -> int:
        return len(self._instances.get(node, {}))

    def excluded(self, node: NodeId) -> str:
        """Why no call goes to a node now, "" if one may."""
        return "" if node == self._me or self._liveness.reachable(node) else "unreachable"

    def _learn_skill(self, node: NodeId, skill: str, value: bytes) -> None:
        offer = decode_skill(value) if value else None
        if offer is not None:
            self._skills.setdefault(skill, {})[node] = offer
            return
        holders = self._skills.get(skill)
        if holders is not None:
            holders.pop(node, None)
            if not holders:
                del self._skills[skill]

    def _learn_instance(self, node: NodeId, agent: str, value: bytes) -> None:
        offer = decode_instance(value) if value else None
        if offer is not None:
            self._instances.setdefault(node, {})[agent] = offer
            return
        agents = self._instances.get(node)
        if agents is not None:
            agents.pop(agent, None)
            if not agents:
                del self._instances[node]

    def _ranked(self, found: Iterable[tuple[str, NodeId, SkillOffer]]) -> list[Candidate]:
        return sorted((self._candidate(holder, skill, offer) for skill, holder, offer in found), key=_order)

    def _candidate(self, node: NodeId, skill: str, offer: SkillOffer) -> Candidate:
        local = node == self._me
        rtt = 0 if local else self._links.rtt_us(node)
        return Candidate(node, skill, offer, local, rtt, self.excluded(node))


def _fits(holder: NodeId, offer: SkillOffer, node: NodeId | None, agent: str) -> bool:
    return (node is None or holder == node) and (not agent or offer.agent == agent)


def _matches(wanted: str, skill: str, agent: str) -> bool:
    if not wanted or wanted in (skill, agent):
        return True
    return any(mark in wanted for mark in "*?[") and (
        fnmatch.fnmatchcase(skill, wanted) or fnmatch.fnmatchcase(agent, wanted)
    )


def _order(candidate: Candidate) -> tuple[bool, bool, int, NodeId, str]:
    rtt = candidate.rtt_us if candidate.rtt_us is not None else _FAR_US
    return (bool(candidate.excluded), not candidate.local, rtt, candidate.node, candidate.skill)
