"""Who is refused first where there is too much to do, what they are told, and that they get through later."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.instant import MS, SECOND
from meshnode.messaging import sheds
from meshnode.messaging.messages import MeshAsked
from meshnode.messaging.switch import ASK_SKILL, SwitchConfig
from meshnode.wire.calls import ResultHeader, encoded_result
from meshnode.wire.frame import Frame, Kind
from tests.unit.messaging.town import (
    ID,
    SKILL,
    House,
    Town,
    answer,
    call_frame,
    call_header,
    call_of,
    pair,
    result_of,
)


def fill(town: Town, house: House, count: int, first: int = 100, **fields: object) -> list[int]:
    """So many calls more; the tickets of those that were refused."""
    before = len(house.ended)
    for ticket in range(first, first + count):
        town.ask(house, ticket, call_header(**fields))  # pyright: ignore[reportArgumentType]
    return [ended.ticket for ended in house.ended[before:]]


def shed(code: str, retry_after_ms: int, call_id: bytes) -> Frame:
    header = ResultHeader(call_id, code, "no room", retry_after_ms=retry_after_ms)
    return Frame(Kind.RESULT, header=encoded_result(header))


def test_each_class_is_refused_at_its_own_share_of_the_bound() -> None:
    town, a, b, _ = pair(calls_max=8)
    assert fill(town, a, 6, 100, batch=True) == [104, 105], "batch calls fill half"
    assert fill(town, a, 6, 200) == [204, 205], "usual ones all of it"
    town.ask(a, 300, call_header(ASK_SKILL), node=b.node)
    town.ask(a, 301, call_header(ASK_SKILL), node=b.node)
    assert [ended.ticket for ended in a.ended[4:]] == [301], "daemons among themselves an eighth more"
    assert {ended.code for ended in a.ended} == {"overloaded"}
    assert a.switch.in_flight == 9
    assert a.switch.counters.snapshot() == {"shed-batch": 2, "shed-usual": 2, "shed-control": 1}


def test_each_class_is_refused_at_its_own_share_of_the_bytes() -> None:
    town, a, b, _ = pair(held_bytes_max=800, payload_bytes_max=400)
    town.ask(a, 1, call_header(batch=True), b"x" * 400)
    town.ask(a, 2, call_header(batch=True), b"x")
    assert [ended.ticket for ended in a.ended] == [2]
    town.ask(a, 3, payload=b"x" * 400)
    town.ask(a, 4, payload=b"x")
    assert [ended.ticket for ended in a.ended] == [2, 4]
    town.ask(a, 5, call_header(ASK_SKILL), b"x" * 100, node=b.node)
    town.ask(a, 6, call_header(ASK_SKILL), b"x", node=b.node)
    assert [ended.ticket for ended in a.ended] == [2, 4, 6]


def test_a_node_that_is_full_still_answers_what_other_daemons_ask_it() -> None:
    town, a, b, _ = pair()
    b.switch._admission.bound(SwitchConfig(settle_us=0, calls_max=8))
    assert fill(town, a, 9) == []
    town.run(5 * MS)
    assert [ended.ticket for ended in a.ended] == [108]
    town.ask(a, 1, call_header(ASK_SKILL), node=b.node)
    town.run(5 * MS)
    (fact,) = b.told(MeshAsked)
    town.does(b, b.switch.answer(fact.ticket, "", "", b"7", town.now))
    town.run(5 * MS)
    assert [(ended.ticket, ended.payload) for ended in a.ended[1:]] == [(1, b"7")]


def test_what_a_call_is_goes_with_it_to_the_other_node() -> None:
    town, a, b, _ = pair()
    b.switch._admission.bound(SwitchConfig(settle_us=0, calls_max=8))
    assert fill(town, a, 5, 100, batch=True) == []
    town.run(5 * MS)
    (ended,) = a.ended
    assert (ended.ticket, ended.code, ended.retry_after_ms) == (104, "overloaded", 200)
    assert ended.message == "4 calls are in flight on n2; try again in 200 ms"
    assert b.switch.counters.snapshot() == {"shed-batch": 1}
    town.ask(a, 1)
    town.run(5 * MS)
    assert len(a.ended) == 1, "a usual call passes"


def test_an_agent_and_a_peer_hear_when_there_may_be_room_again() -> None:
    town, a, b, _ = pair(calls_max=1)
    mine = a.agent("my.own", agent="mine")
    town.ask(a, 1)
    town.says(a, mine, call_frame(ID, SKILL))
    told = [frame for conn, frame in a.to_agents if conn == mine and frame.kind is Kind.RESULT]
    assert [(result_of(f).code, result_of(f).retry_after_ms) for f in told] == [("overloaded", 100)]
    b.switch._admission.bound(SwitchConfig(settle_us=0, calls_max=1))
    b.take(b.switch.from_peer(a.node, (call_frame(ID), call_frame(ID[::-1])), town.now))
    said = [result_of(frame) for _, frame in b.posts if frame.kind is Kind.RESULT]
    assert [(header.call_id, header.retry_after_ms) for header in said] == [(ID[::-1], 100)]


def test_who_waits_as_long_as_it_is_told_gets_through_once_there_is_room() -> None:
    town, a, b, conn = pair(calls_max=2)
    assert fill(town, a, 3) == [102]
    town.run(5 * MS)
    answer(town, b, conn)
    ended = next(each for each in a.ended if each.ticket == 102)
    town.run(ended.retry_after_ms * MS)
    assert fill(town, a, 1, 102) == []
    town.run(5 * MS)
    answer(town, b, conn, payload=b"late")
    assert [(each.ticket, each.payload) for each in a.ended[2:]] == [(102, b"late")]


@pytest.mark.parametrize(
    ("said", "heard"), [(-(2**60), 100), (0, 100), (1, 100), (150, 150), (2_000, 2_000), (2**60, 2_000)]
)
@pytest.mark.parametrize("liar", ["peer", "agent"])
def test_whatever_a_peer_or_an_agent_says_of_the_wait_stays_in_bounds(said: int, heard: int, liar: str) -> None:
    town, a, b, conn = pair()
    house = a if liar == "peer" else b
    town.ask(house, 1)
    town.run(5 * MS)
    call_id = call_of(b.asked_of_agents()[0]).call_id
    if liar == "peer":
        ours = a.switch._calls.where(lambda _: True)[0].call_id
        town.hears(a, b.node, shed("overloaded", said, ours))
    else:
        town.says(b, conn, shed("overloaded", said, call_id))
    assert [(ended.code, ended.retry_after_ms) for ended in house.ended] == [("overloaded", heard)]


@pytest.mark.parametrize("code", ["unavailable", "not-found", "failed", ""])
def test_only_who_sheds_tells_when_to_come_back(code: str) -> None:
    town, _, b, conn = pair()
    town.ask(b, 1)
    town.says(b, conn, shed(code, 1_000, call_of(b.asked_of_agents()[0]).call_id))
    assert [(ended.code, ended.retry_after_ms) for ended in b.ended] == [(code, 0)]


def test_a_wait_that_is_no_number_is_junk_and_ends_nothing() -> None:
    town, a, b, _ = pair()
    town.ask(a, 1)
    ours = a.switch._calls.where(lambda _: True)[0].call_id
    header = msgspec.msgpack.encode([ours, "overloaded", "", "", 0, "", 0, False, "soon"])
    town.hears(a, b.node, Frame(Kind.RESULT, header=header))
    assert a.ended == [] and a.switch.counters.snapshot() == {"result-junk": 1}


@given(calls=st.integers(0, 50), held=st.integers(0, 50), bound=st.integers(1, 40))
def test_where_there_is_room_for_all_no_class_is_refused(calls: int, held: int, bound: int) -> None:
    config = SwitchConfig(calls_max=bound, held_bytes_max=bound)
    least = sheds.share(sheds.Class.BATCH, bound)
    fits = calls < least and held <= least
    calls_room, bytes_room = sheds.room(config)
    roomy = calls < calls_room and held <= bytes_room
    assert not roomy or fits
    assert roomy == fits or held * 2 == bound + 1, "all but the last byte is seen at once"


def test_the_wait_grows_with_what_is_over_and_for_what_may_wait_and_has_an_end() -> None:
    config = SwitchConfig()
    usual, batch = sheds.Class.USUAL, sheds.Class.BATCH
    assert sheds.retry_after_ms(usual, 1.0, config) == 100
    assert sheds.retry_after_ms(usual, 0.1, config) == 100, "never less than the least"
    assert sheds.retry_after_ms(batch, 2.0, config) == 400
    assert sheds.retry_after_ms(batch, 1e9, config) == 2_000
    assert [sheds.share(each, 1) for each in sheds.Class] == [1, 1, 2]


@pytest.mark.parametrize("waits", [(0, SECOND), (-1, SECOND), (2 * SECOND, SECOND)])
def test_waits_that_make_no_sense_are_refused(waits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="least wait"):
        SwitchConfig(retry_after_min_us=waits[0], retry_after_max_us=waits[1])


@pytest.mark.parametrize("name", [f"shed-{each.word}" for each in sheds.Class])
def test_every_class_has_a_line_in_the_handbook(name: str) -> None:
    handbook = (Path(__file__).resolve().parents[3] / "docs" / "troubleshooting.md").read_text()
    assert f"`{name}`" in handbook
