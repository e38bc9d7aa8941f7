"""The loop of a warden: one daemon to obey, signals, pipes, deadlines; one thread, nothing else.

Invariant: at most one daemon is connected, the one that came last. Without one for ``orphan_us`` everything ends: what
nobody answers for must not run.
"""

import contextlib
import os
import selectors
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import assert_never

from meshnode.host.wardenrun import Runs
from meshnode.host.wardenwire import (
    Exited,
    FromWarden,
    Go,
    Goodbye,
    Inbox,
    List,
    Listed,
    Start,
    Stop,
    ToWarden,
    encode,
    read_order,
)
from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.errors import RemoteError

# Exits nobody was there to hear; when there are more, the oldest are forgotten.
KEPT_MAX = 4096
# A daemon that does not read any more is as good as gone.
UNSENT_BYTES_MAX = 32 * 1024 * 1024
# From SIGTERM to SIGKILL when the warden itself was told to end, or nobody came back for its agents.
GRACE_US = 2 * SECOND
_READ_BYTES = 256 * 1024
# So many forks, and the pipes and signals have a turn again.
_STARTS_A_TURN = 8
_UCRED = struct.Struct("3i")  # pid, uid, gid: see unix(7)


def now() -> Instant:
    return Instant(time.monotonic_ns() // 1000, time.time_ns() // 1_000_000)


class WardenLoop:
    """``listener`` is bound to ``path`` and listens; ``make_runs`` gets who to tell and the selector to use."""

    def __init__(
        self,
        listener: socket.socket,
        path: Path,
        make_runs: Callable[[Callable[[FromWarden], None], selectors.BaseSelector], Runs],
        *,
        orphan_us: int,
    ) -> None:
        self._listener, self._path, self._orphan_us = listener, path, orphan_us
        self._inode = path.stat().st_ino
        self._selector = selectors.DefaultSelector()
        self._runs = make_runs(self._tell, self._selector)
        self._daemon: socket.socket | None = None
        self._greeted = False
        self._inbox = Inbox()
        self._orders: deque[ToWarden] = deque()
        self._unsent = bytearray()
        self._kept: deque[FromWarden] = deque(maxlen=KEPT_MAX)
        self._orphaned_us: int | None = now().mono_us + orphan_us
        self._ending = False
        self._woken, self._wakes = socket.socketpair()

    def run(self) -> None:
        """Returns when everything has ended and the socket is gone."""
        self._watch_signals()
        self._listener.settimeout(0)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        while not (self._ending and not len(self._runs)):
            for key, _ in self._selector.select(self._patience_s()):
                key.data()
            self._obey()
            self._wake(now())
        self._leave()

    def _watch_signals(self) -> None:
        for end in (self._woken, self._wakes):
            end.settimeout(0)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _waking_is_enough)
        signal.signal(signal.SIGTERM, self._told_to_end)
        signal.signal(signal.SIGINT, self._told_to_end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._selector.register(self._woken, selectors.EVENT_READ, self._signalled)

    def _told_to_end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the shape of a handler
        # Between any two instructions of anything: nothing more than a date in the calendar.
        self._orphaned_us = 0

    def _signalled(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        self._runs.reap()

    def _patience_s(self) -> float | None:
        if self._orders:
            return 0
        dues = [due for due in (self._orphaned_us, self._runs.deadline()) if due is not None]
        # A millisecond is as fine as the selector waits: not a moment too early, or it would be asked in vain.
        return max(0.0, (min(dues) - now().mono_us) / SECOND + 0.001) if dues else None

    def _wake(self, instant: Instant) -> None:
        self._runs.wake(instant)
        if self._orphaned_us is not None and self._orphaned_us <= instant.mono_us:
            self._orphaned_us = None
            self._end(GRACE_US)

    def _end(self, grace_us: int) -> None:
        self._ending = True
        self._orders.clear()
        self._runs.stop_all(grace_us)

    def _leave(self) -> None:
        self._runs.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:  # else a successor has bound the name anew
                self._path.unlink()
        if self._daemon is not None:
            self._daemon.settimeout(GRACE_US / SECOND)
            with contextlib.suppress(OSError):
                self._daemon.sendall(self._unsent)
            self._daemon.close()
        self._listener.close()

    # The daemon

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has gone again
            return
        if _uid_of(connection) != os.geteuid():
            connection.close()
            return
        self._lose()
        connection.settimeout(0)
        self._daemon, self._greeted, self._orphaned_us = connection, False, None
        self._selector.register(connection, selectors.EVENT_READ, self._hear)

    def _lose(self) -> None:
        """The daemon is gone. What it asked for stands; exits that were written to it and not read are lost."""
        if self._daemon is None:
            return
        self._selector.unregister(self._daemon)
        self._daemon.close()
        self._daemon, self._inbox = None, Inbox()
        self._unsent.clear()
        self._runs.go_all()
        if not self._ending:
            self._orphaned_us = now().mono_us + self._orphan_us

    def _hear(self) -> None:
        self._send()
        connection = self._daemon
        if connection is None:
            return
        try:
            data = connection.recv(_READ_BYTES)
            bodies = self._inbox.feed(data)
            self._orders.extend(map(read_order, bodies))
        except BlockingIOError:
            return
        except (OSError, RemoteError):
            data = b""
        if not data:
            self._lose()

    def _obey(self) -> None:
        starts = 0
        while self._orders and starts < _STARTS_A_TURN:
            order = self._orders.popleft()
            starts += isinstance(order, Start)
            self._do(order)

    def _do(self, order: ToWarden) -> None:
        match order:
            case List():
                self._greeted = True
                self._tell(Listed(self._runs.rows()))
                self._runs.go_all()
                while self._kept:
                    self._tell(self._kept.popleft())
            case Start():
                if not self._ending:  # else the daemon asks the next warden: it hears that this one has gone
                    self._runs.start(order)
                if self._daemon is None:
                    self._runs.go_all()
            case Go():
                self._runs.go(order)
            case Stop():
                self._runs.stop(order)
            case Goodbye():
                self._end(0)
            case _:
                assert_never(order)

    def _tell(self, message: FromWarden) -> None:
        if self._listens:
            self._unsent += encode(message)
            self._send()
        if isinstance(message, Exited) and not self._listens:  # nobody is there, or whoever was turned out to be gone
            self._kept.append(message)

    @property
    def _listens(self) -> bool:
        """There is a daemon, and it has asked what runs."""
        return self._daemon is not None and self._greeted

    def _send(self) -> None:
        if self._daemon is None:
            return
        try:
            while self._unsent:
                del self._unsent[: self._daemon.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._lose()
            return
        if len(self._unsent) > UNSENT_BYTES_MAX:
            self._lose()
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if self._selector.get_key(self._daemon).events != wanted:
            self._selector.modify(self._daemon, wanted, self._hear)


def _waking_is_enough(number: int, frame: FrameType | None) -> None:
    """A handler, so that the signal writes to the wakeup socket."""


def _uid_of(connection: socket.socket) -> int:
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(found)
    return uid
