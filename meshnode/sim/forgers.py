"""``python -m meshnode.sim.forgers --steps 1000000``: a member forges documents, and nobody ever holds what he made up.

It is a whole node that an admin let in, and from whom all roles were taken later. Beside what all do it tells its
neighbours, several times a second: changes in the name of others, changes of documents it may not write, what others
signed with bits turned over, roots in which it has seen everything and stands by it, roots with other values, parts of
roots that never end, and freezes that everybody is said to hold. Meanwhile the others write, are cut off, crash, and
begin generations. A step is an event of the world.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from meshnode.crdt import letters, root
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import VERSION, Envelope, actor_of, doc_id_of, seal
from meshnode.crdt.gate import ATTEST_CONTEXT
from meshnode.crdt.letters import PART_BYTES_MAX, Envelopes, Frozen, FrozenRow, Letter, RootItem, RootPart, Roots
from meshnode.crdt.root import Rooted
from meshnode.crdt.store import StateStore
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.commands import Apply, JsonObject
from meshnode.model.ids import DocId, NodeId
from meshnode.sim.generations import GENERATIONS
from meshnode.sim.node import SimNode
from meshnode.sim.run import Run
from meshnode.sim.workloads import KIND, NAMESPACE

OK, FAILED = 0, 1
NODES = 5
LIE_US = 200 * MS
BAN_US = 2 * SECOND  # before users begin to write
SCENARIO = GENERATIONS[0]
FOREIGN = (("Policy", NAMESPACE, "n0"), ("Node", NAMESPACE, "n1"), ("Quota", NAMESPACE, "all"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Forged:
    """One run. ``why``: what was wrong, "" if nothing was; ``refused``: by name, on all honest nodes."""

    seed: int
    steps: int
    lies: int
    generations: int
    refused: dict[str, int] = field(default_factory=dict[str, int])
    why: str = ""


class _Run(Run):
    def _skills(self) -> tuple[str, ...]:
        """Nobody has to be able to call: one of them may not."""
        return ()


class ForgerRun:
    """``play`` may be called once."""

    def __init__(self, seed: int, *, nodes: int = NODES) -> None:
        self.run = _Run(SCENARIO, seed=seed, nodes=nodes)
        self.forger = self.run.world[nodes - 1]
        self.seed, self.lies = seed, 0
        self._luck = self.run.world.luck("forger")
        self._refused: dict[str, int] = {}
        self._is_banned = False

    def play(self) -> Forged:
        self.run.world.at(LIE_US, self._go_on)
        report = self.run.play()
        for node in self.run.world.running():
            for name, count in node.core.counters.snapshot().items() if node.core is not None else ():
                self._refused[name] = self._refused.get(name, 0) + count
        return Forged(
            seed=self.seed, steps=report.events, lies=self.lies, generations=report.generations, refused=self._refused,
            why=report.violation,
        )  # fmt: skip

    def _go_on(self) -> None:
        admin = self.run.world[0]
        if not self._is_banned:
            if admin.usable and self.run.world.now_us > BAN_US:
                admin.ask(Apply(manifest=_policy(self.forger.node_name)))
                self._is_banned = True
        elif self.forger.usable:
            self._lie()
        self.run.world.at(self.run.world.now_us + LIE_US, self._go_on)

    def _lie(self) -> None:
        core, store = self.forger.core, self.forger.store
        assert core is not None
        letter = self._made_up(store) if store is not None else None
        if letter is None:
            return
        for peer in core.hub.peers():
            self.lies += 1
            self.forger.perform(core.hub.handle(Send(peer, Channel.STATE, letters.encode(letter)), self._now()))

    def _made_up(self, store: StateStore) -> Letter | None:
        luck = self._luck
        victim = luck.choice([node for node in self.run.world.nodes if node is not self.forger])
        docs = list(store.docs())
        doc = luck.choice(docs) if docs else None
        match luck.randrange(7):
            case 0:
                return self._change((KIND, NAMESPACE, f"c{luck.randrange(2)}"), victim)
            case 1:
                return self._change(luck.choice(FOREIGN), self.forger)
            case 2 if doc is not None:
                return self._turned(store, doc)
            case 3 | 4 if doc is not None:
                return self._root(store, doc)
            case 5 if doc is not None:
                everyone = [node.node[:8] for node in self.run.world.nodes]
                heads = [luck.randbytes(32)] if luck.random() < 0.5 else list(store.heads(doc))
                return Frozen([FrozenRow(doc, *store.pin(doc), heads, everyone)])
            case _:
                name = doc or DocId(luck.randbytes(16))
                return RootPart(name, luck.randbytes(32), 0, luck.randint(2, 20), luck.randbytes(PART_BYTES_MAX))

    def _change(self, names: tuple[str, str, str], author: SimNode) -> Letter:
        """Right in all but the signature, or in all but that its author may not write this."""
        key, boot, hlc = author.plan.identity.signer.public_key, 1 + self._luck.randrange(3), self._now().wall_ms << 16
        doc = doc_id_of(*names)
        settings = [Setting("spec.forged", "666"), Setting("updated_hlc", str(hlc))]
        change = written(actor_of(key, doc, boot), 1, 1, (), settings)
        envelope = Envelope(VERSION, doc, *names, author.node, boot, 1, hlc, [packed(change)])
        return Envelopes([seal(envelope, self.forger.plan.identity.signer)], eager=True)

    def _turned(self, store: StateStore, doc: DocId) -> Letter | None:
        """What somebody signed, with some bits turned over."""
        sealed = store.beyond(doc, {})
        if not sealed:
            return None
        data = bytearray(self._luck.choice(sealed).data)
        for _ in range(1 + self._luck.randrange(3)):
            data[self._luck.randrange(len(data))] ^= 1 << self._luck.randrange(8)
        return Envelopes([bytes(data)], eager=self._luck.random() < 0.5)

    def _root(self, store: StateStore, doc: DocId) -> Letter | None:
        """The generation after next: all is seen in it, one value is another, and the forger stands by it."""
        rooted = store.rooted(doc)
        if rooted is None or not rooted.root.fields:
            return None
        honest, luck = rooted.root, self._luck
        seen = [(author, boot, hlc + (luck.randrange(3) << 20)) for author, boot, hlc in honest.seen]
        fields = list(honest.fields)
        if luck.random() < 0.5:
            at = luck.randrange(len(fields))
            key, writes = fields[at]
            fields[at] = (key, [msgspec.structs.replace(writes[0], value='"forged"'), *writes[1:]])
        else:
            del fields[luck.randrange(len(fields))]
        if not fields:
            return None
        generation = honest.generation + 1 + luck.randrange(2)
        lie = root.rooted(msgspec.structs.replace(honest, generation=generation, heads=[], fields=fields, seen=seen))
        return Roots([RootItem(lie.data, [self._attest(lie)])]) if luck.random() < 0.2 else self._taken_back(rooted)

    def _taken_back(self, rooted: Rooted) -> Letter:
        """An honest root of before, in another's name."""
        named = NodeId(self._luck.choice(self.run.world.nodes).node)
        return Roots([RootItem(rooted.data, [(named, self._attest(rooted)[1])])])

    def _attest(self, rooted: Rooted) -> tuple[bytes, bytes]:
        body = rooted.root.doc + rooted.root.generation.to_bytes(8) + rooted.hash
        return self.forger.node, self.forger.plan.identity.signer.sign(ATTEST_CONTEXT, body)

    def _now(self) -> Instant:
        return self.forger.instant()


def _policy(name: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Policy", "metadata": {"name": name}, "spec": {"roles": []}}


def main(words: Sequence[str]) -> int:
    """0: nothing was wrong; 1: something was."""
    parser = argparse.ArgumentParser(prog="python -m meshnode.sim.forgers", description="a member forges documents")
    parser.add_argument("--steps", type=int, default=100_000, help="events, over as many seeds as that takes")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args(words)
    steps, lies, failed, seed = 0, 0, 0, asked.first
    refused: dict[str, int] = {}
    gc.disable()
    while steps < asked.steps:
        done = ForgerRun(seed).play()
        gc.collect()
        steps, lies, failed, seed = steps + done.steps, lies + done.lies, failed + bool(done.why), seed + 1
        for name, count in done.refused.items():
            refused[name] = refused.get(name, 0) + count
        if done.why:
            sys.stdout.write(f"seed {done.seed}: FAILED {done.why}\n")
    named = ", ".join(f"{name} {count}" for name, count in sorted(refused.items()))
    sys.stdout.write(f"{steps} steps, {lies} lies, {failed} of {seed - asked.first} runs failed; {named}\n")
    return FAILED if failed else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
