"""``python -m meshnode.sim.twofaced --seeds 20``: a member tells some one thing and others another, under one number.

It is a whole node with the rights of any member, in a mesh that is cut and written to. Beside what all do it signs,
twice a second, two writes of one document under the same number, and gives each to half of its neighbours; often both
go on, each with a further one. What such a member also is: a machine that was set back to an old copy of its disk.
Nothing of a protocol stops him, for each half sees a well-signed write. What has to be so: all come to hold the same
documents, nothing that anybody else acknowledged is missing, and people are told who it was.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from meshnode.crdt import gate
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import ROOTED_VERSION, VERSION, Envelope, actor_of, doc_id_of, seal
from meshnode.crdt.gate import Admitted
from meshnode.crdt.letters import Envelopes, encode
from meshnode.crdt.store import StateStore
from meshnode.crdt.writing import change_of
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.hlc import COUNTER_BITS
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import DocId, NodeId
from meshnode.sim import seeds
from meshnode.sim.node import SimNode
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.watching import Watcher
from meshnode.sim.workloads import KIND, NAMESPACE, Pace

NODES = 5
LIE_US = 500 * MS
FIRST_US, LAST_US = 6 * SECOND, 26 * SECOND  # of the world: while users write, and not when it comes to rest
BOOT = 1_000  # of the writes that are signed twice: his process writes honestly beside them
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


class TwoFacedRun:
    """``play`` may be called once."""

    def __init__(self, seed: int, *, nodes: int = NODES) -> None:
        self.run = Run(SCENARIO, seed=seed, nodes=nodes)
        self.liar = self.run.world[nodes - 1]
        self.seed, self.lies = seed, 0
        self._luck = self.run.world.luck("two faces")
        self._told = _Told()
        self.run.world.audience.gather([self._told])

    def play(self) -> Doubled:
        self.run.world.at(FIRST_US, self._go_on)
        report = self.run.play()
        refused: dict[str, int] = {}
        for node in self.run.world.running():
            for name, count in node.core.counters.snapshot().items() if node.core is not None else ():
                refused[name] = refused.get(name, 0) + count
        return Doubled(
            seed=self.seed, lies=self.lies, generations=report.generations, writes=report.writes, refused=refused,
            told=len(self._told.nodes), why=report.violation,
        )  # fmt: skip

    def _go_on(self) -> None:
        if self.liar.usable and self.liar.store is not None:
            self._lie(self.liar.store, doc_id_of(KIND, NAMESPACE, f"c{self._luck.randrange(2)}"))
        if self.run.world.now_us < LAST_US:
            self.run.world.at(self.run.world.now_us + LIE_US, self._go_on)

    def _lie(self, store: StateStore, doc: DocId) -> None:
        """Fields that nobody else sets: what others write is to be there whatever he does."""
        core = self.liar.core
        assert core is not None
        peers = list(core.hub.peers())
        if doc not in store or len(peers) < 2:
            return
        self._luck.shuffle(peers)
        stamp = self.liar.instant().wall_ms << COUNTER_BITS
        number = str(self.lies)
        one = self._chain(store, doc, {"spec.generation": number}, stamp)
        other = self._chain(store, doc, {"labels.other": '"1"', "spec.generation": number + "7"}, stamp + 1)
        self._tell(peers[: len(peers) // 2], store, doc, one)
        self._tell(peers[len(peers) // 2 :], store, doc, other)
        self.lies += 1

    def _chain(self, store: StateStore, doc: DocId, values: dict[str, str], stamp: int) -> list[Admitted]:
        """A write, and often one that stands on it, each in an envelope of its own."""
        actor = actor_of(self.liar.plan.identity.signer.public_key, doc, BOOT, store.pin(doc)[1])
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
            ROOTED_VERSION if generation else VERSION, doc, *store.names(doc), self.liar.node, BOOT, change.seq, stamp,
            [packed(change)], generation, root,
        )  # fmt: skip
        return gate.admitted(made, seal(made, self.liar.plan.identity.signer), [change], proven=True)

    def _tell(self, peers: Sequence[NodeId], store: StateStore, doc: DocId, chain: Sequence[Admitted]) -> None:
        core, now = self.liar.core, self.liar.instant()
        assert core is not None
        for each in chain:
            self.run.writes.signed_twice(self.liar, store, each.sealed, doc)
        body = encode(Envelopes([each.sealed.data for each in chain], eager=True))
        for peer in peers:
            self.liar.perform(core.hub.handle(Send(peer, Channel.STATE, body), now))


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = seeds.parser("twofaced", "a member signs all twice", 20)
    parser.add_argument("--nodes", type=int, default=NODES)
    asked = parser.parse_args(words)

    def play(seed: int) -> tuple[str, str]:
        done = TwoFacedRun(seed, nodes=asked.nodes).play()
        signed = f"{done.lies} numbers signed twice, {done.writes} writes, generation {done.generations}"
        return f"{signed}, {done.told} told", done.why

    return seeds.play_all(asked, play)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
