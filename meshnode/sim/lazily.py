"""``python -m meshnode.sim.lazily --seeds 20``: what is acknowledged from memory, and what a crash may take of it.

One machine writes lazily, many writes a second, and asks for what it wrote; again and again its process is killed in
the middle of it, or its power goes. A lazy answer promises: from then on this node reads so; within ``PROMISE_US`` its
peers are told, and who was told keeps it whatever becomes of the writer. What is younger may go with the process.
"""

import sys
from collections.abc import Mapping, Sequence

import msgspec

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import AnyCommand, Apply, JsonObject, ListDocuments
from meshnode.model.document_views import AppliedView, DocumentsView
from meshnode.model.durability import LAZY
from meshnode.model.views import AnyView
from meshnode.node.puts import PROMISE_US
from meshnode.sim import seeds
from meshnode.sim.liveness import carry, settle
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Checker, violation_of
from meshnode.sim.workloads import KIND, NAMESPACE
from meshnode.sim.world import Setup, World

NODES, WRITER, DOCUMENTS = 3, 0, 5
WRITES_PER_S = (10.0, 250.0)  # alone on the node, and one behind the other
STORM_S, CRASHES, DOWN_S, SETTLE_S = 1.5, 4, 2.0, 60.0
DIES_WITHIN_US = 4 * PROMISE_US  # of its last answer


class _Asked(msgspec.Struct, frozen=True):
    """Of a put its generation; of a question, by document, what was acknowledged before it."""

    name: str
    generation: int
    before: dict[str, int]


class _Answered(msgspec.Struct, frozen=True):
    generation: int
    at_us: int


class FromMemory(Checker):
    """``acknowledged`` of all writes; ``lost``: crashes took so many of them, all younger than a promise."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.acknowledged = self.reads = self.lost = 0
        self._asked: dict[int, _Asked] = {}
        self._answered: dict[str, list[_Answered]] = {}  # of this life of the writer
        self._promised: dict[str, int] = {}  # by document, what a crash may not take any more

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        del node  # there is one writer
        if isinstance(command, Apply):
            self._asked[number] = _Asked(*_written(command), {})
        elif isinstance(command, ListDocuments):
            before = {name: told[-1].generation for name, told in self._answered.items()}
            self._asked[number] = _Asked("", 0, {**self._promised, **before})

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            return
        if isinstance(view, AppliedView):
            if view.durability != LAZY:
                self.wrong(node, f"calls a lazy write {view.durability}")
            self.acknowledged += 1
            self._answered.setdefault(asked.name, []).append(_Answered(asked.generation, self.world.now_us))
        elif isinstance(view, DocumentsView):
            self.reads += 1
            self._judge(node, {each.name: each.spec.get("generation") for each in view.items}, asked.before, "reads")

    def died(self, node: SimNode) -> None:
        del node
        for name, told in self._answered.items():
            kept = [each.generation for each in told if self.world.now_us - each.at_us > PROMISE_US]
            if kept:
                self._promised[name] = max(kept)  # generations only grow
        self._asked.clear()

    def healed(self) -> None:
        """After a crash, all at rest: every node has all that was promised."""
        found: Mapping[str, object] = {}
        for node in self.world.nodes:
            assert node.core is not None
            found = {each.name: each.spec.get("generation") for each in node.core.documents.list(KIND)}
            self._judge(node, found, self._promised, "has")
        for name, told in self._answered.items():
            self.lost += told[-1].generation != found.get(name)
        self._answered.clear()

    def _judge(self, node: SimNode, found: Mapping[str, object], least: Mapping[str, int], verb: str) -> None:
        for name, generation in least.items():
            there = found.get(name)
            if not isinstance(there, int) or there < generation:
                self.wrong(node, f"{verb} {there} in {name}, and {generation} was acknowledged and promised")


class LazyRun:
    """``play`` may be called once."""

    def __init__(self, seed: int) -> None:
        self.world = World(Setup(seed=seed, nodes=NODES, traced=False, wire_us=2 * MS))
        self.memory = FromMemory(self.world)
        self.world.audience.gather([self.memory])
        self._luck = self.world.luck("lazily")
        self._written = 0
        self._until_us = 0
        self._per_s = 0.0

    def play(self) -> str:
        """What was wrong; "" for nothing."""
        return violation_of(self._play)

    def _play(self) -> None:
        world, writer = self.world, self.world[WRITER]
        world.start_all()
        world.run_for(1.0)
        settle(world, SETTLE_S)
        for _ in range(CRASHES):
            self._until_us = world.now_us + round(STORM_S * SECOND * self._luck.random())
            self._per_s = self._luck.choice(WRITES_PER_S)
            self._ask()
            world.run_until(self._until_us)
            self._ask_some()
            world.run_until(world.now_us + round(DIES_WITHIN_US * self._luck.random()))
            (writer.kill if self._luck.random() < 0.5 else writer.lose_power)()
            world.run_for(DOWN_S)
            writer.gain_power()
            writer.start()
            world.run_for(1.0)
            settle(world, SETTLE_S)
            # Two sides may have ended a generation each: what the losing root alone holds is written again by turns.
            carry(world)
            settle(world, SETTLE_S)
            self.memory.healed()

    def _ask(self) -> None:
        if self.world.now_us < self._until_us:
            self._ask_some()
            self.world.at(self.world.now_us + round(self._luck.expovariate(self._per_s) * SECOND), self._ask)

    def _ask_some(self) -> None:
        """A few at once, then a while of nothing: promises are kept together, and one by one."""
        node = self.world[WRITER]
        for _ in range(self._luck.randint(1, 4)):
            self._written += 1
            node.ask(_put(f"c{self._luck.randrange(DOCUMENTS)}", self._written))
            if self._luck.random() < 0.2:
                node.ask(ListDocuments(kind=KIND))


def _put(name: str, generation: int) -> Apply:
    spec: JsonObject = {"agents": [{"name": "reader", "replicas": 0}], "generation": generation}
    metadata: JsonObject = {"name": name, "namespace": NAMESPACE}
    return Apply(manifest={"apiVersion": "v1", "kind": KIND, "metadata": metadata, "spec": spec}, durability=LAZY)


def _written(command: Apply) -> tuple[str, int]:
    manifest = msgspec.convert(command.manifest, type=_Manifest)
    return manifest.metadata["name"], manifest.spec.generation


class _Spec(msgspec.Struct):
    generation: int


class _Manifest(msgspec.Struct):
    metadata: dict[str, str]
    spec: _Spec


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    asked = seeds.parser("lazily", "a machine that writes lazily is killed again and again", 20).parse_args(words)

    def play(seed: int) -> tuple[str, str]:
        run = LazyRun(seed)
        why = run.play()
        return f"{run.memory.acknowledged} acknowledged, {run.memory.lost} lost young", why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
