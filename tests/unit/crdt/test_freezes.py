"""What a neighbour says about heads that are to be frozen: bounded, and never more than a delay."""

import pytest

from meshnode.crdt import letters, root
from meshnode.crdt.freeze import HEADS_MAX, HOLDERS_MAX, HURRY
from meshnode.crdt.letters import HOLDER_BYTES, FrozenRow
from meshnode.kernel.effects import Channel
from meshnode.links.messages import ControlReceived
from tests.unit.crdt.ports import Mesh
from tests.unit.crdt.test_generations import DOC, SHORT, generation, mesh_of, work

FIT = SHORT.generation_changes // 2 + 1


def says(mesh: Mesh, heads: list[bytes], holders: list[bytes]) -> None:
    """b says to a who holds these heads."""
    row = FrozenRow(DOC, 0, b"", heads, holders)
    body = letters.encode(letters.Frozen([row]))
    event = ControlReceived(mesh.nodes["b"].id, Channel.STATE, body)
    mesh.give("a", mesh.nodes["a"].documents.handle(event, mesh.now))


def holders_of(mesh: Mesh) -> list[bytes]:
    frozen = mesh.nodes["a"].documents._succession.freezes._frozen.get(DOC)
    return [] if frozen is None else list(frozen.holders)


def made_up(count: int, first: int = 0) -> list[bytes]:
    return [number.to_bytes(HOLDER_BYTES) for number in range(first, first + count)]


def test_names_of_holders_are_bounded_and_who_is_waited_for_counts_among_however_many() -> None:
    mesh = mesh_of("a", "b")
    work(mesh, "a", FIT)
    heads = list(mesh.nodes["a"].documents._store.heads(DOC))
    for number in range(10):
        says(mesh, heads, made_up(HOLDERS_MAX // 2, number * HOLDERS_MAX))
    assert HOLDERS_MAX // 2 <= len(holders_of(mesh)) <= HOLDERS_MAX
    says(mesh, heads, [mesh.nodes["b"].id[:HOLDER_BYTES], *made_up(HOLDERS_MAX, 1 << 20)])
    assert mesh.nodes["b"].id[:HOLDER_BYTES] in holders_of(mesh)
    assert len(holders_of(mesh)) <= HOLDERS_MAX + 1
    told = mesh.nodes["a"].documents._succession.freezes.untold(all_of_them=True)
    (letter,) = letters.frozen_letters(told)
    assert len(letters.encode(letter)) <= letters.LETTER_BYTES_MAX
    letters.decode(letters.encode(letter))
    mesh.run(1)
    assert generation(mesh, "a") == 1


def test_however_many_documents_are_frozen_in_a_large_mesh_every_letter_about_them_is_read() -> None:
    """More holders than a letter may name fit in its bytes: peers refused it, once four documents had many."""
    rows = [FrozenRow(bytes((n,)) * 16, 1, bytes(32), [bytes(32)] * (n % 3), made_up(HOLDERS_MAX)) for n in range(20)]
    told = [letters.decode(letters.encode(letter)) for letter in letters.frozen_letters(rows)]
    assert [row for letter in told if isinstance(letter, letters.Frozen) for row in letter.rows] == rows


def test_more_heads_than_anybody_could_write_on_are_not_kept() -> None:
    mesh = mesh_of("a", "b")
    work(mesh, "a", FIT)
    says(mesh, [number.to_bytes(32) for number in range(HEADS_MAX + 1)], made_up(1))
    assert holders_of(mesh) == []
    says(mesh, [number.to_bytes(32) for number in range(HEADS_MAX)], made_up(1))
    assert holders_of(mesh) == made_up(1)


def test_heads_that_nobody_has_delay_a_generation_and_do_not_prevent_it() -> None:
    mesh = mesh_of("a", "b")
    mesh.links.clear()  # b hears nothing, and says nothing but this
    changes = list[int]()
    for number in range(3 * HURRY * SHORT.generation_changes):
        mesh.put("a", "x", {"v": number})
        says(mesh, [number.to_bytes(32)], made_up(1))
        mesh.run(0.5)
        changes.append(mesh.nodes["a"].documents._store.changes(DOC))
    assert generation(mesh, "a") > 0
    assert HURRY * SHORT.generation_changes < max(changes) < (HURRY + 3) * SHORT.generation_changes


def test_what_cannot_be_made_a_root_is_tried_once_by_each_until_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours told each other of the same heads again and again, and each tried five times a second."""
    monkeypatch.setattr(root, "WRITES_MAX", 1)
    mesh = mesh_of("a", "b", "c")
    work(mesh, "a", SHORT.generation_changes + 1)
    mesh.run(60)
    assert [node.documents.counters["root-size"] for node in mesh.nodes.values()] == [1, 1, 1]
    work(mesh, "b", SHORT.generation_changes)
    mesh.run(60)
    assert [node.documents.counters["root-size"] for node in mesh.nodes.values()] == [2, 2, 2]
    monkeypatch.undo()
    work(mesh, "c", SHORT.generation_changes)
    mesh.run(1)
    assert [generation(mesh, name) for name in "abc"] == [1, 1, 1]


def test_the_fields_that_a_freeze_keeps_make_the_root_that_all_its_changes_make() -> None:
    """Also of heads that were ours a moment ago, as a neighbour may propose them, and of what was written since."""
    mesh = mesh_of("a", "b")
    mesh.links.clear()
    store, freezes = mesh.nodes["a"].documents._store, mesh.nodes["a"].documents._succession.freezes
    for of_before in (False, True):
        for number in range(FIT):
            mesh.put("a", "x", {"v": number, f"w{number}": 1})
        heads = list(store.heads(DOC))
        if of_before:
            mesh.put("a", "x", {"v": "since"})
        freezes._frozen.clear()
        says(mesh, heads, made_up(1))
        kept = freezes._frozen[DOC]
        mesh.put("a", "x", {"v": "later", "u": 1})
        assert (kept.fields is None) == of_before
        assert store.fold(DOC, heads, 0, kept.fields).data == store.fold(DOC, heads).data
