"""Connections to the local API of one node, kept for some seconds after an answer: making one costs as much as a put.

One that was closed meanwhile is seen before it is used. Where it is closed in that very moment, what was sent has not
been read (the kernel says so: a reset, or a broken pipe), so nobody has begun with it, and it is sent again.
"""

import select
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

from meshnode.client.exchange import Whole, ask_whole

KEPT_S = 3.0  # less than a daemon waits for the next request of a connection
KEPT_MAX = 4


class _Kept(NamedTuple):
    door: socket.socket
    used_s: float


class Doors:
    """Of one client. Several threads may ask: each takes a connection of its own."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        while (kept := self._pop()) is not None:
            kept.door.close()

    def ask(
        self, fresh: Callable[[], socket.socket], method: str, path: str, body: bytes | None, timeout_s: float
    ) -> Whole:
        """``fresh``: makes a connection where none was kept. Raises as ``ask_whole``, and what ``fresh`` raises."""
        kept = self._take(timeout_s)
        if kept is not None:
            try:
                return self._asked(kept, method, path, body)
            except (ConnectionResetError, BrokenPipeError):
                pass
        return self._asked(fresh(), method, path, body)

    def _asked(self, door: socket.socket, method: str, path: str, body: bytes | None) -> Whole:
        goes_on = False
        try:
            told = ask_whole(door, method, path, body)
            goes_on = told.goes_on and len(self._kept) < KEPT_MAX
        finally:
            if not goes_on:
                door.close()
        if goes_on:
            self._kept.append(_Kept(door, time.monotonic()))
        return told

    def _take(self, timeout_s: float) -> socket.socket | None:
        """One that was used just now, and that nobody has closed since."""
        while (kept := self._pop()) is not None:
            if time.monotonic() - kept.used_s < KEPT_S and not _is_readable(kept.door):
                kept.door.settimeout(timeout_s)
                return kept.door
            kept.door.close()
        return None

    def _pop(self) -> _Kept | None:
        try:
            return self._kept.pop()
        except IndexError:  # none, or another thread was quicker
            return None


def _is_readable(door: socket.socket) -> bool:
    """Of one over which nothing is asked: it has been closed."""
    poll = select.poll()
    poll.register(door, select.POLLIN)
    return bool(poll.poll(0))
