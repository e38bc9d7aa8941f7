"""What somebody may try with roots: each refused by its name, nothing changed by it, nobody else the worse for it."""

from collections.abc import Sequence

import msgspec

from meshnode.crdt import letters, root
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import UNROOTED, Envelope, actor_of, doc_id_of, seal
from meshnode.crdt.gate import ATTEST_CONTEXT
from meshnode.crdt.letters import Frozen, FrozenRow, Letter, RootItem, Roots
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.root import Root, Rooted, RootWrite
from meshnode.kernel.effects import Channel
from meshnode.links.messages import ControlReceived
from tests.unit.crdt.ports import START_MS, KeySigner, Mesh, Node, Table

NAMES = ("Thing", "default", "x")
DOC = doc_id_of(*NAMES)
EVE, MAL = KeySigner("eve"), KeySigner("mal")
DAY_MS = 24 * 3600 * 1000


def mesh_of_two() -> Mesh:
    """a and b with some history, long enough that freezing it is no joke; eve and mal are members."""
    mesh = Mesh("a", "b", config=DocumentsConfig(generation_changes=16))
    mesh.trust.add(EVE)
    mesh.trust.add(MAL)
    mesh.link("a", "b")
    for number in range(12):
        mesh.put("a", "x", {"v": number, "w": 1})
        mesh.settle()
    return mesh


def made(mesh: Mesh, name: str = "a") -> Rooted:
    store = mesh.nodes[name].documents._store
    return store.fold(DOC, store.heads(DOC))


def lie(honest: Rooted, **changed: object) -> Rooted:
    return root.rooted(msgspec.structs.replace(honest.root, **changed))


def attested(rooted: Rooted, *signers: KeySigner) -> RootItem:
    body = rooted.root.doc + rooted.root.generation.to_bytes(8) + rooted.hash
    return RootItem(rooted.data, [(each.node, each.sign(ATTEST_CONTEXT, body)) for each in signers])


def tell(mesh: Mesh, name: str, letter: Letter, via: KeySigner = EVE) -> list[str]:
    node = mesh.nodes[name]
    before = len(node.rejects)
    event = ControlReceived(via.node, Channel.STATE, letters.encode(letter))
    mesh.give(name, node.documents.handle(event, mesh.now))
    return [each.reason for each in node.rejects[before:]]


def refused(mesh: Mesh, item: RootItem, name: str = "a") -> list[str]:
    """The names of the refusals, and that nothing changed."""
    node = mesh.nodes[name]
    digest, journal = node.documents.root(), dict(node.journal)
    reasons = tell(mesh, name, Roots([item]))
    assert (node.documents.root(), node.journal) == (digest, journal)
    return reasons


def stranger(mesh: Mesh, *, may_write: bool) -> Node:
    """A node that knows nothing yet; eve and mal may write there or not."""
    table = Table() if may_write else Table((EVE.node, "Thing/default/x"), (MAL.node, "Thing/default/x"))
    joiner = Node("z", mesh.trust, table)
    mesh.trust.add(KeySigner("z"))
    mesh.nodes["z"] = joiner
    return joiner


def test_an_honest_root_is_believed_by_whoever_can_compute_it_without_any_signature() -> None:
    mesh = mesh_of_two()
    assert tell(mesh, "b", Roots([RootItem(made(mesh).data, [])])) == []
    assert mesh.nodes["b"].documents._store.pin(DOC) == made(mesh).pin


def test_a_root_of_known_heads_that_comes_to_something_else_is_forged() -> None:
    mesh = mesh_of_two()
    honest = made(mesh)
    for changed in ({"seen": []}, {"fields": honest.root.fields[:1]}, {"seen": [(EVE.node, 1, 1 << 50)]}):
        assert refused(mesh, attested(lie(honest, **changed), EVE, MAL)) == ["root-forged"]


def test_values_that_nobody_signed_are_unproven_however_many_stand_by_them() -> None:
    mesh = mesh_of_two()
    honest = made(mesh)
    fields = [
        (key, [msgspec.structs.replace(writes[0], value='"evil"')] if key == "v" else writes)
        for key, writes in honest.root.fields
    ]
    forged = lie(honest, generation=7, before=b"b" * 32, heads=[], fields=fields)
    assert refused(mesh, attested(forged, EVE, MAL)) == ["root-unproven"]


