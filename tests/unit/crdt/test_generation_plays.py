"""Random histories over generations: cuts, lost letters, restarts, half-written disks, re-roots on all sides,
clocks minutes apart, and a member without rights who repeats, alters and cuts what others said.

The oracle knows of each write which ones its writer had. It reads no root and no journal of the room: after the play,
each write that nobody who had it has overwritten must be shown, by every node, and nothing that was never written.
"""

from collections.abc import Callable, Sequence
from random import Random

import msgspec
import pytest

from meshnode.crdt import folding, letters, root
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.gate import ATTEST_CONTEXT
from meshnode.crdt.generations import Generations
from meshnode.crdt.letters import Frozen, RootItem, Roots
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.seen import Seen
from meshnode.kernel.effects import Channel
from meshnode.kernel.records import Record
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from tests.unit.crdt.ports import KeySigner, Mesh, Node

NAMES = ("a", "b", "c", "d")
KEYS = ("k", "l", "m")
DOC = ("Thing", "default", "x")
MAL = KeySigner("mal")
STEPS = [*["write"] * 9, *["deliver"] * 8, "run", "run", "cut", "cut", "link", "link", "crash", "lose", "mal", "mal"]
CONFIG = DocumentsConfig(generation_changes=5, keep_again_after_us=2_000_000)


Plant = Callable[[pytest.MonkeyPatch], None]


class Truth:
    """Every acknowledged write has its own value, so that a value names a write."""

    def __init__(self) -> None:
        self.written: dict[str, dict[str, frozenset[str]]] = {key: {} for key in KEYS}  # value -> values it replaced

    def acknowledged(self, node: Node, key: str, value: str, shown: frozenset[str]) -> None:
        self.written[key][value] = shown

    def alive(self, key: str) -> set[str]:
        """Values that nobody who saw them has replaced."""
        replaced = {old for seen in self.written[key].values() for old in seen}
        return set(self.written[key]) - replaced


def shown(node: Node, key: str) -> frozenset[str]:
    """All current values of a field on one node."""
    document = node.documents.get(*DOC)
    if document is None:
        return frozenset()
    values: Sequence[JsonValue] = [document.fields.get(key)]
    if key in document.siblings:
        values = document.siblings[key].values
    return frozenset(str(value) for value in values if value is not None)


class Play:
    def __init__(self, seed: int, *, config: DocumentsConfig = CONFIG) -> None:
        self.rng, self.mesh, self.truth = Random(seed), Mesh(*NAMES, config=config), Truth()
        self.counter = 0
        self.mesh.trust.add(MAL)
        self.mesh.authority.denied.append((MAL.node, "Thing/default/x"))
        self.mesh.skews = {name: self.rng.randrange(-240_000, 240_000) for name in NAMES}
        self.links = [(one, other) for at, one in enumerate(NAMES) for other in NAMES[at + 1 :]]
        for one, other in self.links:
            self.mesh.link(one, other)
        self.mesh.settle()

    def write(self) -> None:
        name, key = self.rng.choice(NAMES), self.rng.choice(KEYS)
        node, self.counter = self.mesh.nodes[name], self.counter + 1
        value, before = f"{name}{self.counter}", shown(node, key)
        if node.documents.get(*DOC) is None:
            self.mesh.put(name, "x", {key: value})
        else:
            self.mesh.edit(name, "x", {key: value})
        self.truth.acknowledged(node, key, value, before)

    def crash(self) -> None:
        """A node dies in the middle of writing: any part of a batch that nobody was told of may be there."""
        node = self.mesh.nodes[self.rng.choice(NAMES)]
        commit, rng = node.commit, self.rng

        def torn(records: Sequence[Record]) -> bool:
            commit([record for record in records if rng.random() < 0.5])
            return False  # and nobody hears of it

        node.commit = torn  # type: ignore[method-assign]
        try:
            for _ in range(rng.randrange(1, 4)):
                self.mesh.seconds += 0.3
                now = self.mesh.time_of(node.signer.name)
                node.perform(node.documents.wake(now), now)
                for _ in range(rng.randrange(6)):
                    if self.mesh.queue:
                        self.mesh.step(rng.randrange(len(self.mesh.queue)))
        finally:
            node.commit = commit  # type: ignore[method-assign]
        self.mesh.restart(node.signer.name)

    def mischief(self) -> None:
        """Mal says again what somebody said, whole, altered, or with his name under it."""
        rng, mesh = self.rng, self.mesh
        if not mesh.log:
            return
        body, name = bytearray(rng.choice(mesh.log)[2]), rng.choice(NAMES)
        for _ in range(rng.randrange(3)):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        said = bytes(body)
        if rng.random() < 0.3:
            said = with_his_name(mesh, said)
        node, now = mesh.nodes[name], mesh.time_of(name)
        sends = node.perform(node.documents.handle(ControlReceived(MAL.node, Channel.STATE, said), now), now)
        mesh.queue.extend((name, send) for send in sends if send.peer != MAL.node)

    def step(self) -> None:
        rng, mesh = self.rng, self.mesh
        match rng.choice(STEPS):
            case "write":
                self.write()
            case "deliver":
                for _ in range(rng.randrange(12)):
                    if mesh.queue:
                        mesh.step(rng.randrange(len(mesh.queue)))
            case "run":
                mesh.run(rng.choice([0.3, 1, 8, 30]))
            case "cut":
                one, other = rng.choice(self.links)
                mesh.cut(one, other)
            case "link":
                one, other = rng.choice(self.links)
                if (one, other) not in mesh.links:
                    mesh.link(one, other)
            case "crash":
                self.crash()
            case "mal":
                self.mischief()
            case _:
                if mesh.queue:
                    del mesh.queue[rng.randrange(len(mesh.queue))]

    def heal(self) -> None:
        for one, other in self.links:
            if (one, other) not in self.mesh.links:
                self.mesh.link(one, other)
        self.mesh.settle()
        self.mesh.run(90)

    def check(self) -> None:
        mesh = self.mesh
        assert len(mesh.roots()) == 1, "the digests differ at rest"
        for node in mesh.nodes.values():
            for key in KEYS:
                assert self.truth.alive(key) <= shown(node, key), f"{node.signer.name} misses an acknowledged write"
                assert shown(node, key) <= set(self.truth.written[key]), "a value that nobody wrote"
            assert node.documents.waiting() == 0

    def all_of_it(self, steps: int) -> int:
        """How often a generation began."""
        for _ in range(steps):
            self.step()
        self.heal()
        self.check()
        for name in NAMES:
            self.mesh.restart(name)
        self.check()
        return max(
            node.documents._store.pin(doc)[0] for node in mesh_docs(self.mesh) for doc in node.documents._store.docs()
        )


