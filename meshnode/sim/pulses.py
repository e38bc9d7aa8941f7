"""``python -m meshnode.sim.pulses``: a fifth of a mesh is frozen again and again, or all of it starves for processor.

What ``bench/gossip/deaths.py`` does to real daemons, in virtual time. Whoever ran is called neither down nor
unreachable, not by those who were frozen themselves either; and who was frozen is told about no oftener than a quarter
of what serf tells, which calls a frozen agent failed once in each freeze; and by nobody more than once, however far the
verdict of each silence went before it ended.
"""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.rng import Random
from meshnode.node.effects import Announce
from meshnode.sim.liveness import unmet_by_gossip
from meshnode.sim.node import SimNode
from meshnode.sim.safety import Bounds, ComesToRest, GenuineRows, NoFalseDeath, NoTwins, RisingBoots
from meshnode.sim.watching import Checker, Violated, look_on, violation_of
from meshnode.sim.world import Setup, World, stream

OK, FAILED = 0, 1
NODES, FROZEN_PART = 50, 5
PULSES_S, SPAN_S, RUN_S = (4.0, 15.0), 48.0, 0.25
JOIN_S, REST_S, HEAL_S = 30.0, 10.0, 20.0
SERF_PART = 4
# A process of a machine with four busy loops a core gets its turn so late, and keeps it so long.
STARVED_US, FED_US = (20 * MS, 900 * MS), (5 * MS, 300 * MS)
_GONE = (MemberState.DOWN.value, MemberState.UNREACHABLE.value)


class Verdicts(Checker):
    """What all tell about all. ``words``: by observer and frozen one, each *unreachable* or *down*, in their order."""

    def __init__(self, world: World, frozen: Sequence[SimNode]) -> None:
        super().__init__(world)
        self._gone: dict[tuple[str, str], None] = {}
        self.begin(frozen)

    def begin(self, frozen: Sequence[SimNode]) -> None:
        """These are frozen from now on, and nobody else; what was told before counts no more."""
        self._frozen = dict.fromkeys(node.name for node in frozen)
        self.words: dict[tuple[str, str], list[str]] = {}
        self.flaps = 0

    @property
    def told(self) -> int:
        return sum(map(len, self.words.values()))

    @property
    def twice(self) -> list[tuple[str, str, list[str]]]:
        """Who told more than once of whom, and what."""
        return [(observer, name, words) for (observer, name), words in self.words.items() if len(words) > 1]

    def announced(self, node: SimNode, announce: Announce) -> None:
        kind, _, name = announce.event.subject.partition("/")
        word = announce.event.text.partition(":")[0]
        if kind != "node" or word not in [state.value for state in MemberState]:
            return
        if word not in _GONE:
            self._gone.pop((node.name, name), None)
            return
        if name not in self._frozen:
            self.wrong(node, f"tells of {name}, which ran all the time: {announce.event.text}")
        self.words.setdefault((node.name, name), []).append(word)
        if (node.name, name) not in self._gone:
            self._gone[node.name, name] = None
            self.flaps += 1


