"""The gateway as a process: ``python -m cloud_gateway`` over a node's directory, and what it takes of the machine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.demo.fleet import Broken
from tests.real.gateway_kit import GatewayProcess

POLL_S = 0.02


class Taken(NamedTuple):
    """CPU seconds, bytes passed to ``write`` on files, bytes of page cache made dirty."""

    cpu_s: float
    passed_bytes: int
    dirtied_bytes: int

    def since(self, other: "Taken") -> "Taken":
        return Taken(
            self.cpu_s - other.cpu_s,
            self.passed_bytes - other.passed_bytes,
            self.dirtied_bytes - other.dirtied_bytes,
        )


def taken(pid: int) -> Taken:
    """By one process since it started. Sockets are not in it: they are sent to, not written."""
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines())
    times = psutil.Process(pid).cpu_times()
    return Taken(times.user + times.system, int(io["wchar"]), int(io["write_bytes"]))


def rss_mib(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 2**20


@contextlib.asynccontextmanager
async def gateway(directory: Path, store: str = "") -> AsyncGenerator[GatewayProcess]:
    """Its node answers in this very process, so nothing here may block while it starts."""
    words = ("--store", store) if store else ()
    process = await asyncio.to_thread(GatewayProcess, directory, *words)
    with process:
        yield process


async def until(otherwise: str, holds: Callable[[], bool], within_s: float = 60.0) -> None:
    """Raises ``Broken``: it did not hold in time."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            raise Broken(f"{otherwise} (waited {within_s:g} s)")
        await asyncio.sleep(POLL_S)


def peak_rss_mib(pid: int) -> float:
    """The most since it was started."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines())
    return int(told["VmHWM"].split()[0]) / 1024
