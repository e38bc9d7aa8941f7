"""What a call changes and its answer belong together: the answer waits, is replayed, and fails if nothing is kept."""

import msgspec
import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.ports import StoredAnswer
from meshnode.messaging.messages import Emitted, MergeDone, StateWritten
from meshnode.model.ids import InstanceId
from meshnode.wire import state
from meshnode.wire.calls import ResultHeader, encoded_result
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import Change, EmitHeader, MergedHeader, Op, StateHeader
from tests.unit.messaging.town import (
    ID,
    House,
    Town,
    call_frame,
    call_header,
    call_of,
    cancel_frame,
    pair,
    result_frame,
    result_of,
    state_frame,
)

UNIT = InstanceId("words/0")


def asked(house: House) -> bytes:
    """The id of the newest call an agent of this house was given."""
    return call_of(house.asked_of_agents()[-1]).call_id


def alone(**limits: int) -> tuple[Town, House, bytes]:
    """One house whose agent works on call 1 and has just changed its state and answered."""
    house = House(1, **limits)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1)
    call_id = asked(house)
    town.says(house, conn, state_frame(call_id), result_frame(call_id, payload=b"7"))
    return town, house, call_id


# -- kept --------------------------------------------------------------------------------------------------------------


def test_an_answer_waits_until_what_the_call_changed_is_kept_and_names_how() -> None:
    town, house, call_id = alone()
    assert house.ended == []
    (written,) = house.told(StateWritten)
    assert (written.instance, written.call_id, written.seq) == (UNIT, call_id, 1)
    assert (written.changes, written.idempotency_key, written.answer) == ((Change("count", Op.ADD, amount=1),), "", b"")
    town.run(30 * MS)
    town.does(house, house.switch.kept(call_id, "replicated(1)", 41, town.now))
    (ended,) = house.ended
    assert (ended.code, ended.payload, ended.durability, ended.version) == ("", b"7", "replicated(1)", 41)
    assert (ended.replayed, ended.took_us) == (False, 30 * MS)
    assert house.switch.kept(call_id, "local", 42, town.now) == [], "kept twice is kept once"
    assert house.switch.in_flight == 0 and house.switch.deadline() is None


def test_a_call_that_changed_nothing_is_answered_at_once() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    town.says(b, conn, result_frame(asked(b)))
    town.run(5 * MS)
    assert [(ended.code, ended.durability, ended.version) for ended in a.ended] == [("", "", 0)]
    assert b.told(StateWritten) == []


def test_the_caller_on_another_node_hears_how_it_was_kept() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    town.says(b, conn, state_frame(asked(b)), result_frame(asked(b)))
    town.run(5 * MS)
    assert a.ended == []
    town.does(b, b.switch.kept(asked(b), "local", 3, town.now))
    town.run(5 * MS)
    assert [(ended.code, ended.durability, ended.version) for ended in a.ended] == [("", "local", 3)]


def test_an_agent_cannot_say_how_its_changes_are_kept() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1)
    header = msgspec.structs.replace(result_of(result_frame(asked(house))), durability="replicated(9)", replayed=True)
    town.says(house, conn, Frame(Kind.RESULT, header=encoded_result(header), payload=b"1"))
    assert [(ended.durability, ended.replayed) for ended in house.ended] == [("", False)]


def test_the_key_of_the_call_and_its_answer_are_handed_on_with_the_change() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(idempotency_key="k"))
    town.says(house, conn, state_frame(asked(house), key="forged"), result_frame(asked(house), payload=b"7"))
    (written,) = house.told(StateWritten)
    assert (written.idempotency_key, written.answer) == ("k", b"7")


def test_a_failed_call_that_changed_something_waits_too_and_leaves_no_answer() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(idempotency_key="k"))
    call_id = asked(house)
    town.says(house, conn, state_frame(call_id), result_frame(call_id, "skill-failed"))
    (written,) = house.told(StateWritten)
    assert (written.idempotency_key, written.answer, house.ended) == ("", b"", [])
    town.does(house, house.switch.kept(call_id, "local", 2, town.now))
    assert [(ended.code, ended.durability) for ended in house.ended] == [("skill-failed", "local")]


def test_a_result_in_bytes_is_not_kept_under_the_key_of_its_call() -> None:
    """Whoever comes again with the key reads JSON."""
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(idempotency_key="k", as_bytes=True))
    result = Frame(Kind.RESULT, header=encoded_result(ResultHeader(asked(house), raw=True)), payload=b"\xff")
    town.says(house, conn, state_frame(asked(house)), result)
    (written,) = house.told(StateWritten)
    assert (written.idempotency_key, written.answer) == ("", b"")
    town.does(house, house.switch.kept(asked(house), "local", 2, town.now))
    assert [(ended.code, ended.durability) for ended in house.ended] == [("result-raw", "local")]


def test_changes_told_one_by_one_are_all_kept_before_the_answer_leaves() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1)
    call_id = asked(house)
    town.says(house, conn, state_frame(call_id, 1))
    town.says(house, conn, state_frame(call_id, 2), result_frame(call_id))
    town.does(house, house.switch.kept(call_id, "local", 1, town.now))
    assert house.ended == []
    town.does(house, house.switch.kept(call_id, "local", 2, town.now))
    assert [ended.version for ended in house.ended] == [2]


