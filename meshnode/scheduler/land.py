"""The nodes as placement knows them, kept as they change: no decision walks over all of them.

What a node is changes with a word from membership, with its row, or with a document that drains it; each is told here.
Only who is not ready may change without a word (a suspect that nobody hears any more), so of those nothing is kept that
is asked for: they are read anew.
"""

from collections.abc import Iterable, Sequence

from meshnode.model.ids import NodeId
from meshnode.model.resources import Resources
from meshnode.scheduler.fitting import NOTHING, Part
from meshnode.scheduler.messages import Want
from meshnode.scheduler.pools import Pool, Shape, shape_of
from meshnode.scheduler.ports import READY, NodeFacts, Nodes

POOLS_MAX = 64  # the shape that was asked for longest ago is forgotten


class Facts:
    """A few nodes at one moment, all known: what ``plan`` imagines."""

    def __init__(self, nodes: Iterable[NodeFacts], *, flat_max: int) -> None:
        self._facts: dict[NodeId, NodeFacts] = {}
        self._regions: dict[str, int] = {}
        self._flat_max = flat_max
        self._names: dict[str, dict[NodeId, None]] = {}
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
        return sorted(self._names.get(name, ()))

    def pool(self, want: Want, part: Part) -> Pool:
        """Who may be given a unit now. To be read at once, not kept."""
        self._divide()
        shape = shape_of(want, part)
        pool = self._pools.pop(shape, None)
        if pool is None:
            pool = Pool(shape, divided=self._divided)
            among = (self._facts[node] for node in self.named(want.on)) if want.on else self._facts.values()
            for facts in among:
                pool.put(facts)
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
        self._regions[facts.region] = self._regions.get(facts.region, 0) + 1
        self._names.setdefault(facts.name, {})[facts.node] = None
        for pool in self._pools.values():
            pool.put(facts)

    def remove(self, node: NodeId) -> None:
        before = self._facts.pop(node, None)
        if before is not None:
            self._leave(before)
            for pool in self._pools.values():
                pool.remove(node)

    def _leave(self, facts: NodeFacts) -> None:
        self._regions[facts.region] -= 1
        if not self._regions[facts.region]:
            del self._regions[facts.region]
        holders = self._names[facts.name]
        holders.pop(facts.node, None)
        if not holders:
            del self._names[facts.name]

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

    def pool(self, want: Want, part: Part) -> Pool:
        for node in tuple(self._stale):
            self.look(node)
        return super().pool(want, part)

    def spare(self, region: str) -> Resources | None:
        return self._nodes.spare(region)

    def described(self, node: NodeId) -> None:
        """Its row says something else: read it when it is needed."""
        self._stale[node] = None

    def walk(self) -> None:
        self._stale.clear()
        now = self._nodes.nodes()
        known = {facts.node: None for facts in now}
        for node in [node for node in self._facts if node not in known]:
            self.remove(node)
        for facts in now:
            self.put(facts)
