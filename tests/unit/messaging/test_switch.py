"""The way of a call: who may, who is tried, how it ends."""

import msgspec
import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.messaging.messages import Reach
from meshnode.messaging.switch import PING_SKILL
from meshnode.wire.frame import Kind
from tests.unit.messaging.town import (
    ID,
    SKILL,
    House,
    Town,
    answer,
    call_frame,
    call_header,
    call_of,
    cancel_frame,
    pair,
    trio,
)

# -- the way of a call -------------------------------------------------------------------------------------------------


def test_a_call_to_an_agent_of_this_node_goes_there_and_back() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 7, payload=b'{"text":"a b"}')
    ((to, frame),) = house.to_agents
    assert (to, call_of(frame).skill, frame.payload) == (conn, SKILL, b'{"text":"a b"}')
    town.run(3 * MS)
    answer(town, house, conn)
    (ended,) = house.ended
    assert (ended.ticket, ended.code, ended.payload, ended.node) == (7, "", b"42", house.node)
    assert (ended.instance, ended.took_us, ended.attempts) == ("words/0", 3 * MS, 1)
    assert house.switch.in_flight == 0 and house.switch.deadline() is None


def test_a_call_to_another_node_goes_there_and_back() -> None:
    town, a, b, conn = pair()
    town.ask(a, 7, call_header(deadline_ms=2_000, idempotency_key="k", trace="t"))
    town.run(5 * MS)
    ((to, frame),) = b.to_agents
    seen = call_of(frame)
    assert (to, seen.skill, seen.idempotency_key, seen.trace) == (conn, SKILL, "k", "t")
    assert 1_990 <= seen.deadline_ms <= 2_000
    answer(town, b, conn)
    (ended,) = a.ended
    assert (ended.code, ended.payload, ended.node, ended.instance) == ("", b"42", b.node, "words/0")
    assert a.switch.in_flight == b.switch.in_flight == 0
    assert a.switch.deadline() is None and b.switch.deadline() is None


def test_a_local_agent_is_preferred_to_a_remote_one() -> None:
    town, a, _, _ = pair()
    mine = a.agent()
    town.ask(a, 1)
    assert [conn for conn, _ in a.to_agents] == [mine]


def test_a_call_waits_for_a_link_and_is_sent_when_it_comes_up() -> None:
    town, a, b, _ = pair()
    town.cut(a, b)
    town.ask(a, 1, call_header(deadline_ms=5_000))
    assert a.told(Reach) == [Reach(b.node)]
    town.run(2 * SECOND)
    assert b.to_agents == []
    town.heal(a, b)
    town.run(5 * MS)
    assert len(b.asked_of_agents()) == 1
    assert 2_990 <= call_of(b.asked_of_agents()[0]).deadline_ms <= 3_000, "what is left, not what was given"


def test_without_a_link_the_call_ends_as_unreachable_before_its_deadline() -> None:
    town, a, b, _ = pair()
    town.cut(a, b)
    town.ask(a, 1, call_header(deadline_ms=60_000))
    town.run(3 * SECOND)
    (ended,) = a.ended
    assert (ended.code, ended.took_us) == ("unreachable", 3 * SECOND)
    assert "no link to n2 after 3.00 s" in ended.message


# -- who may -----------------------------------------------------------------------------------------------------------


def test_a_call_denied_here_does_not_leave() -> None:
    town, a, b, _ = pair()
    a.views.denied.append(a.node)
    town.ask(a, 1)
    town.run(SECOND)
    (ended,) = a.ended
    assert (ended.code, b.to_agents) == ("denied", [])
    assert "no-role" in ended.message


def test_a_call_denied_there_does_not_reach_the_agent() -> None:
    town, a, b, _ = pair()
    b.views.denied.append(a.node)
    town.ask(a, 1)
    town.run(SECOND)
    (ended,) = a.ended
    assert (ended.code, b.to_agents) == ("denied", [])
    assert "n2 does not allow it: no-role" in ended.message


def test_an_agent_cannot_call_in_another_name() -> None:
    town, a, b, _ = pair()
    mine = a.agent("my.own", agent="mine")
    town.says(a, mine, call_frame(ID, caller="node/n9"))
    town.run(5 * MS)
    assert call_of(b.asked_of_agents()[0]).caller == "agent/mine/n1"


