"""Bytes as they are between an agent and its daemon: for who asked for them so, and for nobody else."""

import asyncio
import base64
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk import Agent, CallFailed
from meshnode.sdk.asking import PAYLOAD_BYTES_MAX
from meshnode.sdk.streams import WINDOW_BYTES, Credit, Flow, Inbox
from meshnode.wire.calls import CallHeader, ChunkHeader, GrantHeader
from meshnode.wire.frame import Frame, Kind
from tests.unit.sdk.daemon_end import DaemonEnd, at_work, in_loop, pack, unpack

NO_JSON = b"\xff\x00 as it is"
ID = bytes(range(16))


def giving() -> Agent:
    agent = Agent("tested")

    @agent.skill
    async def pieces() -> AsyncIterator[bytes]:
        yield NO_JSON
        yield b""

    @agent.skill
    async def anything() -> AsyncIterator[object]:
        yield NO_JSON
        yield "text"
        yield bytearray(NO_JSON)

    @agent.skill
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield NO_JSON  # type: ignore[misc]

    @agent.skill
    async def whole() -> bytes:
        return NO_JSON

    @agent.skill
    def whole_in_a_thread() -> bytes:
        return NO_JSON

    @agent.skill
    async def too_long() -> bytes:
        return bytes(PAYLOAD_BYTES_MAX + 1)

    return agent


def ask(end: DaemonEnd, skill: str, *, raw: bool) -> None:
    call = Frame(Kind.CALL, header=pack(CallHeader(ID, f"tested.{skill}", 10_000, stream=True)), payload=b"{}")
    end.send(call, Frame(Kind.GRANT, header=pack(GrantHeader(ID, 64, WINDOW_BYTES, raw))))


async def items(end: DaemonEnd) -> list[tuple[bool, bytes]]:
    """All that came before the end of the call, and whether it came as it is."""
    out: list[tuple[bool, bytes]] = []
    while (frame := await end.next(Kind.CHUNK, Kind.RESULT)).kind is Kind.CHUNK:
        header = unpack(frame.header, type=ChunkHeader)
        at = 0
        for length in header.lengths or (len(frame.payload),):
            out.append((header.raw, frame.payload[at : at + length]))
            at += length
    out.append((False, frame.payload))
    return out


def as_json(value: bytes) -> bytes:
    return b'"%b"' % base64.b64encode(value)


@in_loop
async def test_bytes_leave_as_they_are_for_a_reader_that_takes_them_so_and_as_json_for_others():
    async with at_work(giving()) as end:
        ask(end, "pieces", raw=True)
        assert await items(end) == [(True, NO_JSON), (True, b""), (False, b"")]
        ask(end, "pieces", raw=False)
        assert await items(end) == [(False, as_json(NO_JSON)), (False, b'""'), (False, b"")]


@in_loop
async def test_what_is_not_bytes_stays_json_in_a_stream_of_both():
    async with at_work(giving()) as end:
        ask(end, "anything", raw=True)
        assert await items(end) == [(True, NO_JSON), (False, b'"text"'), (False, as_json(NO_JSON)), (False, b"")]


@in_loop
async def test_bytes_where_the_type_forbids_them_are_refused_as_before():
    async with at_work(giving()) as end:
        ask(end, "numbers", raw=True)
        assert (await end.next(Kind.CHUNK)).payload == b"1"
        assert (await end.result())[0].code == "bad-result"


@pytest.mark.parametrize("skill", ["whole", "whole_in_a_thread"])
@in_loop
async def test_one_result_is_the_only_item_for_who_takes_it_as_it_is_and_a_result_for_others(skill: str):
    async with at_work(giving()) as end:
        ask(end, skill, raw=True)
        assert await items(end) == [(True, NO_JSON), (False, b"")]
        ask(end, skill, raw=False)
        assert await items(end) == [(False, as_json(NO_JSON))]


@in_loop
async def test_a_result_that_is_too_long_as_it_is_has_the_name_of_any_other():
    async with at_work(giving()) as end:
        ask(end, "too_long", raw=True)
        assert (await end.result())[0].code == "result-too-long"


