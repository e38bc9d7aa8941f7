"""The agent's end of the bus over a plain unix socket.

What is sent alone is written at once, so that a lone call waits for nothing; what follows so soon is written together
at the end of the event loop's turn.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from meshnode.model.errors import RemoteError
from meshnode.sdk.links import WAITING_BYTES_MAX, Heard
from meshnode.wire.frame import Frame, FrameReader, encode

# Small, because every idle agent has one; a long frame is read by the big one.
_BUFFER_BYTES = 16 * 1024
_BIG_BUFFER_BYTES = 256 * 1024
# What is sent so soon after something else is likely to be one of many.
_SOON_S = 50e-6
# How long a closing link waits until the daemon has taken what was sent.
_LINGER_S = 0.5


async def open_unix_link(path: str, on_frame: Heard, on_lost: Callable[[str], None]) -> "UnixLink":
    """Raises ``OSError``: nobody listens, or too many wait to be accepted (BlockingIOError): try again."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A unix socket is connected at once or not at all; asyncio would take "try again" for "soon".
        connection.connect(path)
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: UnixLink(on_frame, on_lost), sock=connection)
    except BaseException:
        connection.close()
        raise
    return link


class UnixLink(asyncio.BufferedProtocol):
    """A link by ``unix://PATH``; see ``links.Link``."""

    def __init__(self, on_frame: Heard, on_lost: Callable[[str], None]) -> None:
        self._on_frame, self._on_lost = on_frame, on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader()
        self._buffer = bytearray(_BUFFER_BYTES)
        self._big: bytearray | None = None
        self._waiting: list[bytes] = []
        self._wrote_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.Event()
        self._closing = False

    def send(self, *frames: Frame) -> None:
        if self._transport is None or self._ended.is_set():
            return
        data = encode(frames[0]) if len(frames) == 1 else b"".join(map(encode, frames))
        if self._waiting:
            self._waiting.append(data)
            return
        now_s = self._loop.time()
        if now_s - self._wrote_s > _SOON_S:
            self._wrote_s = now_s
            self._transport.write(data)
        else:
            self._waiting.append(data)
            self._loop.call_soon(self._flush)

    async def close(self) -> None:
        if self._transport is None:
            return
        self._closing = True
        self._flush()
        self._transport.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                await self._ended.wait()
        self._transport.abort()

    def _flush(self) -> None:
        if self._waiting and self._transport is not None:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._wrote_s = self._loop.time()
            self._transport.write(data)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(WAITING_BYTES_MAX)
        self._transport = transport

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - of the protocol
        if self._reader.pending_bytes < _BUFFER_BYTES:
            self._big = None
            return self._buffer
        if self._big is None:
            self._big = bytearray(_BIG_BUFFER_BYTES)
        return self._big

    def buffer_updated(self, nbytes: int) -> None:
        try:
            with memoryview(self._big or self._buffer) as view:
                frames = self._reader.feed(view[:nbytes])
        except RemoteError as error:
            self._lose(f"it sent what is not a frame: {error.reason}")
            return
        for frame in frames:
            self._on_frame(frame)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()
        self._lose(f"its socket is closed{f': {exc}' if exc else ''}")

    def _lose(self, why: str) -> None:
        if not self._closing:
            self._closing = True
            if self._transport is not None:
                self._transport.abort()
            self._on_lost(why)