class Held(Checker):
    """What all hold true, told to anybody or not: whoever ran is doubted at most, by those who slept themselves too."""

    def __init__(self, world: World, frozen: Sequence[SimNode]) -> None:
        super().__init__(world)
        self.begin(frozen)

    def begin(self, frozen: Sequence[SimNode]) -> None:
        """These are frozen from now on, and nobody else."""
        self._ran = [node for node in self.world.nodes if node not in frozen]

    def stepped(self, node: SimNode) -> None:
        core = node.core
        if core is None:
            return
        for other in self._ran:
            if core.gossip.state(other.node) in (MemberState.DOWN, MemberState.UNREACHABLE):
                why = core.gossip.reason(other.node)
                self.wrong(node, f"holds {other.name}, which ran all the time, for gone: {why}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulsed:
    """One world. ``most``: flaps that are too many; ``twice``: pairs of whom one told of the other more than once;
    ``why``: what was wrong, "" if nothing was."""

    seed: int
    nodes: int
    frozen: int
    flaps: int
    most: float
    told: int
    twice: int
    events: int
    why: str = ""


class PulseRun:
    """``play`` may be called once."""

    def __init__(
        self,
        seed: int,
        *,
        freeze_s: float,
        before: Sequence[float] = (),
        nodes: int = NODES,
        span_s: float = SPAN_S,
        slow: bool = False,
        tier: int = 2,
    ) -> None:
        """``freeze_s`` 0: nobody is frozen, and all starve. ``before``: the same was done before with such freezes, of
        others, as the bench does; ``slow``: who is not frozen starves meanwhile."""
        self.seed, self.nodes, self.span_s, self._slow = seed, nodes, span_s, slow
        self._freezes_s = (*before, freeze_s)
        self.world = World(Setup(seed=seed, nodes=nodes, traced=False, tier=tier))
        self._luck = stream(seed, "pulses")
        self.frozen: list[SimNode] = []
        self._choose(self._freezes_s[0])
        self.verdicts, self.held = Verdicts(self.world, self.frozen), Held(self.world, self.frozen)
        kinds = (RisingBoots, NoFalseDeath, GenuineRows, Bounds, ComesToRest, NoTwins)
        self._checkers: list[Checker] = [kind(self.world) for kind in kinds]
        self.world.audience.gather(self._checkers)
        self.cycles = 0

    @property
    def most(self) -> float:
        """A quarter of one word of each other node about each frozen one in each freeze."""
        return self.cycles * len(self.frozen) * (self.nodes - 1) / SERF_PART

    def play(self) -> Pulsed:
        """Never raises for what a checker found: that stands in what it returns."""
        why = violation_of(self._play)
        told, twice = self.verdicts.told, self.verdicts.twice
        if not why and self.verdicts.flaps > self.most:
            why = f"{self.verdicts.flaps} flaps of frozen nodes, {self.most:.0f} are a quarter of serf's"
        if not why and twice:
            observer, name, words = twice[0]
            why = f"{observer} tells of {name} {len(words)} times: {', '.join(words)}; so do {len(twice)} in all"
        return Pulsed(
            seed=self.seed, nodes=self.nodes, frozen=len(self.frozen), flaps=self.verdicts.flaps, most=self.most,
            told=told, twice=len(twice), events=self.world.events, why=why,
        )  # fmt: skip

    def _play(self) -> None:
        world = self.world
        world.start_all()
        look_on(self.world, self._checkers)
        self._whole(JOIN_S)
        world.run_for(REST_S)
        world.audience.gather([self.verdicts, self.held])
        for number, freeze_s in enumerate(self._freezes_s):
            if number:
                self._choose(freeze_s)
            self.verdicts.begin(self.frozen)
            self.held.begin(self.frozen)
            if freeze_s:
                self._freeze(freeze_s)
            else:
                self._starve()
            self._whole(HEAL_S)

    def _choose(self, freeze_s: float) -> None:
        """Whom it befalls."""
        some = self._luck.sample(range(1, self.nodes), max(1, self.nodes // FROZEN_PART)) if freeze_s else []
        self.frozen = [self.world[number] for number in some]

    def _freeze(self, freeze_s: float) -> None:
        world, began_us = self.world, self.world.now_us
        self.cycles = 0
        if self._slow:
            slow = [node for node in world.nodes if node not in self.frozen]
            self._keep_waiting(slow, began_us + round(self.span_s * SECOND))
        while world.now_us - began_us < self.span_s * SECOND:
            self.cycles += 1
            for node in self.frozen:
                node.pause()
            world.run_for(freeze_s)
            for node in self.frozen:
                node.resume()
            world.run_for(RUN_S)

    def _starve(self) -> None:
        """Each node by itself is kept waiting for a while, and runs for a while."""
        self._keep_waiting(self.world.nodes, self.world.now_us + round(self.span_s * SECOND))
        self.world.run_for(self.span_s)
        for node in self.world.nodes:
            node.resume()

    def _keep_waiting(self, nodes: Sequence[SimNode], end_us: int) -> None:
        world = self.world
        for node in nodes:
            luck = world.luck(f"starved/{node.name}")
            world.at(world.now_us + _drawn(luck, FED_US), self._kept_waiting(node, luck, end_us))

    def _kept_waiting(self, node: SimNode, luck: Random, end_us: int) -> Callable[[], None]:
        world = self.world

        def stop() -> None:
            if world.now_us < end_us:
                node.pause()
                world.at(world.now_us + _drawn(luck, STARVED_US), go)

        def go() -> None:
            node.resume()
            world.at(world.now_us + _drawn(luck, FED_US), stop)

        return stop

    def _whole(self, within_s: float) -> None:
        world = self.world
        if not world.run_till(lambda: not unmet_by_gossip(world), within_s):
            raise Violated("Liveness", world.now_us, "all nodes", f"not whole: {unmet_by_gossip(world)}")


def _drawn(luck: Random, between: tuple[int, int]) -> int:
    """Short ones are the usual case."""
    shortest, longest = between
    return shortest + round((longest - shortest) * luck.random() ** 2)


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim.pulses", description="freezes and starvation")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--freeze", type=float, action="append", metavar="S", help="0: starve; default: 4, 15 and 0")
    parser.add_argument(
        "--before", type=float, action="append", metavar="S", help="as --freeze, in the same mesh first"
    )
    parser.add_argument("--span", type=float, default=SPAN_S, metavar="S", help="how long it goes on")
    asked = parser.parse_args(words)
    freezes: list[float] = asked.freeze or [*PULSES_S, 0.0]
    failed = 0
    gc.disable()
    for freeze_s in freezes:
        run = PulseRun(
            asked.seed, freeze_s=freeze_s, before=asked.before or (), nodes=asked.nodes, span_s=asked.span
        )  # fmt: skip
        done = run.play()
        gc.collect()
        failed += bool(done.why)
        what = f"{done.frozen} frozen {freeze_s:g} s at a time" if freeze_s else "all starve"
        text = f"{what}, {done.nodes} nodes: {done.flaps} flaps (at most {done.most:.0f}), {done.told} words of them"
        sys.stdout.write(text + (f"; FAILED {done.why}" if done.why else "") + "\n")
        sys.stdout.flush()
    return FAILED if failed else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
