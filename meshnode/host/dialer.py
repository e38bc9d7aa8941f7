"""Reaching out: a TCP connection from a chosen source address, and the meaning of its failure."""

import asyncio
import errno
import socket

from meshnode.kernel.reasons import DialFailure

ADDRESSES_MAX = 4  # of one host name; the rest are not tried

_MEANINGS = {
    errno.ECONNREFUSED: DialFailure.REFUSED,
    errno.ECONNRESET: DialFailure.REFUSED,
    errno.ETIMEDOUT: DialFailure.TIMEOUT,
}


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
    failure = DialError(DialFailure.UNREACHABLE, f"{host} has no address")
    for family, address in await _addresses(host, port, dial_from):
        try:
            return await _connect_one(family, address, dial_from)
        except OSError as error:
            failure = DialError(meaning(error), error.strerror or str(error))
    raise failure


def meaning(error: OSError) -> DialFailure:
    """Only a refusal is evidence about the peer; whatever else the system says is about this machine or the way."""
    return _MEANINGS.get(error.errno or 0, DialFailure.UNREACHABLE)


async def _addresses(host: str, port: int, dial_from: str) -> list[tuple[int, tuple[object, ...]]]:
    family = 0
    if dial_from:
        family = socket.AF_INET6 if ":" in dial_from else socket.AF_INET
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DialError(DialFailure.UNREACHABLE, f"the name {host!r} cannot be resolved: {error}") from error
    return [(info[0], info[4]) for info in found[:ADDRESSES_MAX]]


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
