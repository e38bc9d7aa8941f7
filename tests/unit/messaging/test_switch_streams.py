"""Streams: items in order, no more than granted, ended like any call."""

import msgspec
import pytest

from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import MS, SECOND
from meshnode.messaging.letters import RESULT_BYTES_MAX
from meshnode.messaging.messages import CallItem
from meshnode.model.ids import InstanceId
from meshnode.wire.calls import ChunkHeader, GrantHeader, ResultHeader, encoded_result
from meshnode.wire.frame import Frame, Kind
from tests.unit.messaging.town import (
    ID,
    House,
    Town,
    answer,
    call_frame,
    call_header,
    call_of,
    chunk_frame,
    grant_frame,
    granted_by,
    pair,
    result_frame,
    result_of,
    state_frame,
    trio,
)

UNIT = InstanceId("words/0")


def streaming() -> tuple[Town, House, House, int, bytes]:
    town, a, b, conn = pair()
    town.ask(a, 1, call_header(stream=True, deadline_ms=10_000))
    town.run(5 * MS)
    seen = call_of(b.asked_of_agents()[0])
    assert seen.stream
    return town, a, b, conn, seen.call_id


def test_items_come_to_the_door_in_order_and_the_end_after_them() -> None:
    town, a, b, conn, call_id = streaming()
    town.says(b, conn, *(chunk_frame(call_id, n, b"%d" % n) for n in range(3)), result_frame(call_id, payload=b"null"))
    town.run(5 * MS)
    assert a.items == [CallItem(1, n, b"%d" % n) for n in range(3)]
    assert [ended.code for ended in a.ended] == [""]
    assert a.switch.in_flight == b.switch.in_flight == 0


def test_items_come_to_an_agent_under_its_own_call() -> None:
    house = House(1)
    mine, conn = house.agent("my.own", agent="mine"), house.agent()
    town = Town(house)
    town.says(house, mine, call_frame(ID, stream=True))
    call_id = call_of(house.asked_of_agents()[0]).call_id
    town.says(house, conn, chunk_frame(call_id, 0, b"7"))
    assert house.to_agents[-1] == (mine, chunk_frame(ID, 0, b"7"))


def test_what_the_door_grants_reaches_the_agent_once() -> None:
    town, a, b, conn, call_id = streaming()
    for total in (5, 16, 40, 40, 30):
        town.does(a, a.switch.grant(1, total))
    town.does(a, a.switch.grant(2, 99))
    town.run(5 * MS)
    assert [granted_by(frame) for to, frame in b.to_agents if frame.kind is Kind.GRANT and to == conn] == [40]
    town.says(b, conn, *(chunk_frame(call_id, n) for n in range(40)))
    town.run(5 * MS)
    assert len(a.items) == 40 and a.ended == []


def test_sixteen_items_come_without_being_granted_and_the_next_ends_the_call() -> None:
    town, a, b, conn, call_id = streaming()
    town.says(b, conn, *(chunk_frame(call_id, n) for n in range(17)), result_frame(call_id))
    town.run(5 * MS)
    assert len(a.items) == 16
    (ended,) = a.ended
    assert (ended.code, ended.message) == ("stream-overrun", "item 16 was sent, and 16 were granted")
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL]
    assert a.switch.in_flight == b.switch.in_flight == 0


def flowing(granted_bytes: int) -> tuple[House, int, int, bytes]:
    """A stream between two agents of one node, whose reader counts bytes: reader, maker, and the maker's call."""
    house = House(1)
    reader, maker = house.agent("my.own", agent="mine"), house.agent()
    town = Town(house)
    town.says(house, reader, call_frame(ID, stream=True), grant_frame(ID, 1_000, granted_bytes))
    call, grant = (frame for to, frame in house.to_agents if to == maker)
    call_id = call_of(call).call_id
    assert grant == grant_frame(call_id, 1_000, granted_bytes), "the maker is told with the call"
    return house, reader, maker, call_id


def heard(house: House, reader: int) -> list[Frame]:
    return [frame for to, frame in house.to_agents if to == reader]