def test_an_envelope_in_a_root_with_a_wrong_signature_proves_nothing() -> None:
    mesh = mesh_of_two()
    honest = made(mesh)
    proofs = [each[:-1] + bytes((each[-1] ^ 1,)) for each in honest.root.proofs]
    forged = lie(honest, generation=7, before=b"b" * 32, heads=[], proofs=proofs)
    assert refused(mesh, attested(forged, EVE, MAL)) == ["root-unproven"]


def test_old_values_brought_back_under_a_high_generation_are_a_rollback() -> None:
    """All of it was signed once, by those who may; only not lately."""
    mesh = mesh_of_two()
    old = made(mesh)
    mesh.put("a", "x", {"v": "new", "w": 2})
    mesh.settle()
    seen = made(mesh).root.seen
    replay = lie(old, generation=9, before=b"b" * 32, heads=[], seen=seen)
    assert refused(mesh, attested(replay, EVE, MAL)) == ["root-rollback"]


def test_a_root_that_forgets_what_it_has_not_seen_costs_nobody_a_write() -> None:
    mesh = mesh_of_two()
    old = made(mesh)
    mesh.put("a", "x", {"v": "new", "w": 2})
    mesh.settle()
    assert tell(mesh, "a", Roots([attested(lie(old, generation=9, before=b"b" * 32, heads=[]), EVE)])) == []
    mesh.settle()
    mesh.run(90)
    assert len(mesh.roots()) == 1
    for node in mesh.nodes.values():
        document = node.documents.get(*NAMES)
        assert document is not None
        assert document.fields == {"v": "new", "w": 2}


def test_one_member_who_may_not_write_a_document_is_not_believed_about_it_and_two_are() -> None:
    mesh = mesh_of_two()
    honest = made(mesh)
    joiner = stranger(mesh, may_write=False)
    for other in ("a", "b"):
        mesh.link("z", other)
    mesh.queue.clear()
    assert refused(mesh, attested(honest, EVE), "z") == ["root-unattested"]
    assert joiner.documents.count() == 0
    assert refused(mesh, RootItem(honest.data, [(MAL.node, b"s" * 64)]), "z") == ["root-unattested"]
    assert tell(mesh, "z", Roots([attested(honest, MAL)])) == []  # with eve's from before that makes two
    assert joiner.documents.count() == 1


def test_one_who_may_write_a_document_is_believed_about_it() -> None:
    mesh = mesh_of_two()
    honest = made(mesh)
    stranger(mesh, may_write=True)
    assert tell(mesh, "z", Roots([attested(honest, EVE)])) == []
    assert mesh.nodes["z"].documents.count() == 1


def test_a_grave_for_the_living_is_refused() -> None:
    mesh = mesh_of_two()
    honest = made(mesh)
    grave = lie(honest, fields=[], proofs=[], grave_ms=START_MS - 99 * DAY_MS)
    assert refused(mesh, attested(grave, EVE, MAL)) == ["root-grave"]
    fresh = lie(honest, generation=9, heads=[], fields=[], proofs=[], grave_ms=START_MS)
    assert refused(mesh, attested(fresh, EVE, MAL)) == ["root-grave"]


def test_a_root_from_the_future_is_refused() -> None:
    mesh = mesh_of_two()
    ahead = lie(made(mesh), generation=9, heads=[], seen=[(EVE.node, 1, (START_MS + 10**9) << 16)])
    assert refused(mesh, attested(ahead, EVE, MAL)) == ["hlc-ahead"]


def test_a_relay_pays_for_the_roots_it_brings() -> None:
    mesh = Mesh("a", config=DocumentsConfig(rate_per_s=1, rate_burst=3))
    junk = RootItem(b"\x90", [])
    assert tell(mesh, "a", Roots([junk] * 5)) == ["root-frame"] * 3 + ["rate-peer"] * 2


