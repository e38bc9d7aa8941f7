"""Reaching out: a TCP connection from a chosen source address, and the meaning of its failure.

The addresses of a name race as in RFC 8305, "Happy Eyeballs": families take turns, the next one starts when one failed
or a quarter of a second has passed, the first connection wins and the others are closed.
"""

import asyncio
import errno
import itertools
import socket
from collections.abc import Sequence

from meshnode.kernel.reasons import DialFailure

ADDRESSES_MAX = 4  # of one host name; the rest are not tried
HEAD_START_S = 0.25  # RFC 8305, section 5: the recommended delay between attempts

_MEANINGS = {
    errno.ECONNREFUSED: DialFailure.REFUSED,
    errno.ECONNRESET: DialFailure.REFUSED,
    errno.ETIMEDOUT: DialFailure.TIMEOUT,
}

_Address = tuple[int, tuple[object, ...]]  # family, what ``connect`` takes
_Info = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]  # of getaddrinfo


class DialError(Exception):
    """No connection. ``how`` is what it says about the other side, ``detail`` is for people."""

    def __init__(self, how: DialFailure, detail: str) -> None:
        super().__init__(f"{how}: {detail}")
        self.how = how
        self.detail = detail


async def connect(host: str, port: int, dial_from: str = "") -> socket.socket:
    """A connected, non-blocking socket; the caller owns it, and sets the time limit.

    Raises ``DialError``: of several addresses of one name, the failure of the last.
    """
    addresses = await _addresses(host, port, dial_from)
    if len(addresses) > 1:
        return await Race(addresses, dial_from).run()
    try:
        return await _connect_one(*addresses[0], dial_from)
    except OSError as error:
        raise _failure(error) from error


def meaning(error: OSError) -> DialFailure:
    """Only a refusal is evidence about the peer; whatever else the system says is about this machine or the way."""
    return _MEANINGS.get(error.errno or 0, DialFailure.UNREACHABLE)


def _failure(error: OSError) -> DialError:
    return DialError(meaning(error), error.strerror or str(error))


class Race:
    """Several addresses of one name; every connection but the first is closed."""

    def __init__(self, addresses: Sequence[_Address], dial_from: str) -> None:
        self._addresses, self._dial_from = addresses, dial_from
        self._won: socket.socket | None = None
        self._lost: OSError | None = None

    async def run(self) -> socket.socket:
        try:
            async with asyncio.TaskGroup() as tasks:
                runners = [await self._start(tasks, address) for address in self._addresses if self._won is None]
                while self._won is None and not all(runner.done() for runner in runners):
                    await asyncio.wait(runners, return_when=asyncio.FIRST_COMPLETED)
                for runner in runners:
                    runner.cancel()
        except BaseException:
            if self._won is not None:
                self._won.close()
            raise
        if self._won is None:
            assert self._lost is not None, "every runner of a race that nobody won has failed"
            raise _failure(self._lost) from self._lost
        return self._won

    async def _start(self, tasks: asyncio.TaskGroup, address: _Address) -> asyncio.Task[None]:
        """The next may start when this one has failed, or its head start is over."""
        runner = tasks.create_task(self._reach(address), name=f"dial {address[1]}")
        await asyncio.wait([runner], timeout=HEAD_START_S)
        return runner

    async def _reach(self, address: _Address) -> None:
        try:
            reached = await _connect_one(*address, self._dial_from)
        except OSError as error:
            self._lost = error
            return
        if self._won is None:
            self._won = reached
        else:
            reached.close()


async def _addresses(host: str, port: int, dial_from: str) -> list[_Address]:
    family = 0
    if dial_from:
        family = socket.AF_INET6 if ":" in dial_from else socket.AF_INET
    try:
        found = _as_written(host, port, family)
        if found is None:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DialError(DialFailure.UNREACHABLE, f"the name {host!r} cannot be resolved: {error}") from error
    if not found:
        raise DialError(DialFailure.UNREACHABLE, f"{host} has no address")
    return interleaved([(int(info[0]), info[4]) for info in found])[:ADDRESSES_MAX]


def _as_written(host: str, port: int, family: int) -> Sequence[_Info] | None:
    """What is an address already needs no resolver, and no thread to wait for one. ``None``: it is a name."""
    try:
        return socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return None


def interleaved(addresses: Sequence[_Address]) -> list[_Address]:
    """Families in turn, the one the system prefers first (RFC 8305, section 4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    pairs = itertools.zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None]


async def _connect_one(family: int, address: tuple[object, ...], dial_from: str) -> socket.socket:
    dialled = socket.socket(family, socket.SOCK_STREAM)
    try:
        dialled.setblocking(False)  # noqa: FBT003 - the socket module's signature
        if dial_from:
            dialled.bind((dial_from, 0))
        await asyncio.get_running_loop().sock_connect(dialled, address)
        _refuse_self(dialled)
    except BaseException:
        dialled.close()
        raise
    return dialled


def _refuse_self(dialled: socket.socket) -> None:
    """TCP's simultaneous open: on loopback an ephemeral source port may hit the very port that nobody serves."""
    if dialled.getsockname() == dialled.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself: nobody serves there")