def test_items_go_on_as_far_as_the_bytes_and_the_last_one_overdraws() -> None:
    house, reader, maker, call_id = flowing(1_000)
    town = Town(house)
    items = [chunk_frame(call_id, n, b"x" * 400, metered=True) for n in range(3)]
    town.says(house, maker, *items)
    assert heard(house, reader) == [chunk_frame(ID, n, b"x" * 400, metered=True) for n in range(3)]
    town.says(house, reader, grant_frame(ID, 1_000, 1_201))
    town.says(house, maker, chunk_frame(call_id, 3, b"x" * 400, metered=True))
    assert len(heard(house, reader)) == 4


def test_an_item_beyond_the_bytes_ends_the_call_by_name() -> None:
    house, reader, maker, call_id = flowing(1_000)
    town = Town(house)
    town.says(house, maker, *(chunk_frame(call_id, n, b"x" * 400, metered=True) for n in range(4)))
    *items, end = heard(house, reader)
    assert len(items) == 3
    assert result_of(end).code == "stream-overdrawn"
    assert result_of(end).message == "item 3 was sent behind 1200 bytes, and 1000 were granted"
    assert heard(house, maker)[-1].kind is Kind.CANCEL
    assert house.switch.counters["calls-stream-overdrawn"] == 1 and house.switch.in_flight == 0


def test_a_peer_that_overdraws_is_refused_by_name() -> None:
    town, a, b, _, _ = streaming()
    ours = a.switch._calls.where(lambda _: True)[0]
    ours.granted_bytes = 10
    town.hears(a, b.node, *(chunk_frame(ours.call_id, n, b"x" * 10, metered=True) for n in range(2)))
    assert [reject.reason for reject in a.told(Reject)] == ["stream-overdrawn"]
    assert [ended.code for ended in a.ended] == ["stream-overdrawn"]


def test_several_items_in_one_frame_go_on_as_one_and_come_to_a_door_one_by_one() -> None:
    house, reader, maker, call_id = flowing(1_000)
    together = {"metered": True, "lengths": (2, 0, 3)}
    Town(house).says(house, maker, chunk_frame(call_id, 0, b"aabbb", **together))
    assert heard(house, reader) == [chunk_frame(ID, 0, b"aabbb", **together)]
    Town(house).says(house, maker, chunk_frame(call_id, 3, b"c", metered=True))
    assert len(heard(house, reader)) == 2
    town, a, b, conn, call_id = streaming()
    b.switch._calls.where(lambda _: True)[0].granted_bytes = 100
    a.switch._calls.where(lambda _: True)[0].granted_bytes = 100
    town.says(b, conn, chunk_frame(call_id, 0, b"aabbb", **together), chunk_frame(call_id, 3, b"c"))
    town.run(5 * MS)
    assert a.items == [CallItem(1, n, item) for n, item in enumerate((b"aa", b"", b"bbb", b"c"))]


@pytest.mark.parametrize(
    ("number", "payload", "lengths", "code"),
    [
        (0, b"x" * 1_001, (1_000, 1), "stream-overdrawn"),
        (0, b"x" * 1_001, (*(1,) * 1_000, 1), "stream-overrun"),
        (1, b"xx", (1, 1), "stream-order"),
    ],
)
def test_several_items_in_one_frame_keep_to_what_was_granted(
    number: int, payload: bytes, lengths: tuple[int, ...], code: str
) -> None:
    house, reader, maker, call_id = flowing(1_000)
    Town(house).says(house, maker, chunk_frame(call_id, number, payload, metered=True, lengths=lengths))
    (end,) = heard(house, reader)
    assert result_of(end).code == code


def test_several_items_in_one_frame_need_a_credit_in_bytes() -> None:
    town, a, b, conn, call_id = streaming()
    town.says(b, conn, chunk_frame(call_id, 0, b"xx", lengths=(1, 1)))
    town.run(5 * MS)
    assert [ended.code for ended in a.ended] == ["stream-overdrawn"]


