"""What one process has taken of the machine."""

import os
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """``pss_mib``: shared pages divided by their sharers."""

    rss_mib: float
    pss_mib: float


def cpu_s(pid: int) -> float:
    """User and system time, and that of children it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) * TICK_S


def memory(pid: int) -> Memory:
    told: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, _, size = line.partition(":")
        told[name] = int(size.split()[0]) / 1024
    return Memory(told["Rss"], told["Pss"])
