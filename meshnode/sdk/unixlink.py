"""The agent's end of the bus over a plain unix socket, read and written without a transport between.

What is sent alone is written at once, so that a lone call waits for nothing; what follows so soon, or answers several
frames that came together, is written together at the end of the event loop's turn.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from meshnode.model.errors import RemoteError
from meshnode.sdk import gulps
from meshnode.sdk.links import SOON_S, TOGETHER, WAITING_BYTES_MAX, Heard
from meshnode.sdk.outgoing import Outgoing
from meshnode.wire.frame import Frame, FrameReader

# Small, because every idle agent has what it once read into. What comes in larger pieces is read into a buffer that is
# kept for the next, until so many reads in a row found less than a small gulp takes.
_GULP_BYTES = 16 * 1024
_SMALL_READS_MAX = 16
_PIECES_MAX = 512  # of one write; the kernel takes twice as many
# How long a closing link waits until the daemon has taken what was sent.
_LINGER_S = 0.5


def open_unix_link(path: str, on_frame: Heard, on_lost: Callable[[str], None]) -> "UnixLink":
    """Raises ``OSError``: nobody listens, or too many wait to be accepted (BlockingIOError): try again."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)  # a unix socket is connected at once or not at all
    except BaseException:
        connection.close()
        raise
    return UnixLink(connection, on_frame, on_lost)


class UnixLink:
    """A link by ``unix://PATH``; see ``links.Link``."""

    def __init__(self, connection: socket.socket, on_frame: Heard, on_lost: Callable[[str], None]) -> None:
        self._socket, self._on_frame, self._on_lost = connection, on_frame, on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._buffer: memoryview | None = None  # while much comes
        self._small_reads = 0
        self._outgoing = Outgoing()
        self._rest = memoryview(b"")  # of a write that was not taken whole
        self._flush_due = False
        self._wrote_s = 0.0
        self._many = False  # the daemon said several things at once: so will we
        self._stuck = False  # waits until the socket can be written to
        self._wide = False  # it takes what is large at once
        self._deaf = False  # takes nothing in until more of what waits has left
        self._closing = self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._loop.add_reader(connection, self._readable)

    def send(self, *frames: Frame) -> None:
        if self._closing:
            return
        self._outgoing.add(frames)
        if self._flush_due:
            if self._outgoing.groups == TOGETHER:
                self._flush()
        elif not self._stuck:
            if not self._many and self._loop.time() - self._wrote_s > SOON_S:
                self._flush()
                return
            self._flush_due = True
            self._loop.call_soon(self._flush)
        self._look_at_room()

    def take_parts(self) -> None:
        self._outgoing.in_parts = True

    async def close(self) -> None:
        if self._closed:
            return
        self._closing = True
        self._loop.remove_reader(self._socket)
        self._flush()
        if self._stuck:
            self._drained = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await self._drained
        self._end()

    # Writing

    def _flush(self) -> None:
        self._flush_due = False
        if self._closed or self._stuck:
            return
        self._wrote_s = self._loop.time()
        while self._outgoing and not self._stuck:
            self._write(self._outgoing.take(gulps.GULP_BYTES))

    def _write(self, pieces: list[bytes]) -> None:
        """Several are gathered by the kernel, so that nothing is copied to join them."""
        if len(pieces) > _PIECES_MAX:
            pieces = [b"".join(pieces)]
        pieces_bytes = sum(map(len, pieces))
        if pieces_bytes >= gulps.WIDE_BYTES and not self._wide:
            self._wide = True
            gulps.widen(self._socket, 2 * gulps.GULP_BYTES)
        try:
            sent = self._socket.send(pieces[0]) if len(pieces) == 1 else self._socket.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # it hung up; what it said before may still be read, so the reader finds the end
        if sent < pieces_bytes:
            self._rest = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))[sent:]
            self._stuck = True
            self._loop.add_writer(self._socket, self._writable)
            self._look_at_room()

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._rest)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            sent = len(self._rest)  # as above
        self._rest = self._rest[sent:]  # a long frame leaves in many pieces: no copy for each
        if not self._rest:
            self._stuck = False
            self._loop.remove_writer(self._socket)
            self._flush()
        self._look_at_room()
        if not self._stuck and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _look_at_room(self) -> None:
        waiting_bytes = self._outgoing.waiting_bytes + len(self._rest)
        if not self._deaf and waiting_bytes > WAITING_BYTES_MAX:
            self._deaf = True
            self._loop.remove_reader(self._socket)
        elif self._deaf and not self._closing and waiting_bytes <= WAITING_BYTES_MAX // 2:
            self._deaf = False
            self._loop.add_reader(self._socket, self._readable)

    # Reading

    def _readable(self) -> None:
        try:
            data = self._gulp()
            frames = self._reader.feed(data)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(f"its socket is closed: {error}")
            return
        except RemoteError as error:
            self._lose(f"it sent what is not a frame: {error.reason}")
            return
        if not data:
            self._lose("its socket is closed")
        self._many = len(frames) > 1
        for frame in frames:
            self._on_frame(frame)

    def _gulp(self) -> bytes | memoryview:
        buffer = self._buffer
        if buffer is None:
            data = self._socket.recv(_GULP_BYTES)
            if len(data) == _GULP_BYTES:
                self._buffer, self._small_reads = gulps.buffer(), 0
            return data
        count = self._socket.recv_into(buffer)
        self._small_reads = self._small_reads + 1 if count < _GULP_BYTES else 0
        if self._small_reads > _SMALL_READS_MAX:
            self._buffer = None
        return buffer[:count]

    def _lose(self, why: str) -> None:
        if not self._closing:
            self._closing = True
            self._end()
            self._on_lost(why)

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)
            if self._stuck:
                self._loop.remove_writer(self._socket)
            self._socket.close()
