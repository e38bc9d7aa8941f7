"""A call that may have run is tried again only where running twice is running once."""

import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.ports import StoredAnswer
from meshnode.links.messages import Post
from meshnode.messaging.messages import Reach
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.wire.frame import Kind
from tests.unit.messaging.town import (
    ID,
    House,
    Town,
    answer,
    call_frame,
    call_header,
    call_of,
    pair,
    result_frame,
    result_of,
    state_frame,
    trio,
)

UNIT = InstanceId("words/0")
KEYED = {"idempotency_key": "k", "deadline_ms": 10_000}


# -- another candidate -------------------------------------------------------------------------------------------------


def test_a_keyed_call_whose_agent_died_is_answered_by_another_node() -> None:
    town, a, b, c, _, further = trio()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    a.offer(b.node, state="backoff")
    town.dies(b, UNIT)
    town.run(5 * MS)
    assert call_of(c.asked_of_agents()[0]).idempotency_key == "k"
    answer(town, c, further)
    assert [(ended.code, ended.node, ended.attempts) for ended in a.ended] == [("", c.node, 2)]


def test_a_call_without_a_key_is_not_run_twice() -> None:
    town, a, b, c, _, _ = trio()
    town.ask(a, 1)
    town.run(5 * MS)
    town.dies(b, UNIT)
    town.run(5 * MS)
    assert [(ended.code, ended.attempts) for ended in a.ended] == [("agent-died", 1)]
    assert c.to_agents == []


def test_a_skill_that_is_declared_idempotent_needs_no_key() -> None:
    town, a, b, c, _, further = trio()
    for house in (b, c):
        a.offer(house.node, idempotent=True)
    town.ask(a, 1)
    town.run(5 * MS)
    assert call_of(b.asked_of_agents()[0]).idempotent
    a.offer(b.node, idempotent=True, state="failed")
    town.dies(b, UNIT)
    town.run(5 * MS)
    answer(town, c, further)
    assert [(ended.code, ended.node) for ended in a.ended] == [("", c.node)]


def test_a_keyed_call_meets_another_node_when_its_link_stays_lost() -> None:
    town, a, b, c, _, further = trio()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(SECOND + 5 * MS)
    answer(town, c, further)
    assert [(ended.code, ended.node) for ended in a.ended] == [("", c.node)]
    town.heal(a, b)
    town.run(5 * MS)
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL]


