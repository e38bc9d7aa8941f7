"""The nodes as placement knows them, kept as they change: no decision walks over all of them.

What a node is changes with a word from membership, with its row, or with a document that drains it; each is told here.
Only who is not ready may change without a word (a suspect that nobody hears any more), so of those nothing is kept that
is asked for: they are read anew.
"""

from collections.abc import Iterable, Mapping, Sequence

from meshnode.model.ids import NodeId
from meshnode.model.resources import Resources
from meshnode.scheduler.fitting import NOTHING, Part
from meshnode.scheduler.messages import Want
from meshnode.scheduler.pools import Pool, Shape, shape_of
from meshnode.scheduler.ports import READY, NodeFacts, Nodes

POOLS_MAX = 64  # the shape that was asked for longest ago is forgotten
LABELS_MAX = 64  # keys of labels, likewise


class Facts:
    """A few nodes at one moment, all known: what ``plan`` imagines."""

    def __init__(self, nodes: Iterable[NodeFacts], *, flat_max: int) -> None:
        self._facts: dict[NodeId, NodeFacts] = {}
        self._regions: dict[str, dict[NodeId, None]] = {}
        self._labels: dict[str, dict[str, dict[NodeId, None]]] = {}  # of the keys that were asked for
        self._flat_max = flat_max
        self._names: dict[str, NodeId | tuple[NodeId, ...]] = {}  # nearly all have one of their own
        self._pools: dict[Shape, Pool] = {}
        self._divided = False
        for node in nodes:
            self.put(node)

    # -- questions ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._facts)

    def __contains__(self, node: NodeId) -> bool:
        return node in self._facts

    def get(self, node: NodeId) -> NodeFacts | None:
        return self._facts.get(node)

    def all(self) -> Sequence[NodeFacts]:
        """A walk over all: for people, never for an event."""
        return [facts for node in sorted(self._facts) if (facts := self.get(node)) is not None]

    def named(self, name: str) -> list[NodeId]:
        """Nodes of a name, sorted."""
        held = self._names.get(name, ())
        return sorted(held) if isinstance(held, tuple) else [held]

    def pool(self, want: Want, part: Part) -> Pool:
        """Who may be given a unit now. To be read at once, not kept."""
        self._divide()
        shape = shape_of(want, part)
        pool = self._pools.pop(shape, None)
        if pool is None:
            pool = Pool(shape, divided=self._divided)
            for node in self._among(shape):
                pool.put(self._facts[node])
            if len(self._pools) >= POOLS_MAX:
                del self._pools[next(iter(self._pools))]
        self._pools[shape] = pool
        return pool

    def spare(self, region: str) -> Resources | None:  # noqa: ARG002 - nothing is imagined of a region as a whole
        """What a region says that its nodes have left; ``None``: it says nothing."""
        return None

    @property
    def breadth(self) -> int:
        """How many nodes are ranked for a decision."""
        return len(self._facts) // len(self._regions) if self._divided else len(self._facts)

    def full(self, region: str, need: Resources) -> bool:
        """A region says that not even all its nodes together have left what a unit needs."""
        spare = self.spare(region) if need != NOTHING else None
        return spare is not None and (
            need.cpu_milli > spare.cpu_milli
            or need.memory_bytes > spare.memory_bytes
            or bool(need.gpu_milli and not spare.gpu_milli)
        )

    # -- changes ------------------------------------------------------------------------------------------------------

    def put(self, facts: NodeFacts) -> None:
        before = self._facts.get(facts.node)
        if before == facts:
            return
        if before is not None:
            self._leave(before)
        self._facts[facts.node] = facts
        self._regions.setdefault(facts.region, {})[facts.node] = None
        held = self.named(facts.name)
        self._names[facts.name] = (*held, facts.node) if held else facts.node
        for key, values in self._labels.items():
            if key in facts.labels:
                values.setdefault(facts.labels[key], {})[facts.node] = None
        for pool in self._pools.values():
            pool.put(facts)

    def remove(self, node: NodeId) -> None:
        before = self._facts.pop(node, None)
        if before is not None:
            self._leave(before)
            for pool in self._pools.values():
                pool.remove(node)

    def _leave(self, facts: NodeFacts) -> None:
        _take_out(self._regions, facts.region, facts.node)
        others = tuple(node for node in self.named(facts.name) if node != facts.node)
        if others:
            self._names[facts.name] = others
        else:
            del self._names[facts.name]
        for key, values in self._labels.items():
            if key in facts.labels:
                _take_out(values, facts.labels[key], facts.node)

    def _among(self, shape: Shape) -> Iterable[NodeId]:
        """Few, of which some fit: the smallest of the sets that all who fit are in."""
        if shape.on:
            return self.named(shape.on)
        sets: list[Mapping[NodeId, object]] = [self._facts]
        if shape.region:
            sets.append(self._regions.get(shape.region, {}))
        sets += [self._values(key).get(value, {}) for key, value in shape.labels]
        return min(sets, key=len)

    def _values(self, key: str) -> dict[str, dict[NodeId, None]]:
        values = self._labels.get(key)
        if values is None:
            if len(self._labels) >= LABELS_MAX:
                del self._labels[next(iter(self._labels))]
            values = self._labels[key] = {}
            for facts in self._facts.values():
                if key in facts.labels:
                    values.setdefault(facts.labels[key], {})[facts.node] = None
        return values

    def _divide(self) -> None:
        """A large mesh of several regions is drawn region by region."""
        divided = len(self._facts) > self._flat_max and len(self._regions) > 1
        if divided is not self._divided:
            self._divided = divided
            self._pools.clear()


class Land(Facts):
    """All nodes of the mesh, asked of their rooms one by one. ``walk`` reads them all: at the start, and for whoever
    missed something."""

    def __init__(self, nodes: Nodes, *, flat_max: int) -> None:
        super().__init__((), flat_max=flat_max)
        self._nodes = nodes
        self._stale: dict[NodeId, None] = {}

    def get(self, node: NodeId) -> NodeFacts | None:
        held = self._facts.get(node)
        if held is not None and held.state == READY and node not in self._stale:
            return held
        return self.look(node)

    def look(self, node: NodeId) -> NodeFacts | None:
        """Read one node anew."""
        self._stale.pop(node, None)
        facts = self._nodes.facts_of(node)
        if facts is None:
            self.remove(node)
        else:
            self.put(facts)
        return facts

    def all(self) -> Sequence[NodeFacts]:
        self._refresh()
        return super().all()

    def pool(self, want: Want, part: Part) -> Pool:
        self._refresh()
        return super().pool(want, part)

    def spare(self, region: str) -> Resources | None:
        return self._nodes.spare(region)

    def described(self, node: NodeId) -> None:
        """Its row says something else: read it when it is needed."""
        self._stale[node] = None

    def _refresh(self) -> None:
        for node in tuple(self._stale):
            self.look(node)

    def walk(self) -> None:
        self._stale.clear()
        now = self._nodes.nodes()
        known = {facts.node: None for facts in now}
        for node in [node for node in self._facts if node not in known]:
            self.remove(node)
        for facts in now:
            self.put(facts)


def _take_out(among: dict[str, dict[NodeId, None]], name: str, node: NodeId) -> None:
    among[name].pop(node, None)
    if not among[name]:
        del among[name]
