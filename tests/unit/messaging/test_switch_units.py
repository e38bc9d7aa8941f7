"""Which unit of an agent answers: the least busy, or the one that holds the slot."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.instant import MS
from meshnode.messaging.affinity import by_rendezvous, slot_of_session
from meshnode.model.ids import AgentConn, InstanceId
from tests.unit.messaging.town import House, Town, answer, call_frame, call_header, call_of, result_frame

# -- the least busy ----------------------------------------------------------------------------------------------------


def given_to(house: House) -> list[AgentConn]:
    return [conn for conn, _ in house.to_agents]


def test_units_that_are_equally_busy_take_turns() -> None:
    house = House(1)
    conns = [house.agent(slot=slot) for slot in range(3)]
    town = Town(house)
    for ticket in range(7):
        town.ask(house, ticket)
    assert given_to(house) == [*conns, *conns, conns[0]]


def test_the_unit_with_the_fewest_calls_in_flight_is_next() -> None:
    house = House(1)
    conns = [house.agent(slot=slot) for slot in range(3)]
    town = Town(house)
    for ticket in range(6):
        town.ask(house, ticket)
    free = call_of(house.to_agents[4][1]).call_id
    town.says(house, conns[1], result_frame(free))
    town.ask(house, 6)
    assert given_to(house)[6] == conns[1]
    assert house.ended[0].instance == "words/1"


def test_units_that_come_and_go_are_counted() -> None:
    house = House(1)
    first, second = house.agent(slot=0), house.agent(slot=1)
    town = Town(house)
    house.switch.agent_closing(InstanceId("words/0"))
    town.ask(house, 1)
    town.ask(house, 2)
    assert given_to(house) == [second, second]
    town.dies(house, "words/1")
    assert [ended.code for ended in house.ended] == ["agent-died", "agent-died"]
    town.ask(house, 3)
    assert house.ended[-1].code == "unavailable"
    third = house.agent(slot=2)
    town.ask(house, 4)
    assert given_to(house)[-1] == third != first


@given(st.lists(st.integers(0, 4), max_size=60))
def test_no_unit_is_ever_two_calls_ahead_of_another_that_takes_calls(acts: list[int]) -> None:
    house = House(1)
    conns = [house.agent(slot=slot) for slot in range(4)]
    town = Town(house)
    busy: Counter[AgentConn] = Counter()
    for ticket, act in enumerate(acts):
        if act == 4 and house.to_agents:
            conn, frame = house.to_agents.pop(0)
            busy[conn] -= 1
            town.says(house, conn, result_frame(call_of(frame).call_id))
        else:
            before = {conn: busy[conn] for conn in conns}
            town.ask(house, ticket, call_header(deadline_ms=60_000))
            conn = house.to_agents[-1][0]
            assert before[conn] == min(before.values())
            busy[conn] += 1


def test_a_thousand_units_are_found_by_slot_and_by_turn() -> None:
    house = House(1)
    conns = [AgentConn(1_000 + slot) for slot in range(1_000)]
    for slot in reversed(range(1_000)):
        house.switch.agent_up(InstanceId(f"words/{slot}"), conns[slot], slot, 1)
    house.offer(house.node, slots=range(1_000))
    town = Town(house)
    for slot in (0, 1, 500, 999):
        town.ask(house, slot, call_header(slot=slot))
    assert given_to(house) == [conns[slot] for slot in (0, 1, 500, 999)]
    for ticket in range(1_000, 1_996):
        town.ask(house, ticket)
    assert sorted(given_to(house)) == conns, "each one call"


# -- slots -------------------------------------------------------------------------------------------------------------


def test_a_slot_of_another_node_is_called_there() -> None:
    a, b = House(1), House(2)
    a.agent(slot=0)
    there = b.agent(slot=1)
    a.offer(b.node, slots=(1,))
    town = Town(a, b)
    town.ask(a, 1, call_header(slot=1))
    town.run(5 * MS)
    assert given_to(b) == [there] and a.to_agents == []
    answer(town, b, there)
    assert [(ended.code, ended.node, ended.instance) for ended in a.ended] == [("", b.node, "words/1")]


def test_a_slot_that_runs_nowhere_is_said_so_at_once() -> None:
    house = House(1)
    house.agent(slot=0)
    Town(house).ask(house, 1, call_header(slot=7))
    (ended,) = house.ended
    assert ended.code == "unavailable"
    assert "slot 7 of words, which runs nowhere now" in ended.message


@pytest.mark.parametrize("slot", [-2, 2**31, 2**63])
def test_what_is_no_slot_is_invalid(slot: int) -> None:
    house = House(1)
    house.agent()
    Town(house).ask(house, 1, call_header(slot=slot))
    assert [ended.code for ended in house.ended] == ["invalid"]


def test_actors_of_one_process_take_turns_and_are_named() -> None:
    house = House(1)
    conn = house.agent(slot=1_000, width=3)
    town = Town(house)
    for ticket in range(4):
        town.ask(house, ticket)
    town.ask(house, 9, call_header(slot=1_002))
    assert [call_of(frame).slot for _, frame in house.to_agents] == [1_000, 1_001, 1_002, 1_000, 1_002]
    town.says(house, conn, *[result_frame(call_of(frame).call_id) for _, frame in house.to_agents])
    assert [ended.instance for ended in house.ended] == [f"words/{n}" for n in (1_000, 1_001, 1_002, 1_000, 1_002)]


# -- sessions and keys -------------------------------------------------------------------------------------------------


def spread(slots: int = 6) -> tuple[Town, list[House]]:
    """Three houses that hold two of six slots each, and know of all."""
    houses = [House(number) for number in (1, 2, 3)]
    for number, house in enumerate(houses):
        house.views.slots["words"] = slots
        for slot in (2 * number, 2 * number + 1):
            house.agent(slot=slot)
    for house in houses:
        for number, other in enumerate(houses):
            house.offer(other.node, slots=(2 * number, 2 * number + 1))
    return Town(*houses), houses


@pytest.mark.parametrize("how", ["session", "idempotency_key"])
def test_calls_of_one_session_or_key_meet_one_unit_from_whichever_node(how: str) -> None:
    for name in ("bench", "order-7", "ä", "x" * 200):
        town, houses = spread()
        for ticket, house in enumerate(houses):
            town.ask(house, ticket, call_header(**{how: name}))
            town.run(5 * MS)
            for other in houses:
                for conn, frame in other.to_agents:
                    if call_of(frame).slot >= 0:
                        town.says(other, conn, result_frame(call_of(frame).call_id))
                other.to_agents.clear()
            town.run(5 * MS)
        ended = [ended.instance for house in houses for ended in house.ended]
        assert len(ended) == 3 and set(ended) == {f"words/{slot_of_session(name, 6)}"}


def test_a_session_counts_before_a_key() -> None:
    town, houses = spread()
    town.ask(houses[0], 1, call_header(session="bench", idempotency_key="k"))
    town.run(5 * MS)
    (seen,) = [call_of(frame) for house in houses for _, frame in house.to_agents]
    assert (seen.slot, seen.session, seen.idempotency_key) == (slot_of_session("bench", 6), "bench", "k")


def test_a_keyed_call_to_one_node_stays_there_and_meets_the_same_unit_again() -> None:
    town, houses = spread()
    for ticket in range(3):
        town.ask(houses[0], ticket, call_header(idempotency_key="k"), node=houses[2].node)
    town.run(5 * MS)
    (only,) = [call_of(frame).slot for _, frame in houses[2].to_agents]
    assert only in (4, 5), "the other two follow it"
    assert houses[0].to_agents == houses[1].to_agents == []


def test_a_keyed_call_goes_to_one_agent_where_several_offer_the_skill() -> None:
    houses = [House(1), House(2)]
    houses[0].agent("count", agent="beans")
    houses[1].agent("count", agent="peas")
    for house in houses:
        house.offer(houses[0].node, "count", "beans")
        house.offer(houses[1].node, "count", "peas")
    town = Town(*houses)
    for number in range(20):
        for house in houses:
            town.ask(house, number, call_header("count", idempotency_key=f"k{number}"))
        town.run(5 * MS)
        seen = [frame for house in houses for frame in house.asked_of_agents()]
        assert call_of(seen[-1]).agent == by_rendezvous(f"k{number}", ["beans", "peas"])[0]
        for house in houses:
            for conn, frame in house.to_agents:
                town.says(house, conn, result_frame(call_of(frame).call_id))
            house.to_agents.clear()
        town.run(5 * MS)
    assert len(houses[0].ended) == len(houses[1].ended) == 20


@given(st.text(max_size=40), st.integers(1, 60_000))
def test_a_session_has_a_slot_and_moves_only_to_new_ones(session: str, slots: int) -> None:
    slot = slot_of_session(session, slots)
    assert 0 <= slot < slots
    assert slot_of_session(session, slots + 1) in (slot, slots)


def test_sessions_are_spread_evenly() -> None:
    found = Counter(slot_of_session(f"s{number}", 10) for number in range(10_000))
    assert all(850 < found[slot] < 1_150 for slot in range(10)), found


# -- capabilities ------------------------------------------------------------------------------------------------------


def test_a_capability_leads_to_a_skill_that_has_it() -> None:
    a, b = House(1), House(2)
    there = b.agent("see.cats", agent="eyes")
    a.offer(b.node, "see.cats", "eyes", tags=("vision",))
    town = Town(a, b)
    town.ask(a, 1, call_header("cap/vision"))
    town.run(5 * MS)
    assert call_of(b.asked_of_agents()[0]).skill == "see.cats"
    answer(town, b, there)
    assert [(ended.code, ended.instance) for ended in a.ended] == [("", "eyes/0")]
    town.ask(a, 2, call_header("cap/smell"))
    assert (a.ended[1].code, a.ended[1].message) == ("not-found", "no node known to n1 offers the capability smell")


def test_a_capability_opens_no_skill_that_may_not_be_called() -> None:
    a, b = House(1), House(2)
    b.agent("see.cats", agent="eyes")
    a.offer(b.node, "see.cats", "eyes", tags=("vision",))
    a.views.forbidden.append("see.cats")
    town = Town(a, b)
    town.ask(a, 1, call_header("cap/vision"))
    town.run(5 * MS)
    assert len(a.ended) == 1 and a.ended[0].code != "" and b.to_agents == []


def test_a_peer_cannot_ask_for_a_capability() -> None:
    a, b = House(1), House(2)
    b.agent("see.cats", agent="eyes")
    b.offer(b.node, "see.cats", "eyes", tags=("vision",))
    town = Town(a, b)
    town.hears(b, a.node, call_frame(b"0" * 16, skill="cap/vision"))
    assert b.to_agents == []


# -- the queue here ----------------------------------------------------------------------------------------------------


def test_a_long_queue_here_sends_calls_to_a_node_that_has_none() -> None:
    a, b = House(1), House(2)
    mine, there = a.agent(), b.agent()
    a.offer(b.node)
    a.views.rtt[b.node] = 1 * MS
    town = Town(a, b)
    for house, conn, node in ((a, mine, a.node), (b, there, b.node)):
        town.ask(a, house.node[0], node=node)
        town.run(20 * MS)
        answer(town, house, conn)
    before = len(a.asked_of_agents())
    for ticket in range(10, 30):
        town.ask(a, ticket, call_header(deadline_ms=60_000))
    assert 8 <= len(a.asked_of_agents()) - before < 20
    town.run(5 * MS)
    assert len(b.asked_of_agents()) > 1
