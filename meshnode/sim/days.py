"""``python -m meshnode.sim.days --days 40``: a mesh is cut in two for days, documents and agents are deleted meanwhile.

One side deletes a document and an agent; a second document is deleted there and edited on the other side; a third is
only edited there. Both sides are aged by one jump (see ``cuts.py`` for how), and heal. Within the horizon of tombstones
the edit of the deleted document wins, and says so; after it the document is gone on both sides, and whoever had edited
it is told. What was deleted never comes back, nobody's rows are lost, all read the same.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshnode.crdt.seen import HORIZON_MS
from meshnode.kernel.instant import SECOND
from meshnode.model.agent import KIND as AGENT
from meshnode.model.commands import AnyCommand, Apply, DeleteDocument, JsonObject, RunAgent, StopAgent
from meshnode.sim import seeds
from meshnode.sim.agents import SCRIPT
from meshnode.sim.liveness import unmet
from meshnode.sim.network import Cut
from meshnode.sim.node import SimNode
from meshnode.sim.safety import Bounds, ComesToRest, GenuineRows, NoTwins, RisingBoots
from meshnode.sim.units import runs
from meshnode.sim.watching import Checker, Violated, look_on
from meshnode.sim.workloads import KIND, NAMESPACE
from meshnode.sim.world import Setup, World
from meshnode.sim.writes import KeptWrites

NODES = 5
INSIDE = (3, 4)  # no admin among them: the other side has both
DAY_S = 24 * 3600.0
JOIN_S, HEAL_S = 30.0, 330.0  # a forgotten address is tried every five minutes
# A grave is proposed once a minute; and a hint of strays is carried after its grace.
REST_S = 150.0
GONE, CONTESTED, EDITED = "gone", "contested", "edited"
STOPPED, GOING = "stopped", "going"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lasted:
    """One run. ``healed_s``: after the end of the cut; ``told``: nodes that told their people of what is not back."""

    seed: int
    days: float
    healed_s: float = 0.0
    told: tuple[str, ...] = field(default=())
    why: str = ""


class _Told(Checker):
    """Who was told that a document of his is not brought back."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.names: dict[str, None] = {}

    def look(self) -> None:
        for node in self.world.running():
            assert node.core is not None
            if node.core.documents.counters["strays-buried"]:
                self.names[node.name] = None


