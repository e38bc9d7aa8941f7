"""The agent's end of the bus over a plain unix socket, read and written without a transport between.

What is sent alone is written at once, so that a lone call waits for nothing; what follows so soon, or answers several
frames that came together, is written together at the end of the event loop's turn.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

from meshnode.model.errors import RemoteError
from meshnode.sdk.links import WAITING_BYTES_MAX, Heard
from meshnode.wire.frame import Frame, FrameReader, encode

# Small, because every idle agent has what it once read into; a long frame is read by the big gulp.
_GULP_BYTES = 16 * 1024
_BIG_GULP_BYTES = 256 * 1024
_WRITE_BYTES = 256 * 1024
# What is sent so soon after something else is likely to be one of many.
_SOON_S = 50e-6
# So many frames do not wait for more: the daemon works on them meanwhile.
_TOGETHER = 32
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
        self._waiting: deque[bytes | memoryview] = deque()
        self._waiting_bytes = 0
        self._wrote_s = 0.0
        self._many = False  # the daemon said several things at once: so will we
        self._stuck = False  # waits until the socket can be written to
        self._deaf = False  # takes nothing in until more of what waits has left
        self._closing = self._closed = False
        self._drained: asyncio.Future[None] | None = None
        self._loop.add_reader(connection, self._readable)

    def send(self, *frames: Frame) -> None:
        if self._closing:
            return
        data = encode(frames[0]) if len(frames) == 1 else b"".join(map(encode, frames))
        if not self._waiting:
            now_s = self._loop.time()
            if not self._many and now_s - self._wrote_s > _SOON_S:
                self._wrote_s = now_s
                self._write(data)
                return
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if len(self._waiting) == _TOGETHER:
            self._flush()
        self._look_at_room()

    async def close(self) -> None:
        if self._closed:
            return
        self._closing = True
        self._loop.remove_reader(self._socket)
        self._flush()
        if self._waiting:
            self._drained = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    await self._drained
        self._end()

    # Writing

    def _flush(self) -> None:
        if self._closed or self._stuck:
            return
        self._wrote_s = self._loop.time()
        while self._waiting and not self._stuck:
            batch, size = [self._waiting.popleft()], 0
            while self._waiting and (size := size + len(batch[-1])) < _WRITE_BYTES:
                batch.append(self._waiting.popleft())
            data = batch[0] if len(batch) == 1 else b"".join(batch)
            self._waiting_bytes -= len(data)
            self._write(data)

    def _write(self, data: bytes | memoryview) -> None:
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # it hung up; what it said before may still be read, so the reader finds the end
        if sent < len(data):
            self._waiting.appendleft(memoryview(data)[sent:])  # a long frame leaves in many pieces: no copy for each
            self._waiting_bytes += len(data) - sent
            self._stuck = True
            self._loop.add_writer(self._socket, self._writable)
            self._look_at_room()

    def _writable(self) -> None:
        self._stuck = False
        self._loop.remove_writer(self._socket)
        self._flush()
        self._look_at_room()
        if not self._waiting and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _look_at_room(self) -> None:
        if not self._deaf and self._waiting_bytes > WAITING_BYTES_MAX:
            self._deaf = True
            self._loop.remove_reader(self._socket)
        elif self._deaf and not self._closing and self._waiting_bytes <= WAITING_BYTES_MAX // 2:
            self._deaf = False
            self._loop.add_reader(self._socket, self._readable)

    # Reading

    def _readable(self) -> None:
        long = self._reader.pending_bytes >= _GULP_BYTES
        try:
            data = self._socket.recv(_BIG_GULP_BYTES if long else _GULP_BYTES)
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