@pytest.mark.parametrize("lengths", [(1,), (1, 2, 1), (-1, 4), (0,) * 1_025])
def test_lengths_that_are_not_those_of_the_items_are_junk(lengths: tuple[int, ...]) -> None:
    house, reader, maker, call_id = flowing(1_000)
    Town(house).says(house, maker, chunk_frame(call_id, 0, b"xxx", metered=True, lengths=lengths))
    assert heard(house, reader) == [] and house.switch.counters["agent-chunk-lengths"] == 1
    town, a, b, _, _ = streaming()
    ours = a.switch._calls.where(lambda _: True)[0].call_id
    town.hears(a, b.node, chunk_frame(ours, 0, b"xxx", metered=True, lengths=lengths))
    assert [reject.reason for reject in a.told(Reject)] == ["chunk-lengths"]


def test_a_maker_of_an_earlier_release_counts_items_only() -> None:
    house, reader, maker, call_id = flowing(1_000)
    town = Town(house)
    old = [Frame(Kind.CHUNK, header=msgspec.msgpack.encode([call_id, n]), payload=b"x" * 400) for n in range(16)]
    town.says(house, maker, *old)
    assert heard(house, reader) == [chunk_frame(ID, n, b"x" * 400) for n in range(16)]


def test_a_reader_of_an_earlier_release_grants_items_only() -> None:
    house = House(1)
    reader, maker = house.agent("my.own", agent="mine"), house.agent()
    town = Town(house)
    town.says(house, reader, call_frame(ID, stream=True))
    (call,) = heard(house, maker)
    call_id = call_of(call).call_id
    town.says(house, reader, Frame(Kind.GRANT, header=msgspec.msgpack.encode([ID, 40])))
    assert heard(house, maker)[-1] == grant_frame(call_id, 40)
    town.says(house, maker, *(chunk_frame(call_id, n) for n in range(40)))
    assert len(heard(house, reader)) == 40


def test_a_peer_that_sends_too_much_is_refused_by_name() -> None:
    town, a, b, _, _ = streaming()
    ours = a.switch._calls.where(lambda _: True)[0].call_id
    town.hears(a, b.node, *(chunk_frame(ours, n) for n in range(17)))
    assert [reject.reason for reject in a.told(Reject)] == ["stream-overrun"]
    assert [ended.code for ended in a.ended] == ["stream-overrun"]


@pytest.mark.parametrize("numbers", [(1,), (0, 0), (0, 2)])
def test_an_item_out_of_order_ends_the_call(numbers: tuple[int, ...]) -> None:
    town, a, b, conn, call_id = streaming()
    town.says(b, conn, *(chunk_frame(call_id, n) for n in numbers))
    town.run(5 * MS)
    assert [ended.code for ended in a.ended] == ["stream-order"]
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL]


def test_an_item_that_does_not_fit_ends_the_call() -> None:
    town, a, b, conn, call_id = streaming()
    town.says(b, conn, chunk_frame(call_id, 0, b"1" * (RESULT_BYTES_MAX + 1)))
    town.run(5 * MS)
    assert [ended.code for ended in a.ended] == ["result-too-long"]


def test_items_nobody_asked_for_are_dropped_and_the_call_goes_on() -> None:
    town, a, b, conn = pair()
    town.ask(a, 1)
    town.run(5 * MS)
    town.says(b, conn, chunk_frame(call_of(b.asked_of_agents()[0]).call_id, 0))
    answer(town, b, conn)
    assert a.items == [] and [ended.code for ended in a.ended] == [""]
    assert b.switch.counters["chunk-unasked"] == 1


def test_items_of_somebody_who_was_not_asked_are_refused() -> None:
    town, a, b, c, _, _ = trio()
    town.ask(a, 1, call_header(stream=True))
    town.run(5 * MS)
    ours = a.switch._calls.where(lambda _: True)[0].call_id
    town.hears(a, c.node, chunk_frame(ours, 0, b"lies"))
    town.hears(a, b.node, chunk_frame(b"?" * 16, 0))
    assert a.items == []
    assert a.told(Reject) == [Reject(c.node, "chunk-foreign")]
    assert a.switch.counters["chunk-late"] == 1


