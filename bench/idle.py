"""What a daemon costs while nothing happens: memory, processor, bytes to sockets, bytes to the disk."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import psutil

from bench.mesh import NAMES, Mesh
from bench.rows import Meter, Row, skipped

RSS_MIB, CPU_PERCENT, SENT_BYTES_S, DISK_MB_DAY = 64.0, 1.0, 1024.0, 5.0
DAY_S = 86_400
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """Counters of one daemon since its start; ``at_s`` on CLOCK_MONOTONIC."""

    at_s: float
    cpu_s: float
    sent_bytes: int
    disk_bytes: int
    rss_bytes: int


def idle(mesh: Mesh, *, windows: int, window_s: float, quick: bool) -> list[Row]:
    """The four figures, each of the daemon that spends most. Nobody asks the daemons anything meanwhile."""
    meter = Meter()
    series = [_spent(mesh)]
    for _ in range(windows):
        time.sleep(window_s)
        series.append(_spent(mesh))
    taken = f"{windows} x {window_s:g} s, 4 daemons, the highest counts"
    rss = max(spent.rss_bytes for after in series[1:] for spent in after.values()) / 2**20
    cpu = _worst(series, lambda a, b: 100 * (b.cpu_s - a.cpu_s) / (b.at_s - a.at_s))
    rows = [
        meter.row("idle-rss", rss, "MiB", RSS_MIB, n=windows, why=f"VmRSS at the end of each window: {taken}"),
        meter.row("idle-cpu", cpu.value, "%", CPU_PERCENT, n=windows, why=f"{taken}; {cpu.each}"),
    ]
    if quick:  # shared facts are refreshed once a minute: a shorter look would flatter
        return [*rows, skipped("idle-sent", "B/s", SENT_BYTES_S), skipped("idle-disk", "MB/day", DISK_MB_DAY)]
    sent = _worst(series, lambda a, b: (b.sent_bytes - a.sent_bytes) / (b.at_s - a.at_s))
    disk = _worst(series, lambda a, b: (b.disk_bytes - a.disk_bytes) / (b.at_s - a.at_s) * DAY_S / 1e6)
    return [
        *rows,
        meter.row("idle-sent", sent.value, "B/s", SENT_BYTES_S, n=windows, why=f"to peers, {taken}; {sent.each}"),
        meter.row("idle-disk", disk.value, "MB/day", DISK_MB_DAY, n=windows, why=f"write_bytes, {taken}; {disk.each}"),
    ]


@dataclass(frozen=True, slots=True)
class _Worst:
    """Over the whole time, of the daemon that spends most; ``each`` tells the single windows."""

    value: float
    each: str


def _worst(series: Sequence[dict[str, Spent]], rate: Callable[[Spent, Spent], float]) -> _Worst:
    whole = max(rate(series[0][name], series[-1][name]) for name in NAMES)
    each = [max(rate(a[name], b[name]) for name in NAMES) for a, b in pairwise(series)]
    return _Worst(whole, "per window " + " ".join(f"{value:.2f}" for value in each))


def _spent(mesh: Mesh) -> dict[str, Spent]:
    sent = mesh.fleet.network.sent()
    found: dict[str, Spent] = {}
    for node in mesh.fleet.nodes:
        assert node.process is not None
        daemon = psutil.Process(node.process.pid)
        found[node.name] = Spent(
            at_s=time.monotonic(),
            cpu_s=_cpu_s(daemon),
            sent_bytes=sent.get(node.number, 0),
            disk_bytes=daemon.io_counters().write_bytes,
            rss_bytes=daemon.memory_info().rss,
        )
    return found


def _cpu_s(daemon: psutil.Process) -> float:
    """The daemon, helpers it has reaped, and its shell that guards agents; not the agents."""
    own = daemon.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in daemon.children():
        if child.name() == "sh":
            times = child.cpu_times()
            total += times.user + times.system
    return total