@in_loop
async def test_a_result_with_a_key_stays_a_result_because_it_is_to_be_kept():
    async with at_work(giving()) as end:
        header = CallHeader(ID, "tested.whole", 10_000, idempotency_key="k", stream=True)
        grant = Frame(Kind.GRANT, header=pack(GrantHeader(ID, 64, WINDOW_BYTES, raw=True)))
        end.send(Frame(Kind.CALL, header=pack(header), payload=b"{}"), grant)
        await end.state()
        assert (await end.next(Kind.RESULT)).payload == as_json(NO_JSON)


# Its reader


def reading(*, as_bytes: bool) -> Agent:
    agent = Agent("tested")

    @agent.skill
    async def read() -> list[str]:
        came: list[str] = []
        try:
            async for item in agent.stream("other.items", as_bytes=as_bytes):
                came += [repr(item)]
        except CallFailed as error:
            came.append(error.code)
        return came

    return agent


async def read(end: DaemonEnd, *chunks: tuple[ChunkHeader, bytes], result: bytes = b"") -> tuple[bool, list[str]]:
    """What the reader says of bytes, and what it makes of these items and the end."""
    end.ask("tested.read")
    call_id = (await end.asked()).call_id
    granted = unpack((await end.next(Kind.GRANT)).header, type=GrantHeader)
    for header, payload in chunks:
        told = msgspec.structs.replace(header, call_id=call_id)
        end.send(Frame(Kind.CHUNK, header=pack(told), payload=payload))
    end.answer(call_id, result)
    return granted.raw, (await end.result())[1]


@in_loop
async def test_a_reader_of_bytes_hears_bytes_whether_they_come_as_they_are_or_as_json():
    async with at_work(reading(as_bytes=True)) as end:
        several = ChunkHeader(ID, 0, metered=True, lengths=(2, 0, 1), raw=True)
        later = ChunkHeader(ID, 3, metered=True)
        heard = await read(end, (several, b"\xff\x00\xfe"), (later, as_json(NO_JSON)))
        assert heard == (True, [repr(item) for item in (b"\xff\x00", b"", b"\xfe", NO_JSON)])
        assert (await read(end, result=as_json(NO_JSON)))[1] == [repr(NO_JSON)], "of an earlier release"


@pytest.mark.parametrize("junk", [b'"no base64!"', b"7", b"\xff"])
@in_loop
async def test_what_is_no_bytes_has_a_name_for_who_asked_for_them(junk: bytes):
    async with at_work(reading(as_bytes=True)) as end:
        assert (await read(end, (ChunkHeader(ID, 0), junk)))[1] == ["not-bytes"]
        assert (await read(end, result=junk))[1] == ["not-bytes"]


@in_loop
async def test_bytes_for_a_reader_of_json_break_its_stream():
    async with at_work(reading(as_bytes=False)) as end:
        assert await read(end, (ChunkHeader(ID, 0, raw=True), b"7")) == (False, ["stream-broken"])


@given(
    made=st.lists(st.tuples(st.booleans(), st.sampled_from([b"", b"a", bytes(16_384), bytes(130_000)])), max_size=40),
    turns=st.lists(st.booleans(), min_size=1, max_size=10),
)
def test_items_of_both_kinds_come_in_order_and_as_what_they_are(made: list[tuple[bool, bytes]], turns: list[bool]):
    async def check() -> None:
        credit = Credit()
        credit.grant(1_000, 2**40, raw=True)
        sent: list[Frame] = []
        flow = Flow(ID, credit, sent.append)
        for number, (raw, item) in enumerate(made):
            await flow.item(number, item, raw=raw)
            if turns[number % len(turns)]:
                await asyncio.sleep(0)
        flow.flush()
        inbox = Inbox(as_bytes=True)
        inbox.granted, inbox.granted_bytes = 1_000, 2**40
        came: list[tuple[bool, bytes]] = []
        for frame in sent:
            assert inbox.add_all(unpack(frame.header, type=ChunkHeader), frame.payload)
            while (item := inbox.next()) is not None:
                came.append((inbox.raw, item))
        assert came == made

    asyncio.run(check())
