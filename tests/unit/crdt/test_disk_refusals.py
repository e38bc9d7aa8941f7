"""Writes that the disk refused: not given away, not forgotten, and never a hole under a later one."""

from tests.unit.crdt.ports import Mesh

NAMES = ("Thing", "default", "x")


def test_a_write_the_disk_refused_is_not_given_to_peers_and_is_kept_later() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    a, b = mesh.nodes["a"], mesh.nodes["b"]
    a.disk_full = True
    mesh.put("a", "x", {"v": 2})
    mesh.run(8)
    document = b.documents.get(*NAMES)
    assert document is not None
    assert document.fields == {"v": 1}
    again = mesh.put("a", "x", {"v": 2})  # what the person does next: it must not count as done
    assert (again.unchanged, len(again.records)) == (True, 1)
    a.disk_full = False
    mesh.run(15)
    assert len(mesh.roots()) == 1
    document = b.documents.get(*NAMES)
    assert document is not None
    assert document.fields == {"v": 2}
    a.start()
    assert a.documents.root() == b.documents.root()
    assert mesh.put("a", "x", {"v": 2}).records == ()


def test_a_write_brings_to_the_disk_what_it_stands_on() -> None:
    """Found by the simulator (slow-and-torn-disks, seed 7): acknowledged, and gone after the next power cut."""
    mesh = Mesh("a")
    a = mesh.nodes["a"]
    a.disk_full = True
    mesh.put("a", "x", {"v": 1, "w": 1})
    a.disk_full = False
    assert len(mesh.put("a", "x", {"v": 2, "w": 1}).records) == 2
    a.start()
    document = a.documents.get(*NAMES)
    assert document is not None
    assert document.fields == {"v": 2, "w": 1}