def test_what_is_refused_fails_the_call() -> None:
    town, house, call_id = alone()
    town.does(house, house.switch.refused(call_id, "state-disk-full", "no space left", town.now))
    assert [(ended.code, ended.message) for ended in house.ended] == [("state-disk-full", "no space left")]
    assert house.switch.refused(call_id, "again", "", town.now) == []


def test_nobody_is_refused_what_he_did_not_ask() -> None:
    town, a, _, _ = pair()
    town.ask(a, 1)
    ours = a.switch._calls.where(lambda _: True)[0].call_id
    assert a.switch.kept(ours, "local", 1, town.now) == a.switch.refused(ours, "x", "", town.now) == []
    assert a.switch.kept(b"?" * 16, "local", 1, town.now) == []
    assert a.switch.in_flight == 1


# -- bad luck while it is kept -----------------------------------------------------------------------------------------


def test_a_deadline_that_passes_while_it_is_kept_says_that_it_ran() -> None:
    town, house, call_id = alone()
    town.run(2 * SECOND)
    (ended,) = house.ended
    assert ended.code == "timeout"
    assert ended.message.endswith("it ran on n1, and what it changed is being kept")
    assert [frame.kind for _, frame in house.to_agents] == [Kind.CALL], "there is nothing to cancel"
    assert house.switch.kept(call_id, "local", 1, town.now) == []


def test_an_agent_that_dies_while_its_answer_waits_has_answered() -> None:
    town, house, call_id = alone()
    town.dies(house, UNIT)
    assert house.ended == []
    town.does(house, house.switch.kept(call_id, "local", 1, town.now))
    assert [ended.code for ended in house.ended] == [""]


def test_a_change_that_comes_after_the_caller_gave_up_is_handed_on_with_its_answer() -> None:
    house = House(1)
    mine, conn = house.agent("my.own", agent="mine"), house.agent()
    town = Town(house)
    town.says(house, mine, call_frame(ID, idempotency_key="k"))
    call_id = asked(house)
    town.says(house, mine, cancel_frame(ID))
    town.says(house, conn, state_frame(call_id, key="k"), result_frame(call_id, payload=b"7"))
    (written,) = house.told(StateWritten)
    assert (written.call_id, written.idempotency_key, written.answer) == (b"", "k", b"7")
    assert [frame.kind for to, frame in house.to_agents if to == mine] == [], "nobody is told"
    assert house.switch.counters["result-late"] == 1


def test_a_change_an_agent_makes_by_itself_belongs_to_no_call() -> None:
    house = House(1)
    town = Town(house)
    conn = house.agent()
    town.says(house, conn, state_frame(b""), state_frame(b"?" * 16, 2, key="k"))
    assert [(w.call_id, w.seq, w.idempotency_key, w.answer) for w in house.told(StateWritten)] == [
        (b"", 1, "", b""),
        (b"", 2, "", b""),
    ]


def test_nobody_speaks_of_the_state_behind_the_call_of_another() -> None:
    house = House(1)
    house.agent()
    liar = house.agent("see.cats", agent="eyes")
    town = Town(house)
    town.ask(house, 1)
    town.says(house, liar, state_frame(asked(house)), result_frame(asked(house)))
    (written,) = house.told(StateWritten)
    assert (written.instance, written.call_id) == ("eyes/0", b"")
    assert house.ended == [] and house.switch.in_flight == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (b"\xc1", "state-junk"),
        (state.encode([Change("", Op.SET, b"1")]), "state-key"),
        (state.encode([Change("k", Op.SET, b"1" * (state.VALUE_BYTES_MAX + 1))]), "state-value"),
        (state.encode([Change("k", Op.DELETE)] * (state.CHANGES_MAX + 1)), "state-changes"),
    ],
)
def test_a_change_that_cannot_be_read_fails_its_call_by_name(changes: bytes, code: str) -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1)
    frame = Frame(Kind.STATE, header=state.encode(StateHeader(asked(house), 1)), payload=changes)
    town.says(house, conn, frame, result_frame(asked(house)))
    assert [ended.code for ended in house.ended] == [code]
    assert house.told(StateWritten) == []
    assert house.switch.counters["agent-junk"] == 1


# -- repeated under a key ----------------------------------------------------------------------------------------------


def test_an_answered_key_is_answered_without_asking_the_agent() -> None:
    town, a, b, _ = pair()
    b.views.kept[UNIT, "k"] = StoredAnswer(b"7", "replicated(1)", 41)
    town.ask(a, 1, call_header(idempotency_key="k"))
    town.run(5 * MS)
    (ended,) = a.ended
    assert (ended.code, ended.payload, ended.replayed, ended.instance) == ("", b"7", True, UNIT)
    assert (ended.durability, ended.version) == ("replicated(1)", 41)
    assert b.to_agents == []
    assert a.switch.in_flight == b.switch.in_flight == 0


