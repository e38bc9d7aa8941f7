"""The bus over HTTP, without a server: what an agent hears and says becomes frames, and the rules are the bus's own."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshnode.agents.messages import AgentRegistered, WelcomeAgent
from meshnode.host.bus_http import CREDIT, HttpAgents, HttpLine
from meshnode.model.errors import Invalid, LocalError, NotFound, Offline
from meshnode.wire import http
from meshnode.wire.bus import Spread, ToAgent
from meshnode.wire.calls import (
    CallHeader,
    CancelHeader,
    ChunkHeader,
    GrantHeader,
    RegisterHeader,
    ResultHeader,
    encoded_call,
    encoded_result,
)
from meshnode.wire.events import event_frame, read_subscribe
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import KeptHeader, MergedCell, MergeHeader, RestoredCell, RestoreHeader
from tests.real.agents_kit import in_loop
from tests.real.bus_kit import CALL_ID, Room, pack, room

pytestmark = pytest.mark.real
SAID = http.Registration("tested/0", "ticket", [http.SkillSaid("tested.do", input_schema={"type": "object"})])


class Reader:
    """Reads what an agent hears."""

    def __init__(self, line: HttpLine) -> None:
        self.line, self._events = line, line.events()

    async def hear(self) -> tuple[str, Any]:
        """The next event that is no ping."""
        async with asyncio.timeout(20):
            while (piece := await anext(self._events)).startswith(b":"):
                pass
        name, data, *_ = piece.decode().split("\n")
        return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    async def to_the_end(self) -> list[bytes]:
        async with asyncio.timeout(20):
            return [piece async for piece in self._events]

    async def close(self) -> None:
        await self._events.aclose()


class Here:
    """A bus with its HTTP door and one agent."""

    def __init__(self, room: Room, said: http.Registration) -> None:
        self.room, self.agents = room, HttpAgents(room.bus)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.line = self.agents.open(ours.fileno(), said)
        self.reader = Reader(self.line)

    def say(self, *frames: Frame) -> None:
        assert self.line.connection is not None
        self.room.bus.perform(ToAgent(self.line.connection.conn, frames))

    def frames(self, kind: Kind) -> list[Frame]:
        return [frame for batch in self.room.batches() for frame in batch if frame.kind is kind]


@asynccontextmanager
async def connected(directory: Path, said: http.Registration = SAID) -> AsyncGenerator[Here]:
    async with room(directory) as made:
        here = Here(made, said)
        assert (await here.reader.hear())[0] == "registered"
        yield here
        await here.reader.close()


def call(*, stream: bool = False, payload: bytes = b'{"a": 1}') -> Frame:
    header = CallHeader(CALL_ID, "tested.do", 1000, caller="node/north", stream=stream)
    return Frame(Kind.CALL, header=encoded_call(header), payload=payload)


@in_loop
async def test_a_registration_is_judged_like_any_other(tmp_path: Path):
    async with connected(tmp_path) as here:
        (asked,) = here.room.registered()
        assert (asked.header.agent, asked.header.instance, asked.header.ticket) == ("tested", "tested/0", "ticket")
        assert asked.skills[0].name == "tested.do" and asked.skills[0].input_schema == '{"type":"object"}'
        assert here.agents.of(here.line.token) is here.line
        here.line.gone()
        assert here.room.gone() == [asked.conn]
        with pytest.raises(NotFound):
            here.agents.of(here.line.token)


@in_loop
async def test_a_refusal_is_the_last_thing_heard(tmp_path: Path):
    async with room(tmp_path) as made:
        made.judge = lambda asked: WelcomeAgent(asked.conn, "ticket-unknown", "no such ticket")
        here = Here(made, SAID)
        (piece,) = await here.reader.to_the_end()
        assert b"event: refused" in piece and b"ticket-unknown" in piece
        assert made.bus.counters.snapshot()["ticket-unknown"] == 1


@in_loop
async def test_a_call_is_heard_and_answered_with_what_it_changed(tmp_path: Path):
    async with connected(tmp_path) as here:
        here.say(call())
        name, heard = await here.reader.hear()
        assert name == "call" and heard["arguments"] == {"a": 1} and heard["caller"] == "node/north"
        here.line.answer(http.Answer(heard["call_id"], {"ok": True}, set={"n": 3}))
        kinds = [frame.kind for frame in here.room.batches()[-1]]
        assert kinds == [Kind.STATE, Kind.RESULT], "in one message: kept together"
        assert here.line.state() == {"n": 3}
        with pytest.raises(NotFound, match="no such call"):
            here.line.answer(http.Answer(heard["call_id"], 1))


@in_loop
async def test_a_failure_has_the_agents_own_code(tmp_path: Path):
    async with connected(tmp_path) as here:
        here.say(call())
        _, heard = await here.reader.hear()
        here.line.fail(http.Fail(heard["call_id"], "no paper", "empty"))
        header = msgspec.msgpack.decode(here.frames(Kind.RESULT)[0].header, type=ResultHeader)
        assert (header.code, header.message) == ("agent.empty", "no paper")


@in_loop
async def test_items_wait_for_the_reader(tmp_path: Path):
    async with connected(tmp_path) as here:
        here.say(call(stream=True))
        _, heard = await here.reader.hear()
        for number in range(CREDIT):
            await here.line.item(http.Item(heard["call_id"], number))
        waits = asyncio.ensure_future(here.line.item(http.Item(heard["call_id"], "more")))
        await asyncio.sleep(0)
        assert not waits.done() and len(here.frames(Kind.CHUNK)) == CREDIT
        here.say(Frame(Kind.GRANT, header=pack(GrantHeader(CALL_ID, CREDIT + 1))))
        await waits
        numbers = [msgspec.msgpack.decode(f.header, type=ChunkHeader).number for f in here.frames(Kind.CHUNK)]
        assert numbers == list(range(CREDIT + 1))
        late = asyncio.ensure_future(here.line.item(http.Item(heard["call_id"], "late")))
        await asyncio.sleep(0)
        here.say(Frame(Kind.CANCEL, header=pack(CancelHeader(CALL_ID))))
        with pytest.raises(NotFound):
            await late
        assert (await here.reader.hear())[0] == "cancel"


@in_loop
async def test_a_call_of_its_own_comes_back_or_fails_with_the_callees_code(tmp_path: Path):
    async with connected(tmp_path) as here:
        for code, payload in (("", b"[2]"), ("overloaded", b"")):
            asked = asyncio.ensure_future(here.line.call(http.Ask("other.do", {"x": 1})))
            await asyncio.sleep(0)
            header = msgspec.msgpack.decode(here.frames(Kind.CALL)[-1].header, type=CallHeader)
            here.say(Frame(Kind.RESULT, header=encoded_result(ResultHeader(header.call_id, code)), payload=payload))
            if code:
                with pytest.raises(LocalError) as failed:
                    await asked
                assert failed.value.code == code
            else:
                assert await asked == [2]


@in_loop
async def test_a_call_that_nobody_waits_for_is_cancelled(tmp_path: Path):
    async with connected(tmp_path) as here:
        asked = asyncio.ensure_future(here.line.call(http.Ask("other.do")))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait((asked,))
        assert len(here.frames(Kind.CANCEL)) == 1


@in_loop
async def test_its_state_is_restored_changed_and_merged(tmp_path: Path):
    async with connected(tmp_path) as here:
        cells = pack([RestoredCell("a", b"1"), RestoredCell("b", b'"x"')])
        here.say(Frame(Kind.RESTORE, header=pack(RestoreHeader(last=True, version=4)), payload=cells))
        assert await here.reader.hear() == ("restored", {"version": 4, "age_ms": -1, "gap": 0, "source": ""})
        assert here.line.state() == {"a": 1, "b": "x"}
        put = asyncio.ensure_future(here.line.put(http.Put({"a": 2}, ["b"])))
        await asyncio.sleep(0)
        assert not put.done()
        here.say(Frame(Kind.KEPT, header=pack(KeptHeader(1, 5))))
        assert await put == 5 and here.line.state() == {"a": 2}
        merged = pack([MergedCell("a", b"7"), MergedCell("c", b"", deleted=True)])
        here.say(Frame(Kind.MERGE, header=pack(MergeHeader(1)), payload=merged))
        assert await here.reader.hear() == ("merged", {"keys": ["a", "c"]})
        assert here.line.state() == {"a": 7}
        await here.room.until(lambda: here.frames(Kind.MERGED))


@in_loop
async def test_it_publishes_and_listens(tmp_path: Path):
    said = msgspec.structs.replace(SAID, topics=["topic/a"])
    async with connected(tmp_path, said) as here:
        await here.room.until(lambda: here.frames(Kind.SUBSCRIBE))
        here.line.subscribe(http.Listen(["topic/b/*", "topic/a"]))
        assert [read_subscribe(f) for f in here.frames(Kind.SUBSCRIBE)] == [("topic/a",), ("topic/b/*", "topic/a")]
        here.line.publish(http.Tell("topic/x", {"n": 1}))
        assert here.frames(Kind.EVENT)[0].payload == b'{"n":1}'
        assert here.line.connection is not None
        frames = (event_frame("topic/a", "node/south", b"[1,\n 2]"), event_frame("topic/a", "node/south", b"junk"))
        here.room.bus.spread(Spread((here.line.connection.conn,), (), frames))
        assert await here.reader.hear() == ("event", {"topic": "topic/a", "publisher": "node/south", "data": [1, 2]})
        assert here.room.bus.counters.snapshot()["event-junk"] == 1
        for bad in (["topic/*/x"], [f"topic/{n}" for n in range(65)]):
            with pytest.raises(Invalid):
                here.line.subscribe(http.Listen(bad))
        with pytest.raises(Invalid, match="event-topic"):
            here.line.publish(http.Tell("words", 1))


@in_loop
async def test_an_agent_that_never_reads_is_cut_by_name_and_its_calls_are_answered(tmp_path: Path):
    async with connected(tmp_path) as here:
        big = b'{"text": "%s"}' % (b"x" * 500_000)
        for _ in range(12):
            here.say(call(payload=big))
        counters = here.room.bus.counters
        assert counters.snapshot()["bus-overflow"] >= 1, "what does not fit is answered in its name"
        for _ in range(5):
            here.room.bus._ping_all()  # pyright: ignore[reportPrivateUsage]
        assert counters.snapshot()["bus-silent"] == 1 and here.room.gone()
        with pytest.raises(Offline):
            here.line.answer(http.Answer(CALL_ID.hex(), 1))


@in_loop
async def test_an_agent_whose_stream_is_read_is_alive(tmp_path: Path):
    async with connected(tmp_path) as here:
        reading = asyncio.ensure_future(here.reader.hear())
        for _ in range(6):
            here.room.bus._ping_all()  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not here.room.gone() and not reading.done()
        here.say(call(payload=b"no json"))
        await here.room.until(lambda: here.frames(Kind.RESULT))
        header = msgspec.msgpack.decode(here.frames(Kind.RESULT)[0].header, type=ResultHeader)
        assert header.code == "invalid", "arguments that are no JSON are refused in its name"
        here.say(Frame(Kind.STOP))
        assert (await reading)[0] == "stop"


def test_a_registration_says_what_the_header_holds() -> None:
    frame = http.register_frame(SAID, "tested", 7)
    header = msgspec.msgpack.decode(frame.header, type=RegisterHeader)
    assert (header.agent, header.pid, header.sdk_version) == ("tested", 7, "http")


def test_what_is_judged_is_who_holds_the_stream(tmp_path: Path) -> None:
    async def scenario() -> list[AgentRegistered]:
        async with connected(tmp_path) as here:
            return here.room.registered()

    (asked,) = asyncio.run(scenario())
    assert (asked.pid, asked.uid) == (os.getpid(), os.geteuid())
