"""A bus with a core that welcomes whoever asks, and speakers of its two endpoints, with any words they like."""

import asyncio
import contextlib
import os
import signal
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn, Protocol

import msgspec
import zmq

from meshnode.agents.messages import AgentGone, AgentRegistered, WelcomeAgent
from meshnode.host.agentbus import AgentBus, Told
from meshnode.model.ids import AgentConn
from meshnode.wire.bus import AgentFrames
from meshnode.wire.calls import CallHeader, RegisteredHeader, RegisterHeader, ResultHeader, encoded_call, encoded_result
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from meshnode.wire.state import StateHeader
from tests.real.agents_kit import ended

WAIT_S = 30.0  # a bound for a broken test, not a pace
CALL_ID = b"c" * 16
pack = msgspec.msgpack.encode


def registration(name: str = "tested", *, resume: bool = False, payload: bytes = b"[]") -> Frame:
    header = RegisterHeader(name, f"{name}/0", "ticket", os.getpid(), resume=resume)
    return Frame(Kind.REGISTER, header=pack(header), payload=payload)


def call(call_id: bytes = CALL_ID, payload: bytes = b"{}") -> Frame:
    return Frame(Kind.CALL, header=encoded_call(CallHeader(call_id, "other.skill", 1000)), payload=payload)


def result(call_id: bytes = CALL_ID, payload: bytes = b"1") -> Frame:
    return Frame(Kind.RESULT, header=encoded_result(ResultHeader(call_id)), payload=payload)


def state(call_id: bytes = CALL_ID, seq: int = 1, payload: bytes = b"\x90") -> Frame:
    return Frame(Kind.STATE, header=pack(StateHeader(call_id, seq)), payload=payload)


class Room:
    """What the bus tells. ``judge`` answers registrations; None: not at all."""

    def __init__(self, path: Path, *, zmq: bool) -> None:
        self.told: list[Told] = []
        self.changed = asyncio.Event()
        self.judge: Callable[[AgentRegistered], WelcomeAgent | None] = lambda asked: WelcomeAgent(asked.conn)
        self.bus = AgentBus(self.tell, path=path, node="north", zmq=zmq)

    def tell(self, event: Told) -> None:
        self.told.append(event)
        if isinstance(event, AgentRegistered):
            answer = self.judge(event)
            if answer is not None:
                self.bus.perform(answer)
        self.changed.set()

    async def until(self, so: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not so():
                self.changed.clear()
                await self.changed.wait()

    def registered(self) -> list[AgentRegistered]:
        return [event for event in self.told if isinstance(event, AgentRegistered)]

    def gone(self) -> list[AgentConn]:
        return [event.conn for event in self.told if isinstance(event, AgentGone)]

    def batches(self) -> list[list[Frame]]:
        return [list(event.frames) for event in self.told if isinstance(event, AgentFrames)]


@asynccontextmanager
async def room(directory: Path, *, zmq: bool = False) -> AsyncIterator[Room]:
    made = Room(directory / "bus.sock", zmq=zmq)
    try:
        yield made
    finally:
        made.bus.close()


class Speaker(Protocol):
    """One client of an endpoint."""

    async def say(self, data: bytes) -> None:
        """One write; one message where there are messages."""
        ...

    async def hear(self) -> Frame | None:
        """The next frame; None: the bus has hung up."""
        ...

    def hang_up(self) -> None: ...


class UnixSpeaker:
    """A stream socket. ``RECEIVE_BYTES`` small, so that a slow reader is soon felt."""

    def __init__(self, room: Room) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        self._socket.connect(room.bus.endpoint.removeprefix("unix://"))
        self._reader, self._frames = FrameReader(), list[Frame]()

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def hear(self) -> Frame | None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WAIT_S):
            while not self._frames:
                try:
                    data = await loop.sock_recv(self._socket, 256 * 1024)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._frames += self._reader.feed(data)
        return self._frames.pop(0)

    def hang_up(self) -> None:
        self._socket.close()


