"""The figures of virtual time: cuts that heal, thousands of nodes, no false deaths, and how fast the simulator is.

Nothing here depends on the machine but the speeds, which are per second of CPU, and how long it takes.
"""

import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from bench.gossip.effort import Effort
from bench.gossip.ships import ships
from bench.rows import Meter, Row, quantile, skipped
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.node.core import Core
from meshnode.node.inputs import Input
from meshnode.sim.cuts import HEAL_S, CutRun, Outcome
from meshnode.sim.hours import TIMES, HoursRun, Watch
from meshnode.sim.node import Adapt
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.trace import Trace

WORKERS = 2
CUTS, CUTS_QUICK, SOAKS = 1_000, 100, 20
NODE_HOURS_ASKED = 2_000.0
NODE_HOURS = float(os.environ.get("NODE_HOURS", "60"))  # what a full run takes time for
SPEED_SCENARIO, SPEED_SEED, SPEED_NODES, SPEED_NODES_QUICK = "cut-and-heal", 7, 50, 12
SPEED_GOAL, HARNESS_GOAL = 40_000.0, 0.30


async def virtual(effort: Effort) -> AsyncIterator[Row]:
    """All rows of the simulator."""
    async for row in ships(effort):
        yield row
    yield speed_of_whole_nodes(SPEED_NODES if effort.full else SPEED_NODES_QUICK)
    yield cuts(effort)
    yield false_deaths() if effort.full else skipped("sim-false", "nodes", 0.0)


# -- cuts -------------------------------------------------------------------------------------------------------------


def cuts(effort: Effort) -> Row:
    """How many of the seeds did not heal in time."""
    meter, seeds = Meter(), range(CUTS if effort.full else CUTS_QUICK)
    with ProcessPoolExecutor(WORKERS) as pool:
        aged = list(pool.map(play_cut, seeds, chunksize=4))
        soaks = list(pool.map(soak_cut, range(SOAKS))) if effort.full else []
    outcomes = [*aged, *soaks]
    failed = [outcome for outcome in outcomes if outcome.why]
    healed = [outcome.healed_s for outcome in outcomes if not outcome.why]
    soaked = f"; {len(soaks)} played event by event" if soaks else ""
    why = (
        f"cuts of 1 s to 1 h aged to 7 days that were not whole {HEAL_S:g} s after, tier 1, 3 to 8 nodes{soaked}; "
        f"healed p50 {quantile(healed, 0.5):.1f}, p99 {quantile(healed, 0.99):.1f}, last {max(healed):.1f} s"
    )
    return meter.row("sim-cuts", len(failed), "cuts", 0.0, n=len(outcomes), why=why + _first(failed))


def play_cut(seed: int) -> Outcome:
    gc.collect()
    return CutRun(seed).play()


def soak_cut(seed: int) -> Outcome:
    gc.collect()
    return CutRun(seed, soak=True).play()


def _first(failed: Sequence[Outcome]) -> str:
    return f"; first: {failed[0]}" if failed else ""


# -- false deaths -----------------------------------------------------------------------------------------------------


def false_deaths() -> Row:
    """Nodes taken for dead that were not. ``n``: node-hours."""
    meter, watches = Meter(), list[Watch]()
    with ProcessPoolExecutor(WORKERS) as pool:
        for watch in pool.map(watch_hours, _seeds_for(NODE_HOURS)):
            watches.append(watch)
    hours, faults = sum(watch.node_hours for watch in watches), sum(watch.faults for watch in watches)
    failed = [watch for watch in watches if watch.why]
    why = f"tier 1, {hours:.0f} of {NODE_HOURS_ASKED:g} node-hours (NODE_HOURS=), {faults} faults at {TIMES:g}x"
    first = f"; first: seed {failed[0].seed}: {failed[0].why}" if failed else ""
    ok = not failed and hours >= NODE_HOURS_ASKED
    return meter.row("sim-false", len(failed), "nodes", 0.0, n=round(hours), why=why + first, ok=ok)


def watch_hours(seed: int) -> Watch:
    gc.collect()
    return HoursRun(seed).play()


def _seeds_for(node_hours: float) -> Iterator[int]:
    """As many seeds as so many hours take, by the size each draws."""
    seed = 0
    while node_hours > 0:
        run = HoursRun(seed)
        node_hours -= run.nodes * run.span_s / 3600
        yield seed
        seed += 1


# -- speed ------------------------------------------------------------------------------------------------------------


class Timed:
    """A core whose time is taken. Everything not named is the core's own."""

    spent_ns = 0

    def __init__(self, core: Core) -> None:
        self._core = core

    def __getattr__(self, name: str) -> object:
        return getattr(self._core, name)

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        began = time.perf_counter_ns()
        effects = self._core.handle(event, now)
        Timed.spent_ns += time.perf_counter_ns() - began
        return effects

    def wake(self, now: Instant) -> list[Effect]:
        began = time.perf_counter_ns()
        effects = self._core.wake(now)
        Timed.spent_ns += time.perf_counter_ns() - began
        return effects

    def deadline(self) -> int | None:
        began = time.perf_counter_ns()
        due_us = self._core.deadline()
        Timed.spent_ns += time.perf_counter_ns() - began
        return due_us


def timed(core: Core) -> Core:
    return Timed(core)  # type: ignore[return-value]  # it stands in for one, see __getattr__


def speed_of_whole_nodes(nodes: int) -> Row:
    """One event: one input given to a node's core, or one wake of it. The whole core: all rooms it passes through."""
    meter = Meter()
    events, seconds = _speed(nodes, lambda core: core)
    began_ns, Timed.spent_ns = time.perf_counter_ns(), 0
    _speed(min(nodes, SPEED_NODES_QUICK), timed)
    harness = 1.0 - Timed.spent_ns / (time.perf_counter_ns() - began_ns)
    why = (
        f"inputs and wakes of whole cores per CPU second: {SPEED_SCENARIO}, {nodes} nodes, tier 2; "
        f"{harness:.0%} of the time outside the cores, checkers included (goal {HARNESS_GOAL:.0%})"
    )
    speed = events / seconds
    ok = speed >= SPEED_GOAL and harness <= HARNESS_GOAL
    return meter.row("sim-speed-2", speed, "1/s", SPEED_GOAL, n=events, why=why, ok=ok, more=True)


def _speed(nodes: int, core: Callable[[Core], Core]) -> tuple[int, float]:
    adapt = [(number, Adapt(core=core)) for number in range(nodes)]
    run = Run(SCENARIOS[SPEED_SCENARIO], seed=SPEED_SEED, nodes=nodes, tier=2, adapt=adapt)
    run.world.trace = Trace(hashed=False)
    gc.collect()
    gc.disable()
    began = time.process_time()
    report = run.play()
    seconds = time.process_time() - began
    gc.enable()
    assert report.passed, report.violation
    return report.inputs + report.wakes, seconds
