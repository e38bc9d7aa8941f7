"""The figures of ten thousand nodes in virtual time: the third tier of the simulator, see ``meshnode/sim/fleet``.

``python -m bench.gossip.ships --nodes 2000 --only half-killed``: some of them, of any size, into a file of their own.
"""

import argparse
import gc
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, TypeVar

from bench.gossip.effort import Effort
from bench.rows import Meter, Row, show
from meshnode.kernel.instant import MS
from meshnode.sim.fleet import figures, skills
from meshnode.sim.fleet.fleet import Fleet
from tests.demo.fleet import ROOT

SEED = 7
NODES, REGIONS, VIRTUAL_S = 10_000, 20, 60.0
NODES_QUICK, REGIONS_QUICK, VIRTUAL_QUICK_S = 200, 4, 10.0
SKILLS_S, SKILLS_QUICK_S = 35.0, 13.0
P99_MS, COPIES, BYTES_S, CPU_S, GIB = 400.0, 1.1, 4_000.0, 300.0, 2.5
KEPT = ROOT / "bench" / "results" / "gossip-ships.json"
URGENT, HALF, MOST, SKILLS, STEADY = "urgent", "half-killed", "most-killed", "skills", "steady"
SCENARIOS = (URGENT, HALF, MOST, SKILLS, STEADY)
TakenT = TypeVar("TakenT")


@dataclass(frozen=True, slots=True)
class Taken(Generic[TakenT]):
    """What came out, and what it took of a process of its own, the warming up of its mesh included."""

    figures: TakenT
    cpu_s: float
    gib: float

    def __str__(self) -> str:
        return f"{self.cpu_s:.0f} s of CPU, {self.gib:.2f} GiB"


async def ships(effort: Effort) -> AsyncIterator[Row]:
    """All of them, as far as the effort goes."""
    nodes, regions = (NODES, REGIONS) if effort.full else (NODES_QUICK, REGIONS_QUICK)
    seconds = (
        {SKILLS: SKILLS_S, STEADY: VIRTUAL_S} if effort.full else {SKILLS: SKILLS_QUICK_S, STEADY: VIRTUAL_QUICK_S}
    )
    for row in played(SCENARIOS, nodes, regions, seconds):
        yield row


def played(wanted: Sequence[str], nodes: int, regions: int, seconds: dict[str, float]) -> Iterator[Row]:
    """One mesh is warmed up; each scenario but skills plays on in a copy of that process. One at a time."""
    meter = Meter()
    if SKILLS in wanted:
        yield lookups(alone(partial(skills.skills, SEED, nodes, seconds[SKILLS], regions)))
    if wanted == [SKILLS]:
        return
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as warm:
        warm_s = warm.submit(_warm, nodes, regions).result()
        if URGENT in wanted:
            yield from spread(warm.submit(_on, figures.urgent_in, warm_s).result(), nodes, regions, meter)
        if HALF in wanted:
            yield killed("sim-half-killed", warm.submit(_on, figures.half_killed_in, warm_s).result(), meter)
        if MOST in wanted:
            yield killed("sim-most-killed", warm.submit(_on, figures.most_killed_in, warm_s).result(), meter)
        if STEADY in wanted:
            play = partial(figures.steady_in, virtual_s=seconds[STEADY])
            yield from steady(warm.submit(_on, play, warm_s).result(), nodes, meter)


# -- rows -------------------------------------------------------------------------------------------------------------


def spread(taken: Taken[figures.Spread], nodes: int, regions: int, meter: Meter) -> Iterator[Row]:
    """How soon all heard, and how often."""
    news = taken.figures
    what = f"tier 3, {nodes} nodes, {regions} regions"
    heard = f"p50 {news.p50_us / MS:.0f}, last {news.last_us / MS:.0f} ms, {news.missed} of {news.pairs} pairs missed"
    yield meter.row(
        "sim-10k", news.p99_us / MS, "ms", P99_MS, n=news.pairs, why=f"{what}; {heard}; {taken}",
        ok=news.p99_us <= P99_MS * MS and not news.missed,
    )  # fmt: skip
    yield meter.row(
        "sim-10k-copies", news.copies, "copies", COPIES, n=news.pairs,
        why=f"{what}; of the whole rumour a node; {news.ihaves:.1f} letters with ids beside it",
    )  # fmt: skip


def killed(id_: str, taken: Taken[figures.Killed], meter: Meter) -> Row:
    """How many survivors a message sent three seconds later did not reach."""
    after = taken.figures
    missed = after.survivors - after.later
    why = (
        f"of {after.survivors} survivors of {after.nodes}, not reached by a message sent 3 s later (last "
        f"{after.later_us / MS:.0f} ms); by one sent at that instant {after.survivors - after.at_once} (last "
        f"{after.at_once_us / MS:.0f} ms); {len(after.parts)} component(s); {taken}"
    )
    ok = not missed and after.at_once == after.survivors and len(after.parts) == 1
    return meter.row(id_, missed, "nodes", 0.0, n=after.survivors, why=why, ok=ok)


