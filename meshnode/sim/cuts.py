"""``python -m meshnode.sim.cuts --seeds 1000``: a mesh is cut in two for a second to an hour, and heals by itself.

A cut of drawn length is played event by event while both sides take note of it (``NOTICED_S``). The rest passes in
strides: leaps of some seconds after each of which everything due is done (see ``World.leap``), so that back-offs climb
as they would. Then both sides are aged: strides until every back-off has reached its cap, one jump until the cut is
seven days old, and a while more, in small strides and event by event, until the waits are out of step again. A soak
plays every event of the cut and ages nothing. Healed is who sees all others ready, with equal directories, in one
component.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import Random
from meshnode.model.ids import NodeId
from meshnode.sim.clocks import ClockSpec
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.network import Cut
from meshnode.sim.safety import Bounds, ComesToRest, GenuineRows, NoFalseDeath, NoTwins, RisingBoots
from meshnode.sim.watching import Checker, Violated, look_on
from meshnode.sim.world import Setup, World, stream

OK, FAILED = 0, 1
SHORTEST_S, LONGEST_S = 1.0, 3600.0
HEAL_S = 10.0
JOIN_S = 30.0
NOTICED_S = 30.0
STRIDE_S = 5.0
CLIMB_S = 360.0  # quick tries for 180 s, then waits that double from 1 s to 30 s
MIX_S = 75.0  # a leap brings all waits in step; three of 15 to 30 s each bring them out of it
AGED_S = 7 * 24 * 3600.0
STEP_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One seed. ``healed_s``: after the end of the cut; ``why``: what was wrong, "" if it healed in time."""

    seed: int
    nodes: int
    kind: str
    cut_s: float
    old_s: float
    healed_s: float
    events: int
    why: str = ""

    def __str__(self) -> str:
        what = f"{self.kind} of {self.cut_s:.1f} s among {self.nodes} nodes"
        age = f", {self.old_s / 3600:.1f} h old" if self.old_s > self.cut_s else ""
        return f"seed {self.seed}: {what}{age}: " + (self.why or f"healed after {self.healed_s:.2f} s")


