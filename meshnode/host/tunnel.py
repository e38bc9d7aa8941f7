"""Connections whose bytes a relay carries: to ``tlslink.py`` a stream like a socket's, to the core written pieces.

The stream keeps what exceeds the credit of the other end; how much that may be, the TLS engine judges as for a socket.
A tunnel that is a pipe is a socket: nothing of it passes here but its beginning and its end.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Generator

from meshnode.host.dialer import DialError, connect
from meshnode.host.tlslink import LINGER_S, TlsLink
from meshnode.kernel.counters import Counters
from meshnode.kernel.reasons import DialFailure
from meshnode.links.tunnels import PIPE_FAILED
from meshnode.links.tunnelwire import (
    CLOSED,
    WINDOW_BYTES,
    TunnelBytes,
    TunnelClosed,
    TunnelCredit,
    TunnelGone,
    TunnelStart,
    TunnelWritten,
)
from meshnode.security.clienthello import PIPE_PREFACE

log = logging.getLogger(__name__)

HALF_OPEN_MAX = 32  # handshakes of strangers that relays bring

Told = TunnelWritten | TunnelClosed
# Runs TLS in a tunnel that has begun; returns when the handshake is over, either way, and never raises for the peer.
Welcome = Callable[["TunnelStream | TunnelPipe", TunnelStart], Awaitable[None]]


class TunnelStream(asyncio.Transport):
    """What is used of a transport (``tlslink._Stream``), over one tunnel. ``attach`` puts a link on it."""

    def __init__(self, tunnel: int, tell: Callable[[Told], None]) -> None:
        super().__init__()
        self._tunnel, self._tell = tunnel, tell
        self._link: TlsLink | None = None
        self._early: list[bytes] = []  # came before there was a link
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._sent = 0
        self._limit = WINDOW_BYTES
        self._closing = self._over = False

    def attach(self, link: TlsLink) -> None:
        self._link = link
        link.connection_made(self)
        early, self._early = self._early, []
        for data in early:
            self.arrived(data)

    # -- what the link does -------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._over and data:
            self._waiting.append(bytes(data))
            self._waiting_bytes += len(data)
            self._flow()

    def write_eof(self) -> None:
        """A tunnel has no half-closed state: it ends when all is written. What still comes is not waited for."""
        self._closing = True
        self._flow()

    def abort(self) -> None:
        self.lost(CLOSED, told=True)

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes

    def is_closing(self) -> bool:
        return self._closing or self._over

    # -- what the core tells ------------------------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        if self._link is None:
            self._early.append(data)
            return
        for at in range(0, len(data), WINDOW_BYTES):
            if self._over:
                return
            piece = data[at : at + WINDOW_BYTES]
            self._link.get_buffer(len(piece))[: len(piece)] = piece
            self._link.buffer_updated(len(piece))

    def granted(self, total: int) -> None:
        self._limit = total
        self._flow()

    def lost(self, reason: str, *, told: bool = False) -> None:
        """The end, once. ``told``: the core does not know."""
        if self._over:
            return
        self._over = True
        self._waiting, self._waiting_bytes = [], 0
        if told:
            self._tell(TunnelClosed(self._tunnel, reason))
        if self._link is not None:  # in a turn of its own, as a socket would: the link may be in the middle of one
            asyncio.get_running_loop().call_soon(self._link.connection_lost, None)

    def _flow(self) -> None:
        room = self._limit - self._sent
        if self._waiting and room > 0:
            data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
            now, later = data[:room], data[room:]
            self._waiting = [later] if later else []
            self._waiting_bytes = len(later)
            self._sent += len(now)
            self._tell(TunnelWritten(self._tunnel, now))
        if self._closing and not self._waiting:
            self.lost(CLOSED, told=True)


class TunnelPipe:
    """A tunnel that is a connection of its own to the relay. ``link``: what runs in it, once it does."""

    def __init__(self, start: TunnelStart, tell: Callable[[Told], None]) -> None:
        self._start, self._tell = start, tell
        self.link: TlsLink | None = None
        self._over = False

    async def reach(self, dial_from: str) -> socket.socket:
        """A connection of which the relay knows whose it is. Raises ``DialError``."""
        assert self._start.door is not None, "a pipe has a door"
        dialled: socket.socket | None = None
        try:
            dialled = await connect(*self._start.door, dial_from)
            await asyncio.get_running_loop().sock_sendall(dialled, PIPE_PREFACE + self._start.key)
        except BaseException as error:
            if dialled is not None:
                dialled.close()
            self.ended(PIPE_FAILED)
            if isinstance(error, OSError):
                raise DialError(DialFailure.UNREACHABLE, str(error)) from error
            raise
        if self._over:
            dialled.close()
            raise DialError(DialFailure.UNREACHABLE, "its tunnel ended meanwhile")
        return dialled

    def ended(self, reason: str) -> None:
        """Nothing runs in it any more, and the core does not know."""
        if not self._over:
            self._over = True
            self._tell(TunnelClosed(self._start.tunnel, reason))

    def lost(self) -> None:
        """The core knows that it is over. What the other end said last may be under way."""
        self._over = True
        if self.link is not None:
            asyncio.get_running_loop().call_later(LINGER_S, self.link.abort)


class TunnelHand:
    """All tunnels that end here. ``perform`` only starts work."""

    def __init__(self, tell: Callable[[Told], None], counters: Counters, welcome: Welcome) -> None:
        self._tell, self._counters, self._welcome = tell, counters, welcome
        self._streams: dict[int, TunnelStream] = {}
        self._pipes: dict[int, TunnelPipe] = {}
        self._half_open = 0
        self._tasks: asyncio.TaskGroup | None = None

    @contextlib.contextmanager
    def serving(self, tasks: asyncio.TaskGroup) -> Generator[None]:
        """Handshakes run in this group while it is open."""
        self._tasks = tasks
        try:
            yield
        finally:
            self._tasks = None

    def perform(self, effect: TunnelStart | TunnelBytes | TunnelCredit | TunnelGone) -> None:
        match effect:
            case TunnelBytes(tunnel, data):
                stream = self._streams.get(tunnel)
                if stream is not None:
                    stream.arrived(data)
            case TunnelCredit(tunnel, total):
                if tunnel in self._streams:
                    self._streams[tunnel].granted(total)
            case TunnelGone(tunnel, reason):
                stream, pipe = self._streams.pop(tunnel, None), self._pipes.pop(tunnel, None)
                if stream is not None:
                    stream.lost(reason)
                if pipe is not None:
                    pipe.lost()
            case TunnelStart():
                self._start(effect)

    def _start(self, start: TunnelStart) -> None:
        if self._tasks is None or (start.inbound and self._half_open >= HALF_OPEN_MAX):
            self._counters.add("tunnel-busy")
            self._tell(TunnelClosed(start.tunnel, "tunnel-busy"))
            return
        if start.door is None:
            begun = self._streams[start.tunnel] = TunnelStream(start.tunnel, self._heard)
        else:
            begun = self._pipes[start.tunnel] = TunnelPipe(start, self._heard)
        self._half_open += start.inbound
        self._tasks.create_task(self._shake(begun, start), name=f"tunnel {start.tunnel}")

    async def _shake(self, begun: TunnelStream | TunnelPipe, start: TunnelStart) -> None:
        try:
            await self._welcome(begun, start)
        finally:
            self._half_open -= start.inbound

    def _heard(self, told: Told) -> None:
        if isinstance(told, TunnelClosed):
            self._streams.pop(told.tunnel, None)
            self._pipes.pop(told.tunnel, None)
        self._tell(told)
