"""What became of a document: every write with its author, the readings between them, and who wrote what is in force."""

from meshnode.crdt.chronicle import difference
from meshnode.kernel.effects import Persist
from tests.unit.crdt.ports import Mesh

DOC = ("Thing", "default", "doc")


def test_the_history_names_every_write_with_author_and_fields() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.put("a", "doc", {"spec": {"x": 1, "y": 1}})
    mesh.settle()
    mesh.put("b", "doc", {"spec": {"x": 2, "y": 1}})
    mesh.settle()
    mesh.delete("a", "doc")
    mesh.settle()
    a, b = (mesh.nodes[name] for name in "ab")
    history = a.documents.chronicle.writes(*DOC)
    assert [(each.number, mesh.named(each.author), each.fields, each.deletes) for each in history] == [
        (1, "a", {"spec.x": 1, "spec.y": 1}, False), (2, "b", {"spec.x": 2}, False), (3, "a", {}, True),
    ]  # fmt: skip
    assert history == b.documents.chronicle.writes(*DOC)
    assert history[0].at_ms <= history[1].at_ms <= history[2].at_ms
    assert a.documents.chronicle.writes("Thing", "default", "nothing") == []


def test_a_reading_at_a_write_is_what_was_in_force_then() -> None:
    mesh = Mesh("a")
    for number in (1, 2, 3):
        mesh.put("a", "doc", {"spec": {"x": number}} if number < 3 else {"spec": {"y": number}})
    documents = mesh.nodes["a"].documents
    assert [documents.chronicle.read_at(*DOC, at) for at in range(4)] == [
        {},
        {"spec.x": 1},
        {"spec.x": 2},
        {"spec.y": 3},
    ]
    assert difference(documents.chronicle.read_at(*DOC, 1), documents.chronicle.read_at(*DOC, 3)) == {
        "spec.x": (1, None), "spec.y": (None, 3),
    }  # fmt: skip


def test_each_field_in_force_names_who_wrote_it() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.put("a", "doc", {"spec": {"x": 1, "y": 1}})
    mesh.settle()
    mesh.put("b", "doc", {"spec": {"x": 2, "y": 1}})
    mesh.settle()
    writers = mesh.nodes["a"].documents.chronicle.writers(*DOC)
    assert {field: mesh.named(node) for field, (node, _) in writers.items()} == {"spec.x": "b", "spec.y": "a"}


def conflicting() -> Mesh:
    mesh = Mesh("a", "b")
    mesh.put("a", "doc", {"spec": {"x": 1, "y": 0}})
    mesh.link("a", "b")
    mesh.settle()
    mesh.cut("a", "b")
    mesh.put("a", "doc", {"spec": {"x": 2, "y": 2}})
    mesh.put("b", "doc", {"spec": {"x": 3, "y": 3}})
    mesh.link("a", "b")
    mesh.settle()
    return mesh


def test_a_settled_field_is_in_force_everywhere_and_other_conflicts_stay() -> None:
    mesh = conflicting()
    assert [conflict.field for conflict in mesh.nodes["a"].documents.conflicts()] == ["spec.x", "spec.y"]
    change = mesh.nodes["a"].documents.settle(*DOC, {"spec.x": 3}, mesh.now)
    mesh.give("a", [Persist(change.records, change.effects)])
    mesh.settle()
    for node in mesh.nodes.values():
        assert [conflict.field for conflict in node.documents.conflicts()] == ["spec.y"]
        found = node.documents.get(*DOC)
        assert found is not None
        assert found.spec["x"] == 3
