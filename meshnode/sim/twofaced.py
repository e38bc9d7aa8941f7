"""``python -m meshnode.sim.twofaced --seeds 20``: a member tells some one thing and others another, under one number.

It is a whole node with the rights of any member, in a mesh that is cut and written to. Beside what all do it signs,
twice a second, two writes of one document under the same number, and gives each to half of its neighbours; often both
go on, each with a further one. What such a member also is: a machine that was set back to an old copy of its disk.
Nothing of a protocol stops him, for each half sees a well-signed write. What has to be so: all come to hold the same
documents, nothing that anybody else acknowledged is missing, and people are told who it was. ``--owned``: nobody but
him may write the documents, admins neither, and he is gone for good after his lies; the same has to be so without him.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from meshnode.crdt import gate
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import ROOTED_VERSION, VERSION, Envelope, actor_of, doc_id_of, seal
from meshnode.crdt.gate import Admitted
from meshnode.crdt.history import Sealed
from meshnode.crdt.letters import Envelopes, encode
from meshnode.crdt.store import StateStore
from meshnode.crdt.writing import change_of
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.hlc import COUNTER_BITS
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import Apply, JsonObject
from meshnode.model.ids import DocId, NodeId
from meshnode.sim import seeds
from meshnode.sim.liveness import settle
from meshnode.sim.node import SimNode
from meshnode.sim.rights import policy
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.watching import Violated, Watcher, violation_of
from meshnode.sim.workloads import KIND, NAMESPACE, Pace
from meshnode.sim.world import Setup, World

NODES = 5
LIES = 8
JOIN_S, ALONE_S = 60.0, 90.0
LIE_US = 500 * MS
FIRST_US, LAST_US = 6 * SECOND, 26 * SECOND  # of the world: while users write, and not when it comes to rest
BOOT = 1_000  # of the writes that are signed twice: his process writes honestly beside them
Signed = Callable[[SimNode, StateStore, Sealed, DocId], None]
SCENARIO = replace(
    SCENARIOS["cut-and-heal"], settle_s=60.0,
    pace=Pace(writes_per_s=3.0, calls_per_s=0.5, documents=2, skills=("words.count",), offers=1),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubled:
    """One run. ``lies``: pairs under one number; ``told``: nodes whose people were told who it was."""

    seed: int
    lies: int
    generations: int
    writes: int
    told: int
    refused: dict[str, int] = field(default_factory=dict[str, int])
    why: str = ""


class _Told(Watcher):
    def __init__(self) -> None:
        self.nodes: dict[str, None] = {}

    def announced(self, node: SimNode, announce: object) -> None:
        if "two different writes under one number" in str(announce):
            self.nodes[node.name] = None


class TwoFaces:
    """A member's other half. ``signed``: who is told of each write that has a twin."""

    def __init__(self, world: World, node: SimNode, signed: Signed) -> None:
        self.node, self.lies = node, 0
        self._signed = signed
        self._luck = world.luck("two faces")

    def lie(self) -> None:
        """About one of two documents, if there are two to lie to."""
        doc = doc_id_of(KIND, NAMESPACE, f"c{self._luck.randrange(2)}")
        if self.node.usable and self.node.store is not None:
            self._lie(self.node.store, doc)

    def _lie(self, store: StateStore, doc: DocId) -> None:
        """Fields that nobody else sets: what others write is to be there whatever he does."""
        core = self.node.core
        assert core is not None
        peers = list(core.hub.peers())
        if doc not in store or len(peers) < 2:
            return
        self._luck.shuffle(peers)
        stamp = self.node.instant().wall_ms << COUNTER_BITS
        number = str(self.lies)
        one = self._chain(store, doc, {"spec.generation": number}, stamp)
        other = self._chain(store, doc, {"labels.other": '"1"', "spec.generation": number + "7"}, stamp + 1)
        self._tell(peers[: len(peers) // 2], store, doc, one)
        self._tell(peers[len(peers) // 2 :], store, doc, other)
        self.lies += 1

    def _chain(self, store: StateStore, doc: DocId, values: dict[str, str], stamp: int) -> list[Admitted]:
        """A write, and often one that stands on it, each in an envelope of its own."""
        actor = actor_of(self.node.plan.identity.signer.public_key, doc, BOOT, store.pin(doc)[1])
        first = change_of(store, doc, actor, {**values, "updated_hlc": str(stamp)})
        chain = [self._sealed(store, doc, first, stamp)]
        if self._luck.random() < 0.5:
            stamp += 1 << COUNTER_BITS
            replaced = {op.key: (op.counter, actor) for op in first.ops}
            settings = [Setting("spec.generation", "9" + values["spec.generation"], (replaced["spec.generation"],)),
                        Setting("updated_hlc", str(stamp), (replaced["updated_hlc"],))]  # fmt: skip
            then = written(actor, first.seq + 1, first.max_op + 1, (first.hash,), settings)
            chain.append(self._sealed(store, doc, then, stamp))
        return chain

    def _sealed(self, store: StateStore, doc: DocId, change: ParsedChange, stamp: int) -> Admitted:
        generation, root = store.pin(doc)
        made = Envelope(
            ROOTED_VERSION if generation else VERSION, doc, *store.names(doc), self.node.node, BOOT, change.seq, stamp,
            [packed(change)], generation, root,
        )  # fmt: skip
        return gate.admitted(made, seal(made, self.node.plan.identity.signer), [change], proven=True)

    def _tell(self, peers: Sequence[NodeId], store: StateStore, doc: DocId, chain: Sequence[Admitted]) -> None:
        core, now = self.node.core, self.node.instant()
        assert core is not None
        for each in chain:
            self._signed(self.node, store, each.sealed, doc)
        body = encode(Envelopes([each.sealed.data for each in chain], eager=True))
        for peer in peers:
            self.node.perform(core.hub.handle(Send(peer, Channel.STATE, body), now))


class TwoFacedRun:
    """``play`` may be called once."""

    def __init__(self, seed: int, *, nodes: int = NODES) -> None:
        self.run = Run(SCENARIO, seed=seed, nodes=nodes)
        self.liar = self.run.world[nodes - 1]
        self.seed = seed
        self._faces = TwoFaces(self.run.world, self.liar, self.run.writes.signed_twice)
        self._told = _Told()
        self.run.world.audience.gather([self._told])

    def play(self) -> Doubled:
        self.run.world.at(FIRST_US, self._go_on)
        report = self.run.play()
        return Doubled(
            seed=self.seed, lies=self._faces.lies, generations=report.generations, writes=report.writes,
            refused=refusals(self.run.world),
            told=len(self._told.nodes), why=report.violation,
        )  # fmt: skip

    def _go_on(self) -> None:
        self._faces.lie()
        if self.run.world.now_us < LAST_US:
            self.run.world.at(self.run.world.now_us + LIE_US, self._go_on)


class OwnedRun:
    """Whose documents nobody but the liar may write, and who is gone. ``play`` may be called once."""

    def __init__(self, seed: int, *, nodes: int = NODES) -> None:
        self.seed, self.world = seed, World(Setup(seed=seed, nodes=nodes, traced=False))
        self.liar = self.world[nodes - 1]
        self._faces, self._told = TwoFaces(self.world, self.liar, _promised_to_nobody), _Told()
        self.world.audience.gather([self._told])

    def play(self) -> Doubled:
        """Never raises for what was wrong: that stands in what it returns."""
        why = violation_of(self._play)
        return Doubled(
            seed=self.seed, lies=self._faces.lies, generations=0, writes=2, refused=refusals(self.world),
            told=len(self._told.nodes), why=why,
        )  # fmt: skip

    def _play(self) -> None:
        world, others = self.world, self.world.nodes[:-1]
        world.start_all()
        settle(world, JOIN_S)
        for number in range(2):
            world.ask(self.liar, cluster(f"c{number}"))
        settle(world, JOIN_S)
        for each in reversed(others):  # the first one, who does it, comes last
            world.ask(world[0], policy(each, ()))
        settle(world, JOIN_S)
        for _ in range(LIES):
            self._faces.lie()
            world.run_for(LIE_US / SECOND)
        self.liar.lose_power()
        if not world.run_till(lambda: len(roots_of(others)) == 1, ALONE_S):
            raise Violated("Owned", world.now_us, "all nodes", f"hold {len(roots_of(others))} readings of documents")
        self.liar.gain_power()
        self.liar.start()
        settle(world, JOIN_S)


def roots_of(nodes: Sequence[SimNode]) -> set[bytes]:
    return {node.core.documents.root() for node in nodes if node.core is not None}


def refusals(world: World) -> dict[str, int]:
    """By name, of all that run."""
    refused: dict[str, int] = {}
    for node in world.running():
        for name, count in node.core.counters.snapshot().items() if node.core is not None else ():
            refused[name] = refused.get(name, 0) + count
    return refused


def _promised_to_nobody(_node: SimNode, _store: StateStore, _sealed: Sealed, _doc: DocId) -> None:
    """No user's work is judged here."""


def cluster(name: str) -> Apply:
    spec: JsonObject = {"agents": [{"name": "reader", "replicas": 0}]}
    return Apply(manifest={"apiVersion": "v1", "kind": KIND, "metadata": {"name": name}, "spec": spec})


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = seeds.parser("twofaced", "a member signs all twice", 20)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--owned", action="store_true", help="nobody but the liar may write, and he is gone")
    asked = parser.parse_args(words)

    def play(seed: int) -> tuple[str, str]:
        done = (OwnedRun if asked.owned else TwoFacedRun)(seed, nodes=asked.nodes).play()
        signed = f"{done.lies} numbers signed twice, {done.writes} writes, generation {done.generations}"
        return f"{signed}, {done.told} told", done.why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
