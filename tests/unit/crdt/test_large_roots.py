"""Roots larger than a letter: stored in pieces, sent in parts, refused by name when they are not what they say."""

from collections.abc import Sequence
from random import Random

import msgspec
import pytest

from meshnode.crdt import letters, root, shelf
from meshnode.crdt.generations import Generations
from meshnode.crdt.letters import PART_BYTES_MAX, RootPart, Roots, RootsWanted
from meshnode.crdt.parts import (
    HEAPS_MAX,
    HEAPS_OF_PEER_MAX,
    PARTS_MAX,
    WHOLE_BYTES_MAX,
    Heaps,
    Whole,
    count_of,
    part_of,
)
from meshnode.kernel.effects import Channel
from meshnode.kernel.records import ENVELOPE_KEY_BYTES, Record
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId
from tests.unit.crdt.ports import KeySigner, Mesh, Node
from tests.unit.crdt.test_generations import DOC, NAMES, fields, generation, heal, isolate, mesh_of, store_of

PEER, OTHER = NodeId(b"p" * 32), NodeId(b"q" * 32)


def grown(*names: str, count: int = 60) -> Mesh:
    """A document whose fields alone are more than a letter holds, past its first generation."""
    mesh = mesh_of(*names)
    write(mesh, count)
    return mesh


def write(mesh: Mesh, count: int) -> None:
    """One field after the other, each with something that cannot be made smaller."""
    luck = Random(count)
    mesh.put("a", "x", {"v": 0})
    for number in range(1, count):
        mesh.edit("a", "x", {f"f{number}": luck.randbytes(1500).hex()})
        mesh.settle()
        if number % 5 == 0:
            mesh.run(0.5)
    mesh.run(10)


def data_of(node: Node) -> bytes:
    rooted = store_of(node).rooted(DOC)
    assert rooted is not None
    return rooted.data


def generations(node: Node) -> Generations:
    return node.documents._generations  # pyright: ignore[reportPrivateUsage]


def sent(mesh: Mesh, kind: type, to: str = "") -> list[object]:
    said = [letters.decode(body) for _, at, body in mesh.log if to in ("", at)]
    return [letter for letter in said if isinstance(letter, kind)]


def test_a_document_that_is_larger_than_a_letter_is_re_rooted_on_every_node_and_survives_a_restart() -> None:
    mesh = grown("a", "b", "c")
    assert len(data_of(mesh.nodes["a"])) > 2 * WHOLE_BYTES_MAX
    assert len({data_of(node) for node in mesh.nodes.values()}) == 1
    assert max(len(record.body) for record in mesh.nodes["a"].journal.values()) <= shelf.PIECE_BYTES + 1024
    before = fields(mesh, "a")
    assert len(before) == 60
    for name in "abc":
        mesh.restart(name)
        assert fields(mesh, name) == before
    assert len(mesh.roots()) == 1


def test_the_pieces_of_a_root_that_is_over_leave_the_journal() -> None:
    mesh = grown("a", "b")
    first = generation(mesh, "a")
    for number in range(30):
        mesh.edit("a", "x", {"v": number})
        mesh.settle()
    mesh.run(10)
    assert generation(mesh, "a") > first
    for node in mesh.nodes.values():
        rooted = store_of(node).rooted(DOC)
        assert rooted is not None
        kept = {key for (_, key), record in node.journal.items() if record.body and len(key) != ENVELOPE_KEY_BYTES}
        assert kept == {record.key for record in shelf.root_records(DOC, rooted, [], [])}


def test_who_joins_later_gets_it_in_parts_and_reads_the_same() -> None:
    mesh = mesh_of("a", "b", "z")
    isolate(mesh, "z")
    write(mesh, 80)
    assert generation(mesh, "a") >= 1
    mesh.log.clear()
    heal(mesh)
    assert len(mesh.roots()) == 1
    assert fields(mesh, "z") == fields(mesh, "a")
    assert sent(mesh, RootPart, "z")
    assert mesh.longest <= letters.LETTER_BYTES_MAX
    assert not {each.reason for node in mesh.nodes.values() for each in node.rejects} - {"old-generation"}


