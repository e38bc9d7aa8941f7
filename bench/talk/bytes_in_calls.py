"""``python -m bench.talk.bytes_in_calls [ROUNDS]``: bytes as arguments and as results of plain calls, in base64 and as
they are, in turn in one run. A lone call after the other, agent to agent through two daemons.

Each line: what, of how many bytes, megabytes a second and CPU seconds a gigabyte of both nodes, medians of the rounds.
"""

import os
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from bench.gossip.process import cpu_s
from bench.nodes import Nodes

PLAN = (("alpha", "home"), ("beta", "home"))
ARGUMENTS, RESULTS = (380_000, 100_000, 32_000, 8_000), (700_000, 100_000, 32_000, 8_000)
KINDS = {"argument": ("give", "weigh", ARGUMENTS), "result": ("take", "raw_blob", RESULTS)}
ROUNDS, FOR_S, WITHIN_S = 5, 1.0, 60.0


class Way(NamedTuple):
    """``as_text``: in base64."""

    kind: str
    size: int
    as_text: bool


class Took(NamedTuple):
    mb_s: float
    cpu_s_gb: float


WAYS = tuple(Way(kind, size, text) for kind, (_, _, sizes) in KINDS.items() for size in sizes for text in (True, False))


def measured(rounds: int, for_s: float, ways: Sequence[Way] = WAYS) -> dict[Way, list[Took]]:
    """Each way has its turn in each round; the first round warms, and is not told."""
    took: dict[Way, list[Took]] = {way: [] for way in ways}
    with Nodes(PLAN) as mesh:
        mesh.form()
        for name in mesh.names:
            mesh.run(name, f"echo-{name}", "echo.py", on=name)
        for number in range(rounds + 1):
            for way in ways:
                told = _turn(mesh, way, for_s)
                if number:
                    took[way].append(told)
    return took


def _turn(mesh: Nodes, way: Way, for_s: float) -> Took:
    asks, target, _ = KINDS[way.kind]
    pids = [pid for name in mesh.names for pid in mesh.pids(name)]
    before = sum(map(cpu_s, pids))
    given = {"target": f"echo-beta.{target}", "size": way.size, "for_s": for_s, "as_text": way.as_text}
    mb_s: float = mesh.call("alpha", f"echo-alpha.{asks}", within_s=WITHIN_S, **given).result
    return Took(mb_s, (sum(map(cpu_s, pids)) - before) / (mb_s * for_s / 1000))


def main() -> None:
    load = os.getloadavg()[0]
    took = measured(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS, FOR_S)
    for way, each in took.items():
        how = "in base64  " if way.as_text else "as they are"
        mb_s, cpu = (statistics.median(values) for values in zip(*each, strict=True))
        print(f"{way.kind:8} {way.size:7} B {how} {mb_s:6.0f} MB/s {cpu:6.1f} CPU s/GB")
    print(f"load {load:.0f} to {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