def test_a_deadline_ends_a_stream_at_both_ends_however_lively_it_is() -> None:
    town, a, b, conn, call_id = streaming()
    town.does(a, a.switch.grant(1, 10_000))
    for number in range(11):
        town.says(b, conn, chunk_frame(call_id, number))
        town.run(SECOND)
    assert [(ended.code, ended.took_us) for ended in a.ended] == [("timeout", 10 * SECOND)]
    assert [frame.kind for _, frame in b.to_agents][-1] is Kind.CANCEL
    assert a.switch.in_flight == b.switch.in_flight == 0


def test_a_reader_that_goes_away_cancels_the_stream() -> None:
    town, a, b, conn, call_id = streaming()
    town.says(b, conn, chunk_frame(call_id, 0))
    town.does(a, a.switch.dropped(1, town.now))
    town.run(5 * MS)
    town.says(b, conn, chunk_frame(call_id, 1))
    assert [frame.kind for _, frame in b.to_agents] == [Kind.CALL, Kind.CANCEL]
    assert a.items == [], "nor does anybody hear of it any more"
    assert b.switch.counters["chunk-late"] == 1


def test_a_stream_whose_items_were_read_does_not_begin_anew() -> None:
    town, a, b, c, conn, _ = trio()
    a.offer(b.node, idempotent=True)
    town.ask(a, 1, call_header(stream=True))
    town.run(5 * MS)
    town.says(b, conn, chunk_frame(call_of(b.asked_of_agents()[0]).call_id, 0))
    town.run(5 * MS)
    town.dies(b, UNIT)
    town.run(5 * MS)
    assert [ended.code for ended in a.ended] == ["agent-died"]
    assert c.to_agents == []


def test_what_was_granted_goes_along_to_the_next_candidate() -> None:
    town, a, b, c, conn, _ = trio()
    town.ask(a, 1, call_header(stream=True))
    town.does(a, a.switch.grant(1, 50))
    town.run(5 * MS)
    answer(town, b, conn, "unavailable")
    assert [frame.kind for _, frame in c.to_agents] == [Kind.CALL, Kind.GRANT]
    assert granted_by(c.to_agents[1][1]) == 50


def test_a_stream_that_changed_state_on_its_way_ends_when_all_of_it_is_kept() -> None:
    town, a, b, conn, call_id = streaming()
    town.says(b, conn, state_frame(call_id, 1), chunk_frame(call_id, 0))
    town.says(b, conn, state_frame(call_id, 2), result_frame(call_id))
    town.does(b, b.switch.kept(call_id, "local", 1, town.now))
    town.run(5 * MS)
    assert len(a.items) == 1 and a.ended == []
    town.does(b, b.switch.kept(call_id, "local", 2, town.now))
    town.run(5 * MS)
    assert [(ended.code, ended.version) for ended in a.ended] == [("", 2)]


def test_a_grant_for_a_call_of_somebody_else_is_nothing() -> None:
    town, _, b, conn, _ = streaming()
    before = len(b.to_agents)
    town.says(b, conn, grant_frame(ID, 50))
    assert len(b.to_agents) == before


# Bytes as they are


def test_bytes_go_on_as_they_are_once_their_reader_said_that_it_takes_them() -> None:
    house, reader, maker, call_id = flowing(10_000)
    town = Town(house)
    town.says(house, reader, grant_frame(ID, 1_000, 10_000, raw=True))
    assert heard(house, maker)[-1] == grant_frame(call_id, 1_000, 10_000, raw=True)
    town.says(house, reader, grant_frame(ID, 1_001))
    assert heard(house, maker)[-1] == grant_frame(call_id, 1_001, 10_000, raw=True), "it does not take it back"
    town.says(house, maker, chunk_frame(call_id, 0, b"\xff\xfe", metered=True, lengths=(1, 1), raw=True))
    town.says(house, maker, chunk_frame(call_id, 2, b"7", metered=True))
    both = [
        chunk_frame(ID, 0, b"\xff\xfe", metered=True, lengths=(1, 1), raw=True),
        chunk_frame(ID, 2, b"7", metered=True),
    ]
    assert heard(house, reader) == both


