"""What one daemon asks another: straight to it, as any call in time and in rights."""

import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.messaging.messages import MeshAsked
from meshnode.messaging.switch import ASK_SKILL
from tests.unit.messaging.town import ID, House, Town, call_frame, call_header, pair, result_frame, result_of


def ask(town: Town, a: House, b: House, ticket: int = 1, **fields: int) -> MeshAsked:
    town.ask(a, ticket, call_header(ASK_SKILL, **fields), b'{"question":1}', node=b.node)
    town.run(5 * MS)
    return b.told(MeshAsked)[-1]


def test_a_question_reaches_the_other_daemon_and_its_answer_the_door() -> None:
    town, a, b, _ = pair()
    fact = ask(town, a, b)
    assert (fact.peer, fact.skill, fact.payload) == (a.node, ASK_SKILL, b'{"question":1}')
    assert b.to_agents == [] and a.ended == []
    town.does(b, b.switch.answer(fact.ticket, "", "", b"42", town.now))
    town.run(5 * MS)
    assert [(ended.code, ended.payload, ended.node) for ended in a.ended] == [("", b"42", b.node)]
    assert a.switch.in_flight == b.switch.in_flight == 0
    assert a.switch.deadline() is None and b.switch.deadline() is None


def test_a_question_that_cannot_be_answered_says_why() -> None:
    town, a, b, _ = pair()
    fact = ask(town, a, b)
    town.does(b, b.switch.answer(fact.ticket, "not-found", "no such state", b"", town.now))
    town.run(5 * MS)
    assert [(ended.code, ended.message) for ended in a.ended] == [("not-found", "no such state")]


def test_a_question_ends_at_its_deadline_and_a_late_answer_is_none() -> None:
    town, a, b, _ = pair()
    fact = ask(town, a, b, deadline_ms=500)
    town.run(SECOND)
    assert [ended.code for ended in a.ended] == ["timeout"]
    assert b.switch.answer(fact.ticket, "", "", b"42", town.now) == []
    assert b.switch.answer(999, "", "", b"42", town.now) == []


def test_who_may_not_ask_is_denied_whatever_the_name_of_the_question() -> None:
    town, a, b, _ = pair()
    b.views.forbidden.append(ASK_SKILL)
    town.hears(b, a.node, call_frame(ID, skill="mesh.other"))
    assert b.told(MeshAsked) == [] and b.switch.in_flight == 0
    assert b.switch.counters["denied-no-role"] == 1


def test_an_answer_belongs_to_its_question_only() -> None:
    """The numbers of calls and of questions are of one kind: a number of a call answers nothing."""
    town, a, b, conn = pair()
    town.ask(b, 1)
    for number in range(4):
        town.does(b, b.switch.answer(number, "", "", b"lies", town.now))
    town.says(b, conn, result_frame(b.switch._calls.where(lambda _: True)[0].call_id))
    assert [ended.payload for ended in b.ended] == [b"1"]
    fact = ask(town, a, b)
    held = b.switch._calls.where(lambda _: True)[0].call_id
    town.says(b, conn, result_frame(held, payload=b"lies"))
    town.hears(b, a.node, result_frame(held, payload=b"lies"))
    assert b.switch.in_flight == 1
    town.does(b, b.switch.answer(fact.ticket, "", "", b"42", town.now))
    town.run(5 * MS)
    assert [ended.payload for ended in a.ended] == [b"42"]


def test_a_node_may_ask_itself() -> None:
    house = House(1)
    town = Town(house)
    fact = ask(town, house, house)
    assert fact.peer == house.node
    town.does(house, house.switch.answer(fact.ticket, "", "", b"1", town.now))
    assert [ended.payload for ended in house.ended] == [b"1"]


@pytest.mark.parametrize("skill", ["mesh.ask", "mesh.other"])
def test_an_agent_may_not_ask_a_daemon(skill: str) -> None:
    town, a, _, _ = pair()
    mine = a.agent("my.own", agent="mine")
    town.says(a, mine, call_frame(ID, skill=skill))
    assert [result_of(frame).code for _, frame in a.to_agents] == ["denied"]
    assert a.told(MeshAsked) == [] and a.switch.in_flight == 0


def test_a_question_to_a_node_that_cannot_be_reached_ends() -> None:
    town, a, b, _ = pair()
    town.cut(a, b)
    town.ask(a, 1, call_header(ASK_SKILL, deadline_ms=60_000), node=b.node)
    town.run(3 * SECOND)
    assert [ended.code for ended in a.ended] == ["unreachable"]


def test_a_question_is_not_asked_twice() -> None:
    town, a, b, _ = pair()
    ask(town, a, b, deadline_ms=60_000)
    town.cut(a, b)
    town.run(SECOND)
    assert [ended.code for ended in a.ended] == ["unreachable"]
    assert len(b.told(MeshAsked)) == 1
