"""The figures of ten thousand nodes in virtual time: the third tier of the simulator, see ``meshnode/sim/fleet``."""

import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from bench.gossip.effort import Effort
from bench.rows import Meter, Row
from meshnode.kernel.instant import MS
from meshnode.sim.fleet import figures, skills

SEED = 7
NODES, REGIONS, VIRTUAL_S = 10_000, 20, 60.0
NODES_QUICK, REGIONS_QUICK, VIRTUAL_QUICK_S = 200, 4, 10.0
SKILLS_S, SKILLS_QUICK_S = 35.0, 13.0
WORKERS = 2
P99_MS, COPIES, BYTES_S, CPU_S, GIB = 400.0, 1.1, 4_000.0, 300.0, 2.5
TakenT = TypeVar("TakenT")


@dataclass(frozen=True, slots=True)
class Taken(Generic[TakenT]):
    """What came out, and what it took of a process of its own."""

    figures: TakenT
    cpu_s: float
    gib: float


async def ships(effort: Effort) -> AsyncIterator[Row]:
    """Each scenario in its own process, so that the memory it takes is its own; two at a time but for the last, whose
    speed is a figure."""
    nodes, regions = (NODES, REGIONS) if effort.full else (NODES_QUICK, REGIONS_QUICK)
    with ProcessPoolExecutor(WORKERS, max_tasks_per_child=1) as pool:
        news = pool.submit(figures.urgent, SEED, nodes, regions)
        half = pool.submit(figures.half_killed, SEED, nodes, regions)
        most = pool.submit(figures.most_killed, SEED, nodes, regions)
        asked_s = SKILLS_S if effort.full else SKILLS_QUICK_S
        asked = pool.submit(skills.skills, SEED, nodes, asked_s, regions)
        for row in spread(news.result(), nodes, regions):
            yield row
        yield killed("sim-half-killed", half.result())
        yield killed("sim-most-killed", most.result())
        yield lookups(asked.result())
    async for row in steady(nodes, VIRTUAL_S if effort.full else VIRTUAL_QUICK_S, regions):
        yield row


def spread(news: figures.Spread, nodes: int, regions: int) -> Iterator[Row]:
    """How soon all heard, and how often."""
    meter = Meter()
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


def killed(id_: str, after: figures.Killed) -> Row:
    """How many survivors a message sent three seconds later did not reach."""
    missed = after.survivors - after.later
    why = (
        f"of {after.survivors} survivors of {after.nodes}, not reached by a message sent 3 s later (last "
        f"{after.later_us / MS:.0f} ms); by one sent at that instant {after.survivors - after.at_once} (last "
        f"{after.at_once_us / MS:.0f} ms); {len(after.parts)} component(s)"
    )
    ok = not missed and after.at_once == after.survivors and len(after.parts) == 1
    return Meter().row(id_, missed, "nodes", 0.0, n=after.survivors, why=why, ok=ok)


def lookups(found: skills.Lookups) -> Row:
    """How often a skill that had run for ten seconds was "not found" somewhere."""
    why = (
        f"tier 3, {found.nodes} nodes; {found.skills} skills that ran over 10 s, half of them moved to another region "
        f"meanwhile, asked for in every region for {found.virtual_s:g} s while {found.restarts} nodes restarted; "
        f"{found.unanswered} times no bridge could tell, {found.unsure} times a node knew that it did not know yet"
    )
    return Meter().row("sim-10k-skills", found.not_found, "answers", 0.0, n=found.asked, why=why)


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