def mesh_docs(mesh: Mesh) -> list[Node]:
    return list(mesh.nodes.values())


def with_his_name(mesh: Mesh, said: bytes) -> bytes:
    """Roots in which he has seen everything and stands by it; freezes that everybody is said to hold."""
    try:
        letter = letters.decode(said)
    except RemoteError:
        return said
    match letter:
        case Frozen(rows):
            all_of_them = [node.id[:8] for node in mesh.nodes.values()]
            return letters.encode(Frozen([msgspec.structs.replace(row, holders=all_of_them) for row in rows]))
        case Roots(items):
            return letters.encode(Roots([lie for item in items for lie in his_root(item)]))
        case _:
            return said


def his_root(item: RootItem) -> list[RootItem]:
    try:
        honest = root.read(item.data).root
    except RemoteError:
        return []
    seen = [(author, boot, hlc + (1 << 20)) for author, boot, hlc in honest.seen]
    lie = root.rooted(msgspec.structs.replace(honest, seen=seen, generation=honest.generation + 1, heads=[]))
    signed = MAL.sign(ATTEST_CONTEXT, lie.root.doc + lie.root.generation.to_bytes(8) + lie.hash)
    return [RootItem(lie.data, [(MAL.node, signed)])]


# 114: who started again had forgotten how late its root was. 865: a stray was carried beside one that had replaced it.
@pytest.mark.parametrize("seed", [*range(60), 114, 865])
def test_nothing_acknowledged_is_lost_over_generations_cuts_and_crashes(seed: int) -> None:
    assert Play(seed).all_of_it(120) >= 1


def no_strays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Generations, "_strays_under", lambda self, doc, rooted: [])


def one_value(patch: pytest.MonkeyPatch) -> None:
    distinct = folding._distinct
    patch.setattr(folding, "_distinct", lambda writes: distinct(writes)[:1])


def forgets_first(patch: pytest.MonkeyPatch) -> None:
    """The envelopes of the old generation leave the journal before the root is in it."""

    def remains(self: Generations) -> list[Record]:
        return [record for doc in list(self._leaving) for record in self._remains(doc)]

    patch.setattr(Generations, "remains", remains)


def own_luck(patch: pytest.MonkeyPatch) -> None:
    """A root that is not the same on every node."""
    luck = Random(1)
    pruned = Seen.pruned
    patch.setattr(Seen, "pruned", lambda seen: {w: hlc - luck.randrange(2) for w, hlc in pruned(seen).items()})


@pytest.mark.parametrize("plant", [no_strays, one_value, forgets_first, own_luck])
def test_each_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    found: list[str] = []
    for seed in range(120):
        try:
            Play(seed).all_of_it(120)
        except AssertionError as error:
            found.append(str(error).splitlines()[0])
            break
    assert found, "nobody noticed"
