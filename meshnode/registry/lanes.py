"""Who offers what: the nodes that offer one skill of one agent are a lane, and a question is answered lane by lane."""

from collections.abc import Callable, Iterator

from meshnode.model.ids import NodeId
from meshnode.registry.offers import SkillOffer, fitting_tags
from meshnode.registry.ranks import closed, opened


class Lane:
    """One skill of one agent. ``second``: what follows the skill in the key where another agent has taken the plain
    one; a node has one offer under a skill and a second, so it is in one lane of them at most."""

    __slots__ = ("_typical", "agent", "bits", "offers", "second", "skill", "tagged")

    def __init__(self, skill: str, second: str, agent: str) -> None:
        self.skill, self.second, self.agent = skill, second, agent
        self.offers: dict[NodeId, SkillOffer] = {}
        self.bits = 0  # the nodes of ``offers``
        self.tagged: dict[str, int] = {}  # tag -> the nodes whose offer has it
        self._typical: SkillOffer | None = None

    def put(self, node: NodeId, bit: int, offer: SkillOffer) -> None:
        """Hundreds of nodes say the same about a skill: they share what the last one said."""
        if self._typical is None or offer != self._typical:
            self._typical = offer
        self.offers[node] = self._typical
        self.bits |= bit
        tags = fitting_tags(offer.tags)  # more than that no node of ours tells
        for tag in dict.fromkeys((*self.tagged, *tags)):
            self._tag(tag, bit, has=tag in tags)

    def remove(self, node: NodeId, bit: int) -> None:
        del self.offers[node]
        self.bits &= ~bit
        for tag in list(self.tagged):
            self._tag(tag, bit, has=False)

    def move(self, moved: Callable[[int, int], int], rank: int) -> None:
        """``opened`` or ``closed`` at a place."""
        self.bits = moved(self.bits, rank)
        for tag, bits in self.tagged.items():
            self.tagged[tag] = moved(bits, rank)

    def _tag(self, tag: str, bit: int, *, has: bool) -> None:
        bits = self.tagged.get(tag, 0)
        bits = bits | bit if has else bits & ~bit
        if bits:
            self.tagged[tag] = bits
        else:
            self.tagged.pop(tag, None)


LaneKey = tuple[str, str, str]  # skill, second, agent
Part = tuple[Lane, int]  # the nodes of a lane that are meant


class Lanes:
    """All lanes, by skill, by agent and by tag."""

    def __init__(self) -> None:
        self._skills: dict[str, dict[LaneKey, Lane]] = {}
        self._agents: dict[str, dict[LaneKey, Lane]] = {}
        self._tags: dict[str, dict[LaneKey, Lane]] = {}

    def __iter__(self) -> Iterator[Lane]:
        for lanes in self._skills.values():
            yield from lanes.values()

    # -- what is learned ----------------------------------------------------------------------------------------------

    def put(self, node: NodeId, bit: int, skill: str, second: str, offer: SkillOffer) -> None:
        key = skill, second, offer.agent
        lane = self._skills.get(skill, {}).get(key)
        for other in self._with_second(skill, second):
            if other is not lane and node in other.offers:
                self._take(other, node, bit)
        if lane is None:
            lane = Lane(*key)
            self._skills.setdefault(skill, {})[key] = lane
            self._agents.setdefault(offer.agent, {})[key] = lane
        before = list(lane.tagged)
        lane.put(node, bit, offer)
        self._retag(lane, before)

    def remove(self, node: NodeId, bit: int, skill: str, second: str) -> None:
        for lane in self._with_second(skill, second):
            if node in lane.offers:
                self._take(lane, node, bit)

    def enter(self, rank: int) -> None:
        for lane in self:
            lane.move(opened, rank)

    def leave(self, rank: int) -> None:
        for lane in self:
            lane.move(closed, rank)

    # -- questions ----------------------------------------------------------------------------------------------------

    def of_skill(self, skill: str) -> list[Part]:
        return [(lane, lane.bits) for lane in self._skills.get(skill, {}).values()]

    def only(self, skill: str, bit: int) -> bool:
        """Whether no other node than that of ``bit`` offers it."""
        others = ~bit
        return not any(lane.bits & others for lane in self._skills.get(skill, {}).values())

    def of_tag(self, tag: str) -> list[Part]:
        return [(lane, lane.tagged[tag]) for lane in self._tags.get(tag, {}).values()]

    def of_agent(self, agent: str) -> list[Lane]:
        return list(self._agents.get(agent, {}).values())

    def offers_any(self, bit: int) -> bool:
        """Whether that node offers anything."""
        return any(lane.bits & bit for lane in self)

    def named(self, fits: Callable[[str], bool], cap: str) -> list[Part]:
        """For people: where the skill, the agent, a tag, or a tag behind ``cap`` fits."""
        found: list[Part] = []
        for lane in self:
            if fits(lane.skill) or fits(lane.agent):
                found.append((lane, lane.bits))
                continue
            bits = 0
            for tag, tagged in lane.tagged.items():
                if fits(tag) or fits(cap + tag):
                    bits |= tagged
            if bits:
                found.append((lane, bits))
        return found

    # -- inside -------------------------------------------------------------------------------------------------------

    def _with_second(self, skill: str, second: str) -> list[Lane]:
        return [lane for lane in self._skills.get(skill, {}).values() if lane.second == second]

    def _take(self, lane: Lane, node: NodeId, bit: int) -> None:
        before = list(lane.tagged)
        lane.remove(node, bit)
        self._retag(lane, before)
        if not lane.offers:
            key = lane.skill, lane.second, lane.agent
            _drop(self._skills, lane.skill, key)
            _drop(self._agents, lane.agent, key)

    def _retag(self, lane: Lane, before: list[str]) -> None:
        key = lane.skill, lane.second, lane.agent
        for tag in before:
            if tag not in lane.tagged:
                _drop(self._tags, tag, key)
        for tag in lane.tagged:
            self._tags.setdefault(tag, {})[key] = lane


def _drop(lanes: dict[str, dict[LaneKey, Lane]], name: str, key: LaneKey) -> None:
    del lanes[name][key]
    if not lanes[name]:
        del lanes[name]