class DaysRun:
    """``play`` may be called once."""

    def __init__(self, seed: int, *, days: float) -> None:
        self.seed, self.days = seed, days
        self.world = World(Setup(seed=seed, nodes=NODES, traced=False))
        self.writes, self._told = KeptWrites(self.world), _Told(self.world)
        kinds = (RisingBoots, GenuineRows, Bounds, ComesToRest, NoTwins)
        self._checkers: list[Checker] = [*(kind(self.world) for kind in kinds), self.writes, self._told]
        self.world.audience.gather(self._checkers)

    def play(self) -> Lasted:
        """Never raises for what a checker found: that stands in what it returns."""
        healed_s, why = 0.0, ""
        try:
            healed_s = self._play()
        except Violated as violated:
            why = str(violated)
        return Lasted(seed=self.seed, days=self.days, healed_s=healed_s, told=tuple(self._told.names), why=why)

    def _play(self) -> float:
        world = self.world
        look_on(world, self._checkers)
        world.start_all()
        self._settle(JOIN_S, "did not join")
        self._begin()
        cut = self._cut()
        world.run_for(20.0)
        self._apart()
        world.run_for(10.0)
        self._age()
        world.network.heal(cut)
        healed_s = self._settle(HEAL_S, "not whole after the cut")
        world.run_for(REST_S)
        self._settle(HEAL_S, "not whole at rest")
        for checker in self._checkers:
            checker.look()
            checker.finish()
        self._judge()
        return healed_s

    def _begin(self) -> None:
        """All know three documents and run two agents."""
        world = self.world
        for name in (GONE, CONTESTED, EDITED):
            self._do(world[0], Apply(manifest=_manifest(name, 1)))
        for name in (STOPPED, GOING):
            self._do(world[1], RunAgent(name=name, argv=[SCRIPT, f"{name}.say"], cwd="/", replicas=1))
        world.run_for(5.0)
        self._settle(JOIN_S, "did not begin")

    def _apart(self) -> None:
        """What each side does that the other does not know of."""
        here, there = self.world[0], self.world[INSIDE[0]]
        for name in (GONE, CONTESTED):
            self._do(here, DeleteDocument(kind=KIND, namespace=NAMESPACE, name=name))
        self._do(here, StopAgent(name=STOPPED))
        for name in (CONTESTED, EDITED):
            self._do(there, Apply(manifest=_manifest(name, 2)))

    def _age(self) -> None:
        """Until waits are at their longest, then to their age at once, then until they are out of step."""
        world = self.world
        for _ in range(72):
            world.leap(5.0)
        world.leap(self.days * DAY_S)
        for _ in range(75):
            world.leap(1.0)
        world.run_for(15.0)

    def _judge(self) -> None:
        buried = self.days * DAY_S * 1000 > HORIZON_MS
        for node in self.world.running():
            assert node.core is not None
            documents = node.core.documents
            live = {name: documents.get(KIND, NAMESPACE, name) for name in (GONE, CONTESTED, EDITED)}
            if live[GONE] is not None or documents.get(AGENT, NAMESPACE, STOPPED) is not None:
                self.writes.wrong(node, "brings back what was deleted")
            if runs(node, STOPPED):
                self.writes.wrong(node, f"runs {STOPPED}, which was stopped")
            edited, contested = live[EDITED], live[CONTESTED]
            if edited is None or edited.spec.get("orchestrator") is None:
                self.writes.wrong(node, f"lost the edit of {EDITED}")
            if (contested is None) != buried or (contested is not None and "deleted_at" not in contested.siblings):
                self.writes.wrong(node, f"{CONTESTED} is {'there' if contested else 'gone'}, and nobody is told why")
        if not any(runs(node, GOING) for node in self.world.running()):
            self.writes.wrong(None, f"nobody runs {GOING} any more")
        if buried and not any(self.world[number].name in self._told.names for number in INSIDE):
            self.writes.wrong(self.world[INSIDE[0]], f"edited {CONTESTED} and was not told that it is gone")

    def _do(self, node: SimNode, command: AnyCommand) -> None:
        view = self.world.ask(node, command)
        if view is None or getattr(view, "code", ""):
            raise Violated("Setup", self.world.now_us, node.name, f"{command!r:.120}: {view!r:.200}")

    def _cut(self) -> Cut:
        world = self.world
        inside = [world[number].name for number in INSIDE]
        outside = [node.name for node in world.nodes if node.name not in inside]
        return world.network.cut(Cut(tuple(pair for a in inside for b in outside for pair in ((a, b), (b, a)))))

    def _settle(self, within_s: float, what: str) -> float:
        began_us = self.world.now_us
        if not self.world.run_till(lambda: not unmet(self.world), within_s):
            raise Violated("Liveness", self.world.now_us, "all nodes", f"{what}: {unmet(self.world)}")
        return (self.world.now_us - began_us) / SECOND


def _manifest(name: str, version: int) -> JsonObject:
    spec: JsonObject = {"agents": [{"name": "reader", "replicas": 0}]}
    if version > 1:
        level: JsonObject = {"name": "w", "scope": "global", "responsibilities": ["all"]}
        spec["orchestrator"] = {"type": "hierarchical", "levels": [level]}
    metadata: JsonObject = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": KIND, "metadata": metadata, "spec": spec}


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = seeds.parser("days", "deletions and cuts of days", 1)
    parser.add_argument("--days", type=float, default=40.0)
    asked = parser.parse_args(words)

    def play(seed: int) -> tuple[str, str]:
        done = DaysRun(seed, days=asked.days).play()
        told = f", {', '.join(done.told)} told" if done.told else ""
        return f"{done.days:g} days apart, healed after {done.healed_s:.2f} s{told}", done.why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
