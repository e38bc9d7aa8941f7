"""Links break, agents die, peers fall silent: every call ends with a reason."""

from meshnode.kernel.instant import MS, SECOND
from meshnode.messaging.messages import CallOverdue
from meshnode.wire.frame import Kind
from tests.unit.messaging.town import (
    ID,
    House,
    Town,
    answer,
    call_frame,
    call_header,
    pair,
)

# -- links break -------------------------------------------------------------------------------------------------------


def test_a_call_whose_link_is_lost_ends_after_a_second() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(deadline_ms=60_000))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(SECOND - 1)
    assert a.ended == []
    town.run(1)
    (ended,) = a.ended
    assert ended.code == "unreachable"
    assert "it may have run" in ended.message


def test_what_was_given_up_is_cancelled_when_the_link_comes_back() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(deadline_ms=60_000))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(2 * SECOND)
    town.heal(a, b)
    town.run(5 * MS)
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL]
    assert b.switch.in_flight == 0


def test_a_link_back_in_time_does_not_end_the_call() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1, call_header(deadline_ms=60_000))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(900 * MS)
    town.heal(a, b)
    town.run(5 * SECOND)
    assert a.ended == []
    answer(town, b, conn)
    assert [ended.code for ended in a.ended] == [""]
    assert len(b.asked_of_agents()) == 1


def test_a_call_at_a_peer_that_started_again_ends_at_once() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(deadline_ms=60_000))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(200 * MS)
    a.views.heard[b.node] = town.now_us
    a.take(a.switch.peer_up(b.node, b.boot + 1, town.now))
    (ended,) = a.ended
    assert (ended.code, ended.took_us) == ("unreachable", 205 * MS)
    assert "n2 started again during the call; it may have run" in ended.message


def test_calls_of_a_peer_that_started_again_are_dropped_and_cancelled() -> None:
    town, a, b, conn = pair()
    town.hears(b, a.node, call_frame(ID, deadline_ms=60_000))
    b.take(b.switch.peer_up(a.node, a.boot + 1, town.now))
    assert [(to, frame.kind) for to, frame in b.to_agents] == [(conn, Kind.CALL), (conn, Kind.CANCEL)]
    assert b.switch.in_flight == 0
    answer(town, b, conn)
    assert a.switch.counters.snapshot() == {}, "the new process hears nothing of it"


# -- doubts ------------------------------------------------------------------------------------------------------------


def test_a_peer_that_says_nothing_at_all_is_doubted_after_three_round_trips() -> None:
    town, a, b, _ = pair()
    a.views.rtt[b.node] = 20 * MS
    a.views.heard[b.node] = town.now_us - 1  # the link looks well, nothing is heard after the call
    town.ask(a, 1)
    town.run(159 * MS)
    assert a.told(CallOverdue) == []
    town.run(1 * MS)
    assert a.told(CallOverdue) == [CallOverdue(b.node)]
    town.run(500 * MS)
    assert len(a.told(CallOverdue)) == 1


def test_a_peer_that_says_anything_is_not_doubted_though_the_answer_is_missing() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1)
    town.run(50 * MS)
    a.views.heard[b.node] = town.now_us
    town.run(SECOND)
    assert a.told(CallOverdue) == []


# -- agents end --------------------------------------------------------------------------------------------------------


def test_an_agent_that_dies_midway_ends_its_calls_with_a_reason() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    town.dies(b, "words/0")
    town.run(5 * MS)
    (ended,) = a.ended
    assert ended.code == "agent-died"
    assert "words/0 ended while it worked on the call; it may have run" in ended.message


def test_calls_of_an_agent_that_died_are_cancelled_where_they_run() -> None:
    town, a, b, conn = pair()
    mine = a.agent("my.own", agent="mine")
    town.says(a, mine, call_frame(ID))
    town.run(5 * MS)
    town.dies(a, "mine/0")
    town.run(5 * MS)
    assert [(to, frame.kind) for to, frame in b.to_agents] == [(conn, Kind.CALL), (conn, Kind.CANCEL)]
    assert a.switch.in_flight == b.switch.in_flight == 0
    assert a.to_agents == [], "nothing is said to a dead agent"


def test_an_agent_that_calls_itself_and_dies_leaves_nothing() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.says(house, conn, call_frame(ID))
    assert house.switch.in_flight == 1
    town.dies(house, "words/0")
    assert house.switch.in_flight == 0 and house.switch.deadline() is None


def test_an_agent_asked_to_stop_answers_what_it_has_and_gets_nothing_new() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1)
    house.switch.agent_closing("words/0")
    town.ask(house, 2)
    assert [(ended.ticket, ended.code) for ended in house.ended] == [(2, "unavailable")]
    answer(town, house, conn)
    assert [(ended.ticket, ended.code) for ended in house.ended[1:]] == [(1, "")]


def test_an_agent_asked_to_stop_that_does_not_answer_ends_its_calls_when_it_goes() -> None:
    house = House(1)
    house.agent()
    town = Town(house)
    town.ask(house, 1)
    house.switch.agent_closing("words/0")
    town.dies(house, "words/0")
    assert [ended.code for ended in house.ended] == ["agent-died"]


def test_frames_of_an_agent_that_is_gone_are_counted_and_dropped() -> None:
    town, a, b, _ = pair()
    mine = a.agent("my.own", agent="mine")
    town.dies(a, "mine/0")
    town.says(a, mine, call_frame(ID))
    town.run(5 * MS)
    assert b.to_agents == [] and a.switch.in_flight == 0
    assert a.switch.counters["agent-unknown"] == 1


def test_a_skill_known_here_whose_agent_does_not_run_is_unavailable() -> None:
    house = House(1)
    house.offer(house.node)
    town = Town(house)
    town.ask(house, 1)
    assert [ended.code for ended in house.ended] == ["unavailable"]
