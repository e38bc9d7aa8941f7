"""The figures of ten thousand nodes in virtual time: the third tier of the simulator, see ``meshnode/sim/fleet``."""

import resource
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from bench.gossip.effort import Effort
from bench.rows import Meter, Row
from meshnode.kernel.instant import MS
from meshnode.sim.fleet import figures

SEED = 7
NODES, REGIONS, VIRTUAL_S = 10_000, 20, 60.0
NODES_QUICK, REGIONS_QUICK, VIRTUAL_QUICK_S = 200, 4, 10.0
P99_MS, COPIES, BYTES_S, CPU_S, GIB = 400.0, 1.1, 4_000.0, 300.0, 2.5
TakenT = TypeVar("TakenT")


@dataclass(frozen=True, slots=True)
class Taken(Generic[TakenT]):
    """What came out, and what it took of a process of its own."""

    figures: TakenT
    cpu_s: float
    gib: float


async def ships(effort: Effort) -> AsyncIterator[Row]:
    """Each scenario in its own process, so that the memory it takes is its own."""
    nodes, regions = (NODES, REGIONS) if effort.full else (NODES_QUICK, REGIONS_QUICK)
    meter = Meter()
    news = alone(figures.urgent, SEED, nodes, regions).figures
    what = f"tier 3, {nodes} nodes, {regions} regions"
    heard = f"p50 {news.p50_us / MS:.0f}, last {news.last_us / MS:.0f} ms, {news.missed} of {news.pairs} pairs missed"
    yield meter.row(
        "sim-10k", news.p99_us / MS, "ms", P99_MS, n=news.pairs, why=f"{what}; {heard}",
        ok=news.p99_us <= P99_MS * MS and not news.missed,
    )  # fmt: skip
    yield meter.row(
        "sim-10k-copies", news.copies, "copies", COPIES, n=news.pairs,
        why=f"{what}; of the whole rumour a node; {news.ihaves:.1f} letters with ids beside it",
    )  # fmt: skip
    yield killed("sim-half-killed", figures.half_killed, nodes, regions)
    yield killed("sim-most-killed", figures.most_killed, nodes, regions)
    async for row in steady(nodes, VIRTUAL_S if effort.full else VIRTUAL_QUICK_S, regions):
        yield row


def killed(id_: str, scenario: Callable[[int, int, int], figures.Killed], nodes: int, regions: int) -> Row:
    """How many survivors a message sent three seconds later did not reach."""
    meter = Meter()
    after = alone(scenario, SEED, nodes, regions).figures
    missed = after.survivors - after.later
    why = (
        f"of {after.survivors} survivors of {nodes}, not reached by a message sent 3 s later (last "
        f"{after.later_us / MS:.0f} ms); by one sent at that instant {after.survivors - after.at_once} (last "
        f"{after.at_once_us / MS:.0f} ms); {len(after.parts)} component(s)"
    )
    ok = not missed and after.at_once == after.survivors and len(after.parts) == 1
    return meter.row(id_, missed, "nodes", 0.0, n=after.survivors, why=why, ok=ok)


async def steady(nodes: int, virtual_s: float, regions: int) -> AsyncIterator[Row]:
    """Churn, events and soft state: what it costs each node, and the simulator."""
    meter = Meter()
    taken = alone(figures.steady, SEED, nodes, virtual_s, regions)
    spread, restarts = taken.figures.spread, taken.figures.restarts
    what = f"tier 3, {nodes} nodes, 1 % restarted a minute ({restarts}), 1 event/s, loads every 30 s, {virtual_s:g} s"
    yield meter.row(
        "sim-10k-bytes", spread.bytes_s, "B/s", BYTES_S, n=nodes,
        why=f"{what}; a node, with what frames, TLS and TCP add, without heartbeats; {spread.missed} pairs missed",
    )  # fmt: skip
    yield meter.row(
        "sim-speed-3", taken.cpu_s, "s", CPU_S, n=spread.events, ok=taken.cpu_s <= CPU_S and taken.gib <= GIB,
        why=f"{what}; of one core, warming up included; {spread.events / taken.cpu_s:.0f} events/s; "
        f"{taken.gib:.2f} GiB of at most {GIB:g}; trace {spread.trace[:12]}",
    )  # fmt: skip


def alone(scenario: Callable[..., TakenT], *given: object) -> Taken[TakenT]:
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_taken, scenario, given).result()


def _taken(scenario: Callable[..., TakenT], given: tuple[object, ...]) -> Taken[TakenT]:
    began_s = time.process_time()
    done = scenario(*given)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024
    return Taken(done, time.process_time() - began_s, most)