def freeze(mesh: Mesh, heads: Sequence[bytes], holders: Sequence[KeySigner], grave_ms: int = 0) -> None:
    row = FrozenRow(DOC, *UNROOTED, list(heads), [each.node[:8] for each in holders], grave_ms)
    assert tell(mesh, "a", Frozen([row])) == []
    mesh.settle()
    mesh.run(3)


def test_lies_about_who_holds_what_hurry_a_generation_and_lose_nothing() -> None:
    """Eve says that b holds what it does not: b then carries or takes what it lacks, as any straggler."""
    mesh = mesh_of_two()
    mesh.cut("a", "b")
    mesh.edit("b", "x", {"w": "of b"})
    mesh.edit("a", "x", {"v": "of a"})
    freeze(mesh, mesh.nodes["a"].documents._store.heads(DOC), [EVE, MAL, mesh.nodes["b"].signer])
    assert mesh.nodes["a"].documents._store.pin(DOC)[0] == 1
    mesh.link("a", "b")
    mesh.settle()
    mesh.run(60)
    assert len(mesh.roots()) == 1
    document = mesh.nodes["a"].documents.get(*NAMES)
    assert document is not None
    assert document.fields == {"v": "of a", "w": "of b"}


def test_what_others_say_that_we_hold_is_looked_for_here_before_it_becomes_a_root() -> None:
    """A liar, or a neighbour who remembers what a power cut has taken from us since."""
    mesh = mesh_of_two()
    freeze(mesh, [b"u" * 32], [EVE, mesh.nodes["a"].signer, mesh.nodes["b"].signer])
    assert mesh.nodes["a"].documents._store.pin(DOC)[0] == 0


def test_nobody_makes_us_freeze_what_is_not_here_or_short_or_alive() -> None:
    mesh = mesh_of_two()
    heads = mesh.nodes["a"].documents._store.heads(DOC)
    freeze(mesh, heads, [EVE, mesh.nodes["b"].signer], grave_ms=START_MS - 99 * DAY_MS)
    freeze(mesh, [], [EVE, mesh.nodes["b"].signer])
    freeze(mesh, [b"u" * 32], [EVE, mesh.nodes["b"].signer])
    short = Mesh("a", config=DocumentsConfig(generation_changes=100))
    short.put("a", "x", {"v": 1})
    freeze(short, short.nodes["a"].documents._store.heads(DOC), [EVE])
    assert [each.nodes["a"].documents._store.pin(DOC)[0] for each in (mesh, short)] == [0, 0]


def signed_by_eve(key: str, value: str, hlc: int) -> Rooted:
    """A root of one write that eve, who may write here, has signed and never sent by itself."""
    actor = actor_of(EVE.public_key, DOC, 1)
    change = written(actor, 1, 1, (), sorted([Setting("updated_hlc", str(hlc)), Setting(key, value)], key=_by_key))
    proof = seal(Envelope(1, DOC, *NAMES, EVE.node, 1, 1, hlc, [packed(change)]), EVE)
    fields = [
        (op.key, [RootWrite(op.value, EVE.node, 1, hlc, hlc, change.hash, 0)])
        for op in sorted(change.ops, key=lambda each: each.key)
    ]
    return root.rooted(Root(1, DOC, *NAMES, 9, b"b" * 32, [], fields, [], [proof]))


def _by_key(setting: Setting) -> str:
    return setting.key


def test_what_the_gate_would_refuse_by_itself_does_not_come_in_by_a_root() -> None:
    mesh = mesh_of_two()
    stranger(mesh, may_write=True)
    now_hlc = START_MS << 16
    tomorrow = (START_MS + DAY_MS) << 16
    assert refused(mesh, attested(signed_by_eve("v", "{", now_hlc), EVE, MAL), "z") == ["root-content"]
    assert refused(mesh, attested(signed_by_eve("count:c@" + "0" * 12, "1", now_hlc), EVE), "z") == ["root-content"]
    assert refused(mesh, attested(signed_by_eve("v", "1", tomorrow), EVE), "z") == ["hlc-ahead"]
    assert tell(mesh, "z", Roots([attested(signed_by_eve("v", "1", now_hlc), EVE)])) == []
