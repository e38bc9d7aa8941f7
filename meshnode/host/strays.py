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


def children() -> list[int]:
    """Children of this process, which has one thread: its own and those it inherited; zombies, too."""
    pid = os.getpid()
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except FileNotFoundError:  # a kernel without that list
        return [one for one in _processes() if _parent(one) == pid]


def mark_in(pid: int) -> str | None:
    """The mark of a process; "" for one without, one that has gone or one that does not let us look.

    None: it shows no environment at all. So does one in the middle of an exec, which is marked a moment later.
    """
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return ""
    if not environment:
        return None
    for entry in environment.split(b"\0"):
        if entry.startswith(_PREFIX):
            return entry[len(_PREFIX) :].decode("ascii", "replace")
    return ""


def sweep(mark: str, patience_s: float) -> int:
    """Kill every process of a warden that is gone (``mark``: the warden's half) until none is left, or patience is.

    Returns how many were found. May take a while: for a thread.
    """
    until = time.monotonic() + patience_s
    killed: dict[int, None] = {}
    clean = 0
    while True:
        found = [pid for pid in _processes() if pid != os.getpid() and (mark_in(pid) or "").startswith(f"{mark}.")]
        clean = 0 if found else clean + 1
        for pid in found:
            killed[pid] = None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # One that was in the middle of an exec is seen by the second look.
        if clean > (1 if killed else 0) or time.monotonic() > until:
            return len(killed)
        time.sleep(_AGAIN_S)


def _processes() -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            yield int(entry.name)


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