@pytest.mark.parametrize(
    ("claimed", "seen"),
    [
        ("node/n1", "node/n1"),
        ("agent/eyes/n1", "agent/eyes/n1"),
        ("node/n2", "node/n1"),
        ("agent/eyes/n2", "node/n1"),
        ("agent//n1", "node/n1"),
        ("agent/eyes/x/n1", "node/n1"),
        ("admin", "node/n1"),
        ("", "node/n1"),
        (f"agent/{'e' * 9_000}/n1", "node/n1"),
    ],
)
def test_a_peer_speaks_for_itself_and_its_agents_only(claimed: str, seen: str) -> None:
    town, a, b, _ = pair()
    town.hears(b, a.node, call_frame(ID, caller=claimed))
    assert call_of(b.asked_of_agents()[0]).caller == seen


# -- trying again ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["unavailable", "not-found", "overloaded"])
def test_an_answer_that_proves_it_did_not_run_leads_to_the_next_candidate(code: str) -> None:
    town, a, b, c, there, further = trio()
    town.ask(a, 1)
    town.run(5 * MS)
    answer(town, b, there, code)
    assert len(c.asked_of_agents()) == 1 and a.ended == []
    answer(town, c, further)
    (ended,) = a.ended
    assert (ended.code, ended.node, ended.attempts) == ("", c.node, 2)


@pytest.mark.parametrize("code", ["skill-failed", "invalid", "agent-died", "own.broken", "timeout"])
def test_an_answer_that_may_mean_it_ran_ends_the_call(code: str) -> None:
    town, a, b, c, there, _ = trio()
    town.ask(a, 1)
    town.run(5 * MS)
    answer(town, b, there, code)
    (ended,) = a.ended
    assert (ended.code, ended.attempts, c.to_agents) == (code, 1, [])


def test_a_lost_link_during_the_call_is_not_a_reason_to_try_elsewhere() -> None:
    town, a, b, c, _, _ = trio()
    town.ask(a, 1)
    town.run(5 * MS)
    town.cut(a, b)
    town.run(SECOND)
    assert [ended.code for ended in a.ended] == ["unreachable"]
    assert c.to_agents == []


def test_no_link_to_the_first_leads_to_the_next_because_nothing_was_sent() -> None:
    town, a, b, c, _, further = trio()
    town.cut(a, b)
    town.cut(a, c)  # who has a link would come before who has none
    town.ask(a, 1, call_header(deadline_ms=10_000))
    town.heal(a, c)
    town.run(3 * SECOND + 5 * MS)
    assert len(c.asked_of_agents()) == 1
    answer(town, c, further)
    assert [(ended.code, ended.attempts) for ended in a.ended] == [("", 2)]
    town.heal(a, b)
    town.run(SECOND)
    assert b.to_agents == [], "the first candidate must not hear of it any more"


def test_when_all_have_refused_the_last_reason_ends_the_call() -> None:
    town, a, b, c, there, further = trio()
    town.ask(a, 1)
    town.run(5 * MS)
    answer(town, b, there, "unavailable")
    answer(town, c, further, "overloaded")
    assert [(ended.code, ended.attempts) for ended in a.ended] == [("overloaded", 2)]


def test_a_full_local_agent_spills_over_to_another_node() -> None:
    town, a, b, there = pair()
    mine = a.agent()
    town.ask(a, 1)
    answer(town, a, mine, "overloaded")
    town.run(5 * MS)
    answer(town, b, there)
    assert [(ended.code, ended.node, ended.attempts) for ended in a.ended] == [("", b.node, 2)]


def test_a_call_made_for_a_peer_is_never_sent_on() -> None:
    """Node 3 offers it too, but node 2 was asked: a call does not wander."""
    town, a, b, c, there, _ = trio()
    b.offer(c.node)
    town.hears(b, a.node, call_frame(ID))
    answer(town, b, there, "unavailable")
    assert c.to_agents == []


# -- deadlines ---------------------------------------------------------------------------------------------------------


def test_the_deadline_ends_the_call_at_both_ends_and_cancels_the_agent() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1, call_header(deadline_ms=500))
    town.run(500 * MS)
    (ended,) = a.ended
    assert (ended.code, ended.took_us) == ("timeout", 500 * MS)
    assert "no answer from n2" in ended.message
    town.run(5 * MS)
    assert [(to, frame.kind) for to, frame in b.to_agents] == [(conn, Kind.CALL), (conn, Kind.CANCEL)]
    assert a.switch.in_flight == b.switch.in_flight == 0


def test_the_callee_ends_by_itself_when_the_cancel_cannot_reach_it() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(deadline_ms=500))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(SECOND)
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL]
    assert b.switch.in_flight == 0


def test_a_deadline_that_has_passed_is_refused_and_a_far_one_is_cut() -> None:
    town, a, b, _ = pair(deadline_max_us=1 * SECOND)
    town.ask(a, 1, call_header(deadline_ms=0))
    town.ask(a, 2, call_header(deadline_ms=-5))
    assert [ended.code for ended in a.ended] == ["timeout", "timeout"]
    town.ask(a, 3, call_header(deadline_ms=10**15))
    town.run(1 * SECOND)
    assert [ended.code for ended in a.ended[2:]] == ["timeout"]
    assert call_of(b.asked_of_agents()[0]).deadline_ms <= 1_000