def test_a_second_call_under_a_key_at_work_gets_the_answer_of_the_first() -> None:
    town, a, b, conn = pair()
    for ticket in (1, 2):
        town.ask(a, ticket, call_header(idempotency_key="k"))
    town.ask(a, 3, call_header(idempotency_key="other"))
    town.run(5 * MS)
    assert [call_of(frame).idempotency_key for frame in b.asked_of_agents()] == ["k", "other"]
    call_id = call_of(b.asked_of_agents()[0]).call_id
    town.says(b, conn, state_frame(call_id), result_frame(call_id, payload=b"7"))
    town.does(b, b.switch.kept(call_id, "local", 1, town.now))
    town.run(5 * MS)
    assert [(e.ticket, e.payload, e.replayed, e.version) for e in a.ended] == [(1, b"7", False, 1), (2, b"7", True, 1)]


def test_a_second_call_under_a_key_has_its_turn_when_the_first_fails() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    for ticket in (1, 2):
        town.ask(house, ticket, call_header(idempotency_key="k"))
    town.says(house, conn, result_frame(asked(house), "skill-failed"))
    town.run(1)
    assert len(house.asked_of_agents()) == 2
    town.says(house, conn, result_frame(asked(house), payload=b"8"))
    assert [(ended.ticket, ended.code, ended.payload) for ended in house.ended] == [
        (1, "skill-failed", b"1"),
        (2, "", b"8"),
    ]


def test_a_repetition_waits_for_the_call_that_was_given_up_and_finds_its_answer() -> None:
    house = House(1)
    conn = house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(idempotency_key="k"))
    first = asked(house)
    town.does(house, house.switch.dropped(1, town.now))
    town.ask(house, 2, call_header(idempotency_key="k"))
    assert len(house.asked_of_agents()) == 1, "the first may still be at work"
    town.says(house, conn, state_frame(first, key="k"), result_frame(first, payload=b"7"))
    house.views.kept[UNIT, "k"] = StoredAnswer(b"7", "local", 1)
    town.run(1)
    assert [(ended.ticket, ended.payload, ended.replayed) for ended in house.ended] == [(2, b"7", True)]
    assert len(house.asked_of_agents()) == 1


@pytest.mark.parametrize("dies", [False, True])
def test_a_repetition_does_not_wait_forever_for_a_call_that_was_given_up(dies: bool) -> None:
    house = House(1)
    house.agent()
    town = Town(house)
    town.ask(house, 1, call_header(idempotency_key="k"))
    town.does(house, house.switch.dropped(1, town.now))
    town.ask(house, 2, call_header(idempotency_key="k", deadline_ms=10_000))
    if dies:
        town.dies(house, UNIT)
        house.agent()
        town.does(house, house.switch.offers_changed(town.now))
        town.run(1)
    else:
        town.run(2 * SECOND - 1)
        assert len(house.asked_of_agents()) == 1
        town.run(2)
    assert len(house.asked_of_agents()) == 2
    assert house.ended == []


# -- merges and events -------------------------------------------------------------------------------------------------


def test_a_merge_that_was_applied_is_told_with_what_was_decided() -> None:
    house = House(1)
    conn = house.agent()
    change = Change("best", Op.SET, b"3")
    header = state.encode(MergedHeader(5, 9))
    Town(house).says(house, conn, Frame(Kind.MERGED, header=header, payload=state.encode([change])))
    assert house.told(MergeDone) == [MergeDone(UNIT, conn, 5, 9, (change,))]


def test_an_event_of_an_agent_is_passed_on() -> None:
    house = House(1)
    conn = house.agent()
    header = state.encode(EmitHeader("quality.verdict"))
    Town(house).says(house, conn, Frame(Kind.EMIT, header=header, payload=b'{"good":true}'))
    assert house.told(Emitted) == [Emitted(UNIT, "quality.verdict", '{"good":true}')]


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("", b"1"),
        ("a b", b"1"),
        ("x" * 129, b"1"),
        ("ok", b""),
        ("ok", b"{"),
        ("ok", b'"\xff\xfe"'),
        ("ok", b"[" * 4_000),
        ("ok", b'"' + b"x" * 4_096 + b'"'),
    ],
)
def test_an_event_that_is_none_is_counted_as_junk(name: str, payload: bytes) -> None:
    house = House(1)
    conn = house.agent()
    Town(house).says(house, conn, Frame(Kind.EMIT, header=state.encode(EmitHeader(name)), payload=payload))
    assert house.told(Emitted) == []
    assert house.switch.counters["agent-junk"] == 1


@pytest.mark.parametrize("kind", [Kind.STATE, Kind.MERGED, Kind.EMIT, Kind.CHUNK, Kind.GRANT])
@pytest.mark.parametrize("header", [b"", b"\xc1", state.encode([5, "x"]), state.encode([b"short", -1, -1])])
def test_junk_about_states_and_streams_is_counted(kind: Kind, header: bytes) -> None:
    house = House(1)
    conn = house.agent()
    Town(house).says(house, conn, Frame(kind, header=header))
    assert house.switch.counters["agent-junk"] == 1
    assert house.facts == []
