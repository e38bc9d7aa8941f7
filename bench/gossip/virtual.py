"""The figures of virtual time: cuts that heal, no false deaths, freezes, liars, and how fast the simulator is.

Nothing here depends on the machine but the speeds, which are per second of CPU, and how much gets done in the minutes
that a run takes for it. What takes hours is done by ``longrun.py`` beforehand, and kept: a run goes on after its seeds.
"""

import gc
import time
from collections.abc import AsyncIterator, Callable, Sequence

from bench.gossip import longrun
from bench.gossip.effort import Effort
from bench.gossip.longrun import Outcome
from bench.rows import Meter, Row, quantile, skipped
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.node.core import Core
from meshnode.node.inputs import Input
from meshnode.sim.crowded import CrowdRun
from meshnode.sim.cuts import HEAL_S
from meshnode.sim.hours import TIMES
from meshnode.sim.liars import LiarRun
from meshnode.sim.node import Adapt
from meshnode.sim.pulses import PULSES_S, PulseRun
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.trace import Trace

WORKERS = 2
CUTS, CUTS_QUICK, SOAKS = 1_000, 100, 20
CUTS_MINUTES, CUTS_QUICK_MINUTES, SOAKS_MINUTES, HOURS_MINUTES = 4.0, 1.0, 2.0, 4.0
NODE_HOURS = 2_000.0
FREEZE_NODES, LIAR_SEEDS, CROWD_SEEDS = 20, 2, 3
SPEED_SCENARIO, SPEED_SEED, SPEED_NODES, SPEED_NODES_QUICK = "cut-and-heal", 7, 50, 12
SPEED_GOAL, HARNESS_GOAL = 40_000.0, 0.30


async def virtual(effort: Effort) -> AsyncIterator[Row]:
    """The rows of the simulator's first two tiers; ``ships.py`` has those of the third."""
    yield speed_of_whole_nodes(SPEED_NODES if effort.full else SPEED_NODES_QUICK)
    yield cuts(effort)
    yield false_deaths() if effort.full else skipped("sim-false", "seeds", 0.0)
    yield freezes() if effort.full else skipped("sim-freezes", "runs", 0.0)
    yield liars() if effort.full else skipped("sim-liars", "seeds", 0.0)


# -- cuts -------------------------------------------------------------------------------------------------------------


def cuts(effort: Effort) -> Row:
    """How many of the seeds did not heal in time, those of the long run among them."""
    meter = Meter()
    wanted = CUTS if effort.full else CUTS_QUICK
    aged = _played("cuts", wanted, CUTS_MINUTES if effort.full else CUTS_QUICK_MINUTES)
    soaks = _played("soak", SOAKS, SOAKS_MINUTES) if effort.full else []
    outcomes = [*aged, *soaks]
    healed = [outcome.healed_s for outcome in outcomes if not outcome.why] or [0.0]
    seeds, soaked = len(aged) + _before("cuts"), len(soaks) + _before("soak")
    failed = _failed(outcomes) + _failed_before("cuts") + _failed_before("soak")
    why = (
        f"cuts of 1 s to 1 h aged to 7 days that were not whole {HEAL_S:g} s after, tier 1, 3 to 8 nodes: {len(aged)} "
        f"in this run, healed p50 {quantile(healed, 0.5):.1f}, p99 {quantile(healed, 0.99):.1f}, last "
        f"{max(healed):.1f} s; {soaked} of {SOAKS} played event by event"
    )
    ok = not failed and seeds >= wanted and (soaked >= SOAKS or not effort.full)
    why += _beside("cuts") + _beside("soak") + _first(outcomes)
    return meter.row("sim-cuts", failed, "cuts", 0.0, n=seeds, why=why, ok=ok)


# -- false deaths -----------------------------------------------------------------------------------------------------


def false_deaths() -> Row:
    """Seeds in which a node was taken for dead that was not, or another promise broke. ``n``: node-hours."""
    meter = Meter()
    outcomes = list(longrun.play("hours", _next("hours"), 1_000_000, HOURS_MINUTES, WORKERS))
    fresh, faults = sum(each.node_hours for each in outcomes), sum(each.faults for each in outcomes)
    hours = fresh + sum(stretch.node_hours for stretch in longrun.latest("hours"))
    failed = _failed(outcomes) + _failed_before("hours")
    why = f"tier 1, {hours:.0f} of {NODE_HOURS:g} node-hours, {fresh:.0f} in this run: {faults} faults at {TIMES:g}x"
    ok = not failed and hours >= NODE_HOURS
    why += _beside("hours") + _first(outcomes)
    return meter.row("sim-false", failed, "seeds", 0.0, n=round(hours), why=why, ok=ok)


# -- freezes and liars ------------------------------------------------------------------------------------------------


def freezes() -> Row:
    """Runs in which somebody who ran was called gone, or frozen ones were told about too often."""
    meter = Meter()
    done = [PulseRun(SPEED_SEED, freeze_s=freeze_s, nodes=FREEZE_NODES).play() for freeze_s in (*PULSES_S, 0.0)]
    told = ", ".join(f"{each.flaps} (at most {each.most:.0f})" for each in done[:-1])
    failed = [each.why for each in done if each.why]
    why = (
        f"tier 2, {FREEZE_NODES} nodes: a fifth frozen 4 s, then 15 s at a time, then all starved of processor; flaps "
        f"of frozen ones {told}, a quarter of one word an observer in each freeze"
    )
    return meter.row("sim-freezes", len(failed), "runs", 0.0, n=len(done), why=why + "".join(f"; {w}" for w in failed))


def liars() -> Row:
    """Seeds in which an honest node was called down, or the honest ones fell apart, or believed in a dead one, or one
    of them was surrounded."""
    meter = Meter()
    done = [LiarRun(seed).play() for seed in range(LIAR_SEEDS)]
    sieges = [CrowdRun(seed).play() for seed in range(CROWD_SEEDS)]
    failed = [f"; seed {each.seed}: {each.why}" for each in (*done, *sieges) if each.why]
    why = (
        f"tier 1, {done[0].liars} of {done[0].nodes} members work together against the others: "
        f"{sum(each.lies for each in done)} lies; tier 2, {sieges[0].liars} of {sieges[0].nodes} surround one, which "
        f"has at least {min(each.fewest for each in sieges)} honest neighbours"
    )
    return meter.row("sim-liars", len(failed), "seeds", 0.0, n=len(done) + len(sieges), why=why + "".join(failed))


# -- seeds, of this run and of the long one ---------------------------------------------------------------------------


def _played(kind: str, wanted: int, minutes: float) -> list[Outcome]:
    """What is lacking of them, or as many as there is time for; a tenth of them in any case."""
    lacking = max(wanted // 10, wanted - _before(kind))
    return list(longrun.play(kind, _next(kind), lacking, minutes, WORKERS))


def _next(kind: str) -> int:
    return max((stretch.last + 1 for stretch in longrun.latest(kind)), default=0)


def _before(kind: str) -> int:
    return sum(stretch.seeds for stretch in longrun.latest(kind))


def _failed_before(kind: str) -> int:
    return sum(len(stretch.failed) for stretch in longrun.latest(kind))


def _failed(outcomes: Sequence[Outcome]) -> int:
    return sum(bool(outcome.why) for outcome in outcomes)


def _beside(kind: str) -> str:
    return f"; {told}" if (told := longrun.told(kind)) else ""


def _first(outcomes: Sequence[Outcome]) -> str:
    failed = next((outcome for outcome in outcomes if outcome.why), None)
    return f"; first: seed {failed.seed}: {failed.why}" if failed else ""


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