# -- nobody ------------------------------------------------------------------------------------------------------------


def test_who_is_missing_is_said() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header("see.cats"))
    town.ask(a, 2, call_header("see.cats", agent="eyes"))
    town.ask(a, 3, call_header("see.cats"), node=b.node)
    town.ask(a, 4, call_header("see.cats"), node=a.node)
    a.views.unreachable.append(b.node)
    town.run(3_200 * MS)
    town.ask(a, 5)
    town.ask(a, 6, call_header("see.cats"), node=b.node)
    assert [(ended.code, ended.message) for ended in a.ended] == [
        ("not-found", "no node known to n1 offers the skill see.cats"),
        ("not-found", "no node known to n1 offers the skill see.cats of agent eyes"),
        ("not-found", "n2 does not offer the skill see.cats"),
        ("not-found", "n1 does not offer the skill see.cats"),
        ("unreachable", "the skill words.count is offered by n2, which cannot be reached now (last heard 3.2 s ago)"),
        ("unreachable", "n2, which is to answer the skill see.cats, cannot be reached now (last heard 3.2 s ago)"),
    ]


# -- ping --------------------------------------------------------------------------------------------------------------


def test_a_ping_answers_with_the_other_clock() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(PING_SKILL), node=b.node)
    town.run(5 * MS)
    (ended,) = a.ended
    assert (ended.code, ended.node, ended.took_us) == ("", b.node, 2 * MS)
    assert msgspec.json.decode(ended.payload)["wall_ms"] == 1_800_000_000_000 + 1_001
    assert b.to_agents == []


def test_a_ping_of_oneself_needs_no_wire() -> None:
    house = House(1)
    town = Town(house)
    town.ask(house, 1, call_header(PING_SKILL), node=house.node)
    town.ask(house, 2, call_header(PING_SKILL))
    assert [ended.code for ended in house.ended] == ["", ""]


def test_a_ping_of_a_silent_node_ends_at_its_deadline() -> None:
    town, a, b, _ = pair()
    town.cut(a, b)
    town.ask(a, 1, call_header(PING_SKILL, deadline_ms=1_500), node=b.node)
    town.run(1_500 * MS)
    assert [(ended.code, "no link to n2 came up" in ended.message) for ended in a.ended] == [("timeout", True)]


def test_who_may_not_call_may_not_ping() -> None:
    town, a, b, _ = pair()
    b.views.denied.append(a.node)
    town.ask(a, 1, call_header(PING_SKILL), node=b.node)
    town.run(5 * MS)
    assert [ended.code for ended in a.ended] == ["denied"]


# -- giving up ---------------------------------------------------------------------------------------------------------


def test_an_agent_that_cancels_hears_nothing_and_the_callee_is_cancelled() -> None:
    town, a, b, conn = pair()
    mine = a.agent("my.own", agent="mine")
    town.says(a, mine, call_frame(ID))
    town.run(5 * MS)
    town.says(a, mine, cancel_frame(ID), cancel_frame(ID))
    town.run(5 * MS)
    assert [(to, frame.kind) for to, frame in b.to_agents] == [(conn, Kind.CALL), (conn, Kind.CANCEL)]
    assert a.to_agents == [] and a.switch.in_flight == b.switch.in_flight == 0


def test_nobody_cancels_the_call_of_another() -> None:
    town, a, b, c, there, _ = trio()
    town.hears(b, a.node, call_frame(ID))
    town.hears(b, c.node, cancel_frame(ID))
    town.says(b, there, cancel_frame(ID))
    assert b.switch.in_flight == 1


def test_a_door_whose_asker_is_gone_gives_the_call_up() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    a.take(a.switch.dropped(1, town.now))
    a.take(a.switch.dropped(2, town.now))
    town.ask(a, 3)
    town.run(5 * MS)
    assert a.ended == [] and a.switch.in_flight == 1
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL, Kind.CALL]


def test_a_node_that_goes_down_tells_its_doors() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    a.take(a.switch.close(town.now))
    (ended,) = a.ended
    assert ended.code == "unavailable"
    assert "n1 is going down; it may have run" in ended.message
    assert a.switch.in_flight == 0 and a.switch.deadline() is None
    town.ask(b, 1, node=a.node)


def test_waking_without_need_does_nothing() -> None:
    town, a, _, _ = pair()
    town.ask(a, 1)
    before = a.switch.deadline()
    assert a.switch.wake(town.now) == []
    assert a.switch.deadline() == before
