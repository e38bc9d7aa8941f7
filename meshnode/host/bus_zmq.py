"""The bus's endpoint for ZeroMQ: a ROUTER on ``ipc://``. Loaded only when asked for.

This module knows the untyped corners of the library; the rules are the bus's own.
"""

import asyncio
import os
import socket
from pathlib import Path

import zmq

from meshnode.host.bus_line import Connection, Taker
from meshnode.host.bus_outbox import Outbox
from meshnode.host.ipcpeer import IpcPeer, peer_by_number, peer_of
from meshnode.model.errors import RemoteError
from meshnode.sdk.links import SOON_S
from meshnode.sdk.pump import Pump
from meshnode.wire.frame import FRAME_BYTES_MAX

BACKLOG = 4096
BATCH_BYTES = 64 * 1024
HIGH_WATER = 64
# How often an agent that takes nothing is tried again, besides each time that the socket stirs.
RETRY_S = 0.1


class RouterEndpoint:
    """One ROUTER for all. A message leaves at once if nothing is on its way; what follows so soon is joined."""

    def __init__(self, path: Path, taker: Taker) -> None:
        self._path, self._taker = path, taker
        self._loop = asyncio.get_running_loop()
        self._lines: dict[bytes, RouterLine] = {}
        self._waiting: dict[RouterLine, None] = {}
        self._retry: asyncio.TimerHandle | None = None
        path.unlink(missing_ok=True)  # of a daemon that was killed; the data directory's lock says that none runs now
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._open()
        self._pump = Pump(self._socket, self._flush, self._receive)

    @property
    def name(self) -> str:
        """What agents connect to."""
        return f"ipc://{self._path}"

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._pump.close()
        self._context.term()
        self._path.unlink(missing_ok=True)

    def _open(self) -> zmq.Socket[bytes]:
        opened = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.BACKLOG, BACKLOG),
            (zmq.ROUTER_MANDATORY, 1),  # a full or vanished agent is an error, not a silent drop
            (zmq.SNDHWM, HIGH_WATER),
            (zmq.RCVHWM, HIGH_WATER),
            (zmq.MAXMSGSIZE, 2 * FRAME_BYTES_MAX),
        ):
            opened.setsockopt(option, value)
        opened.bind(self.name)
        self._path.chmod(0o600)
        return opened

    # Receiving

    def _receive(self) -> bool:
        try:
            route = self._socket.recv(zmq.NOBLOCK)
        except zmq.Again:
            return False
        parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        line = self._lines.get(route) or RouterLine(self, route)
        if len(parts) != 1:
            self._taker.refuse(line, RemoteError("bus-parts", f"{len(parts)} parts"))
            return True
        connection = line.connection or self._admit(line, parts[0])
        if connection is not None:
            self._taker.heard_message(connection, memoryview(parts[0].buffer))
        return True

    def _admit(self, line: "RouterLine", part: zmq.Frame) -> Connection | None:
        """The first message of a connection: who is it?"""
        # A route given by libzmq begins with zero. One chosen by the peer could be that of another agent, gone by now.
        if line.route[:1] != b"\0":
            self._taker.refuse(line, RemoteError("bus-route", "the route was chosen by the peer"))
            return None
        line.connection = self._taker.admit(line, _peer_behind(part))
        if line.connection is not None:
            self._lines[line.route] = line
        return line.connection

    # Sending

    def write(self, route: bytes, data: bytes) -> bool:
        """False if the route takes nothing now. Raises ``ZMQError`` (EHOSTUNREACH) if it is gone."""
        try:
            self._socket.send_multipart((route, data), zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._pump.sent()
        return True

    def now_s(self) -> float:
        return self._loop.time()

    def await_turn(self, line: "RouterLine") -> None:
        self._waiting[line] = None
        self._pump.schedule()

    def lose_soon(self, connection: Connection) -> None:
        """Behind all that is already here to be read."""
        self._pump.schedule()
        self._loop.call_soon(self._taker.lose, connection)

    def forget(self, line: "RouterLine") -> None:
        self._lines.pop(line.route, None)
        self._waiting.pop(line, None)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for line in waiting:
            if not line.flush_now():
                self._waiting[line] = None
        if self._waiting and self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._pump.schedule()


class RouterLine:
    """One peer of the ROUTER."""

    def __init__(self, endpoint: RouterEndpoint, route: bytes) -> None:
        self.outbox = Outbox()
        self.route = route
        self.connection: Connection | None = None
        self._endpoint = endpoint
        self._left = b""  # a message that libzmq did not take
        self._wrote_s = 0.0
        self._rests = False  # something long was sent in this turn: libzmq counts messages, whatever they weigh
        self._closed = False

    @property
    def idle(self) -> bool:
        waits = self._left or self.outbox or self._rests
        return not waits and self._endpoint.now_s() - self._wrote_s > SOON_S

    def send(self, data: bytes) -> None:
        self._wrote_s = self._endpoint.now_s()
        if not self._write(data):
            self._left = data
        elif len(data) <= BATCH_BYTES:
            return
        self._rests = True
        self._endpoint.await_turn(self)

    def send_pieces(self, pieces: list[bytes]) -> None:
        self.send(b"".join(pieces))

    def flush(self) -> None:
        if self.outbox:
            self._endpoint.await_turn(self)

    def flush_now(self) -> bool:
        """True if nothing is left."""
        self._rests = False
        while not self._closed and (self._left or self.outbox):
            self._left = self._left or self.outbox.take(BATCH_BYTES)
            if not self._write(self._left):
                return False
            self._left = b""
        return True

    def last_word(self, data: bytes) -> None:
        if not self._closed and not self._left:
            self._write(data)

    def drain(self) -> None:
        if self.connection is not None:
            self._endpoint.lose_soon(self.connection)

    def close(self) -> None:
        self._closed = True
        self._endpoint.forget(self)

    def _write(self, data: bytes) -> bool:
        try:
            return self._endpoint.write(self.route, data)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self.drain()
            return True


def _peer_behind(part: zmq.Frame) -> IpcPeer | None:
    """The sender of the first message of a connection; None if it cannot be known, or is gone."""
    known = _by_address(part)
    try:
        return _by_descriptor(part) if known is None else peer_by_number(*known)
    except OSError:  # no means to look: the message is here already and cannot be left where it was
        return None


def _by_address(part: zmq.Frame) -> tuple[int, int] | None:
    """libzmq notes the credentials when it accepts a connection, as ``localhost:UID:GID:PID``, if it was built so."""
    try:
        words = str(part.get("Peer-Address")).rsplit(":", 3)
    except (zmq.ZMQError, KeyError):
        return None
    if len(words) != 4 or not all(word.isdecimal() for word in words[1:]):
        return None
    return int(words[3]), int(words[1])


def _by_descriptor(part: zmq.Frame) -> IpcPeer | None:
    """Ask the connection itself; right for a first message, as the connection stands while it is read."""
    try:
        with socket.socket(fileno=os.dup(int(part.get(zmq.SRCFD)))) as connection:
            return peer_of(connection)
    except (OSError, zmq.ZMQError):
        return None