def test_it_does_not_wait_for_the_link_once_its_node_is_known_to_be_gone() -> None:
    town, a, b, c, _, further = trio()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(50 * MS)
    a.views.unreachable.append(b.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    answer(town, c, further)
    assert [(ended.code, ended.node) for ended in a.ended] == [("", c.node)]
    assert a.ended[0].took_us < 100 * MS


def test_a_call_waits_a_moment_for_a_skill_of_which_the_news_is_on_its_way() -> None:
    town, a, b, _ = pair(settle_us=500 * MS)
    town.ask(a, 1, call_header(skill="new.skill"))
    town.run(100 * MS)
    assert a.ended == []
    for house in (a, b):
        house.offer(b.node, skill="new.skill")
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    assert call_of(b.asked_of_agents()[0]).skill == "new.skill"


def test_a_skill_that_nobody_offers_is_said_to_be_missing_after_that_moment() -> None:
    town, a, _, _ = pair(settle_us=500 * MS)
    town.ask(a, 1, call_header(skill="new.skill"))
    town.run(SECOND)
    assert [(ended.code, ended.took_us) for ended in a.ended] == [("not-found", 500 * MS)]


def handed_over() -> tuple[Town, House, House, House, AgentConn]:
    """Node 2 has given its agent to node 3, and node 1, which calls it there, has not heard of that yet."""
    a, b, c = House(1, settle_us=500 * MS), House(2), House(3)
    conn = c.agent()
    a.offer(b.node)
    return Town(a, b, c), a, b, c, conn


def test_a_call_that_is_faster_than_the_news_of_a_hand_over_waits_for_it() -> None:
    town, a, b, c, conn = handed_over()
    town.ask(a, 1)
    town.run(50 * MS)
    assert a.ended == []
    a.offer(b.node, state="stopping")
    a.offer(c.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    answer(town, c, conn)
    assert [(ended.code, ended.node, ended.attempts) for ended in a.ended] == [("", c.node, 2)]


def test_it_waits_no_longer_than_news_takes_whatever_else_is_heard() -> None:
    town, a, b, _, _ = handed_over()
    town.ask(a, 1)
    town.run(50 * MS)
    a.offer(b.node, state="stopping")
    town.does(a, a.switch.offers_changed(town.now))
    town.run(SECOND)
    assert [ended.code for ended in a.ended] == ["not-found"]
    assert 500 * MS <= a.ended[0].took_us <= 510 * MS


def killed(seen_ago_us: int | None = SECOND // 10) -> tuple[Town, House, House, AgentConn]:
    """Node 2, where the agent ran, is gone; node 3 has taken over, and node 1 has not heard of that."""
    a, b, c = House(1, settle_us=500 * MS), House(2), House(3)
    conn = c.agent()
    a.offer(b.node)
    town = Town(a, b, c)
    town.run(20 * SECOND)
    town.cut(a, b)
    a.views.unreachable.append(b.node)
    if seen_ago_us is not None:
        a.views.seen[b.node] = town.now_us - seen_ago_us
    return town, a, c, conn


def test_a_call_in_the_moment_of_a_kill_waits_for_news_of_whoever_takes_over() -> None:
    town, a, c, conn = killed()
    town.ask(a, 1)
    town.run(100 * MS)
    assert a.ended == []
    a.offer(c.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    answer(town, c, conn)
    assert [(ended.code, ended.node) for ended in a.ended] == [("", c.node)]


def test_where_nobody_takes_over_it_is_refused_as_unreachable_when_news_had_its_time() -> None:
    town, a, _, _ = killed()
    town.ask(a, 1)
    town.run(SECOND)
    assert [(ended.code, ended.took_us) for ended in a.ended] == [("unreachable", 500 * MS)]


@pytest.mark.parametrize("seen_ago_us", [6 * SECOND, None])
def test_nobody_waits_for_news_of_a_node_that_is_gone_for_long_or_was_never_heard(seen_ago_us: int | None) -> None:
    town, a, _, _ = killed(seen_ago_us)
    town.ask(a, 1)
    assert [ended.code for ended in a.ended] == ["unreachable"]


def test_a_call_for_that_very_node_does_not_wait_as_nobody_else_may_answer_it() -> None:
    town, a, _, _ = killed()
    (node,) = a.views.unreachable
    town.ask(a, 1, node=node)
    assert [ended.code for ended in a.ended] == ["unreachable"]


def test_what_a_peer_asked_for_is_refused_at_once() -> None:
    a, b = House(1, settle_us=500 * MS), House(2)
    town = Town(a, b)
    (post,) = a.switch.from_peer(b.node, (call_frame(ID),), town.now)
    assert isinstance(post, Post) and result_of(post.frames[0]).code == "not-found"


def test_nobody_waits_where_nobody_else_is_there_to_bring_news() -> None:
    alone = House(1, settle_us=500 * MS)
    town = Town(alone)
    town.ask(alone, 1, call_header(skill="new.skill"))
    assert [ended.code for ended in alone.ended] == ["not-found"]


def test_a_keyed_call_leaves_a_silent_node_whose_link_still_stands() -> None:
    town, a, b, c, _, further = trio()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    a.views.unreachable.append(b.node)
    a.switch.peer_doubted(b.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    answer(town, c, further)
    assert [(ended.code, ended.node) for ended in a.ended] == [("", c.node)]
    assert a.ended[0].took_us < 100 * MS


def test_a_call_that_waits_for_a_link_goes_elsewhere_once_its_node_is_known_to_be_gone() -> None:
    town, a, b, c, _, _ = trio()
    town.cut(a, b)
    town.cut(a, c)
    town.ask(a, 1)
    assert a.told(Reach) == [Reach(b.node)]
    town.heal(a, c)
    a.views.unreachable.append(b.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    assert len(c.asked_of_agents()) == 1, "it surely has not run: no key is needed"


def test_a_call_without_a_key_stays_with_the_node_that_may_have_run_it() -> None:
    town, a, b, c, _, _ = trio()
    town.ask(a, 1)
    town.run(5 * MS)
    town.cut(a, b)
    a.views.unreachable.append(b.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    assert c.to_agents == [] and a.ended == []


def test_a_keyed_call_to_a_node_that_started_again_is_made_again() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    town.does(a, a.switch.peer_up(b.node, b.boot + 1, town.now))
    town.does(b, b.switch.peer_up(a.node, a.boot + 1, town.now))
    b.views.kept[UNIT, "k"] = StoredAnswer(b"7", "local", 1)
    town.run(5 * MS)
    assert [(ended.code, ended.payload, ended.replayed) for ended in a.ended] == [("", b"7", True)]


def test_what_comes_late_from_where_it_was_lost_is_no_answer_and_no_offence() -> None:
    town, a, b, c, _, further = trio()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(SECOND + 5 * MS)
    ours = a.switch._calls.where(lambda _: True)[0].call_id
    town.hears(a, b.node, result_frame(ours, payload=b"late"))
    answer(town, c, further)
    assert [ended.payload for ended in a.ended] == [b"42"]
    assert a.switch.counters["result-late"] == 1 and a.switch.counters["result-foreign"] == 0


# -- nobody yet --------------------------------------------------------------------------------------------------------


def test_a_keyed_call_waits_for_its_agent_to_come_up_somewhere() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    town.dies(b, UNIT)
    a.offer(b.node, state="backoff")
    town.run(800 * MS)
    assert a.ended == []
    there = b.agent()
    a.offer(b.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    answer(town, b, there)
    assert [(ended.code, ended.node) for ended in a.ended] == [("", b.node)]


def test_after_three_seconds_without_anybody_it_fails_with_reason_and_age() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    town.cut(a, b)
    a.views.unreachable.append(b.node)
    a.views.seen[b.node] = town.now_us
    town.run(4 * SECOND - 1)
    assert a.ended == []
    town.run(1)
    (ended,) = a.ended
    assert (ended.code, ended.attempts) == ("unreachable", 1)
    assert "the link to n2 was lost during the call" in ended.message
    assert "n2, which cannot be reached now (last heard 4.0 s ago)" in ended.message


def test_it_never_waits_past_its_deadline() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(idempotency_key="k", deadline_ms=1_000))
    town.run(5 * MS)
    a.offer(b.node, state="failed")
    town.dies(b, UNIT)
    town.run(SECOND)
    (ended,) = a.ended
    assert (ended.code, ended.took_us) == ("timeout", SECOND)
    assert "words/0 ended while it worked on the call" in ended.message


def test_it_is_tried_four_times_at_most_where_it_may_have_run() -> None:
    house = House(1)
    house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(**KEYED))
    for _ in range(3):
        town.dies(house, UNIT)
        house.agent()
        town.does(house, house.switch.offers_changed(town.now))
        assert house.ended == []
    town.dies(house, UNIT)
    assert [(ended.code, ended.attempts) for ended in house.ended] == [("agent-died", 4)]


def test_a_call_made_for_a_peer_is_that_peers_to_repeat() -> None:
    town, a, b, _ = pair()
    town.hears(b, a.node, call_frame(ID, **KEYED))
    town.dies(b, UNIT)
    assert b.switch.in_flight == 0 and b.switch.deadline() is None


def test_a_door_that_goes_away_ends_the_wait() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    a.offer(b.node, state="failed")
    town.dies(b, UNIT)
    town.run(5 * MS)
    town.does(a, a.switch.dropped(1, town.now))
    assert a.switch.in_flight == 0 and a.switch.deadline() is None and a.ended == []


def test_a_refusal_while_it_waits_leads_back_to_waiting_until_there_is_news() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    answer(town, b, conn, "agent-died")  # as its daemon would say
    assert len(b.asked_of_agents()) == 2, "it may run there again at once"
    answer(town, b, conn, "unavailable")
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    assert len(b.asked_of_agents()) == 2, "nothing has changed there"
    a.offer(b.node)
    town.does(a, a.switch.offers_changed(town.now))
    town.run(5 * MS)
    assert len(b.asked_of_agents()) == 3
    assert a.ended == []


@pytest.mark.parametrize("code", ["skill-failed", "invalid", "timeout"])
def test_an_answer_is_an_answer_also_for_a_keyed_call(code: str) -> None:
    town, a, b, c, there, _ = trio()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    answer(town, b, there, code)
    assert [(ended.code, ended.attempts) for ended in a.ended] == [(code, 1)]
    assert c.to_agents == []


def test_another_unit_here_is_not_asked_in_the_place_of_the_node_that_called() -> None:
    """It may know better: of an answer kept elsewhere, or that nobody waits any more."""
    town, a, b, first = pair()
    second = b.agent(slot=1)
    town.hears(b, a.node, call_frame(ID, **KEYED, slot=-1))
    ((conn, _),) = b.to_agents
    town.dies(b, "words/0" if conn == first else "words/1")
    assert [to for to, _ in b.to_agents] == [conn] and conn in (first, second)
    assert b.switch.in_flight == 0


def test_a_call_of_a_peer_that_followed_a_lost_one_is_handed_back_at_once() -> None:
    town, a, b, c, _, _ = trio()
    town.hears(b, a.node, call_frame(ID, **KEYED))
    town.hears(b, c.node, call_frame(ID, **KEYED))
    assert len(b.asked_of_agents()) == 1 and b.switch.in_flight == 2
    town.dies(b, UNIT)
    town.run(1)
    assert b.switch.in_flight == 0, "who made it knows of others"


def test_a_link_that_comes_back_after_its_call_was_given_up_there_is_used_again() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1, call_header(**KEYED))
    town.run(5 * MS)
    town.cut(a, b)
    town.run(1_500 * MS)
    town.heal(a, b)
    town.run(5 * MS)
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL], "the first may still be at work"
    first = call_of(b.asked_of_agents()[0]).call_id
    town.says(b, conn, result_frame(first, "cancelled"))
    town.run(5 * MS)
    answer(town, b, conn)
    assert [(ended.code, ended.attempts) for ended in a.ended] == [("", 2)]


def test_what_an_interrupted_run_changed_is_not_waited_for_by_the_next() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(**KEYED))
    town.says(house, conn, state_frame(call_of(house.asked_of_agents()[0]).call_id))
    town.dies(house, UNIT)
    again = house.agent()
    town.does(house, house.switch.offers_changed(town.now))
    answer(town, house, again)
    assert [(ended.code, ended.attempts) for ended in house.ended] == [("", 2)]
