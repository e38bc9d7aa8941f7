"""The bus's endpoint for everyone: a plain unix stream socket, written to directly and read in one gulp a turn."""

import asyncio
import socket
from pathlib import Path

from meshnode.host.bus_line import Connection, Taker
from meshnode.host.bus_outbox import Outbox
from meshnode.host.ipcpeer import IpcPeer, peer_of
from meshnode.sdk import gulps

# As many as may connect at once; the kernel takes its own limit if that is lower.
BACKLOG = 4096
# Connections taken in before the loop serves the others again.
ACCEPTS_A_TURN = 256
WRITE_BYTES = 256 * 1024
# So much of what is large lies before a call that comes behind it, with the write that was not taken whole.
SOCKET_BYTES = gulps.GULP_BYTES - WRITE_BYTES
PIECES_MAX = 512  # of one write; the kernel takes twice as many
# What an ended process can have left in the socket is read in so many gulps at most.
LAST_READS_MAX = 64
# Out of descriptors: the listening socket rests so long, as it would be ready all the time.
ACCEPT_AGAIN_S = 0.1


class UnixEndpoint:
    """Listens on ``path``, which lies in a private directory and nowhere else."""

    def __init__(self, path: Path, taker: Taker) -> None:
        self._path, self._taker = path, taker
        self._loop = asyncio.get_running_loop()
        self._buffer = gulps.buffer()  # for all: what is read is used before the next read
        self._again: asyncio.TimerHandle | None = None
        self._accepted: socket.socket | None = None  # taken in, and not yet looked at
        self._socket = self._listen()
        self._loop.add_reader(self._socket, self._accept)

    @property
    def name(self) -> str:
        """What agents connect to."""
        return f"unix://{self._path}"

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._accepted is not None:
            self._accepted.close()
        self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        self._path.unlink(missing_ok=True)  # of a killed daemon; the data directory's lock says that none runs now
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            listening.bind(str(self._path))
            self._path.chmod(0o600)  # before anybody can connect; and who does is asked for their user
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        return listening

    def _accept(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                if self._accepted is None:
                    self._accepted, _ = self._socket.accept()
                    self._accepted.settimeout(0)
                peer = peer_of(self._accepted)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:  # no descriptors, no memory: neither this one nor those in the backlog are lost
                self._rest()
                return
            accepted, self._accepted = self._accepted, None
            self._admit(accepted, peer)

    def _rest(self) -> None:
        self._taker.count("bus-accept-failed")
        self._loop.remove_reader(self._socket)
        self._again = self._loop.call_later(ACCEPT_AGAIN_S, self._loop.add_reader, self._socket, self._accept)

    def _admit(self, accepted: socket.socket, peer: IpcPeer | None) -> None:
        line = UnixLine(accepted, self._loop, self._taker, self._buffer)
        connection = self._taker.admit(line, peer)
        if connection is None:
            line.close()
        else:
            line.serve(connection)


class UnixLine:
    """One accepted connection."""

    def __init__(
        self, accepted: socket.socket, loop: asyncio.AbstractEventLoop, taker: Taker, buffer: memoryview
    ) -> None:
        self.outbox = Outbox()
        self._socket, self._loop, self._taker, self._buffer = accepted, loop, taker, buffer
        self.connection: Connection | None = None
        self._left = memoryview(b"")  # of a write that was not taken whole
        self._stuck = False  # waits until the socket can be written to
        self._closed = self._wide = False

    @property
    def idle(self) -> bool:
        return not self._stuck

    def serve(self, connection: Connection) -> None:
        self.connection = connection
        self._loop.add_reader(self._socket, self._readable)

    def send(self, data: bytes) -> None:
        if self._closed:
            return
        if len(data) >= gulps.WIDE_BYTES:
            self._widen()
        sent = self._write(data)
        if sent < len(data):
            self._await_room(memoryview(data)[sent:])

    def send_pieces(self, pieces: list[bytes]) -> None:
        if self._closed:
            return
        for at in range(0, len(pieces), PIECES_MAX):
            some = pieces[at : at + PIECES_MAX]
            some_bytes = sum(map(len, some))
            if some_bytes >= gulps.WIDE_BYTES:
                self._widen()
            sent = self._gathered(some)
            if sent < some_bytes:
                self._await_room(memoryview(b"".join(pieces[at:]))[sent:])
                return

    def flush(self) -> None:
        if not self._stuck and self.outbox:
            self.send(self.outbox.take(WRITE_BYTES))
            if not self._stuck:
                self._flush_more()

    def last_word(self, data: bytes) -> None:
        if not self._stuck and not self._closed:
            self._write(data)

    def drain(self) -> None:
        for _ in range(LAST_READS_MAX):
            if not self._read():
                break
        self._lost()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._socket)
            if self._stuck:
                self._loop.remove_writer(self._socket)
            self._socket.close()

    # Writing

    def _await_room(self, left: memoryview) -> None:
        if not self._closed:
            self._left, self._stuck = left, True
            self._loop.add_writer(self._socket, self._writable)

    def _widen(self) -> None:
        if not self._wide:
            self._wide = True
            gulps.widen(self._socket, SOCKET_BYTES)

    def _gathered(self, pieces: list[bytes]) -> int:
        try:
            return self._socket.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return sum(map(len, pieces))  # as below

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # It hung up. What it said before may still be read, so the reader finds the end.
            return len(data)

    def _writable(self) -> None:
        sent = self._write(self._left)
        self._left = self._left[sent:]
        if not self._left:
            self._stuck = False
            self._loop.remove_writer(self._socket)
            self._flush_more()

    def _flush_more(self) -> None:
        while self.outbox and not self._stuck and not self._closed:
            self.send(self.outbox.take(WRITE_BYTES))

    # Reading

    def _readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """One gulp. False when there is nothing more for now, or for ever."""
        if self._closed or self.connection is None:
            return False
        try:
            count = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            count = 0
        if not count:
            self._lost()
            return False
        self._taker.heard(self.connection, self._buffer[:count])
        return True

    def _lost(self) -> None:
        if self.connection is not None:
            self._taker.lose(self.connection)