class CutRun:
    """One world, one cut. ``play`` may be called once."""

    def __init__(self, seed: int, *, soak: bool = False, nodes: int = 0) -> None:
        """``nodes``: 0 lets the seed choose."""
        luck = stream(seed, "cuts")
        drawn = luck.randint(3, 8)
        self.seed, self.soak, self.nodes = seed, soak, nodes or drawn
        self.cut_s = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** luck.random()
        self.kind = luck.choice(("silent", "silent", "reset", "reject"))
        self.inside = tuple(sorted(luck.sample(range(self.nodes), luck.randint(1, self.nodes // 2))))
        self._luck = luck
        self.world = World(Setup(seed=seed, nodes=self.nodes, clocks=_clocks(luck, self.nodes), traced=False))
        self._checkers: list[Checker] = [
            kind(self.world) for kind in (RisingBoots, NoFalseDeath, GenuineRows, Bounds, ComesToRest, NoTwins)
        ]
        self.world.audience.gather(self._checkers)
        self._old_s = self.cut_s
        self._late = ""

    def play(self) -> Outcome:
        """Never raises for what a checker found: that stands in the outcome."""
        healed_s, why = 0.0, ""
        try:
            healed_s = self._play()
            if self._late:
                why = f"not whole {HEAL_S:g} s after the cut: {self._late}"
        except Violated as violated:
            why = str(violated)
        return Outcome(
            seed=self.seed, nodes=self.nodes, kind=self.kind, cut_s=self.cut_s, old_s=self._old_s, healed_s=healed_s,
            events=self.world.events, why=why,
        )  # fmt: skip

    def _play(self) -> float:
        world = self.world
        look_on(self.world, self._checkers)
        world.start_all()
        if not world.run_till(self._whole, JOIN_S):
            raise Violated("Liveness", world.now_us, "all nodes", f"did not join: {self._lacking()}")
        world.run_for(2.0 + 5.0 * self._luck.random())
        cut = self._cut()
        if self.soak:
            world.run_for(self.cut_s)
        else:
            self._pass(self.cut_s)
            self._age()
        world.network.heal(cut)
        began_us = world.now_us
        world.run_till(self._whole, HEAL_S, STEP_S)
        healed_s, self._late = (world.now_us - began_us) / SECOND, self._lacking()
        if self._late:
            return healed_s
        world.run_for(2.0)
        if not self._whole():
            raise Violated("Liveness", world.now_us, "all nodes", f"healed, and not whole 2 s later: {self._lacking()}")
        return healed_s

    def _cut(self) -> Cut:
        world = self.world
        inside = [world[number].name for number in self.inside]
        outside = [node.name for node in world.nodes if node.name not in inside]
        pairs = tuple(pair for a in inside for b in outside for pair in ((a, b), (b, a)))
        return world.network.cut(Cut(pairs, rejects=self.kind == "reject"), reset=self.kind in ("reset", "reject"))

    def _pass(self, seconds: float) -> None:
        self.world.run_for(min(seconds, NOTICED_S))
        self._stride(max(0.0, seconds - NOTICED_S))

    def _age(self) -> None:
        """Until waits are at their longest, then to seven days at once, then until they are out of step again."""
        self._stride(CLIMB_S)
        self.world.leap(AGED_S - self.cut_s - CLIMB_S)
        self._stride(MIX_S, 1.0)
        self.world.run_for(5.0 + 15.0 * self._luck.random())
        self._old_s = AGED_S + MIX_S

    def _stride(self, seconds: float, stride_s: float = STRIDE_S) -> None:
        while seconds > 0:
            step_s = min(seconds, stride_s)
            self.world.leap(step_s)
            seconds -= step_s

    def _whole(self) -> bool:
        return not self._lacking()

    def _lacking(self) -> str:
        lacking = unmet_by_gossip(self.world)
        if not lacking and (parts := components(self.world)) != 1:
            return f"{parts} components"
        return "; ".join(f"{name}: {example}" for name, example in lacking.items())


def components(world: World) -> int:
    """Into how many parts the links of running nodes divide them."""
    links: dict[NodeId, list[NodeId]] = {}
    for node in world.running():
        assert node.core is not None
        links[node.node] = list(node.core.hub.peers())
    left, parts = dict.fromkeys(links), 0
    while left:
        parts += 1
        edge = [left.popitem()[0]]
        while edge:
            edge += [peer for peer in links.get(edge.pop(), []) if left.pop(peer, False) is None]
    return parts


def _clocks(luck: Random, nodes: int) -> tuple[ClockSpec, ...]:
    return tuple(
        ClockSpec(rate_ppm=luck.randint(-200, 200), skew_ms=luck.randint(-60_000, 60_000)) for _ in range(nodes)
    )


def main(words: Sequence[str]) -> int:
    """0: all healed; 1: one did not, and how to play it again."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim.cuts", description="cuts that heal unaided")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth, to share the work")
    parser.add_argument("--nodes", type=int, default=0, help="0: 3 to 8, as the seed says")
    parser.add_argument("--soak", action="store_true", help="every event of the cut, nothing aged")
    parser.add_argument("--verbose", action="store_true", help="a line for every seed")
    asked = parser.parse_args(words)
    gc.disable()
    outcomes: list[Outcome] = []
    for seed in range(asked.first, asked.first + asked.seeds, asked.every):
        outcome = CutRun(seed, soak=asked.soak, nodes=asked.nodes).play()
        outcomes.append(outcome)
        gc.collect()
        if asked.verbose or outcome.why:
            _line(str(outcome))
        if outcome.why:
            soak, nodes = " --soak" * asked.soak, f" --nodes {asked.nodes}" if asked.nodes else ""
            _line(f"again: python -m meshnode.sim.cuts --verbose --seeds 1 --first {seed}{nodes}{soak}")
    failed = sum(bool(outcome.why) for outcome in outcomes)
    slowest = max((outcome.healed_s for outcome in outcomes), default=0.0)
    _line(f"{len(outcomes)} cuts, {failed} did not heal within {HEAL_S:g} s; the slowest took {slowest:.2f} s")
    return FAILED if failed else OK


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
