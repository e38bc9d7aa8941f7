"""A record of the journal is spoilt: what is whole beside it was acknowledged too, and no generation forgets it."""

from meshnode.crdt.document import Change
from meshnode.crdt.gate import Admitted
from meshnode.crdt.held import Held
from meshnode.crdt.shelf import restored
from tests.unit.crdt.ports import Mesh
from tests.unit.crdt.test_generations import DOC, fields, generation, heal, isolate, mesh_of, work


def spoil(mesh: Mesh, name: str, key: bytes) -> None:
    """The record is gone when the node starts again."""
    node = mesh.nodes[name]
    for place in [place for place in node.journal if place[1] == key]:
        del node.journal[place]
    mesh.restart(name)


def key_of(change: Change) -> bytes:
    return change.records[-1].key


def stranded() -> tuple[Mesh, Change]:
    """c wrote to v, all have that; the others are cut off from it, and end the generation later."""
    mesh = mesh_of("a", "b", "c")
    work(mesh, "a", 3, w=1)
    spoilt = mesh.edit("c", "x", {"v": "spoilt later"})
    mesh.settle()
    isolate(mesh, "c")
    return mesh, spoilt


def end_without_c(mesh: Mesh, spoilt: Change) -> None:
    spoil(mesh, "c", key_of(spoilt))
    for number in range(12):
        mesh.edit("a", "x", {"w": number})
        mesh.settle()
    mesh.run(2)
    assert [generation(mesh, name) for name in "abc"] == [1, 1, 0]


def conflicts(mesh: Mesh, name: str) -> dict[str, list[object]]:
    return {each.field: sorted(each.values, key=str) for each in mesh.nodes[name].documents.conflicts()}


def test_writes_on_top_of_a_spoilt_one_are_carried_into_the_generation_that_has_it() -> None:
    mesh, spoilt = stranded()
    between = mesh.edit("c", "x", {"v": "between"})
    last = mesh.edit("c", "x", {"v": "last", "u": 2})
    end_without_c(mesh, spoilt)
    assert mesh.nodes["c"].documents.waiting() == 2
    heal(mesh)
    assert [fields(mesh, name) for name in "abc"] == [{"v": "last", "w": 11, "u": 2}] * 3
    assert [conflicts(mesh, name) for name in "abc"] == [{}] * 3  # it had seen what was spoilt, and replaced it
    assert len(mesh.roots()) == 1
    assert mesh.nodes["c"].documents.waiting() == 0
    kept = [record.key for record in mesh.nodes["c"].journal.values() if record.body]
    assert key_of(between) not in kept and key_of(last) not in kept
    for name in "abc":
        mesh.restart(name)
    assert [fields(mesh, name) for name in "abc"] == [{"v": "last", "w": 11, "u": 2}] * 3
    assert mesh.nodes["c"].documents.waiting() == 0


def test_a_deletion_on_top_of_a_spoilt_write_stays_one() -> None:
    """The spoilt write was the last of its generation: as a sibling it would outvote who deleted it."""
    mesh = mesh_of("a", "b", "c")
    work(mesh, "a", 8)
    spoilt = mesh.edit("c", "x", {"v": "spoilt later"})
    mesh.settle()
    isolate(mesh, "c")
    mesh.delete("c", "x")
    spoil(mesh, "c", key_of(spoilt))
    mesh.run(2)
    assert [generation(mesh, name) for name in "abc"] == [1, 1, 0]
    assert fields(mesh, "a") == {"v": "spoilt later"}
    heal(mesh)
    assert [fields(mesh, name) for name in "abc"] == [{}] * 3


def test_what_was_spoilt_is_not_taken_for_overwritten_by_those_who_never_saw_it() -> None:
    """b wrote v at the same time; c held both when it wrote u, and lost its own."""
    mesh = mesh_of("a", "b", "c")
    work(mesh, "a", 3, w=1)
    isolate(mesh, "b")
    mesh.edit("b", "x", {"v": "of b"})
    spoilt = mesh.edit("c", "x", {"v": "spoilt at c"})
    mesh.settle()
    isolate(mesh, "c")
    mesh.link("b", "c")
    mesh.settle()
    isolate(mesh, "c")
    mesh.edit("c", "x", {"u": 2})
    spoil(mesh, "c", key_of(spoilt))
    assert fields(mesh, "c") == {"v": "of b", "w": 1}
    for number in range(12):
        mesh.edit("a", "x", {"w": number})
    mesh.run(2)
    assert (generation(mesh, "a"), generation(mesh, "c")) == (1, 0)
    mesh.link("a", "c")
    mesh.settle()
    mesh.run(60)
    for name in "ac":
        assert fields(mesh, name)["u"] == 2
        assert conflicts(mesh, name) == {"v": ["of b", "spoilt at c"]}


def rooted() -> Mesh:
    """All are in the first generation."""
    mesh = mesh_of("a", "b", "c")
    work(mesh, "a", 10, w=1)
    mesh.run(2)
    assert [generation(mesh, name) for name in "abc"] == [1, 1, 1]
    return mesh


def test_writes_on_a_spoilt_root_are_carried_into_a_later_generation() -> None:
    mesh = rooted()
    isolate(mesh, "c")
    mesh.edit("c", "x", {"u": "first"})
    mesh.edit("c", "x", {"u": "last"})
    spoil(mesh, "c", DOC)
    for number in range(12):
        mesh.edit("a", "x", {"w": number})
        mesh.settle()
    mesh.run(2)
    assert [generation(mesh, name) for name in "abc"] == [2, 2, 0]
    heal(mesh)
    assert [fields(mesh, name) for name in "abc"] == [{"v": "a9", "w": 11, "u": "last"}] * 3
    assert [conflicts(mesh, name) for name in "abc"] == [{}] * 3
    for name in "abc":
        mesh.restart(name)
    assert [fields(mesh, name)["u"] for name in "abc"] == ["last"] * 3


def test_writes_on_a_spoilt_root_wait_for_it_when_an_earlier_one_comes_first() -> None:
    mesh = rooted()
    isolate(mesh, "a")
    for number in range(12):
        mesh.edit("b", "x", {"w": number})
        mesh.settle()
    mesh.run(2)
    isolate(mesh, "c")
    mesh.edit("c", "x", {"u": 2})
    spoil(mesh, "c", DOC)
    mesh.link("a", "c")
    mesh.settle()
    assert [generation(mesh, name) for name in "abc"] == [1, 2, 1]
    mesh.restart("c")
    heal(mesh)
    assert [generation(mesh, name) for name in "abc"] == [2, 2, 2]
    assert [fields(mesh, name) for name in "abc"] == [{"v": "a9", "w": 11, "u": 2}] * 3


def test_what_peers_send_does_not_push_out_what_the_own_journal_holds() -> None:
    mesh = mesh_of("a")
    made = [restored(mesh.put("a", "x", {"v": number}).records[-1]) for number in range(4)]
    held = Held(envelopes_max=2, bytes_max=1 << 20, per_author_max=8, bytes_per_author_max=1 << 20)
    for number, each in enumerate(made):
        assert held.hold(each, bytes((number,)), restored=number == 0)
    assert [each.sealed.id for each in held.restored(DOC)] == [made[0].sealed.id]
    assert _ids(held, made) == [made[0].sealed.id, made[2].sealed.id, made[3].sealed.id]


def _ids(held: Held, made: list[Admitted]) -> list[bytes]:
    return [each.sealed.id for number in range(len(made)) for each in held.release(bytes((number,)))]
