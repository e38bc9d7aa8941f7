"""Bytes as they are between an agent and its daemon: for who asked for them so, and for nobody else."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.errors import RemoteError
from meshnode.sdk import Agent, CallFailed
from meshnode.sdk.asking import PAYLOAD_BYTES_MAX
from meshnode.sdk.streams import WINDOW_BYTES, Credit, Flow, Inbox
from meshnode.wire import blobs, http
from meshnode.wire.calls import CallHeader, ChunkHeader, GrantHeader, ResultHeader, encoded_call, encoded_result
from meshnode.wire.frame import Frame, Kind
from tests.unit.sdk.daemon_end import DaemonEnd, at_work, in_loop, pack, unpack

NO_JSON = b"\xff\x00 as it is"
LONG = NO_JSON * 2_000
ID = bytes(range(16))
IMAGE = bytes(range(256)) * 100


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
        return LONG

    @agent.skill
    def whole_in_a_thread() -> bytes:
        return LONG

    @agent.skill
    async def short() -> bytes:
        return NO_JSON

    @agent.skill
    async def text() -> str:
        return "text"

    @agent.skill
    async def too_long() -> bytes:
        return bytes(PAYLOAD_BYTES_MAX + 1)

    return agent


def ask(end: DaemonEnd, skill: str, *, raw: bool) -> None:
    call = Frame(Kind.CALL, header=encoded_call(CallHeader(ID, f"tested.{skill}", 10_000, stream=True)), payload=b"{}")
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


async def outcome(end: DaemonEnd, skill: str, **more: object) -> tuple[bool, bytes]:
    """Whether the result came as it is, and what came."""
    end.ask(f"tested.{skill}", **more)
    frame = await end.next(Kind.RESULT)
    header = unpack(frame.header, type=ResultHeader)
    assert not header.code
    return header.raw, frame.payload


@pytest.mark.parametrize("skill", ["whole", "whole_in_a_thread"])
@pytest.mark.parametrize("stream", [False, True])
@in_loop
async def test_a_result_goes_as_it_is_to_who_takes_it_so_and_as_json_to_others(skill: str, *, stream: bool):
    async with at_work(giving()) as end:
        assert await outcome(end, skill, as_bytes=True, stream=stream) == (True, LONG)
        assert await outcome(end, skill, stream=stream) == (False, as_json(LONG))


@in_loop
async def test_a_short_result_is_text_which_is_as_quick():
    async with at_work(giving()) as end:
        assert await outcome(end, "short", as_bytes=True) == (False, as_json(NO_JSON))


@in_loop
async def test_a_result_that_is_not_bytes_stays_json_for_who_takes_bytes():
    async with at_work(giving()) as end:
        assert await outcome(end, "text", as_bytes=True) == (False, b'"text"')


@in_loop
async def test_a_result_that_is_too_long_as_it_is_has_the_name_of_any_other():
    async with at_work(giving()) as end:
        end.ask("tested.too_long", as_bytes=True)
        assert (await end.result())[0].code == "result-too-long"


@in_loop
async def test_a_result_with_a_key_is_json_because_it_is_to_be_kept():
    async with at_work(giving()) as end:
        end.ask("tested.whole", as_bytes=True, idempotency_key="k")
        await end.state()
        assert (await end.next(Kind.RESULT)).payload == as_json(LONG)


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


def calling() -> Agent:
    agent = Agent("tested")

    @agent.skill
    async def fetch() -> str:
        try:
            return repr(await agent.call("other.whole", as_bytes=True))
        except CallFailed as error:
            return error.code

    @agent.skill
    async def give(length: int, name: str = "a") -> str:
        try:
            return str(await agent.call("other.takes", {name: IMAGE[:length], "word": "w", "none": b""}))
        except CallFailed as error:
            return error.code

    return agent


async def fetched(end: DaemonEnd, payload: bytes, *, raw: bool) -> str:
    end.ask("tested.fetch")
    asked = await end.asked()
    assert asked.as_bytes
    end.send(Frame(Kind.RESULT, header=encoded_result(ResultHeader(asked.call_id, raw=raw)), payload=payload))
    return (await end.result())[1]


@in_loop
async def test_a_caller_of_bytes_hears_bytes_whether_they_come_as_they_are_or_as_json():
    async with at_work(calling()) as end:
        assert await fetched(end, NO_JSON, raw=True) == repr(NO_JSON)
        assert await fetched(end, b"", raw=True) == repr(b"")
        assert await fetched(end, as_json(NO_JSON), raw=False) == repr(NO_JSON), "of an earlier release"
        for junk in (b'"no base64!"', b"7", b"\xff", b""):
            assert await fetched(end, junk, raw=False) == "not-bytes"


# Arguments


async def given_to(end: DaemonEnd) -> tuple[bytes, bool, bytes]:
    """The id of the next call, whether bytes in it are as they are, and its payload."""
    frame = await end.next(Kind.CALL)
    header = unpack(frame.header, type=CallHeader)
    return header.call_id, header.raw, frame.payload


@in_loop
async def test_arguments_go_as_they_are_and_as_json_once_that_was_refused():
    async with at_work(calling()) as end:
        end.ask("tested.give", b'{"length":20000}')
        call_id, raw, payload = await given_to(end)
        assert raw
        text, as_they_are = blobs.unpacked(payload)
        assert (msgspec.json.decode(text), as_they_are) == (
            {"a": "", "word": "w", "none": ""},
            {"a": IMAGE[:20_000], "none": b""},
        )
        end.answer(call_id, b"", "invalid")
        call_id, raw, payload = await given_to(end)
        assert not raw
        assert msgspec.json.decode(payload) == {"a": base64.b64encode(IMAGE[:20_000]).decode(), "word": "w", "none": ""}
        end.answer(call_id, b'"well"')
        assert (await end.result())[1] == "well"
        end.ask("tested.give", b'{"length":20000}')
        call_id, raw, _ = await given_to(end)
        assert not raw, "it is remembered"
        end.answer(call_id, b'"well"')
        await end.result()


@in_loop
async def test_arguments_that_are_refused_either_way_are_tried_as_they_are_the_next_time():
    async with at_work(calling()) as end:
        for _ in range(2):
            end.ask("tested.give", b'{"length":20000}')
            for expected in (True, False):
                call_id, raw, _ = await given_to(end)
                assert raw == expected
                end.answer(call_id, b"", "invalid")
            assert (await end.result())[1] == "invalid"


@in_loop
async def test_a_skill_that_has_run_and_says_invalid_itself_is_not_called_again():
    async with at_work(calling()) as end:
        end.ask("tested.give", b'{"length":20000}')
        call_id, raw, _ = await given_to(end)
        assert raw
        end.answer(call_id, b"", "skill:invalid")
        assert (await end.result())[1] == "invalid"


@in_loop
async def test_a_few_bytes_among_arguments_are_text():
    async with at_work(calling()) as end:
        end.ask("tested.give", b'{"length":100}')
        call_id, raw, payload = await given_to(end)
        assert not raw and payload.startswith(b"{")
        end.answer(call_id, b"null")
        await end.result()


def taking() -> Agent:
    agent = Agent("tested")

    @agent.skill
    async def takes(
        image: bytes,
        word: str = "",
        few: Annotated[bytes, msgspec.Meta(max_length=5_000)] = b"",
        other: bytes | None = None,
        anything: object = None,
    ) -> list[object]:
        return [len(image), image == IMAGE[: len(image)], word, len(few), other is not None and len(other)]

    return agent


def raw_call(arguments: dict[str, object]) -> bytes:
    payload = blobs.packed(arguments)
    assert payload is not None
    return payload


@in_loop
async def test_a_skill_gets_its_bytes_whichever_way_they_came():
    given = {"image": IMAGE, "word": "w", "other": b"abc"}
    async with at_work(taking()) as end:
        for raw, payload in ((True, raw_call(given)), (False, msgspec.json.encode(given))):
            end.ask("tested.takes", payload, raw=raw)
            assert (await end.result())[1] == [len(IMAGE), True, "w", 0, 3]


@pytest.mark.parametrize(
    "payload",
    [
        raw_call({"image": IMAGE, "word": b"is text"}),
        raw_call({"image": IMAGE, "few": bytes(5_001)}),
        raw_call({"image": IMAGE, "unknown": b"u"}),
        raw_call({"image": IMAGE, "anything": b"is text as JSON says it"}),
        raw_call({"word": "w", "other": IMAGE}),
        raw_call({"image": IMAGE})[:-1],
        raw_call({"image": IMAGE}) + b"x",
        b'{"image":""}',
        b"",
        b"\xff" * 40,
    ],
)
@in_loop
async def test_arguments_that_are_not_what_the_skill_takes_have_the_name_of_any_others(payload: bytes):
    async with at_work(taking()) as end:
        end.ask("tested.takes", payload, raw=True)
        assert (await end.result())[0].code == "invalid"


@in_loop
async def test_whoever_knows_of_json_alone_refuses_them_by_name():
    payload = raw_call({"image": IMAGE})
    async with at_work(taking()) as end:
        end.ask("tested.takes", payload)
        assert (await end.result())[0].code == "invalid"
    with pytest.raises(RemoteError, match="http-json"):
        http.call_event(CallHeader(ID, "tested.takes", 1_000, raw=True), payload)


values = st.binary(max_size=200) | st.text(max_size=5) | st.integers(-5, 5) | st.none() | st.just(bytes(5_000))


@given(arguments=st.dictionaries(st.text(max_size=5), values, max_size=6))
def test_what_is_packed_is_unpacked_and_is_never_json(arguments: dict[str, object]):
    payload = blobs.packed({**arguments, "image": IMAGE})
    assert payload is not None and payload[0] == 0
    text, as_they_are = blobs.unpacked(payload)
    assert {**msgspec.json.decode(text), **as_they_are} == {**arguments, "image": IMAGE}


def test_too_many_bytes_of_their_own_are_text_and_are_refused_by_name():
    many = {str(number): IMAGE[:100] for number in range(blobs.BLOBS_MAX)}
    assert blobs.unpacked(raw_call(many))[1] == many
    assert blobs.packed({**many, "more": b""}) is None
    head = pack([dict.fromkeys([*many, "more"], 0), b"{}"])
    assert unpacked_or_reason(len(head).to_bytes(4) + head) == "arguments-lengths"


@given(data=st.binary(max_size=200), at=st.integers(0, 20_200), cut=st.integers(0, 20_200))
def test_junk_has_a_name(data: bytes, at: int, cut: int):
    payload = raw_call({"image": IMAGE[:20_000], "word": "w"})
    for junk in (data, payload[:at] + data + payload[at + len(data) :], payload[:cut]):
        told = unpacked_or_reason(junk)
        if isinstance(told, str):
            assert told in ("arguments-junk", "arguments-lengths")
        else:
            assert sum(map(len, told.values())) < len(junk)


def unpacked_or_reason(payload: bytes) -> dict[str, bytes] | str:
    try:
        return blobs.unpacked(payload)[1]
    except RemoteError as error:
        return error.reason


# Items


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
