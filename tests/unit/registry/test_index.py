"""Which node offers which skill, and in which order to try them."""

from collections.abc import Sequence
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.errors import Invalid
from meshnode.model.ids import NodeId
from meshnode.registry.index import SHORT_QUEUE, Index
from meshnode.registry.offers import UnitOffer, encode_agent, encode_skill
from meshnode.registry.records import FADES_US
from meshnode.wire.calls import SkillDescription
from tests.unit.registry.surroundings import Surroundings

ME, NEAR, FAR, MUTE = (NodeId(bytes([n]) * 32) for n in (5, 9, 2, 3))


class Mesh(Surroundings):
    """Liveness and link statistics as a test sets them."""

    def __init__(self) -> None:
        super().__init__()
        self.rtt |= {NEAR: 1_000, FAR: 90_000}

    def members(self) -> Sequence[NodeId]:
        return sorted((ME, NEAR, FAR, MUTE))

    def heard_us(self, node: NodeId) -> int | None:
        return None if node == MUTE else 800_000

    def attributes(self, node: NodeId) -> dict[str, str | float | int]:
        return {"site": "plant-7", "cpus": 4} if node == NEAR else {"site": "yard"}


def at(mono_us: int) -> Instant:
    return Instant(mono_us, 0)


NOW = at(4_000_000)


def index(mesh: Mesh | None = None) -> Index:
    mesh = mesh or Mesh()
    return Index(ME, mesh, mesh, heard_us=mesh.heard_us, attributes=mesh.attributes)


def runs(room: Index, node: NodeId, agent: str = "words", slots: Sequence[int] = (0,), epoch: int = 1) -> None:
    for page, value in encode_agent([UnitOffer(slot, 1, "running", epoch) for slot in slots]).items():
        room.learn(node, f"agent/{agent}{page}", value)


def offers(room: Index, node: NodeId, skill: str, agent: str = "words", tags: Sequence[str] = ()) -> None:
    room.learn(node, f"skill/{skill}", encode_skill(agent, SkillDescription(skill, tags=list(tags))))
    runs(room, node, agent)


def order(room: Index, skill: str = "words.count", now: Instant = NOW) -> list[NodeId]:
    return [candidate.node for candidate in room.candidates(skill, now=now)]


def test_the_local_offer_comes_first_then_the_nearest_then_those_never_measured() -> None:
    for arrival in permutations((MUTE, FAR, ME, NEAR)):
        room = index()
        for node in arrival:
            offers(room, node, "words.count")
        assert order(room) == [ME, NEAR, FAR, MUTE], "the order of arrival decides nothing"


def test_who_cannot_be_reached_comes_last_and_says_so() -> None:
    mesh = Mesh()
    mesh.lost = {NEAR: None}
    room = index(mesh)
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
    assert [(c.node, c.excluded) for c in room.candidates("words.count", now=NOW)] == [
        (FAR, ""),
        (NEAR, "unreachable, last heard 3.2 s ago"),
    ]
    assert room.excluded(MUTE, NOW) == ""
    mesh.lost = {MUTE: None}
    assert room.excluded(MUTE, NOW) == "unreachable, never heard"


def test_equal_round_trips_are_ordered_by_node_id() -> None:
    mesh = Mesh()
    mesh.rtt = {NEAR: 500, FAR: 500}
    room = index(mesh)
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
    assert order(room) == [FAR, NEAR]


def test_this_node_is_never_excluded_from_its_own_view() -> None:
    mesh = Mesh()
    mesh.lost = {ME: None}
    room = index(mesh)
    offers(room, ME, "words.count")
    (candidate,) = room.candidates("words.count", now=NOW)
    assert (candidate.excluded, candidate.local, candidate.rtt_us) == ("", True, 0)


def test_a_call_finds_a_skill_by_its_exact_name_only() -> None:
    room = index()
    offers(room, NEAR, "words.count")
    for other in ("words", "words.*", "*", "", "words.coun", "Words.count"):
        assert room.candidates(other, now=NOW) == [], other


def test_people_find_by_skill_by_agent_by_glob_and_all() -> None:
    room = index()
    offers(room, NEAR, "words.count")
    offers(room, FAR, "words.longest")
    offers(room, FAR, "see.cats", agent="eyes")

    def found(wanted: str) -> list[str]:
        return sorted(candidate.skill for candidate in room.find(wanted, now=NOW))

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
    assert [c.node for c in room.candidates("count", now=NOW, node=FAR)] == [FAR]
    assert [c.node for c in room.candidates("count", now=NOW, agent="words")] == [NEAR]
    assert room.candidates("count", now=NOW, node=FAR, agent="words") == []


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
    assert room.find("", now=NOW) == []


def test_a_value_that_cannot_be_read_withdraws_what_was_offered() -> None:
    """A later version of the owner said something; what it said before is no longer so."""
    room = index()
    offers(room, NEAR, "words.count")
    room.learn(NEAR, "skill/words.count", b"\xc1junk")
    assert order(room) == []


