"""Connections that a relay joins: what one end of a tunnel sends is written to the other one as it is.

Both come to the port of the links, with a preface instead of TLS; TLS runs inside, from end to end. The core says which
keys are good, and how much may be read before it looks at the client's quota again. Who reads slowly is not read for:
what waits in this process is one gulp and what asyncio keeps of a write.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from meshnode.host.tlslink import LINGER_S
from meshnode.kernel.counters import Counters
from meshnode.links.tunnelwire import (
    KEY_BYTES,
    PIPE_WINDOW_BYTES,
    PipeAwaited,
    PipeCredit,
    PipeEnded,
    PipeGone,
    PipeRead,
)
from meshnode.model.errors import RemoteError
from meshnode.sdk import gulps
from meshnode.security.clienthello import PIPE_PREFACE

Told = PipeRead | PipeEnded
Tell = Callable[[Told], None]


@runtime_checkable
class _Stream(Protocol):
    """What is used of a transport; uvloop's are no ``asyncio.Transport``."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class Pipe:
    """Two connections, once both are there. ``PipeEnded`` is told when both are closed."""

    def __init__(self, number: int, tell: Tell, read: memoryview) -> None:
        self.number, self.tell = number, tell
        self.sides = (Side(self, 0, read), Side(self, 1, read))
        for side, other in (self.sides, self.sides[::-1]):
            side.other = other

    def abort(self) -> None:
        for side in self.sides:
            if side.stream is not None:
                side.stream.abort()

    def side_finished(self) -> None:
        """It sends no more; what the other one still sends it will read."""
        if all(side.finished for side in self.sides):
            for side in self.sides:
                side.close()

    def side_lost(self) -> None:
        if all(side.lost for side in self.sides):
            self.tell(PipeEnded(self.number))


class Side(asyncio.BufferedProtocol):
    """What it reads, the other side writes."""

    other: "Side"

    def __init__(self, pipe: Pipe, number: int, read: memoryview) -> None:
        self.stream: _Stream | None = None
        self.finished = self.lost = False
        self._pipe, self._number, self._read = pipe, number, read
        self._early: list[bytes] = []  # for this side, before it was there
        self._got, self._limit, self._asked = 0, PIPE_WINDOW_BYTES, False
        self._held = False  # the other side takes no more for now
        self._reads = True

    def write(self, data: bytes) -> None:
        if self.stream is None:
            self._early.append(data)
        elif not self.lost:
            self.stream.write(data)

    def write_eof(self) -> None:
        if self.stream is not None and not self.lost:
            with contextlib.suppress(OSError):  # reset meanwhile, and asyncio has not noticed yet
                self.stream.write_eof()

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()

    def may_read(self, total: int) -> None:
        self._limit, self._asked = total, False
        self._go_on()

    def hold(self, *, held: bool) -> None:
        self._held = held
        self._go_on()

    def _go_on(self) -> None:
        reads = not self._held and self._got < self._limit
        if self.stream is None or self.lost or reads == self._reads:
            return
        self._reads = reads
        if reads:
            self.stream.resume_reading()
        else:
            self.stream.pause_reading()

    # -- asyncio.BufferedProtocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, _Stream)
        self.stream = transport
        for data in self._early:
            self.write(data)
        self._early = []
        if self.other.finished:
            self.write_eof()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._read

    def buffer_updated(self, nbytes: int) -> None:
        self.other.write(bytes(self._read[:nbytes]))
        self._got += nbytes
        if self._limit - self._got > PIPE_WINDOW_BYTES // 2:
            return
        if not self._asked:
            self._asked = True
            self._pipe.tell(PipeRead(self._pipe.number, self._number, self._got))
        self._go_on()

    def pause_writing(self) -> None:
        self.other.hold(held=True)

    def resume_writing(self) -> None:
        self.other.hold(held=False)

    def eof_received(self) -> bool:
        self.finished = True
        self.other.write_eof()
        self._pipe.side_finished()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if exc is None:
            self.other.close()
        elif self.other.stream is not None:
            self.other.stream.abort()
        self._pipe.side_lost()


class PipeHand:
    """All pipes of a relay. ``perform`` only starts work."""

    def __init__(self, tell: Tell, counters: Counters) -> None:
        self._tell, self._counters = tell, counters
        self._keys: dict[bytes, tuple[int, int]] = {}  # awaited: the pipe, and its side
        self._first: dict[int, tuple[int, socket.socket]] = {}  # came before the other one
        self._pipes: dict[int, Pipe] = {}
        self._read: memoryview | None = None  # emptied within one callback, so all share it

    def perform(self, effect: PipeAwaited | PipeCredit | PipeGone) -> None:
        match effect:
            case PipeAwaited(pipe, side, key):
                self._keys[key] = (pipe, side)
            case PipeCredit(pipe, side, total):
                if pipe in self._pipes:
                    self._pipes[pipe].sides[side].may_read(total)
            case PipeGone(number):
                self._gone(number)

    async def receive(self, accepted: socket.socket) -> None:
        """A connection that began like a pipe's, and is ours from now on. Raises ``RemoteError``."""
        try:
            number, side = self._awaited(await _exactly(accepted, len(PIPE_PREFACE) + KEY_BYTES))
        except BaseException:
            accepted.close()
            raise
        first = self._first.pop(number, None)
        if first is None:
            self._first[number] = (side, accepted)
            return
        await self._join(number, {side: accepted, first[0]: first[1]})

    def _awaited(self, preface: bytes) -> tuple[int, int]:
        awaited = self._keys.pop(preface.removeprefix(PIPE_PREFACE), None)
        if awaited is None:
            raise RemoteError("pipe-unknown")
        return awaited

    async def _join(self, number: int, connections: dict[int, socket.socket]) -> None:
        self._read = self._read or gulps.buffer()
        pipe = self._pipes[number] = Pipe(number, self._heard, self._read)
        try:
            for side, connected in connections.items():
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                protocol = pipe.sides[side]
                await asyncio.get_running_loop().connect_accepted_socket(lambda given=protocol: given, connected)
        except BaseException:
            pipe.abort()
            for connected in connections.values():
                connected.close()
            self._heard(PipeEnded(number))
            raise

    def _gone(self, number: int) -> None:
        for key in [key for key, awaited in self._keys.items() if awaited[0] == number]:
            del self._keys[key]
        first = self._first.pop(number, None)
        if first is not None:
            first[1].close()
        pipe = self._pipes.get(number)
        if pipe is not None:  # its last bytes may be here, and not read
            asyncio.get_running_loop().call_later(LINGER_S, pipe.abort)

    def _heard(self, told: Told) -> None:
        if isinstance(told, PipeEnded):
            self._pipes.pop(told.pipe, None)
        self._tell(told)

    def close(self) -> None:
        for pipe in list(self._pipes.values()):
            pipe.abort()
        for _, connected in self._first.values():
            connected.close()


async def _exactly(connected: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(connected, count - len(data))
        if not more:
            raise RemoteError("hello-eof")
        data += more
    return data
