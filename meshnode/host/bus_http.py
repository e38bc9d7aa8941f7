"""The bus's endpoint for agents without the SDK: a connection like the others, whose frames become server-sent events
and whose JSON becomes frames.

Invariants: everything such an agent says passes the rules of the bus as frames; an answer to its pings is given in its
name only while its stream is read, so that whoever stops reading is silent like any agent that hangs; what waits for it
is bounded by its outbox.

The connection is that of whoever holds the stream open: with it the agent is gone. Other requests name it by its token.
"""

import asyncio
import os
import secrets
import socket
from collections import deque
from collections.abc import AsyncGenerator

import msgspec

from meshnode.host.bus_line import Connection, Taker
from meshnode.host.bus_outbox import Outbox
from meshnode.host.ipcpeer import peer_of
from meshnode.model.errors import Invalid, LocalError, NotFound, Offline, RemoteError, TimedOut
from meshnode.wire import http
from meshnode.wire.calls import (
    CallHeader,
    CancelHeader,
    GrantHeader,
    RegisteredHeader,
    ResultHeader,
)
from meshnode.wire.events import EventHeader, checked, is_topic, payloads
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from meshnode.wire.state import KeptHeader, MergedCell, MergedHeader, MergeHeader, RestoredCell, RestoreHeader

AGENTS_MAX = 128  # each holds a request of the API open
BATCH_BYTES = 64 * 1024
TOKEN_BYTES = 16
CREDIT = 16  # items of a stream that may leave before any GRANT
CALLS_MAX = 4096  # own ones that wait for an answer
ITEM_S = 30.0  # one item waits no longer for its reader
KEEP_S = 30.0
LATE_S = 1.0
_PING = b": ping\n\n"

_pack = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.decode


