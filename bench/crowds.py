"""Many agents: what one costs in memory, and how many live on this machine and all answer."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.anchors import plain
from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row, skipped
from bench.waiting import AGAIN_S, until
from meshnode.model.errors import LocalError
from meshnode.model.units import ACTORS_A_WORKER
from tests.demo.fleet import Broken

PROCESS_MIB, ACTOR_KIB = 3.3, 8.0
PROCESSES, ACTORS = 1000, 50_000
IDLE_S = 3.0
CALLERS = 8
START_S = 240.0
DENSE, DENSE_ACTORS = ("density", "instances", PROCESSES), ("density-actor", "instances", ACTORS)


def memory(mesh: Nodes, *, processes: int, actors: int) -> Iterator[Row]:
    """Private pages of idle agents that have answered."""
    meter = Meter()
    node = mesh.names[0]
    _crowd(mesh, "lone", processes, "process", "echo.py", "echo", payload="x")
    pids = [view.pid for view in mesh.agents(node, "lone") if view.pid]
    beside = [plain.Plain() for _ in range(3)]
    time.sleep(IDLE_S)
    each = [_private_kib(pid) / 1024 for pid in pids]
    anchor = Anchor(name=plain.NAME, value=statistics.median(_private_kib(one.pid) / 1024 for one in beside))
    for one in beside:
        one.close()
    mesh.clients[node].stop("lone")
    why = f"Private_Dirty, idle for {IDLE_S:g} s after an answer: {min(each):.2f} to {max(each):.2f}"
    yield meter.row("agent-mem", statistics.median(each), "MiB", PROCESS_MIB, n=len(each), why=why, anchor=anchor)
    yield _actors(mesh, meter, actors)


def _actors(mesh: Nodes, meter: Meter, actors: int) -> Row:
    """A full worker against one with a single actor; every actor has changed and kept its state once."""
    node = mesh.names[0]
    daemon = mesh[node].process
    assert daemon is not None
    _crowd(mesh, "few", 1, "actor", "tally.py", "add")
    before = _private_kib(daemon.pid)
    _, _, answered = _crowd(mesh, "many", actors, "actor", "tally.py", "add")
    if answered < actors:
        raise Broken(f"only {answered} of {actors} actors answered")
    time.sleep(IDLE_S)
    one, all_ = (
        sum(_private_kib(view.pid) for view in mesh.agents(node, name) if view.pid) for name in ("few", "many")
    )
    kept = _private_kib(daemon.pid) - before
    mesh.clients[node].stop("few")
    mesh.clients[node].stop("many")
    each = (all_ - one + kept) / (actors - 1)
    why = (
        f"a worker with {actors} actors that each counted once ({all_} KiB private), less one with a single ({one} KiB)"
    )
    return meter.row("agent-mem-actor", each, "KiB", ACTOR_KIB, n=actors, why=why)


def density(mesh: Nodes, *, full: bool) -> Iterator[Row]:
    """A thousand processes, then fifty thousand actors, on the first node; every single one is called."""
    if not full:
        yield from (skipped(*row) for row in (DENSE, DENSE_ACTORS))
        return
    for (id_, unit, goal), tier in ((DENSE, "process"), (DENSE_ACTORS, "actor")):
        meter = Meter()
        why = ""
        try:
            took_s, called_s, answered = _crowd(mesh, id_, int(goal), tier, "echo.py", "echo", payload="x")
            pids = [view.pid for view in mesh.agents(mesh.names[0], id_) if view.pid]
            gib = sum(_private_kib(pid) for pid in pids) / 2**20
            why = (
                f"{tier} instances running after {took_s:.1f} s in {len(pids)} processes with {gib:.2f} GiB "
                f"private; each called once in {called_s:.1f} s, {answered} answered; Ray: about 500 (its memory)"
            )
        except Broken as error:
            answered, why = 0, str(error)
        mesh.clients[mesh.names[0]].stop(id_)
        yield meter.row(id_, answered, unit, goal, n=int(goal), more=True, why=why)


def _crowd(
    mesh: Nodes, name: str, replicas: int, tier: str, file: str, skill: str, **given: str
) -> tuple[float, float, int]:
    """Start so many on the first node and call each: seconds until all run, seconds of the calls, how many answered."""
    node = mesh.names[0]
    began = time.monotonic()
    mesh.run(node, name, file, on=node, tier=tier, replicas=replicas)
    again_s = 0.1 if replicas > ACTORS_A_WORKER // 10 else AGAIN_S  # a list of a thousand is work for the daemon, too
    running = until(
        f"not all {replicas} instances of {name} run", lambda: mesh.running(node, name, replicas), START_S, again_s
    )
    with ThreadPoolExecutor(CALLERS) as callers:
        answered = sum(
            callers.map(
                lambda slot: _answers(mesh, node, f"{name}.{skill}", f"agent/{name}/{slot}", given), range(replicas)
            )
        )
    return running - began, time.monotonic() - running, answered


def _answers(mesh: Nodes, node: str, skill: str, to: str, given: dict[str, str]) -> bool:
    try:
        mesh.call(node, skill, to=to, within_s=20.0, **given)
    except LocalError:
        return False
    return True


def _private_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1])
    raise Broken(f"no Private_Dirty of process {pid}")
