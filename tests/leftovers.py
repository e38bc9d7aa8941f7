"""Ends what a process of tests has started when that is gone: also where the watchdog ended it in the middle of a test
that hung, and no fixture had its turn.

Whatever it starts carries a mark in its environment. A guard, who is nobody's child, waits for the end of the process
and kills whoever carries the mark, and all below them: daemons give their own children a clean environment.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NAME = "TESTS_STARTED_BY"
ROUNDS_MAX, ROUND_S = 50, 0.05  # until nobody is left


def guard() -> None:
    """From now on, what this process starts does not outlive it."""
    mark = os.environ[NAME] = f"{os.getpid()}.{time.time_ns()}"
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), mark]
    os.waitpid(os.posix_spawn(command[0], command, {}, setsid=True), 0)


def main(tests: int, mark: str) -> None:
    ended = os.pidfd_open(tests)
    if os.fork():  # whoever started this one goes on
        os._exit(0)
    os.chdir("/")
    select.select([ended], [], [])
    for _ in range(ROUNDS_MAX):
        left = started(mark)
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        select.select([], [], [], ROUND_S)


def started(mark: str) -> list[int]:
    """Who carries this mark, and all below them."""
    parents = dict(_alive())
    carries = {pid: f"{NAME}={mark}".encode() in _read(pid, "environ").split(b"\0") for pid in parents}
    return [pid for pid in parents if any(carries[above] for above in _line_of(pid, parents))]


def _line_of(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """It and all above it. Numbers may be used anew while they are read, so nothing promises that there is an end."""
    for _ in parents:
        if pid not in parents:
            return
        yield pid
        pid = parents[pid]


def _alive() -> Iterator[tuple[int, int]]:
    """Each process that has not ended, and its parent."""
    for entry in os.scandir("/proc"):
        fields = _read(int(entry.name), "stat").rpartition(b")")[2].split() if entry.name.isdecimal() else []
        if fields and fields[0] != b"Z":
            yield int(entry.name), int(fields[1])


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