class ZmqSpeaker:
    """A DEALER that holds next to nothing itself."""

    def __init__(self, room: Room) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.RCVHWM, 1), (zmq.RECONNECT_IVL, -1)):
            self.socket.setsockopt(option, value)
        self._endpoint = room.bus.zmq_endpoint
        self._frames = list[Frame]()
        self._connected = False

    async def say(self, data: bytes) -> None:
        self._connect()
        self.socket.send(data)

    async def hear(self) -> Frame | None:
        while not self._frames:
            data = await asyncio.get_running_loop().run_in_executor(None, self._receive)
            self._frames += FrameReader().feed(data)
        return self._frames.pop(0)

    def hang_up(self) -> None:
        self.socket.close()
        self._context.term()

    def _connect(self) -> None:
        if not self._connected:
            self._connected = True
            self.socket.connect(self._endpoint)

    def _receive(self) -> bytes:
        assert self.socket.poll(int(WAIT_S * 1000)), "no answer"
        return self.socket.recv()


SPEAKERS: list[Callable[[Room], Speaker]] = [UnixSpeaker, ZmqSpeaker]


@asynccontextmanager
async def speaking(make: Callable[[Room], Speaker], here: Room) -> AsyncIterator[Speaker]:
    """A speaker, not yet registered."""
    speaker = make(here)
    try:
        yield speaker
    finally:
        speaker.hang_up()


@asynccontextmanager
async def agent(make: Callable[[Room], Speaker], here: Room) -> AsyncIterator[tuple[Speaker, AgentConn]]:
    """A speaker that was welcomed, and its connection."""
    async with speaking(make, here) as speaker:
        await say(speaker, registration())
        answer = await answered(speaker)
        assert answer.refusal == "", answer
        yield speaker, here.registered()[-1].conn


async def say(speaker: Speaker, *frames: Frame) -> None:
    await speaker.say(b"".join(map(encode, frames)))


async def answered(speaker: Speaker) -> RegisteredHeader:
    frame = await speaker.hear()
    assert frame is not None and frame.kind is Kind.REGISTERED, frame
    return msgspec.msgpack.decode(frame.header, type=RegisteredHeader)


async def hung_up(speaker: Speaker) -> bool:
    return await speaker.hear() is None


def elsewhere(act: Callable[[], object]) -> int:
    """Do something in a process of its own (its pid), which then ends without a word to anybody."""
    return os.fork() or _child(act)


def _child(act: Callable[[], object]) -> NoReturn:
    status = 0
    try:
        act()
    except BaseException:  # noqa: BLE001 - a forked test must not go on as a second test run
        traceback.print_exc()
        status = 1
    os._exit(status)


async def waited(pid: int) -> int:
    """The exit code of a child; one that hangs is killed, and that is its exit code."""
    try:
        await asyncio.wait_for(ended(pid), WAIT_S)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
    _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
    return os.waitstatus_to_exitcode(status)


def said_at_once(endpoint: str, frames: Iterable[Frame], answers: int) -> list[Frame]:
    """Blocking, for other processes: say all, then hear so many frames."""
    data, heard, reader = b"".join(map(encode, frames)), list[Frame](), FrameReader()
    if endpoint.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(WAIT_S)
            stream.connect(endpoint.removeprefix("unix://"))
            with contextlib.suppress(BrokenPipeError):  # refused before a byte: the answer is there all the same
                stream.sendall(data)
            while len(heard) < answers:
                heard += reader.feed(stream.recv(65536))
        return heard
    dealer = zmq.Context().socket(zmq.DEALER)
    dealer.connect(endpoint)
    dealer.send(data)
    while len(heard) < answers:
        assert dealer.poll(int(WAIT_S * 1000)), "no answer"
        heard += reader.feed(dealer.recv())
    return heard