def test_what_came_before_a_link_broke_is_not_sent_again() -> None:
    mesh = mesh_of("a", "z")
    isolate(mesh, "z")
    write(mesh, 150)
    count = count_of(data_of(mesh.nodes["a"]))
    assert count > 8
    mesh.log.clear()
    mesh.link("a", "z")
    while len(sent(mesh, RootPart)) < 6:
        mesh.step()
    mesh.cut("a", "z")
    came = len(sent(mesh, RootPart))
    mesh.log.clear()
    heal(mesh)
    assert fields(mesh, "z") == fields(mesh, "a")
    assert len(sent(mesh, RootPart)) <= count - came + 2  # the first one again, and perhaps one that was on its way


def test_a_crash_between_its_pieces_leaves_the_generation_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        mesh = grown("a", count=8)
        node, luck = mesh.nodes["a"], Random(seed)
        before = fields(mesh, "a")
        commit = node.commit

        def torn(records: Sequence[Record], commit: object = commit, luck: Random = luck) -> bool:
            assert callable(commit)
            commit([record for record in records if luck.random() < 0.6])
            return False

        rooted = store_of(node).fold(DOC, store_of(node).heads(DOC))
        monkeypatch.setattr(shelf, "PIECE_BYTES", 512)
        begun = generations(node).begin(rooted, [], mesh.now)
        torn(begun.records)
        mesh.restart("a")
        assert fields(mesh, "a") == before, f"seed {seed}"
        mesh.run(5)
        assert fields(mesh, "a") == before, f"seed {seed}"
        monkeypatch.undo()


def part(
    number: int, count: int, size: int = PART_BYTES_MAX, digest: bytes = b"r" * 32, doc: bytes = b"d" * 16
) -> RootPart:
    return RootPart(doc, digest, number, count, bytes(size))


@pytest.mark.parametrize(
    "wrong",
    [
        part(0, 1), part(0, PARTS_MAX + 1), part(2, 2), part(-1, 2), part(0, 2, PART_BYTES_MAX - 1), part(1, 2, 0),
        part(0, 0),
    ],
)  # fmt: skip
def test_a_part_that_no_root_has_is_refused(wrong: RootPart) -> None:
    with pytest.raises(RemoteError, match="root-parts"):
        Heaps().add(PEER, wrong)


def test_parts_that_disagree_or_come_to_another_root_are_refused() -> None:
    heaps = Heaps()
    heaps.add(PEER, part(0, 3))
    with pytest.raises(RemoteError, match="root-parts"):
        heaps.add(PEER, part(1, 4))
    heaps.add(PEER, part(0, 2))
    with pytest.raises(RemoteError, match="another root"):
        heaps.add(PEER, part(1, 2, 7))
    assert len(heaps) == 0


def test_parts_of_a_liar_do_not_spoil_those_of_another() -> None:
    data = bytes(PART_BYTES_MAX) + b"end"
    digest, doc, heaps = root.hash_of(data), DocId(b"d" * 16), Heaps()
    heaps.add(PEER, part_of(doc, data, digest, 0, []))
    heaps.add(OTHER, RootPart(doc, digest, 0, 2, b"x" * PART_BYTES_MAX))
    with pytest.raises(RemoteError, match="root-parts"):
        heaps.add(OTHER, part_of(doc, data, digest, 1, []))
    assert heaps.add(PEER, part_of(doc, data, digest, 1, [])) == Whole(data, [])


def test_nobody_fills_the_memory_with_roots_that_never_end() -> None:
    heaps = Heaps()
    for number in range(100):
        heaps.add(PEER, part(0, PARTS_MAX, digest=number.to_bytes(32)))
    assert len(heaps) == HEAPS_OF_PEER_MAX
    for number in range(100):
        heaps.add(NodeId(number.to_bytes(32)), part(0, PARTS_MAX))
    assert len(heaps) == HEAPS_MAX
    assert heaps.add(PEER, part(1, PARTS_MAX, digest=(99).to_bytes(32))) is None  # given up


