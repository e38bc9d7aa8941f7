"""Connections that a relay joins: what one end of a tunnel sends is written to the other one as it is.

Both come to the port of the links, with a preface instead of TLS; TLS runs inside, from end to end. The core says which
keys are good, and how much may be read before it looks at the client's quota again. Who reads slowly is not read for:
what waits in this process is one gulp.

Sockets and readiness, not transports: a piece is one ``recv`` and one ``send``, and whatever else is done for it makes
a call through a relay longer.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from meshnode.host.tlslink import LINGER_S
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


class Pipe:
    """Two connections, by their side, which it closes. ``PipeEnded`` is told once."""

    def __init__(self, number: int, connections: dict[int, socket.socket], tell: Tell, read: memoryview) -> None:
        self.number, self.tell = number, tell
        self.sides = tuple(Side(self, side, connections[side], read) for side in (0, 1))
        self._over = False
        for side, other in (self.sides, self.sides[::-1]):
            side.other = other
        for side in self.sides:
            side.go_on()

    def close(self) -> None:
        if not self._over:
            self._over = True
            for side in self.sides:
                side.close()
            self.tell(PipeEnded(self.number))

    def side_finished(self) -> None:
        """It sends no more; what the other one still sends it will read."""
        if all(side.finished for side in self.sides):
            self.close()


class Side:
    """What it reads, the other side writes."""

    other: "Side"

    def __init__(self, pipe: Pipe, number: int, connected: socket.socket, read: memoryview) -> None:
        self.finished = False  # it sends no more
        self._pipe, self._number, self._socket, self._read = pipe, number, connected, read
        self._loop = asyncio.get_running_loop()
        self._got, self._told = 0, 0
        self._limit, self._ask_at = PIPE_WINDOW_BYTES, PIPE_WINDOW_BYTES // 2
        self._waiting = b""  # to be written: the other side is not read meanwhile
        self._reads = False
        with contextlib.suppress(OSError):  # reset: that is told when it is read
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def flushed(self) -> bool:
        """Nothing waits to be written."""
        return not self._waiting

    def may_read(self, total: int) -> None:
        self._limit, self._ask_at = total, total - PIPE_WINDOW_BYTES // 2
        self.go_on()

    def go_on(self) -> None:
        """Read, or do not, as things are now."""
        reads = not self.finished and self.other.flushed and self._got < self._limit and self._socket.fileno() >= 0
        if reads != self._reads:
            self._reads = reads
            if reads:
                self._loop.add_reader(self._socket, self._readable)
            else:
                self._loop.remove_reader(self._socket)

    def _readable(self) -> None:
        try:
            got = self._socket.recv_into(self._read)
        except BlockingIOError:
            return
        except OSError:
            self._pipe.close()
            return
        if not got:
            self._finish()
            return
        self._got += got
        if self._got >= self._ask_at:
            self._ask_at = self._limit + PIPE_WINDOW_BYTES  # once
            self._tell_read()
        self.other.write(self._read[:got])
        if self._got >= self._limit:
            self.go_on()

    def _tell_read(self) -> None:
        self._told = self._got
        self._pipe.tell(PipeRead(self._pipe.number, self._number, self._got))

    def write(self, data: memoryview) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._pipe.close()
            return
        if sent < len(data):
            self._waiting = bytes(data[sent:])
            self._loop.add_writer(self._socket, self._writable)
            self.other.go_on()

    def _writable(self) -> None:
        try:
            self._waiting = self._waiting[self._socket.send(self._waiting) :]
        except BlockingIOError:
            return
        except OSError:
            self._pipe.close()
            return
        if not self._waiting:
            self._loop.remove_writer(self._socket)
            self.other.go_on()

    def _finish(self) -> None:
        """All that was read before has left: else this side would not be read."""
        self.finished = True
        self.go_on()
        with contextlib.suppress(OSError):  # reset meanwhile: that is told when it is read
            self.other.shut()
        self._pipe.side_finished()

    def shut(self) -> None:
        """Nothing more comes for it."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._waiting, self._reads = b"", False
        if self._got > self._told:  # what passed last is paid for, too
            self._tell_read()


class PipeHand:
    """All pipes of a relay. ``perform`` only starts work."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
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
        self._read = self._read or gulps.buffer()
        self._pipes[number] = Pipe(number, {side: accepted, first[0]: first[1]}, self._heard, self._read)

    def _awaited(self, preface: bytes) -> tuple[int, int]:
        awaited = self._keys.pop(preface.removeprefix(PIPE_PREFACE), None)
        if awaited is None:
            raise RemoteError("pipe-unknown")
        return awaited

    def _gone(self, number: int) -> None:
        awaited = [key for key, whose in self._keys.items() if whose[0] == number]
        for key in awaited:
            del self._keys[key]
        first, pipe = self._first.pop(number, None), self._pipes.get(number)
        if first is not None:
            first[1].close()
        if pipe is not None:  # its last bytes may be here, and not read
            asyncio.get_running_loop().call_later(LINGER_S, pipe.close)
        elif awaited or first is not None:
            self._tell(PipeEnded(number))

    def _heard(self, told: Told) -> None:
        if isinstance(told, PipeEnded):
            self._pipes.pop(told.pipe, None)
        self._tell(told)

    def close(self) -> None:
        for pipe in list(self._pipes.values()):
            pipe.close()
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
