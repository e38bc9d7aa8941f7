"""A thousand links to one process: until they stand, what each weighs, and what they cost while nothing happens.

The listener is one process: transport and links as they ship, no gossip above. The diallers are 1,000 nodes with
certificates, source addresses, transports and hubs of their own, in a second process, since a process each would need
ten times the memory this machine has; the time is shared by both on two cores.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.gossip.identities import admitted
from bench.gossip.process import cpu_s, memory
from bench.rows import Meter, Row, skipped, spread
from bench.talk.candidate import read_line
from bench.talk.crowd import AT_ONCE
from bench.talk.effort import Effort
from tests.demo.fleet import ROOT, Broken

LINKS, ROUNDS = 1000, 3
IDS = (("links-1000", "s", 2.5), ("links-1000-rss", "KiB", 60.0), ("links-1000-idle", "%", 1.0))  # with their goals
READY_S, WITHIN_S, STOP_S = 60.0, 60.0, 10.0
SETTLE_S, IDLE_S = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Crowded:
    """``idle_share``: percent of a core."""

    up_s: float
    up_cpu_s: float
    dial_cpu_s: float
    link_kib: float
    idle_share: float


def thousand(effort: Effort) -> Iterator[Row]:
    """The rows of ``links-1000``."""
    if not effort.full:
        for id_, unit, goal in IDS:
            yield skipped(id_, unit, goal, f"making {LINKS:,} identities takes a minute")
        return
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="meshnode-crowd-") as name:
        paths = [Path(name) / f"n{number}" for number in range(LINKS + 1)]
        admitted(paths, ["here"] * len(paths))
        rounds = [_measure(paths) for _ in range(ROUNDS)]
    listener_s, diallers_s = (
        statistics.median(values) for values in zip(*((told.up_cpu_s, told.dial_cpu_s) for told in rounds), strict=True)
    )
    whys = {
        "links-1000": f"from the first dial until {LINKS:,} mTLS links are up at one listener: {LINKS:,} identities "
        f"and source addresses in one dialling process, {AT_ONCE} dials at once; CPU of the listener "
        f"{listener_s:.2f} s, of the diallers {diallers_s:.2f}",
        "links-1000-rss": "VmRSS of the listener with them, less without",
        "links-1000-idle": f"of a core, over {IDLE_S:g} s: every dialler has only this link and pings it as often as "
        "its own budget lets it, once a second",
    }
    series = ([told.up_s for told in rounds], [told.link_kib for told in rounds], [told.idle_share for told in rounds])
    for (id_, unit, goal), values in zip(IDS, series, strict=True):
        yield meter.row(
            id_, statistics.median(values), unit, goal, n=ROUNDS, why=f"{whys[id_]}; {spread(values)}"
        )  # fmt: skip


def _measure(paths: list[Path]) -> Crowded:
    with _process("listen", str(paths[0]), str(len(paths) - 1)) as listener:
        port = str(read_line(listener, READY_S)["port"])
        with _process("dial", port, *map(str, paths[1:])) as dialler:
            read_line(dialler, READY_S)
            empty, before_s, diallers_s = memory(listener.pid), cpu_s(listener.pid), cpu_s(dialler.pid)
            assert dialler.stdin is not None
            dialler.stdin.write(json.dumps("go") + "\n")
            dialler.stdin.flush()
            began_at = read_line(dialler, WITHIN_S)["began_at"]
            up_at = read_line(listener, WITHIN_S)["up_at"]
            up_cpu_s, dial_cpu_s = cpu_s(listener.pid) - before_s, cpu_s(dialler.pid) - diallers_s
            time.sleep(SETTLE_S)
            grown_mib = memory(listener.pid).rss_mib - empty.rss_mib
            at, idle_from_s = time.monotonic(), cpu_s(listener.pid)
            time.sleep(IDLE_S)
            idle = (cpu_s(listener.pid) - idle_from_s) / (time.monotonic() - at)
    return Crowded(up_at - began_at, up_cpu_s, dial_cpu_s, grown_mib * 1024 / (len(paths) - 1), 100 * idle)


@contextlib.contextmanager
def _process(*arguments: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.talk.crowd", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise Broken(f"{arguments[0]} did not end within {STOP_S:g} s") from error
        finally:
            process.stdout.close()
