"""The door of a node: one port, an own accept loop, and no TLS object before a valid ClientHello.

A silent connection costs a socket, not 300 KiB of TLS buffers; few handshakes run at once, and one source cannot take
all of them. Who must wait waits in the kernel's backlog.
"""

import asyncio
import contextlib
import errno
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from meshnode.kernel.counters import Counters
from meshnode.model.errors import LocalError, RemoteError
from meshnode.security.clienthello import PEEK_BYTES_MAX, Alpn, NeedMore, NotTls, alpn_of

log = logging.getLogger(__name__)

_ACCEPT_PAUSE_S = 0.2
_BACKLOG = 128
# Where a port is looked for that nobody chose: below those that Linux (32768), macOS and Windows (49152) give to
# connections that go out. A node keeps its port, and one of those may be taken by any of them when it comes back.
CHOSEN = range(10_240, 32_768)
_CHOICES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerConfig:
    """``host`` empty: all interfaces. ``port`` 0: a free one of ``CHOSEN``. ``closed``: none, and nobody comes in."""

    host: str = ""
    port: int = 0
    half_open_max: int = 32
    half_open_per_source_max: int = 8
    first_bytes_s: float = 0.5
    handshake_s: float = 5.0
    closed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise CannotListen(f"port {self.port} is not between 0 and 65535")
        if not 0 < self.half_open_per_source_max <= self.half_open_max:
            raise ValueError(f"half-open limits out of range: {self}")


class CannotListen(LocalError):
    """The address to listen on cannot be had. Nothing changed."""

    code = "cannot-listen"


class PortTaken(CannotListen):
    """Another process has the port, to listen or for a connection of its own."""


# Takes over a connection whose ClientHello offered these protocols; returns when the handshake is over, either way.
Welcome = Callable[[socket.socket, str, list[str]], Awaitable[None]]


