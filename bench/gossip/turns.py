"""What the turns of one idle node cost: how often each kind of turn comes, and how long the core takes for it.

    python -m bench.gossip.turns [NODES] [SECONDS]

A mesh of whole nodes with real bytes, in virtual time and at rest: links ping, and every node tells its load every two
seconds or so. Times are of CPU and hold the whole core (``handle``, ``wake``, ``deadline``), not the sockets, TLS and
the event loop of a daemon around it.
"""

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.node.core import Core
from meshnode.node.inputs import Input, LoadSampled
from meshnode.sim.node import Adapt, SimNode
from meshnode.sim.world import Setup, World

NODES, SECONDS = 50, 30.0
SETTLE_S = 60.0
LOAD_EVERY_US = 2 * SECOND
LOADS = (20, 30)  # per cent of the processor, by turns


@dataclass
class Spent:
    """Turns of one kind."""

    turns: int = 0
    ns: int = 0
    effects: int = 0


@dataclass
class Watch:
    """All cores of a world: the time their turns took, by kind, while it is ``on``."""

    on: bool = False
    kinds: dict[str, Spent] = field(default_factory=dict[str, Spent])

    def took(self, kind: str, began_ns: int, effects: int) -> None:
        if self.on:
            spent = self.kinds.setdefault(kind, Spent())
            spent.turns += 1
            spent.ns += time.thread_time_ns() - began_ns
            spent.effects += effects


class Watched:
    """A core whose time is taken. Everything not named is the core's own."""

    def __init__(self, core: Core, watch: Watch) -> None:
        self._core, self._watch = core, watch

    def __getattr__(self, name: str) -> object:
        return getattr(self._core, name)

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        began_ns = time.thread_time_ns()
        effects = self._core.handle(event, now)
        self._watch.took(type(event).__name__, began_ns, len(effects))
        return effects

    def wake(self, now: Instant) -> list[Effect]:
        began_ns = time.thread_time_ns()
        effects = self._core.wake(now)
        self._watch.took("wake" if effects else "wake for nothing", began_ns, len(effects))
        return effects

    def deadline(self) -> int | None:
        began_ns = time.thread_time_ns()
        due_us = self._core.deadline()
        self._watch.took("(deadline)", began_ns, 0)
        return due_us


def watched(watch: Watch) -> Callable[[Core], Core]:
    return lambda core: Watched(core, watch)  # type: ignore[return-value]  # it stands in for one, see __getattr__


def measure(nodes: int, seconds: float) -> Watch:
    """A mesh that has come to rest, watched for so long."""
    watch = Watch()
    adapt = tuple((number, Adapt(core=watched(watch))) for number in range(nodes))
    world = World(Setup(seed=7, nodes=nodes, adapt=adapt, traced=False))
    world.start_all()
    world.run_for(SETTLE_S)
    for node in world.nodes:
        sample(world, node, 0)
    world.run_for(10.0)
    gc.collect()
    gc.freeze()
    watch.on = True
    world.run_for(seconds)
    watch.on = False
    return watch


def sample(world: World, node: SimNode, number: int) -> None:
    """A load that moves out of its dead band now and then."""
    wait_us = round(LOAD_EVERY_US * (0.5 + world.luck(f"load/{node.name}/{number}").random()))
    vector = bytes((LOADS[number % 2], 20, 30, 255, 255, 0, 50, 40, 0, 1, 0, 2, 0))
    world.at(world.now_us + wait_us, lambda: _sampled(world, node, vector, number))


def _sampled(world: World, node: SimNode, vector: bytes, number: int) -> None:
    node.tell(LoadSampled(vector))
    sample(world, node, number + 1)


def main() -> int:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else NODES
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    watch = measure(nodes, seconds)
    total_ns = sum(spent.ns for spent in watch.kinds.values())
    sys.stdout.write(
        f"one of {nodes} nodes, {seconds:g} s at rest: {total_ns / nodes / seconds / 1e7:.3f} % of a core\n"
    )
    for kind, spent in sorted(watch.kinds.items(), key=lambda item: -item[1].ns):
        each_us, a_second = spent.ns / spent.turns / MS, spent.turns / nodes / seconds
        share = spent.ns / total_ns
        sys.stdout.write(f"{kind:<18} {a_second:8.2f}/s {each_us:8.1f} us {share:6.1%}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
