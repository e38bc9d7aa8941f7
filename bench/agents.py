"""``make bench-agents``: what agents cost, from real daemons, into bench/out/agents.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from bench.crowds import density, memory
from bench.latency import calls
from bench.nodes import Nodes
from bench.recovery import THREE, attempted, collect, finish, start
from bench.rows import Row
from bench.spawn import sdk_import, spawn
from tests.demo.fleet import ROOT

OUT = ROOT / "bench" / "out" / "agents.json"
IDS = (
    "call-local", "call-local-unix", "call-local-zmq", "call-remote", "call-remote-ray", "call-local-64",
    "call-remote-64", "spawn", "spawn-process", "sdk-import", "agent-mem", "agent-mem-actor", "density",
    "density-actor",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How often each figure is taken."""

    rounds: int
    samples: int
    window_s: float
    spawns: int
    imports: int
    processes: int
    actors: int
    full: bool


FULL = Effort(
    rounds=7, samples=1500, window_s=4.0, spawns=30, imports=20, processes=30, actors=1000, full=True
)  # fmt: skip
QUICK = Effort(rounds=3, samples=400, window_s=0.7, spawns=8, imports=5, processes=8, actors=200, full=False)


def measure(effort: Effort) -> Iterator[Row]:
    """Rows as they come, from three nodes that speak directly; gamma connects its agents by ZeroMQ."""
    with Nodes(THREE, options={"gamma": ("--bus", "zmq")}) as mesh:
        mesh.form()
        for rows in _groups(mesh, effort):
            yield from attempted(rows)


def _groups(mesh: Nodes, effort: Effort) -> Iterator[Iterator[Row]]:
    yield calls(mesh, rounds=effort.rounds, samples=effort.samples, window_s=effort.window_s, ray=effort.full)
    yield spawn(mesh, rounds=effort.spawns)
    yield iter([sdk_import(rounds=effort.imports)])
    yield memory(mesh, processes=effort.processes, actors=effort.actors)
    yield density(mesh, full=effort.full)


def main() -> int:
    given = start("agents", OUT)
    return finish(collect(measure(QUICK if given.quick else FULL)), IDS, given.out)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
