"""The daemon's end of the bus, by hand, on a real unix socket: frames in, frames out, nothing decided."""

import asyncio
import functools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from meshnode.sdk import Agent
from meshnode.sdk.runtime import Runtime
from meshnode.wire.calls import (
    CallHeader,
    CancelHeader,
    ChunkHeader,
    GrantHeader,
    RegisteredHeader,
    RegisterHeader,
    ResultHeader,
    encoded_call,
    encoded_result,
)
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from meshnode.wire.state import (
    Change,
    KeptHeader,
    MergedCell,
    MergedHeader,
    MergeHeader,
    RestoredCell,
    RestoreHeader,
    StateHeader,
    decode_changes,
)

WAIT_S = 20.0  # a bound for a broken test, not a pace
pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*given: object, **named: object) -> None:
        asyncio.run(test(*given, **named))

    return run


class DaemonEnd(asyncio.Protocol):
    """One daemon: ``frames`` are what came and nobody has looked at yet, ``reads`` all frames by what came at once."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.reads: list[list[Frame]] = []
        self.changed = asyncio.Event()
        self.transport: asyncio.Transport | None = None
        self.connections = 0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.closed = transport, False
        self.reader = FrameReader()
        self.connections += 1

    def data_received(self, data: bytes) -> None:
        frames = self.reader.feed(data)
        self.reads.append(frames)
        self.frames += frames
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.changed.set()

    def send(self, *frames: Frame) -> None:
        assert self.transport is not None
        self.transport.write(b"".join(map(encode, frames)))

    async def until(self, so: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not so():
                self.changed.clear()
                await self.changed.wait()

    async def next(self, *kinds: Kind) -> Frame:
        """The oldest frame of these kinds that nobody has looked at."""
        await self.until(lambda: any(frame.kind in kinds for frame in self.frames))
        frame = next(frame for frame in self.frames if frame.kind in kinds)
        self.frames.remove(frame)
        return frame

    def waiting(self, *kinds: Kind) -> list[Frame]:
        return [frame for frame in self.frames if frame.kind in kinds]

    # What a daemon says

    async def registration(self) -> RegisterHeader:
        return unpack((await self.next(Kind.REGISTER)).header, type=RegisterHeader)

    def welcome(self, *, first_slot: int = 0, slots: int = 1, refusal: str = "", parts: bool = False) -> None:
        header = RegisteredHeader("north", refusal, "because", first_slot, slots, parts)
        self.send(Frame(Kind.REGISTERED, header=pack(header)))

    def restore(self, *cells: RestoredCell, last: bool = True, **told: object) -> None:
        self.send(Frame(Kind.RESTORE, header=pack(RestoreHeader(last, **told)), payload=pack(list(cells))))

    def merge(self, merge_no: int, *cells: MergedCell, seq: int = -1) -> None:
        self.send(Frame(Kind.MERGE, header=pack(MergeHeader(merge_no, seq)), payload=pack(list(cells))))

    def kept(self, seq: int, version: int = 0) -> None:
        self.send(Frame(Kind.KEPT, header=pack(KeptHeader(seq, version))))

    def ask(
        self, skill: str, payload: bytes = b"{}", deadline_ms: int = 10_000, call_id: bytes = b"", **more: object
    ) -> bytes:
        call_id = call_id or os.urandom(16)
        header = CallHeader(call_id, skill, deadline_ms, **more)
        self.send(Frame(Kind.CALL, header=encoded_call(header), payload=payload))
        return call_id

    def cancel(self, call_id: bytes) -> None:
        self.send(Frame(Kind.CANCEL, header=pack(CancelHeader(call_id))))

    def grant(self, call_id: bytes, total: int) -> None:
        self.send(Frame(Kind.GRANT, header=pack(GrantHeader(call_id, total))))

    def answer(self, call_id: bytes, payload: bytes, code: str = "") -> None:
        self.send(Frame(Kind.RESULT, header=encoded_result(ResultHeader(call_id, code, "words")), payload=payload))

    def shed(self, call_id: bytes, retry_after_ms: int, code: str = "overloaded") -> None:
        header = ResultHeader(call_id, code, "no room", retry_after_ms=retry_after_ms)
        self.send(Frame(Kind.RESULT, header=encoded_result(header)))

    def item(self, call_id: bytes, number: int, payload: bytes) -> None:
        self.send(Frame(Kind.CHUNK, header=pack(ChunkHeader(call_id, number)), payload=payload))

    async def ping(self) -> None:
        """Returns when everything sent before has been heeded, and what it sent at once has come."""
        self.send(Frame(Kind.PING))
        await self.next(Kind.PONG)

    # What an agent says

    async def result(self) -> tuple[ResultHeader, object]:
        frame = await self.next(Kind.RESULT)
        value = msgspec.json.decode(frame.payload) if frame.payload else None
        return unpack(frame.header, type=ResultHeader), value

    async def call(self, skill: str, deadline_ms: int = 10_000, **arguments: object) -> tuple[ResultHeader, object]:
        self.ask(skill, msgspec.json.encode(arguments), deadline_ms)
        return await self.result()

    async def state(self) -> tuple[StateHeader, list[Change]]:
        frame = await self.next(Kind.STATE)
        return unpack(frame.header, type=StateHeader), decode_changes(frame.payload)

    async def merged(self) -> tuple[MergedHeader, list[Change]]:
        frame = await self.next(Kind.MERGED)
        return unpack(frame.header, type=MergedHeader), decode_changes(frame.payload)

    async def asked(self) -> CallHeader:
        return unpack((await self.next(Kind.CALL)).header, type=CallHeader)


class House:
    """A path where daemons come and go, and one agent."""

    def __init__(self, path: str, agent: Agent, extra: dict[str, str] | None = None, **more: object) -> None:
        self.path = path
        environment = {
            "MESHNODE_BUS": f"unix://{path}",
            "MESHNODE_INSTANCE": f"{agent.name}/0",
            "MESHNODE_TICKET": "ticket",
            **(extra or {}),
        }
        self.runtime = Runtime(agent, environment, **more)
        agent.attach(self.runtime)
        self.ended: asyncio.Task[None] | None = None
        self.server: asyncio.AbstractServer | None = None

    async def daemon(self) -> DaemonEnd:
        """Start one; the socket of an earlier one is gone."""
        end = DaemonEnd()
        self.server = await asyncio.get_running_loop().create_unix_server(lambda: end, self.path)
        return end

    def kill(self, end: DaemonEnd) -> None:
        assert self.server is not None and end.transport is not None
        self.server.close()
        Path(self.path).unlink()
        end.transport.abort()

    def start(self) -> None:
        self.ended = asyncio.get_running_loop().create_task(self.runtime.run())


@asynccontextmanager
async def house(agent: Agent, **more: object) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="sdk") as directory:
        here = House(f"{directory}/bus", agent, **more)
        try:
            yield here
        finally:
            if here.server is not None:
                here.server.close()
            if here.ended is not None and not here.ended.done():
                here.runtime.stop()
            if here.ended is not None:
                with suppress(Exception):
                    async with asyncio.timeout(WAIT_S):
                        await here.ended


@asynccontextmanager
async def at_work(
    agent: Agent, *cells: RestoredCell, slots: int = 1, parts: bool = False, **told: object
) -> AsyncIterator[DaemonEnd]:
    """An agent that is registered and restored."""
    async with house(agent) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome(slots=slots, parts=parts)
        end.restore(*cells, **told)
        yield end
        end.send(Frame(Kind.STOP))
        assert here.ended is not None
        async with asyncio.timeout(WAIT_S):
            await here.ended
