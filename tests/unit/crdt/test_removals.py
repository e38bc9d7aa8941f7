"""Removals over generations: what somebody took away stays away, whosever root is the one that goes on."""

from collections.abc import Callable

import pytest

from meshnode.crdt import folding
from meshnode.crdt.envelope import Pin
from meshnode.crdt.registers import Registers
from meshnode.crdt.seen import HORIZON_MS
from tests.unit.crdt.ports import Mesh
from tests.unit.crdt.test_generations import DOC, NAMES, fields, heal, mesh_of, store_of, work


def parted(mesh: Mesh) -> None:
    """Two and two of four."""
    for one in "ab":
        for other in "cd":
            mesh.cut(one, other)


def with_a_field_on_both_sides() -> Mesh:
    mesh = mesh_of("a", "b", "c", "d")
    work(mesh, "a", 3, w=1)
    parted(mesh)
    return mesh


def pin(mesh: Mesh, name: str) -> Pin:
    return store_of(mesh.nodes[name]).pin(DOC)


def outdo(mesh: Mesh, write: Callable[[int], object]) -> None:
    """``a`` has begun a generation; ``c`` writes until the one that it began is the one that goes on."""
    mesh.run(3)
    assert pin(mesh, "a")[0] == 1
    for number in range(40):
        write(number)
        mesh.settle()
        mesh.run(3)
        if pin(mesh, "c") > pin(mesh, "a"):
            return
    raise AssertionError("never higher")


def removed_on_one_side(mesh: Mesh) -> None:
    work(mesh, "a", 9)  # these words are without ``w``
    outdo(mesh, lambda number: mesh.edit("c", "x", {"u": number}))
    assert "w" not in fields(mesh, "a")


def test_what_one_side_of_a_cut_removed_does_not_come_back_with_the_root_of_the_other() -> None:
    mesh = with_a_field_on_both_sides()
    removed_on_one_side(mesh)
    assert fields(mesh, "c")["w"] == 1
    heal(mesh)
    assert len(mesh.roots()) == 1
    for name in "abcd":
        assert "w" not in fields(mesh, name)
        assert mesh.nodes[name].documents.conflicts() == ()


def test_a_removal_that_a_root_sums_up_is_a_sibling_of_what_the_other_side_wrote() -> None:
    mesh = with_a_field_on_both_sides()
    mesh.edit("d", "x", {"w": 2})
    removed_on_one_side(mesh)
    heal(mesh)
    assert len(mesh.roots()) == 1
    for name in "abcd":
        document = mesh.nodes[name].documents.get(*NAMES)
        assert document is not None
        assert sorted(map(str, document.siblings["w"].values)) == ["2", "None"]


def test_a_document_that_was_written_again_does_not_die_with_the_root_of_the_other_side() -> None:
    mesh = mesh_of("a", "b", "c", "d")
    work(mesh, "a", 7)
    mesh.delete("a", "x")
    mesh.settle()
    parted(mesh)
    mesh.put("a", "x", {"v": "a6"})  # the words it was deleted with: nothing is written but that it lives
    mesh.settle()

    def buries_it_again(number: int) -> None:
        mesh.put("c", "x", {"v": "a6", "u": number})
        mesh.delete("c", "x")

    outdo(mesh, buries_it_again)
    assert fields(mesh, "a") and not fields(mesh, "c")
    heal(mesh)
    assert len(mesh.roots()) == 1
    for name in "abcd":
        assert fields(mesh, name)["v"] == "a6"


def removals(mesh: Mesh, name: str) -> list[str]:
    """What the next root would name as removed."""
    store = store_of(mesh.nodes[name])
    made = store.fold(DOC, store.heads(DOC))
    read = Registers(made)
    return [key for key, value in read.values().items() if value is None]


def test_a_root_names_a_removal_until_the_horizon() -> None:
    mesh = with_a_field_on_both_sides()
    work(mesh, "a", 1)
    assert removals(mesh, "a") == ["w"]
    mesh.seconds += HORIZON_MS / 1000 - 60
    work(mesh, "a", 1, more=1)
    assert removals(mesh, "a") == ["w"]
    mesh.seconds += 120
    work(mesh, "a", 1, more=2)
    assert removals(mesh, "a") == []


@pytest.mark.parametrize(("limit", "most"), [("REMOVALS_MAX", 3), ("REMOVAL_BYTES_MAX", 1500)])
def test_a_root_names_the_newest_removals_and_no_more_than_so_many(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = mesh_of("a", "b")
    keys = [f"k{number}" for number in range(7)]
    mesh.put("a", "x", dict.fromkeys(keys, 1))
    for key in keys[:6]:
        mesh.edit("a", "x", {key: None})
    mesh.settle()
    assert removals(mesh, "a") == keys[:6]
    monkeypatch.setattr(folding, limit, most)
    named = removals(mesh, "b")
    assert 3 <= len(named) < 6 and named == keys[6 - len(named) : 6]
    assert removals(mesh, "a") == named