def test_facts_of_other_rooms_are_ignored() -> None:
    room = index()
    for key in ("load", "skills/x", "agents/x", "", "skill", "agent", "agent/", "agent/words#x"):
        room.learn(NEAR, key, b"\x93")
    assert room.find("", now=NOW) == [] and list(room.units()) == [] and room.agents_on(NEAR) == 0


def test_units_come_sorted_and_go_when_withdrawn() -> None:
    room = index()
    for node, agent in ((NEAR, "words"), (FAR, "words"), (NEAR, "eyes")):
        runs(room, node, agent, (0, 2))
    assert [(unit.node, unit.agent, unit.first_slot) for unit in room.units()] == [
        (FAR, "words", 0), (FAR, "words", 2), (NEAR, "eyes", 0), (NEAR, "eyes", 2), (NEAR, "words", 0),
        (NEAR, "words", 2),
    ]  # fmt: skip
    assert [(unit.node, unit.first_slot) for unit in room.units("eyes")] == [(NEAR, 0), (NEAR, 2)]
    assert room.agents_on(NEAR) == 2
    room.learn(NEAR, "agent/eyes", b"")
    room.learn(NEAR, "agent/words", b"\xc1")
    room.learn(NEAR, "agent/never", b"")
    assert room.agents_on(NEAR) == 0
    assert [unit.node for unit in room.units()] == [FAR, FAR]


def test_a_unit_is_shown_with_all_that_was_told() -> None:
    room = index()
    told = UnitOffer(3, 1, "backoff", 9, "exit code 1", 4, 77, 12, b"12345678")
    room.learn(NEAR, "agent/words", encode_agent([told])[""])
    (seen,) = room.units("words")
    assert (seen.node, seen.first_slot, seen.slots, seen.state, seen.epoch) == (NEAR, 3, 1, "backoff", 9)
    assert (seen.version, seen.holder, seen.reason) == (12, b"12345678", "exit code 1")
    assert (seen.restarts, seen.pid) == (4, 77)


def test_what_is_offered_is_what_agents_at_work_offer() -> None:
    room = index()
    offers(room, NEAR, "words.count", tags=("text",))
    offers(room, FAR, "words.count")
    offers(room, FAR, "see.cats", agent="eyes", tags=("vision",))
    room.learn(NEAR, "agent/words", encode_agent([UnitOffer(0, 1, "backoff", 1)])[""])
    assert sorted(room.offered()) == [("see.cats", ("vision",), FAR), ("words.count", (), FAR)]


def test_pages_of_one_agent_are_put_together_and_taken_apart() -> None:
    room = index()
    luck = Random(5)
    told = [UnitOffer(slot, 1, "running", luck.randrange(2**40)) for slot in range(200)]
    pages = encode_agent(told)
    assert len(pages) > 2
    for page, value in reversed(pages.items()):
        room.learn(NEAR, f"agent/words{page}", value)
    assert [unit.first_slot for unit in room.units()] == list(range(200))
    assert room.agents_on(NEAR) == 1
    for page in pages:
        room.learn(NEAR, f"agent/words{page}", b"")
    assert list(room.units()) == [] and room.agents_on(NEAR) == 0


# -- who is usable -----------------------------------------------------------------------------------------------------


def test_a_node_whose_agent_does_not_run_comes_last_and_says_why() -> None:
    room = index()
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
    room.learn(NEAR, "agent/words", encode_agent([UnitOffer(0, 1, "backoff", 1, "exit code 1")])[""])
    assert [(c.node, c.excluded) for c in room.candidates("words.count", now=NOW)] == [
        (FAR, ""),
        (NEAR, "words does not run there: backoff, exit code 1"),
    ]
    room.learn(NEAR, "agent/words", b"")
    assert room.candidates("words.count", now=NOW)[1].excluded == "words does not run there"


def test_a_call_for_a_slot_goes_where_that_slot_runs() -> None:
    room = index()
    for node, slots in ((NEAR, (0, 1)), (FAR, (2,))):
        offers(room, node, "words.count")
        runs(room, node, "words", slots)
    for slot, node in ((0, NEAR), (1, NEAR), (2, FAR)):
        first, second = room.candidates("words.count", now=NOW, slot=slot)
        assert (first.node, first.excluded) == (node, "")
        assert second.excluded == f"slot {slot} of words does not run there"
    assert all(c.excluded for c in room.candidates("words.count", now=NOW, slot=3))
    assert (room.slots_on(NEAR, "words"), room.slots_on(MUTE, "words")) == ([0, 1], [])


def test_of_two_claims_to_a_slot_the_higher_epoch_is_called() -> None:
    room = index()
    for node, epoch in ((ME, 3), (NEAR, 2), (FAR, 4)):
        offers(room, node, "words.count")
        runs(room, node, "words", (0,), epoch)
    assert [c.node for c in room.candidates("words.count", now=NOW, slot=0)] == [FAR, ME, NEAR]
    assert order(room) == [ME, NEAR, FAR], "without a slot epochs say nothing"


# -- ranking -----------------------------------------------------------------------------------------------------------