def lookups(taken: Taken[skills.Lookups]) -> Row:
    """How often a skill that had run for ten seconds was "not found" somewhere."""
    found = taken.figures
    why = (
        f"tier 3, {found.nodes} nodes; {found.skills} skills that ran over 10 s, half of them moved to another region "
        f"meanwhile, asked for in every region for {found.virtual_s:g} s while {found.restarts} nodes restarted; "
        f"{found.unanswered} times no bridge could tell, {found.unsure} times a node knew that it did not know yet; "
        f"{taken}"
    )
    return Meter().row("sim-10k-skills", found.not_found, "answers", 0.0, n=found.asked, why=why)


def steady(taken: Taken[figures.Steady], nodes: int, meter: Meter) -> Iterator[Row]:
    """Churn, events and soft state: what it costs each node, and the simulator."""
    done = taken.figures
    spread, what = done.spread, f"tier 3, {nodes} nodes, 1 % restarted a minute ({done.restarts}), 1 event/s"
    what += f", loads every 30 s, {done.virtual_s:g} s"
    yield meter.row(
        "sim-10k-bytes", spread.bytes_s, "B/s", BYTES_S, n=nodes,
        why=f"{what}; a node, with what frames, TLS and TCP add, without heartbeats; {spread.missed} pairs missed",
    )  # fmt: skip
    yield meter.row(
        "sim-speed-3", taken.cpu_s, "s", CPU_S, n=spread.events, ok=taken.cpu_s <= CPU_S and taken.gib <= GIB,
        why=f"{what}; of one core, warming up included; {spread.events / taken.cpu_s:.0f} events/s; "
        f"{taken.gib:.2f} GiB of at most {GIB:g}; trace {spread.trace[:12]}",
    )  # fmt: skip


# -- processes --------------------------------------------------------------------------------------------------------

_meshes: list[Fleet] = []  # of the process that warms one up


def alone(scenario: Callable[[], TakenT]) -> Taken[TakenT]:
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_taken, scenario, 0.0).result()


def _warm(nodes: int, regions: int) -> float:
    """A mesh for all that follows in copies of this process; how long it took."""
    began_s = time.process_time()
    gc.disable()  # what a run leaves in circles goes with its process
    _meshes.append(figures.warmed(SEED, nodes, regions))
    return time.process_time() - began_s


def _on(scenario: Callable[[Fleet], TakenT], warm_s: float) -> Taken[TakenT]:
    """In a copy of this process, which leaves the mesh as it is here."""
    process = get_context("fork")
    ours, theirs = process.Pipe(duplex=False)
    copy = process.Process(target=_tell, args=(theirs, partial(scenario, _meshes[0]), warm_s))
    copy.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        copy.join()


def _tell(pipe: Connection, scenario: Callable[[], object], warm_s: float) -> None:
    pipe.send(_taken(scenario, warm_s))


def _taken(scenario: Callable[[], TakenT], before_s: float) -> Taken[TakenT]:
    gc.disable()
    began_s = time.process_time()
    done = scenario()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024
    return Taken(done, before_s + time.process_time() - began_s, most)


# -- by itself --------------------------------------------------------------------------------------------------------


def kept(path: Path, nodes: int, row: Row) -> None:
    """Put it into the file, in the place of the one of the same figure and size."""
    before: list[dict[str, object]] = json.loads(path.read_text()) if path.exists() else []
    left = [line for line in before if (line["id"], line["nodes"]) != (row.id, nodes)]
    path.write_text(json.dumps([*left, {"nodes": nodes, **asdict(row)}], indent=1) + "\n")


def main(words: Sequence[str]) -> int:
    """0: all within their goals."""
    parser = argparse.ArgumentParser(prog="python -m bench.gossip.ships", description="thousands in virtual time")
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--regions", type=int, default=REGIONS)
    parser.add_argument("--only", choices=SCENARIOS, action="append", default=[])
    parser.add_argument("--seconds", type=float, default=VIRTUAL_S, help="virtual ones, of steady")
    parser.add_argument("--out", type=Path, default=KEPT, help=f"default: bench/results/{KEPT.name}")
    asked = parser.parse_args(words)
    good = True
    for row in played(asked.only or SCENARIOS, asked.nodes, asked.regions, {SKILLS: SKILLS_S, STEADY: asked.seconds}):
        kept(asked.out, asked.nodes, row)
        print(show(row), flush=True)
        good = good and row.ok
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