class Listener:
    """``open`` takes the port, ``serve`` accepts until cancelled. ``welcome`` owns each socket it is given."""

    def __init__(self, config: ListenerConfig, counters: Counters, welcome: Welcome) -> None:
        self._config = config
        self._counters = counters
        self._welcome = welcome
        self._socket: socket.socket | None = None
        self._half_open = asyncio.Semaphore(config.half_open_max)
        self._half_open_of: dict[str, int] = {}

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens; the port is the real one, or that of the settings while it is closed."""
        if self._config.closed:
            return self._config.host, self._config.port
        assert self._socket is not None
        name: tuple[str, int] = self._socket.getsockname()[:2]
        return name

    def open(self) -> None:
        """Raises ``CannotListen`` with what to do about it."""
        if self._config.closed:
            return
        self._socket = bound(self._config.host, self._config.port)
        self._socket.setblocking(False)  # noqa: FBT003 - the socket module's signature

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def serve(self) -> None:
        if self._config.closed:
            await asyncio.get_running_loop().create_future()  # until it is cancelled
        assert self._socket is not None
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._half_open.acquire()
                    accepted, source = await self._accept(self._socket)
                    tasks.create_task(self._admit(accepted, source), name=f"admit {source}")
        finally:
            self.close()

    async def _accept(self, listening: socket.socket) -> tuple[socket.socket, str]:
        while True:
            try:
                accepted, address = await next_connection(listening)
            except OSError as error:
                # Out of descriptors, or a connection that died in the backlog: neither may end the daemon.
                self._counters.add("accept-failed")
                log.warning("accept failed", extra={"error": str(error)})
                await asyncio.sleep(_ACCEPT_PAUSE_S)
            else:
                return accepted, plain_address(address)

    async def _admit(self, accepted: socket.socket, source: str) -> None:
        self._counters.add("inbound-accepted")
        try:
            if self._half_open_of.get(source, 0) >= self._config.half_open_per_source_max:
                self._counters.add("source-busy")
                accepted.close()
                return
            self._half_open_of[source] = self._half_open_of.get(source, 0) + 1
            try:
                await self._shake(accepted, source)
            finally:
                self._leave(source)
        finally:
            self._half_open.release()

    async def _shake(self, accepted: socket.socket, source: str) -> None:
        started = asyncio.get_running_loop().time()
        late = "hello-silent"
        ours = True
        try:
            async with asyncio.timeout_at(started + self._config.first_bytes_s) as limit:
                hello = await _peek(accepted, 0)
                late = "handshake-timeout"
                limit.reschedule(started + self._config.handshake_s)
                protocols = await _protocols(accepted, hello)
                ours = False
                await self._welcome(accepted, source, protocols)
        except TimeoutError:
            self._counters.add(late)
        except RemoteError as error:
            self._counters.add(error.reason)
        except OSError:
            self._counters.add("hello-reset")
        finally:
            if ours:
                accepted.close()

    def _leave(self, source: str) -> None:
        self._half_open_of[source] -= 1
        if not self._half_open_of[source]:
            del self._half_open_of[source]


async def next_connection(listening: socket.socket) -> tuple[socket.socket, str]:
    """The next connection to ``listening``, non-blocking, and its source's address.

    Not ``loop.sock_accept``: cancelled in the turn in which a connection arrives, that one accepts it all the same,
    loses the socket and raises in a callback.
    """
    while True:
        with contextlib.suppress(BlockingIOError):
            accepted, address = listening.accept()
            accepted.setblocking(False)  # noqa: FBT003 - the socket module's signature
            return accepted, address[0]
        await _readable(listening)


async def _protocols(accepted: socket.socket, hello: bytes) -> list[str]:
    """What a client offers to speak. Its bytes stay in the kernel for the TLS object to read."""
    try:
        while True:
            match alpn_of(hello):
                case Alpn(protocols):
                    return protocols
                case NotTls(reason):
                    raise RemoteError(reason)
                case NeedMore():
                    hello = await _peek(accepted, len(hello))
    finally:
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def _peek(accepted: socket.socket, seen: int) -> bytes:
    """What has arrived, once it is more than ``seen`` bytes. The low-water mark keeps a partial hello from spinning."""
    if seen:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)
    await _readable(accepted)
    hello = accepted.recv(PEEK_BYTES_MAX, socket.MSG_PEEK)
    if len(hello) <= seen:
        raise RemoteError("hello-eof")
    return hello


async def _readable(waiting: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(waiting, wake)
    try:
        await ready
    finally:
        loop.remove_reader(waiting)


def plain_address(address: str) -> str:
    """An IPv4 address that came in on an IPv6 socket, as people write it."""
    return address.removeprefix("::ffff:") if "." in address else address


def bound(host: str, port: int, choices: Sequence[int] = ()) -> socket.socket:
    """A listening socket. With port 0 on the first free one of ``choices``, which are drawn from ``CHOSEN``.

    Raises:
        CannotListen: it cannot be had.
    """
    if port:
        return _bound(host, port)
    for choice in choices or random.sample(CHOSEN, _CHOICES):
        with contextlib.suppress(PortTaken):
            return _bound(host, choice)
    return _bound(host, 0)  # a machine this full of servers may have one among the others


def _bound(host: str, port: int) -> socket.socket:
    try:
        if not host and socket.has_dualstack_ipv6():
            try:
                return socket.create_server(("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
            except OSError as error:
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise  # else this machine has no IPv6 after all
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> CannotListen:
    where = f"{host or 'all interfaces'} port {port}"
    match error.errno:
        case errno.EADDRINUSE:
            return PortTaken(
                f"cannot listen on {where}: another process uses this port",
                next_step=f"find it with `ss -tanp 'sport = :{port}'`, or choose another port (0: a free one)",
            )
        case errno.EADDRNOTAVAIL:
            return CannotListen(
                f"cannot listen on {where}: this machine has no such address",
                next_step="`ip address` lists the addresses it has; leave the host empty for all of them",
            )
        case errno.EACCES:
            return CannotListen(
                f"cannot listen on {where}: ports below 1024 need a privilege", next_step="choose a port above 1023"
            )
        case _:
            return CannotListen(f"cannot listen on {where}: {error.strerror or error}", next_step="check the address")
