"""Finds processes by the mark they carry in their environment (host/launch.py), whoever's children they are now."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from meshnode.host.launch import MARK

_PREFIX = f"{MARK}=".encode()
_AGAIN_S = 0.02
_EXITING, _KERNEL_THREAD = 0x4, 0x200000  # PF_EXITING, PF_KTHREAD: include/linux/sched.h


def children() -> list[int]:
    """Children of this process, which has one thread: its own and those it inherited; zombies, too."""
    pid = os.getpid()
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except FileNotFoundError:  # a kernel without that list
        return [one for one in _processes() if _parent(one) == pid]


def mark_in(pid: int) -> str | None:
    """The mark of a process; "" for one without, one that ends or has gone, and one that does not let us look.

    None: it is in the middle of an exec, and shows no environment yet.
    """
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    if not environment:
        return None if _in_an_exec(pid) else ""
    for entry in environment.split(b"\0"):
        if entry.startswith(_PREFIX):
            return entry[len(_PREFIX) :].decode("ascii", "replace")
    return ""


def _in_an_exec(pid: int) -> bool:
    """Of one that showed no environment: whether it is because the kernel has not told yet where it lies, or told it a
    moment ago. One that was given none has one of no length."""
    stat = _stat(pid)
    if not stat or int(stat[6]) & (_EXITING | _KERNEL_THREAD):
        return False
    begin, end = int(stat[47]), int(stat[48])
    return end == 0 or begin != end


def sweep(mark: str, patience_s: float) -> int:
    """Kill every process of a warden that is gone (``mark``: the warden's half) until none is left, or patience is.

    Returns how many were found. May take a while: for a thread.
    """
    until = time.monotonic() + patience_s
    killed: dict[int, None] = {}
    clean = 0
    while True:
        found, hidden = _look(f"{mark}.")
        clean = 0 if found or hidden else clean + 1
        for pid in found:
            killed[pid] = None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # One that was forked by one that was killed, a moment before, is seen by the second look.
        if clean > (1 if killed else 0) or time.monotonic() > until:
            return len(killed)
        time.sleep(_AGAIN_S)


def _look(prefix: str) -> tuple[list[int], bool]:
    """Processes with such a mark, and whether there are any that do not show theirs yet."""
    marks = {pid: mark_in(pid) for pid in _processes() if pid != os.getpid()}
    return [pid for pid, mark in marks.items() if mark and mark.startswith(prefix)], None in marks.values()


def _processes() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            yield int(entry.name)


def _parent(pid: int) -> int:
    stat = _stat(pid)
    return int(stat[1]) if stat else 0


def _stat(pid: int) -> list[str]:
    """What stands in /proc/PID/stat behind the name, from the state (3 in proc(5)) on; empty: it has gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()
