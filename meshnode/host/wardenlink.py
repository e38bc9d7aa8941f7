"""The daemon's end of the warden: finds the one that runs, starts one, and carries messages to and fro."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from meshnode.host.launch import MARK, mark_of
from meshnode.host.wardenwire import WARDEN_SOCKET, FromWarden, Inbox, ToWarden, encode, read_report
from meshnode.model.errors import RemoteError

STDERR_NAME = "warden.err"
_STDERR_BYTES_MAX = 64 * 1024
_PASSED_ON = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8"}
_CONNECT_S = 2.0
_READ_BYTES = 256 * 1024
_UCRED = struct.Struct("3i")  # pid, uid, gid: see unix(7)


def clean_environment() -> dict[str, str]:
    """What every process of an agent starts from: nothing of the daemon's own."""
    return {name: os.environ.get(name, default) for name, default in _PASSED_ON.items()}


def connect(run: Path) -> socket.socket | None:
    """To the warden that runs already; None if there is none."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_CONNECT_S)
        connection.connect(str(run / WARDEN_SOCKET))
    except OSError:
        connection.close()
        return None
    return connection


class Spawned(NamedTuple):
    connection: socket.socket
    process: subprocess.Popen[bytes]


def spawn(run: Path, logs: Path, *, orphan_ms: int) -> Spawned:
    """Start a warden and connect to it. The socket listens before it does, so nobody waits for it to be ready.

    Raises ``OSError``.
    """
    path = run / WARDEN_SOCKET
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
        process = _process(run, logs, listener.fileno(), orphan_ms)
        try:
            connection = connect(run)
            if connection is None:
                raise ConnectionError(f"{path} does not answer")
        except OSError:
            process.kill()
            process.wait()
            raise
    return Spawned(connection, process)


def _process(run: Path, logs: Path, listener_fd: int, orphan_ms: int) -> subprocess.Popen[bytes]:
    arguments = [str(run), str(logs), str(listener_fd), str(orphan_ms)]
    with _stderr(logs) as stderr:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-I", "-u", "-X", "utf8", "-m", "meshnode.host.warden", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            cwd="/",
            env={**clean_environment(), MARK: mark_of(str(run))},
            start_new_session=True,
            pass_fds=(listener_fd,),
        )


def _stderr(logs: Path) -> IO[bytes]:
    """Holds a traceback, if there ever is one."""
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = logs / STDERR_NAME
    fresh = not path.exists() or path.stat().st_size > _STDERR_BYTES_MAX
    return path.open("wb" if fresh else "ab")


class WardenLink:
    """One connection. ``lost`` is called once, and nothing is heard after it; never if ``close`` came first."""

    def __init__(
        self,
        connection: socket.socket,
        hear: Callable[[FromWarden], None],
        lost: Callable[[], None],
        pid: int = 0,
    ) -> None:
        """``pid``: of the warden, where the kernel cannot know it yet: it names whoever made the socket listen."""
        self._connection, self._hear, self._lost = connection, hear, lost
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._unsent = bytearray()
        self._open = True
        found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        listened, self.uid, _ = _UCRED.unpack(found)
        self.pid = pid or listened
        connection.settimeout(0)
        self._loop.add_reader(connection, self._readable)

    def send(self, message: ToWarden) -> None:
        """Never waits. What a warden that is gone does not get, ``lost`` is for."""
        if self._open:
            self._unsent += encode(message)
            self._flush()

    def kill(self) -> None:
        """It does not do what a warden does: the end of the connection follows by itself."""
        if self.pid == os.getpid():  # left by us, and killed before it listened itself: the end is near anyway
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._connection.close()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._connection, self._flush)
            return
        except OSError:
            self._unsent.clear()  # the reader will see the end, after what is still to be read
        self._loop.remove_writer(self._connection)

    def _readable(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
            reports = [read_report(body) for body in self._inbox.feed(data)]
        except BlockingIOError:
            return
        except OSError:
            data, reports = b"", []
        except RemoteError:
            self.kill()
            data, reports = b"", []
        for report in reports:
            self._hear(report)
        if not data and self._open:
            self.close()
            self._lost()
