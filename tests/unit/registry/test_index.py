"""Which node offers which skill, and in which order to try them."""

from collections.abc import Sequence
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.ids import NodeId
from meshnode.registry.index import Index
from meshnode.registry.offers import InstanceOffer, encode_instance, encode_skill
from meshnode.wire.calls import SkillDescription

ME, NEAR, FAR, MUTE = (NodeId(bytes([n]) * 32) for n in (5, 9, 2, 3))


class Mesh:
    """Liveness and link statistics as a test sets them."""

    def __init__(self) -> None:
        self.lost: list[NodeId] = []
        self.rtt: dict[NodeId, int] = {NEAR: 1_000, FAR: 90_000}

    def members(self) -> Sequence[NodeId]:
        return sorted((ME, NEAR, FAR, MUTE))

    def reachable(self, node: NodeId) -> bool:
        return node not in self.lost

    def peers(self) -> Sequence[NodeId]:
        return tuple(self.rtt)

    def last_heard_us(self, peer: NodeId) -> int | None:
        return 0 if peer in self.rtt else None

    def rtt_us(self, peer: NodeId) -> int | None:
        return self.rtt.get(peer)


def index(mesh: Mesh | None = None) -> Index:
    mesh = mesh or Mesh()
    return Index(ME, mesh, mesh)


def offers(room: Index, node: NodeId, skill: str, agent: str = "words") -> None:
    room.learn(node, f"skill/{skill}", encode_skill(agent, f"{agent}/n", SkillDescription(skill)))


def order(room: Index, skill: str = "words.count") -> list[NodeId]:
    return [candidate.node for candidate in room.candidates(skill)]


def test_the_local_offer_comes_first_then_the_nearest_then_those_never_measured() -> None:
    for arrival in permutations((MUTE, FAR, ME, NEAR)):
        room = index()
        for node in arrival:
            offers(room, node, "words.count")
        assert order(room) == [ME, NEAR, FAR, MUTE], "the order of arrival decides nothing"


def test_who_cannot_be_reached_comes_last_and_says_so() -> None:
    mesh = Mesh()
    mesh.lost = [NEAR]
    room = index(mesh)
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
    assert [(c.node, c.excluded) for c in room.candidates("words.count")] == [(FAR, ""), (NEAR, "unreachable")]


def test_equal_round_trips_are_ordered_by_node_id() -> None:
    mesh = Mesh()
    mesh.rtt = {NEAR: 500, FAR: 500}
    room = index(mesh)
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
    assert order(room) == [FAR, NEAR]


def test_this_node_is_never_excluded_from_its_own_view() -> None:
    mesh = Mesh()
    mesh.lost = [ME]
    room = index(mesh)
    offers(room, ME, "words.count")
    (candidate,) = room.candidates("words.count")
    assert (candidate.excluded, candidate.local, candidate.rtt_us) == ("", True, 0)


def test_a_call_finds_a_skill_by_its_exact_name_only() -> None:
    room = index()
    offers(room, NEAR, "words.count")
    for other in ("words", "words.*", "*", "", "words.coun", "Words.count"):
        assert room.candidates(other) == [], other


def test_people_find_by_skill_by_agent_by_glob_and_all() -> None:
    room = index()
    offers(room, NEAR, "words.count")
    offers(room, FAR, "words.longest")
    offers(room, FAR, "see.cats", agent="eyes")

    def found(wanted: str) -> list[str]:
        return sorted(candidate.skill for candidate in room.find(wanted))

    assert found("words.count") == ["words.count"]
    assert found("words") == ["words.count", "words.longest"]
    assert found("*.c*") == ["see.cats", "words.count"]
    assert found("eye?") == ["see.cats"]
    assert found("") == ["see.cats", "words.count", "words.longest"]
    assert found("word") == []


def test_candidates_narrow_to_a_node_and_to_an_agent() -> None:
    room = index()
    offers(room, NEAR, "count", agent="words")
    offers(room, FAR, "count", agent="beans")
    assert [c.node for c in room.candidates("count", node=FAR)] == [FAR]
    assert [c.node for c in room.candidates("count", agent="words")] == [NEAR]
    assert room.candidates("count", node=FAR, agent="words") == []


def test_an_empty_value_withdraws_and_withdrawing_twice_is_harmless() -> None:
    room = index()
    offers(room, NEAR, "words.count")
    offers(room, FAR, "words.count")
    for _ in range(2):
        room.learn(NEAR, "skill/words.count", b"")
    assert order(room) == [FAR]
    room.learn(FAR, "skill/words.count", b"")
    room.learn(MUTE, "skill/words.count", b"")
    assert order(room) == []
    assert room.find("") == []


def test_a_value_that_cannot_be_read_withdraws_what_was_offered() -> None:
    """A later version of the owner said something; what it said before is no longer so."""
    room = index()
    offers(room, NEAR, "words.count")
    room.learn(NEAR, "skill/words.count", b"\xc1junk")
    assert order(room) == []


def test_facts_of_other_rooms_are_ignored() -> None:
    room = index()
    for key in ("load", "skills/x", "agents/x", "", "skill", "agent"):
        room.learn(NEAR, key, b"\x93")
    assert room.find("") == [] and room.instances() == [] and room.agents_on(NEAR) == 0


def test_instances_come_sorted_and_go_when_withdrawn() -> None:
    room = index()
    value = encode_instance(InstanceOffer("x", "running"))
    for node, agent in ((NEAR, "words"), (FAR, "words"), (NEAR, "eyes")):
        room.learn(node, f"agent/{agent}", value)
    assert [(node, agent) for node, agent, _ in room.instances()] == [(FAR, "words"), (NEAR, "eyes"), (NEAR, "words")]
    assert room.agents_on(NEAR) == 2
    room.learn(NEAR, "agent/eyes", b"")
    room.learn(NEAR, "agent/words", b"\xc1")
    room.learn(NEAR, "agent/never", b"")
    assert room.agents_on(NEAR) == 0
    assert [node for node, _, _ in room.instances()] == [FAR]


def test_skills_of_names_what_one_agent_of_one_node_offers() -> None:
    room = index()
    offers(room, NEAR, "words.longest")
    offers(room, NEAR, "words.count")
    offers(room, NEAR, "see.cats", agent="eyes")
    offers(room, FAR, "words.sort")
    assert room.skills_of(NEAR, "words") == ["words.count", "words.longest"]
    assert room.skills_of(MUTE, "words") == []


@given(st.lists(st.tuples(st.sampled_from((ME, NEAR, FAR, MUTE)), st.sampled_from("ab"), st.booleans()), max_size=30))
def test_the_index_holds_what_was_said_last_whatever_the_order(said: list[tuple[NodeId, str, bool]]) -> None:
    room = index()
    truth: dict[tuple[NodeId, str], bool] = {}
    for node, skill, offered in said:
        if offered:
            offers(room, node, skill)
        else:
            room.learn(node, f"skill/{skill}", b"")
        truth[node, skill] = offered
    held = {(candidate.node, candidate.skill) for candidate in room.find("")}
    assert held == {key for key, offered in truth.items() if offered}
