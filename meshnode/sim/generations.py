"""Scenarios of documents that are written so much that their generations end, again and again, whatever happens.

Generations are short here, so that one run sees many: what is true of twenty changes is true of 256, and one test plays
the real length.
"""

from dataclasses import replace

from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.kinds import OURS
from meshnode.kernel.rng import Random
from meshnode.sim.clocks import ClockSpec
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.scenario import Scenario, right_clocks, storm
from meshnode.sim.workloads import Pace

_HOT = Pace(writes_per_s=8.0, calls_per_s=0.5, documents=2, skills=("words.count",), offers=1)
_SHORT = DocumentsConfig(generation_changes=20, generation_bytes=16 * 1024, kinds=OURS)
_WIRES = (Kind.CUT, Kind.ONE_WAY, Kind.RESET_CUT, Kind.UNPLUG)
_CRASHES = (Kind.KILL, Kind.POWER, Kind.TORN, Kind.RESTART, Kind.FULL, Kind.BROKEN, Kind.SLOW)


def _both_sides(luck: Random, nodes: int) -> list[Fault]:
    """Twice half of them against the other half, long enough for both sides to end generations; one sleeps through."""
    plan: list[Fault] = []
    for number in range(2):
        side = tuple(sorted(luck.sample(range(nodes), max(1, nodes // 2))))
        plan.append(Fault(Kind.CUT, 4.0 + 20.0 * number, 14.0, side))
    return [*plan, Fault(Kind.SUSPEND, 6.0, 20.0, (luck.randrange(nodes),))]


def _older(luck: Random, nodes: int) -> list[Fault]:
    """One runs the release before from the start, is cut off with others, and comes back; then another one does."""
    first, second, *others = luck.sample(range(nodes), nodes)
    side = tuple(sorted([first, *others[: max(0, nodes // 2 - 1)]]))
    return [
        Fault(Kind.DOWNGRADE, 1.0, 17.0, (first,)), Fault(Kind.CUT, 8.0, 12.0, side),
        Fault(Kind.DOWNGRADE, 22.0, 11.0, (second,)),
    ]  # fmt: skip


def _minutes_apart(luck: Random, nodes: int) -> tuple[ClockSpec, ...]:
    return tuple(
        ClockSpec(rate_ppm=luck.randint(-200, 200), skew_ms=luck.randint(-150_000, 150_000)) for _ in range(nodes)
    )


_BOTH_SIDES = Scenario(
    name="re-roots-in-cuts", about="hot documents begin generations on both sides of a cut, and one machine sleeps",
    kinds=(Kind.CUT, Kind.SUSPEND), plan=_both_sides, storm_s=42.0, settle_s=60.0, pace=_HOT, documents=_SHORT,
    clocks=_minutes_apart, generations=3,
)  # fmt: skip

GENERATIONS = (
    _BOTH_SIDES,
    replace(
        _BOTH_SIDES, name="re-roots-and-crashes", about="machines die at every step of beginning a generation",
        kinds=(Kind.KILL, Kind.POWER, Kind.TORN), plan=storm(*_CRASHES, storm_s=40.0, times=3), storm_s=40.0,
        generations=2,  # whoever comes and goes holds the freezing up
    ),
    replace(
        _BOTH_SIDES, name="re-roots-and-everything", about="cuts, crashes, clocks and older releases over generations",
        kinds=(Kind.CUT, Kind.KILL), storm_s=45.0, settle_s=90.0,  # of three the older one may meet nobody
        plan=storm(*_WIRES, *_CRASHES, Kind.FLIP, Kind.PAUSE, Kind.JUMP, Kind.DOWNGRADE, storm_s=45.0),
        generations=2,  # of few machines nearly all are away at once
    ),
    replace(
        _BOTH_SIDES, name="re-roots-and-older", about="older releases take part in generations, before and in a cut",
        kinds=(Kind.CUT, Kind.DOWNGRADE), plan=_older, storm_s=36.0, clocks=right_clocks, generations=2,
    ),
)  # fmt: skip
