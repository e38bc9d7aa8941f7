"""How much was tried on each target, over all runs: one JSON file, by the name of the target."""

import fcntl
import os
import time
from pathlib import Path

import msgspec


class Run(msgspec.Struct, frozen=True):
    """One campaign. ``used_s``: of the processor."""

    inputs: int
    seconds: float
    used_s: float = 0.0
    slowest_s: float = 0.0
    grown_mib: float = 0.0


class Count(msgspec.Struct, kw_only=True):
    """``inputs``: executions. ``slowest_ms``: one input that was not traced, by the wall; above 100 ms, of the
    processor alone. ``grown_mib``: the most memory that the inputs of one run took beyond the first two thousand.

    ``used_s``: of the processor, in the runs since it is counted. ``findings``: runs that ended with one that is not
    mended yet.
    """

    inputs: int = 0
    seconds: float = 0.0
    used_s: float = 0.0
    runs: int = 0
    findings: int = 0
    slowest_ms: float = 0.0
    grown_mib: float = 0.0
    load: float = 0.0
    date: str = ""


def add(path: Path, name: str, run: Run, *, findings: int) -> None:
    """Count one run; another one may end in the same moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        counts = read(path)
        _count(counts.setdefault(name, Count()), run, findings)
        written = msgspec.json.format(msgspec.json.encode(dict(sorted(counts.items()))), indent=1) + b"\n"
        path.write_bytes(written)
    finally:
        os.close(folder)


def _count(count: Count, run: Run, findings: int) -> None:
    count.inputs += run.inputs
    count.seconds += run.seconds
    count.used_s = round(count.used_s + run.used_s, 1)
    count.runs += 1
    count.findings += findings
    count.slowest_ms = max(count.slowest_ms, round(run.slowest_s * 1000, 2))
    count.grown_mib = max(count.grown_mib, round(run.grown_mib, 1))
    count.load = round(os.getloadavg()[0], 2)
    count.date = time.strftime("%Y-%m-%d", time.gmtime())


def read(path: Path) -> dict[str, Count]:
    """What was counted so far."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Count]) if path.exists() else {}