class HttpAgents:
    """Implements ``api.ports.AgentDoor``. All of a daemon's, by their tokens."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self._lines: dict[str, HttpLine] = {}

    def open(self, descriptor: int, said: http.Registration) -> "HttpLine":
        """``descriptor``: of the socket over which it registers. Raises ``LocalError``."""
        if len(self._lines) >= AGENTS_MAX:
            self._taker.count("bus-full")
            raise Offline(f"{AGENTS_MAX} agents are connected over HTTP already", next_step="use the unix socket")
        self._check(said)
        line = HttpLine(self._taker, secrets.token_hex(TOKEN_BYTES), self._lines)
        with socket.socket(fileno=os.dup(descriptor)) as asking:
            peer = peer_of(asking)
        connection = self._taker.admit(line, peer)
        if connection is None or peer is None:
            return line  # its stream says why
        line.connection = connection
        self._lines[line.token] = line
        line.begin(said, peer.pid)
        return line

    def of(self, token: str) -> "HttpLine":
        """Raises ``NotFound``."""
        line = self._lines.get(token)
        if line is None:
            raise NotFound("no agent is connected under this token", next_step="register: POST /v1/bus")
        return line

    def _check(self, said: http.Registration) -> None:
        try:
            checked(tuple(said.topics))
        except RemoteError as error:
            self._taker.count(error.reason)
            raise Invalid(str(error), next_step="topics are topic/a/b or topic/a/*") from error


class HttpLine:
    """One such agent. Implements ``bus_line.Line``, and ``api.ports.AgentLine``."""

    def __init__(self, taker: Taker, token: str, lines: "dict[str, HttpLine]") -> None:
        self.outbox = Outbox()
        self.connection: Connection | None = None
        self.token = token
        self._taker, self._lines = taker, lines
        self._reader = FrameReader()
        self._pieces: deque[bytes] = deque()
        self._stirred = asyncio.Event()
        self._closed = False
        self._topics: tuple[str, ...] = ()
        self._calls: dict[bytes, _Work] = {}  # that it works on
        self._asked: dict[bytes, asyncio.Future[tuple[ResultHeader, bytes]]] = {}
        self._kept: dict[int, asyncio.Future[int]] = {}
        self._cells: dict[str, bytes] = {}
        self._seq = self._merge_no = 0

    def begin(self, said: http.Registration, pid: int) -> None:
        """The first words."""
        self._topics = tuple(dict.fromkeys(said.topics))
        self._say(http.register_frame(said, said.instance.partition("/")[0], pid))

    # As the bus uses it

    @property
    def idle(self) -> bool:
        return not (self._pieces or self.outbox or self._closed)

    def send_pieces(self, pieces: list[bytes]) -> None:
        self.send(b"".join(pieces))

    def send(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._hear(frame)
        self._stirred.set()

    def flush(self) -> None:
        self._stirred.set()

    def last_word(self, data: bytes) -> None:
        self.send(data)
        self.close()

    def drain(self) -> None:
        self.gone()

    def close(self) -> None:
        self._closed = True
        self._lines.pop(self.token, None)
        for waiting in (*self._asked.values(), *self._kept.values()):
            if not waiting.done():
                waiting.set_exception(_left())
                waiting.exception()  # seen: nobody may be left to look
        for work in self._calls.values():
            work.stirred.set()
        self._stirred.set()

    # As the API uses it

    async def events(self) -> AsyncGenerator[bytes]:
        """What the agent hears, until its connection ends. Asked for the next, it has taken the one before."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                yield piece
                if piece is _PING:
                    self._say(Frame(Kind.PONG))
            if self.outbox:
                self.send(self.outbox.take(BATCH_BYTES))
            elif self._closed:
                return
            else:
                self._stirred.clear()
                await self._stirred.wait()

    def gone(self) -> None:
        """Whoever held the stream has left."""
        if self.connection is not None:
            self._taker.lose(self.connection)

    def answer(self, said: http.Answer) -> None:
        """Raises ``LocalError``."""
        call_id = self._working(said.call_id)
        changes = http.changes_of(said.set, said.delete)
        frames = [http.result_frame(call_id, said.result)]
        if changes:
            frames.insert(0, self._change(call_id, said.set, said.delete))
        self._calls.pop(call_id, None)
        self._say(*frames)

    def fail(self, said: http.Fail) -> None:
        """Raises ``LocalError``."""
        call_id = self._working(said.call_id)
        del self._calls[call_id]
        self._say(http.failure_frame(call_id, http.OWN + said.code, said.message))

    async def item(self, said: http.Item) -> None:
        """Waits until the reader has room. Raises ``LocalError``."""
        call_id = self._working(said.call_id)
        work = self._calls[call_id]
        if not work.streams:
            raise Invalid("its caller takes no items", next_step="answer with the list of them")
        try:
            async with asyncio.timeout(ITEM_S):
                while work.sent >= work.granted and self._calls.get(call_id) is work and not self._closed:
                    work.stirred.clear()
                    await work.stirred.wait()
        except TimeoutError as error:
            raise TimedOut(f"the reader took no item for {ITEM_S:g} s") from error
        if self._closed or self._calls.get(call_id) is not work:
            raise _over()
        work.sent += 1
        self._say(http.item_frame(call_id, work.sent - 1, said.item))

    async def call(self, said: http.Ask) -> object:
        """The result of another agent's skill. Raises ``LocalError``."""
        if len(self._asked) >= CALLS_MAX:
            raise Offline(f"this agent waits for {CALLS_MAX} calls already")
        call_id = secrets.token_bytes(16)
        waiting: asyncio.Future[tuple[ResultHeader, bytes]] = asyncio.get_running_loop().create_future()
        self._asked[call_id] = waiting
        try:
            self._say(http.ask_frame(call_id, said))
            async with asyncio.timeout(said.deadline_s + LATE_S):
                header, payload = await waiting
        except TimeoutError as error:
            raise TimedOut(f"{said.skill}: the daemon did not answer in time") from error
        finally:
            del self._asked[call_id]
            if waiting.cancelled():
                self._say(http.cancel_frame(call_id))
        if header.code:
            raise _failed(said.skill, header)
        return http.json_of(payload)

    def publish(self, said: http.Tell) -> None:
        """Raises ``LocalError``."""
        if not is_topic(said.topic):
            self._taker.count("event-topic")
            raise Invalid(f"event-topic: {said.topic[:80]!r} is no topic", next_step="topic/a/b")
        self._say(http.tell_frame(said))

    def subscribe(self, said: http.Listen) -> None:
        """Raises ``LocalError``."""
        try:
            self._topics = checked(tuple(said.topics))
        except RemoteError as error:
            self._taker.count(error.reason)
            raise Invalid(str(error), next_step="topics are topic/a/b or topic/a/*") from error
        self._say(http.listen_frame(self._topics))

    def state(self) -> dict[str, object]:
        """All keys with their values."""
        return {key: http.json_of(value) for key, value in self._cells.items()}

    async def put(self, said: http.Put) -> int:
        """The version that holds it, once it is kept. Raises ``LocalError``."""
        frame = self._change(b"", said.set, said.delete)
        kept: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._kept[seq := self._seq] = kept
        try:
            self._say(frame)
            async with asyncio.timeout(KEEP_S):
                return await kept
        except TimeoutError as error:
            raise TimedOut(f"not kept within {KEEP_S:g} s; it may be later") from error
        finally:
            self._kept.pop(seq, None)

    # Saying

    def _say(self, *frames: Frame) -> None:
        if self.connection is not None and not self._closed:
            self._taker.heard(self.connection, memoryview(b"".join(map(encode, frames))))

    def _working(self, call_id: str) -> bytes:
        if self._closed:
            raise _left()
        wanted = bytes.fromhex(call_id)
        if wanted not in self._calls:
            raise _over()
        return wanted

    def _change(self, call_id: bytes, values: dict[str, object], deleted: list[str]) -> Frame:
        changes = http.changes_of(values, deleted)
        for change in changes:
            if change.value:
                self._cells[change.key] = change.value
            else:
                self._cells.pop(change.key, None)
        self._seq += 1
        return http.state_frame(call_id, self._seq, self._merge_no, changes)

    # Hearing

    def _hear(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.CALL:
                self._called(_read(frame.header, type=CallHeader), frame.payload)
            case Kind.RESULT:
                header = _read(frame.header, type=ResultHeader)
                waiting = self._asked.get(header.call_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result((header, frame.payload))
            case Kind.GRANT:
                self._granted(_read(frame.header, type=GrantHeader))
            case Kind.CANCEL:
                self._cancelled(_read(frame.header, type=CancelHeader))
            case Kind.EVENT:
                self._told(frame)
            case Kind.PING:
                self._pieces.append(_PING)
            case _:
                self._hear_rare(frame)

    def _hear_rare(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.REGISTERED:
                self._registered(_read(frame.header, type=RegisteredHeader))
            case Kind.STOP:
                self._pieces.append(http.event("stop", {}))
            case Kind.RESTORE:
                self._restored(frame)
            case Kind.MERGE:
                self._merged(frame)
            case Kind.KEPT:
                header = _read(frame.header, type=KeptHeader)
                for seq, waiting in self._kept.items():
                    if seq <= header.seq and not waiting.done():
                        waiting.set_result(header.version)
            case _:
                pass  # of a later version

    def _registered(self, header: RegisteredHeader) -> None:
        if header.refusal:
            self._pieces.append(http.event("refused", {"code": header.refusal, "message": header.message}))
            return
        told = {"token": self.token, "node": header.node, "first_slot": header.first_slot, "slots": header.slots}
        self._pieces.append(http.event("registered", told))
        if self._topics:
            asyncio.get_running_loop().call_soon(self._say, http.listen_frame(self._topics))

    def _called(self, header: CallHeader, payload: bytes) -> None:
        try:
            self._pieces.append(http.call_event(header, payload))
        except RemoteError as error:
            frame = http.failure_frame(header.call_id, "invalid", f"{header.skill}: {error}")
            asyncio.get_running_loop().call_soon(self._say, frame)
            return
        self._calls[header.call_id] = _Work(streams=header.stream)

    def _granted(self, header: GrantHeader) -> None:
        work = self._calls.get(header.call_id)
        if work is not None:
            work.granted = max(work.granted, header.total)
            work.stirred.set()

    def _cancelled(self, header: CancelHeader) -> None:
        work = self._calls.pop(header.call_id, None)
        if work is not None:
            work.stirred.set()
            self._pieces.append(http.event("cancel", {"call_id": header.call_id.hex()}))

    def _told(self, frame: Frame) -> None:
        header = _read(frame.header, type=EventHeader)
        for payload in payloads(header, frame):
            try:
                self._pieces.append(http.topic_event(header, payload))
            except RemoteError:
                self._taker.count("event-junk")

    def _restored(self, frame: Frame) -> None:
        header = _read(frame.header, type=RestoreHeader)
        for cell in _read(frame.payload, type=list[RestoredCell]) if frame.payload else []:
            self._cells[cell.key] = cell.value
        if header.last:
            told = {"version": header.version, "age_ms": header.age_ms, "gap": header.gap, "source": header.source}
            self._pieces.append(http.event("restored", told))

    def _merged(self, frame: Frame) -> None:
        """What the mesh decided is taken; a key that asks for a merge function keeps its value, undecided."""
        header = _read(frame.header, type=MergeHeader)
        cells = _read(frame.payload, type=list[MergedCell]) if frame.payload else []
        for cell in cells:
            if cell.deleted:
                self._cells.pop(cell.key, None)
            else:
                self._cells[cell.key] = cell.value
        self._merge_no = header.merge_no
        self._seq += 1
        answer = Frame(Kind.MERGED, header=_pack(MergedHeader(header.merge_no, self._seq)), payload=_pack([]))
        asyncio.get_running_loop().call_soon(self._say, answer)
        self._pieces.append(http.event("merged", {"keys": [cell.key for cell in cells]}))


class _Work:
    """A call that the agent works on. ``granted``: items its reader takes in all."""

    __slots__ = ("granted", "sent", "stirred", "streams")

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams
        self.sent, self.granted = 0, CREDIT
        self.stirred = asyncio.Event()


class CallRefused(LocalError):
    """A call of another agent failed; ``code`` is the callee's."""

    exit_code = 5


def _failed(skill: str, header: ResultHeader) -> CallRefused:
    details: dict[str, object] = {"retry_after_ms": header.retry_after_ms} if header.retry_after_ms else {}
    failure = CallRefused(f"{skill}: {header.message}", details=details)
    failure.code = header.code
    return failure


def _left() -> Offline:
    return Offline("this agent's connection has ended", next_step="register again: POST /v1/bus")


def _over() -> NotFound:
    return NotFound("no such call: it was answered, cancelled, or its caller waits no more")
