"""How much was tried on each target, over all runs: one JSON file, by the name of the target."""

import os
import time
from pathlib import Path

import msgspec


class Count(msgspec.Struct, kw_only=True):
    """``slowest_ms``: one input that was not traced, by the wall; above 100 ms, of the processor alone.

    ``findings``: runs that ended with one.
    """

    inputs: int = 0
    seconds: float = 0.0
    runs: int = 0
    findings: int = 0
    slowest_ms: float = 0.0
    load: float = 0.0
    date: str = ""


def add(path: Path, name: str, inputs: int, slowest_s: float, seconds: float, *, findings: int) -> None:
    """Count one run."""
    counts = read(path)
    count = counts.setdefault(name, Count())
    count.inputs += inputs
    count.seconds += seconds
    count.runs += 1
    count.findings += findings
    count.slowest_ms = max(count.slowest_ms, round(slowest_s * 1000, 2))
    count.load = round(os.getloadavg()[0], 2)
    count.date = time.strftime("%Y-%m-%d", time.gmtime())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(counts.items()))), indent=1) + b"\n")


def read(path: Path) -> dict[str, Count]:
    """What was counted so far."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Count]) if path.exists() else {}