def test_who_answers_faster_comes_first_though_it_is_further_away() -> None:
    mesh = Mesh()
    mesh.rtt = {NEAR: 1 * MS, FAR: 5 * MS}
    room = index(mesh)
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
    for node, took in ((NEAR, 80 * MS), (FAR, 10 * MS)):
        room.observed(node, "words", "words.count", took, NOW, ok=True)
    assert order(room) == [FAR, NEAR]


def test_the_queue_of_a_node_weighs() -> None:
    room = index()
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
        room.observed(node, "words", "words.count", (room._links.rtt_us(node) or 0) + 50 * MS, NOW, ok=True)
    assert order(room)[0] == NEAR
    for _ in range(12):
        room.queued(NEAR, "words", 1)
    assert order(room)[0] == FAR
    for _ in range(12):
        room.queued(NEAR, "words", -1)
    assert order(room)[0] == NEAR


def test_a_longer_queue_here_lets_others_in() -> None:
    room = index()
    for node in (ME, NEAR):
        offers(room, node, "words.count")
        room.observed(node, "words", "words.count", 20 * MS, NOW, ok=True)
    for _ in range(SHORT_QUEUE - 1):
        room.queued(ME, "words", 1)
    assert order(room) == [ME, NEAR] and room.here("words.count", "", NOW) is not None
    room.queued(ME, "words", 1)
    assert order(room) == [NEAR, ME] and room.here("words.count", "", NOW) is None
    runs(room, ME, "words", (0, 1))
    assert order(room) == [ME, NEAR], "twice the units, twice the queue"


def test_who_fails_falls_behind_and_is_tried_again_when_it_has_been_forgotten() -> None:
    room = index()
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
        for _ in range(20):
            room.observed(node, "words", "words.count", 100 * MS, NOW, ok=node == FAR)
    assert order(room) == [FAR, NEAR]
    assert order(room, now=at(NOW.mono_us + FADES_US)) == [FAR, NEAR]
    assert order(room, now=at(NOW.mono_us + FADES_US + 1)) == [NEAR, FAR]


def test_an_agent_that_fails_here_does_not_keep_its_calls_here() -> None:
    room = index()
    offers(room, ME, "words.count")
    for _ in range(20):
        room.observed(ME, "words", "words.count", 1 * MS, NOW, ok=False)
    assert room.here("words.count", "", NOW) is None
    assert room.here("words.count", "", at(NOW.mono_us + 60 * SECOND)) is not None


def test_a_long_queue_here_matters_only_where_somebody_else_has_the_skill() -> None:
    room = index()
    offers(room, ME, "words.count")
    room.queued(ME, "words", 100)
    assert room.here("words.count", "", NOW) is not None
    offers(room, NEAR, "words.count")
    assert room.here("words.count", "", NOW) is None


# -- capabilities and constraints --------------------------------------------------------------------------------------


def test_a_capability_is_all_skills_with_that_tag() -> None:
    room = index()
    offers(room, NEAR, "see.cats", agent="eyes", tags=("vision", "cats"))
    offers(room, FAR, "look.dogs", agent="nose", tags=("vision",))
    offers(room, FAR, "words.count")
    assert [(c.node, c.skill) for c in room.resolve("cap/vision", now=NOW)] == [(NEAR, "see.cats"), (FAR, "look.dogs")]
    assert [c.skill for c in room.resolve("cap/cats", now=NOW)] == ["see.cats"]
    assert [c.skill for c in room.resolve("cap/vision", now=NOW, agent="nose")] == ["look.dogs"]
    assert room.resolve("cap/smell", now=NOW) == []
    assert room.agents_of("cap/vision") == ["eyes", "nose"]
    assert [c.skill for c in room.find("cap/vision", now=NOW)] == ["see.cats", "look.dogs"]
    assert [c.skill for c in room.find("vis*", now=NOW)] == ["see.cats", "look.dogs"]


def test_who_does_not_fit_a_constraint_is_listed_with_the_reason() -> None:
    room = index()
    for node in (NEAR, FAR):
        offers(room, node, "words.count")
    assert [(c.node, c.excluded) for c in room.find("words", "site=plant-7,cpus>=2", now=NOW)] == [
        (NEAR, ""),
        (FAR, "site is yard, not plant-7"),
    ]
    assert [c.excluded for c in room.find("words", "cpus>=2", now=NOW)] == ["", "cpus is not known of it"]
    with pytest.raises(Invalid, match="is no constraint"):
        room.find("words", "fast", now=NOW)


def test_two_agents_of_one_node_may_have_a_skill_of_one_name() -> None:
    room = index()
    offers(room, NEAR, "count", agent="words")
    room.learn(NEAR, "skill/count@beans", encode_skill("beans", SkillDescription("count")))
    assert sorted(c.offer.agent for c in room.candidates("count", now=NOW)) == ["beans", "words"]
    assert room.agents_of("count") == ["beans", "words"]
    room.learn(NEAR, "skill/count", b"")
    assert [c.offer.agent for c in room.candidates("count", now=NOW)] == ["beans"]


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
    held = {(candidate.node, candidate.skill) for candidate in room.find("", now=NOW)}
    assert held == {key for key, offered in truth.items() if offered}
