"""``python -m meshnode.sim.regional --seeds 20``: nodes that want the documents of their region alone.

Of six nodes two want all documents; the others want those of their own region, and now and then an admin lets one of
them want more, or less. Meanwhile documents are made, changed and moved from region to region, cables are cut and
processes end. At the end, when all work again: who wants a document has it as its author wrote it last, nobody was sent
one that he never wanted nor asked for, and one that is asked for comes.
"""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshnode.model.commands import Apply, JsonObject, ShowDocument
from meshnode.model.document_views import AppliedView, DocumentStateView
from meshnode.model.interest import EVERYTHING, Interest, interest_spec
from meshnode.sim.liveness import unmet
from meshnode.sim.network import Cut
from meshnode.sim.node import SimNode
from meshnode.sim.places import CITIES
from meshnode.sim.watching import Checker, Violated, violation_of
from meshnode.sim.workloads import KIND, NAMESPACE
from meshnode.sim.world import Setup, World

Lacking = Callable[[], dict[str, str]]
OK, FAILED = 0, 1
NODES, WHOLE = 6, 2
ROUNDS, DOCUMENTS = 60, 12
HEAL_S, JOIN_S = 60.0, 30.0
PLACES = (CITIES[0], CITIES[6])  # eu and us
REGIONS = tuple(place.region for place in PLACES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """One run. ``refused``: writes of what a node does not hold; ``why``: what was wrong, "" if nothing was."""

    seed: int
    writes: int = 0
    moves: int = 0
    changes: int = 0
    refused: int = 0
    why: str = ""


class OnlyWanted(Checker):
    """No node holds a document that was never of a region it ever wanted. ``regions``: all that a document had;
    ``interests``: all that a node had; both are told by whoever changes them."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.regions: dict[str, list[str]] = {}
        self.interests: dict[str, list[Interest]] = {}

    def finish(self) -> None:
        for node in self.world.running():
            for name in held(node):
                regions = [(region,) if region else () for region in self.regions.get(name, [])]
                had = self.interests.get(node.node_name, [EVERYTHING])
                if not any(each.wants(KIND, region) for each in had for region in regions):
                    self.wrong(node, f"was sent {name}, which it never wanted")


class RegionalRun:
    """``play`` may be called once."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = World(Setup(seed=seed, nodes=NODES, cities=PLACES, traced=False))
        self.only = OnlyWanted(self.world)
        self._luck = self.world.luck("regional")
        self._authors: dict[str, SimNode] = {}
        self._regions: dict[str, str] = {}
        self._last: dict[str, int] = {}  # by document: what its author wrote last
        self._cut: Cut | None = None
        self._writes = self._moves = self._changes = self._refused = 0

    def play(self) -> Kept:
        """Never raises for what was wrong: that stands in what it returns."""
        why = violation_of(self._play)
        return Kept(
            seed=self.seed, writes=self._writes, moves=self._moves, changes=self._changes, refused=self._refused,
            why=why,
        )  # fmt: skip

    def _play(self) -> None:
        world = self.world
        world.start_all()
        self._wait(lambda: unmet(world), JOIN_S, "did not join")
        for node in world.nodes[WHOLE:]:
            self._narrow(node, Interest((), (node.plan.city.region,)))
        self._wait(self._unread, JOIN_S, "interests are not known")
        for _ in range(ROUNDS):
            self._round()
            world.run_for(self._luck.uniform(0.1, 2.0))
        self._mend()
        self._wait(self._lacking, HEAL_S, "not whole")
        world.run_for(10.0)
        self.only.finish()
        if lacking := self._lacking():
            raise Violated("Regional", world.now_us, "all nodes", f"whole no more: {lacking}")
        self._ask()

    def _round(self) -> None:
        match self._luck.randrange(10):
            case 0:
                self._mend()
            case 1 if self._cut is None:
                inside = self._luck.sample(self.world.nodes, 3)
                pairs = [(a.name, b.name) for a in inside for b in self.world.nodes if b not in inside]
                self._cut = self.world.network.cut(Cut(tuple(p for a, b in pairs for p in ((a, b), (b, a)))))
            case 2:
                node = self._luck.choice(self.world.nodes[1:])
                node.kill()
                node.start()
            case 3:
                regions = self._luck.choice(((), REGIONS[:1], REGIONS[1:], REGIONS))
                self._narrow(self._luck.choice(self.world.nodes[WHOLE:]), Interest((), regions))
                self._changes += 1
            case _:
                self._write()

    def _write(self) -> None:
        """A document has one author, so that what it reads last is known."""
        name = f"c{self._luck.randrange(DOCUMENTS)}"
        node = self._authors.get(name) or self._luck.choice(self.world.nodes)
        if not node.usable:
            return
        before = self._regions.get(name)
        moves = before is None or self._luck.random() < 0.2
        region = self._luck.choice((*REGIONS, "")) if moves else before or ""
        number = self._last.get(name, 0) + 1
        self.only.regions.setdefault(name, []).append(region)
        view = self.world.ask(node, Apply(manifest=_cluster(name, region, number)))
        if isinstance(view, AppliedView):
            self._writes, self._moves = self._writes + 1, self._moves + (before not in (None, region))
            self._authors[name], self._regions[name], self._last[name] = node, region, number
        elif getattr(view, "code", "") == "not-held-here":
            self._refused += 1

    def _narrow(self, node: SimNode, interest: Interest) -> None:
        self.only.interests.setdefault(node.node_name, []).append(interest)
        spec: JsonObject = {"drain": False}
        spec |= {} if interest == EVERYTHING else {"interest": interest_spec(interest)}
        manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.node_name}, "spec": spec}
        self.world.ask(self.world[0], Apply(manifest=manifest))

    def _unread(self) -> dict[str, str]:
        narrow = {node.node_name: Interest((), (node.plan.city.region,)) for node in self.world.nodes[WHOLE:]}
        lacking: dict[str, str] = {}
        for node in self.world.running():
            assert node.core is not None
            of = node.core.documents.interests.of
            for other in self.world.nodes:
                if of(other.node) != narrow.get(other.node_name, EVERYTHING):
                    lacking[node.name] = other.name
        return lacking

    def _lacking(self) -> dict[str, str]:
        """Documents that somebody wants and does not hold as they were written last."""
        found: dict[str, str] = {}
        for node in self.world.nodes:
            if not node.usable or node.core is None:
                return {node.name: "does not run"}
            for name, number in self._last.items():
                document = node.core.documents.get(KIND, NAMESPACE, name)
                region = self._regions[name]
                wanted = node.core.documents.interests.mine.wants(KIND, (region,) if region else ())
                if wanted and (document is None or document.spec.get("generation") != number):
                    has = "nothing" if document is None else str(document.spec.get("generation"))
                    found[f"{node.name} {name}"] = f"has {has}, {number} was written"
                elif not wanted and document is not None:
                    found[f"{node.name} {name}"] = "shows a document of a region it does not want"
        return found

    def _ask(self) -> None:
        """Whoever asks for what he does not want gets it."""
        for node in self.world.nodes[WHOLE:]:
            assert node.core is not None
            for name, number in self._last.items():
                if node.core.documents.get(KIND, NAMESPACE, name) is not None:
                    continue
                question = ShowDocument(kind=KIND, namespace=NAMESPACE, name=name)
                self.world.ask(node, question)
                self.world.run_for(2.0)
                view = self.world.ask(node, question)
                told = (
                    {field.field: field.value for field in view.fields} if isinstance(view, DocumentStateView) else {}
                )
                if told.get("spec.generation") != number:
                    raise Violated("Regional", self.world.now_us, node.name, f"asked for {name} and got {view!r:.200}")

    def _mend(self) -> None:
        if self._cut is not None:
            self.world.network.heal(self._cut)
            self._cut = None

    def _wait(self, lacking: Lacking, within_s: float, what: str) -> None:
        if not self.world.run_till(lambda: not lacking(), within_s):
            raise Violated("Regional", self.world.now_us, "all nodes", f"{what}: {lacking()}")


def held(node: SimNode) -> list[str]:
    """Names of clusters that are on this node, in sight or not."""
    assert node.store is not None
    names = [node.store.names(doc) for doc in node.store.docs()]
    return [name for kind, _, name in names if kind == KIND]


def _cluster(name: str, region: str, number: int) -> JsonObject:
    metadata: JsonObject = {"name": name, "namespace": NAMESPACE}
    metadata |= {"labels": {"region": region}} if region else {}
    spec: JsonObject = {"agents": [{"name": "reader", "replicas": 0}], "generation": number}
    return {"apiVersion": "v1", "kind": KIND, "metadata": metadata, "spec": spec}


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim.regional", description="documents of regions")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args(words)
    failed, writes, refused = 0, 0, 0
    gc.disable()
    for seed in range(asked.first, asked.first + asked.seeds):
        done = RegionalRun(seed).play()
        gc.collect()
        failed, writes, refused = failed + bool(done.why), writes + done.writes, refused + done.refused
        if done.why:
            sys.stdout.write(f"seed {seed}: FAILED {done.why}\n")
    sys.stdout.write(f"{asked.seeds} runs, {writes} writes, {refused} refused, {failed} failed\n")
    return FAILED if failed else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
