"""``python -m meshnode.sim.hours --node-hours 100``: does anybody take the living for dead while much goes wrong?

Whole nodes with real bytes (tier 1), hundreds of virtual hours of them, under ``TIMES`` as many faults as an ordinary
fleet sees. The rates below are per node and hour and say what ordinary means: a machine hangs for some seconds five
times a day, is cut off with others about once a day, its daemon dies every other day. ``NoFalseDeath`` looks on, with
the other promises that hold at every step.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import Random
from meshnode.sim.clocks import ClockSpec
from meshnode.sim.faults import Fault, Kind, Misfortune, draw
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.node import SimNode
from meshnode.sim.safety import Bounds, ComesToRest, GenuineRows, NoFalseDeath, NoTwins, RisingBoots
from meshnode.sim.watching import Checker, Violated, violation_of
from meshnode.sim.world import Setup, World, stream

OK, FAILED = 0, 1
TIMES = 50.0
FEWEST, MOST = 5, 16
SPAN_S = 900.0  # of one world
JOIN_S, HEAL_S = 30.0, 30.0
RATES = {
    Kind.PAUSE: 0.2, Kind.LOSS: 0.05, Kind.CUT: 0.02, Kind.ONE_WAY: 0.01, Kind.RESET_CUT: 0.01, Kind.REJECT: 0.01,
    Kind.BLIP: 0.05, Kind.UNPLUG: 0.02, Kind.KILL: 0.02, Kind.RESTART: 0.02, Kind.POWER: 0.01, Kind.SUSPEND: 0.02,
    Kind.JUMP: 0.02, Kind.SLOW: 0.02,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """One world. ``node_hours`` of nodes that ran; ``why``: what was wrong, "" if nothing was."""

    seed: int
    nodes: int
    node_hours: float
    faults: int
    events: int
    why: str = ""


class HoursRun:
    """``play`` may be called once."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 0,
        times: float = TIMES,
        span_s: float = SPAN_S,
        only: Sequence[int] | None = None,
    ) -> None:
        """``nodes``: 0 lets the seed choose; ``only``: numbers of the faults to keep, all if ``None``."""
        luck = stream(seed, "hours")
        drawn = luck.randint(FEWEST, MOST)
        self.seed, self.nodes, self.span_s = seed, nodes or drawn, span_s
        clocks = tuple(
            ClockSpec(rate_ppm=luck.randint(-200, 200), skew_ms=luck.randint(-60_000, 60_000))
            for _ in range(self.nodes)
        )
        self.world = World(Setup(seed=seed, nodes=self.nodes, clocks=clocks, traced=False))
        plan = _plan(luck, self.nodes, span_s, times)
        self.plan = [fault for number, fault in enumerate(plan) if only is None or number in only]
        self.misfortune = Misfortune(self.world, self.plan, _nobody_writes)
        self._checkers: list[Checker] = [
            kind(self.world) for kind in (RisingBoots, NoFalseDeath, GenuineRows, Bounds, ComesToRest, NoTwins)
        ]
        self.world.audience.gather(self._checkers)
        self._run_us = 0

    def play(self) -> Watch:
        """Never raises for what a checker found: that stands in what it returns."""
        why = violation_of(self._play)
        return Watch(
            seed=self.seed, nodes=self.nodes, node_hours=self._run_us / SECOND / 3600,
            faults=sum(self.misfortune.happened.values()), events=self.world.events, why=why,
        )  # fmt: skip

    def _play(self) -> None:
        world = self.world
        world.start_all()
        self._look()
        if not world.run_till(lambda: not unmet_by_gossip(world), JOIN_S):
            raise Violated("Liveness", world.now_us, "all nodes", f"did not join: {unmet_by_gossip(world)}")
        self.misfortune.begin()
        world.run_for(self.span_s)
        self.misfortune.heal()
        if not world.run_till(lambda: not unmet_by_gossip(world), HEAL_S):
            raise Violated("Liveness", world.now_us, "all nodes", f"not healed: {unmet_by_gossip(world)}")

    def _look(self) -> None:
        self._run_us += len(self.world.running()) * SECOND
        for checker in self._checkers:
            checker.look()
        self.world.at(self.world.now_us + SECOND, self._look)


def _plan(luck: Random, nodes: int, span_s: float, times: float) -> list[Fault]:
    """As many of each kind as its rate says; what is left of a part is a matter of luck."""
    plan: list[Fault] = []
    for kind, rate in RATES.items():
        wanted = rate * times * nodes * span_s / 3600
        plan += draw(luck, [kind], nodes, span_s, int(wanted) + (luck.random() < wanted % 1))
    return sorted(plan, key=lambda fault: fault.at_s)


def _nobody_writes(node: SimNode) -> None:
    """No fault of these needs a disk that is at work."""


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was, and how to play it again."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim.hours", description="no false DOWN")
    parser.add_argument("--node-hours", type=float, default=2.0, help="until so many nodes have run for an hour each")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth seed, to share the work")
    parser.add_argument("--nodes", type=int, default=0, help=f"0: {FEWEST} to {MOST}, as the seed says")
    parser.add_argument("--times", type=float, default=TIMES, help="how many times the ordinary rate of faults")
    parser.add_argument("--only", default="", metavar="N,N", help="keep only these faults, by number; one seed")
    asked = parser.parse_args(words)
    gc.disable()
    seed, hours, faults, failed = asked.first, 0.0, 0, 0
    only = [int(word) for word in asked.only.split(",")] if asked.only else None
    while hours < asked.node_hours:
        watch = HoursRun(seed, nodes=asked.nodes, times=asked.times, only=only).play()
        gc.collect()
        hours, faults = hours + watch.node_hours, faults + watch.faults
        if watch.why:
            failed += 1
            _line(f"seed {seed}, {watch.nodes} nodes: {watch.why}")
            _line(f"again: python -m meshnode.sim.hours --node-hours 0.1 --first {seed} --times {asked.times:g}")
        _line(f"{hours:.2f} node-hours up to seed {seed}, {faults} faults, {failed} failed")
        seed += asked.every
    return FAILED if failed else OK


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