def test_bytes_that_nobody_takes_so_end_the_call_by_name() -> None:
    house, reader, maker, call_id = flowing(1_000)
    Town(house).says(house, maker, chunk_frame(call_id, 0, b"\xff", metered=True, raw=True))
    (end,) = heard(house, reader)
    assert result_of(end).code == "stream-raw"
    assert result_of(end).message == "item 0 came as bytes, and its reader did not say that it takes them"
    assert heard(house, maker)[-1].kind is Kind.CANCEL
    assert house.switch.counters["calls-stream-raw"] == 1 and house.switch.in_flight == 0


def test_a_peer_that_sends_bytes_to_who_takes_none_is_refused_by_name() -> None:
    town, a, b, _, _ = streaming()
    ours = a.switch._calls.where(lambda _: True)[0]
    town.hears(a, b.node, chunk_frame(ours.call_id, 0, b"\xff", raw=True))
    assert [reject.reason for reject in a.told(Reject)] == ["stream-raw"]
    assert [ended.code for ended in a.ended] == ["stream-raw"]


@pytest.mark.parametrize("more", [{}, {"as_bytes": True, "idempotency_key": "k"}])
def test_a_result_in_bytes_that_nobody_takes_so_ends_the_call_by_name(more: dict[str, object]) -> None:
    house = House(1)
    mine, conn = house.agent("my.own", agent="mine"), house.agent()
    town = Town(house)
    town.says(house, mine, call_frame(ID, **more))
    town.says(house, conn, raw_result(call_of(house.asked_of_agents()[0]).call_id))
    assert result_of(heard(house, mine)[-1]).code == "result-raw"
    assert house.switch.counters["calls-result-raw"] == 1 and house.switch.in_flight == 0


def test_a_result_in_bytes_goes_on_to_who_takes_it_so_by_either_way() -> None:
    town, a, b, conn = pair()
    mine = a.agent("my.own", agent="mine")
    for number in range(3):  # the first tells the express lane how
        asked = bytes([number]) * 16
        town.says(a, mine, call_frame(asked, raw=True, as_bytes=True))
        town.run(5 * MS)
        seen = call_of(b.asked_of_agents()[-1])
        assert (seen.raw, seen.as_bytes) == (True, True)
        town.says(b, conn, raw_result(seen.call_id))
        town.run(5 * MS)
        frame = heard(a, mine)[-1]
        told = result_of(frame)
        assert (told.call_id, told.code, told.raw, frame.payload) == (asked, "", True, b"\xff")


def raw_result(call_id: bytes) -> Frame:
    return Frame(Kind.RESULT, header=encoded_result(ResultHeader(call_id, raw=True)), payload=b"\xff")


class FormerChunk(msgspec.Struct, frozen=True, array_like=True):
    """As releases read it that do not know of bytes."""

    call_id: bytes
    number: int
    metered: bool = False
    lengths: tuple[int, ...] = ()


class FormerGrant(msgspec.Struct, frozen=True, array_like=True):
    call_id: bytes
    total: int
    total_bytes: int = 0


def test_a_release_without_bytes_reads_and_is_read_and_asks_for_none() -> None:
    new = grant_frame(ID, 5, 9, raw=True)
    former = msgspec.msgpack.decode(new.header, type=FormerGrant)
    assert former == FormerGrant(ID, 5, 9)
    assert not msgspec.msgpack.decode(msgspec.msgpack.encode(former), type=GrantHeader).raw, "passed on by one between"
    item = msgspec.msgpack.decode(chunk_frame(ID, 5, b"", raw=False).header, type=FormerChunk)
    assert item == FormerChunk(ID, 5)
    assert not msgspec.msgpack.decode(msgspec.msgpack.encode(item), type=ChunkHeader).raw