def test_a_few_parts_are_asked_for_at_a_time() -> None:
    data = b"".join(bytes((number,)) * PART_BYTES_MAX for number in range(10))
    digest, doc, heaps = root.hash_of(data), DocId(b"d" * 16), Heaps()
    asked = heaps.add(PEER, part_of(doc, data, digest, 0, []))
    rounds = 0
    while isinstance(asked, RootsWanted):
        rounds += 1
        for number in asked.rows[0].parts:
            asked = heaps.add(PEER, part_of(doc, data, digest, number, []))
    assert asked == Whole(data, [])
    assert rounds == 3


def test_a_root_of_which_nobody_stands_by_is_refused_in_parts_too() -> None:
    mesh = grown("a", "b")
    mal = KeySigner("mal")
    mesh.trust.add(mal)
    mesh.authority.denied.append((mal.node, "Thing/default/x"))
    honest = root.read(data_of(mesh.nodes["a"])).root
    lie = root.rooted(msgspec.structs.replace(honest, generation=99, heads=[]))
    node = mesh.nodes["b"]
    for number in range(count_of(lie.data)):
        said = letters.encode(part_of(DOC, lie.data, lie.hash, number, [(mal.node, b"s" * 64)]))
        node.perform(node.documents.handle(ControlReceived(mal.node, Channel.STATE, said), mesh.now), mesh.now)
    assert [each.reason for each in node.rejects] == ["root-unattested"]
    assert generation(mesh, "b") < 99


def test_envelopes_that_inflate_to_too_much_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = grown("a", "b", count=8)
    made = store_of(mesh.nodes["a"]).fold(DOC, store_of(mesh.nodes["a"]).heads(DOC))
    monkeypatch.setattr(root, "PROOF_BYTES_MAX", 1000)
    with pytest.raises(RemoteError, match="root-bulk"):
        root.judge_proofs(made.root)


@pytest.mark.parametrize("most", ["PROOFS_MAX", "WRITES_MAX"])
def test_a_root_that_nobody_would_read_is_not_made_and_the_document_goes_on_without(
    most: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every field came in an envelope of its own, as the parts of a counter do: made, it was lost by a restart."""
    monkeypatch.setattr(root, most, 20)
    mesh = grown("a", "b", count=40)
    before = fields(mesh, "a")
    assert len(before) == 40
    for name in "ab":
        mesh.restart(name)
        assert fields(mesh, name) == before
    assert len(mesh.roots()) == 1


def test_a_stick_carries_it_in_parts() -> None:
    mesh = grown("a", "b")
    items = mesh.nodes["a"].documents.carried().items
    assert max(len(item.data) for item in items) < letters.LETTER_BYTES_MAX
    lone = Mesh("a", "z")
    taken, _ = lone.nodes["z"].documents.take_in(items, lone.now)
    assert (taken.refused, taken.roots) == ({}, 1)
    document = lone.nodes["z"].documents.get(*NAMES)
    assert document is not None and document.fields == fields(mesh, "a")
    again, _ = lone.nodes["z"].documents.take_in(items, lone.now)
    assert (again.refused, again.roots) == ({}, 0)


def test_letters_about_parts_are_judged() -> None:
    row = letters.WantedRow(b"d" * 16, b"r" * 32, [0] * (letters.PARTS_ASKED_MAX + 1))
    for wrong in (RootsWanted([row]), RootPart(b"d", b"r" * 32, 0, 2, b""), RootPart(b"d" * 16, b"r", 0, 2, b"")):
        with pytest.raises(RemoteError, match="state-letter"):
            letters.decode(letters.encode(wrong))
    assert letters.decode(letters.encode(Roots([]))) == Roots([])
