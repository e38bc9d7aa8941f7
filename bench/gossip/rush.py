"""Where the processor goes while many daemons join at once: the short form of ``join``.

    python -m bench.gossip.rush [NODES] [--serf]

Real daemons as in ``join``, measured alike. ``--serf``: as many agents of serf before them, as in the bench.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

from bench.gossip.anchors.beside import serf_joining
from bench.gossip.fleet import Fleet, fleet
from bench.gossip.joining import took_s

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


async def rush(count: int, *, serf: bool) -> None:
    if serf:
        theirs = await serf_joining(count)
        told = theirs if isinstance(theirs, str) else f"{theirs.join_s} s"
        sys.stdout.write(f"serf: {told}\n")
    async with fleet(count) as made:
        spent, busy_s, own_s = _spent(made), machine_s(), time.process_time()
        joined_s = await took_s(made)
        own_s = time.process_time() - own_s
        busy_s = machine_s() - busy_s
        each = [after - before for after, before in zip(_spent(made), spent, strict=True)]
    sys.stdout.write(
        f"{count} daemons: whole after {joined_s:.2f} s; processor: {1000 * statistics.fmean(each[1:]):.1f} ms each, "
        f"{1000 * each[0]:.0f} the seed, {1000 * own_s:.0f} the harness, {busy_s:.2f} s all of the machine; "
        f"load {os.getloadavg()[0]:.1f}\n"
    )


def _spent(made: Fleet) -> list[float]:
    return [process_s(node.pid) for node in made.nodes]


def process_s(pid: int) -> float:
    """Of all threads of a process that live, on a processor."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def machine_s() -> float:
    """What all processors did since the machine started, but wait."""
    fields = [int(word) for word in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * TICK_S


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gossip.rush", description="what a join at once costs")
    parser.add_argument("nodes", nargs="?", type=int, default=100)
    parser.add_argument("--serf", action="store_true")
    given = parser.parse_args()
    asyncio.run(rush(given.nodes, serf=given.serf))
    return 0


if __name__ == "__main__":
    sys.exit(main())
