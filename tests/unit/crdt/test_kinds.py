"""Releases that know different fields, and counters: nobody undoes what he does not know or has not counted."""

import pytest
from msgspec.structs import replace

from meshnode.crdt.fields import JsonValue
from meshnode.crdt.kinds import COUNTER_MAX, OURS, Kind, counters_of
from meshnode.crdt.replica import DocumentsConfig
from meshnode.kernel.effects import Persist
from meshnode.model.errors import Invalid
from meshnode.model.schemas import SCHEMAS
from tests.unit.crdt.ports import Mesh, Node
from tests.unit.crdt.test_gate import HLC, chunk_of, refused, sealed

NAMES = ("Thing", "default", "x")
OLD = Kind("Thing", 1, ("spec.", "note"))
NEW = Kind("Thing", 2, ("spec.", "note", "quota"))


def skewed() -> Mesh:
    """a runs the older release, b the newer one."""
    mesh = Mesh("a", "b")
    for name, kind in (("a", OLD), ("b", NEW)):
        mesh.nodes[name] = Node(name, mesh.trust, mesh.authority, config=DocumentsConfig(kinds=(kind,)))
    mesh.link("a", "b")
    mesh.settle()
    return mesh


def fields(mesh: Mesh, name: str) -> dict[str, object]:
    document = mesh.nodes[name].documents.get(*NAMES)
    assert document is not None
    return dict(document.fields)


def add(mesh: Mesh, name: str, amount: int, counter: str = "seen") -> None:
    change = mesh.nodes[name].documents.add(*NAMES, counter, amount, mesh.now)
    mesh.give(name, [Persist(change.records, change.effects)])


def test_an_older_release_keeps_a_field_it_does_not_know_when_it_writes_the_document() -> None:
    mesh = skewed()
    mesh.put("b", "x", {"spec": {"replicas": 1, "new-here": True}, "note": "n", "quota": 5})
    mesh.settle()
    mesh.put("a", "x", {"spec": {"replicas": 2}})
    mesh.settle()
    assert fields(mesh, "a") == fields(mesh, "b") == {"spec.replicas": 2, "quota": 5}
    mesh.put("b", "x", {"spec": {"replicas": 2}})
    mesh.settle()
    assert fields(mesh, "a") == {"spec.replicas": 2}


def test_a_later_release_gives_a_kind_of_ours_a_field_and_this_one_keeps_it() -> None:
    """Every kind that may be written is known here, with all its fields and no others."""
    assert [kind.name for kind in OURS] == list(SCHEMAS)
    mesh = Mesh("a", "b")
    for name, kinds in (("a", OURS), ("b", tuple(replace(kind, fields=(*kind.fields, "spec.later")) for kind in OURS))):
        mesh.nodes[name] = Node(name, mesh.trust, mesh.authority, config=DocumentsConfig(kinds=kinds))
    mesh.link("a", "b")
    for kind in SCHEMAS:
        names = (kind, "default", "x")
        spec: dict[str, JsonValue] = {field.partition(".")[2]: 1 for field in known(kind) if field.startswith("spec.")}
        for name, fields in (("b", {**spec, "later": 7}), ("a", {})):
            change = mesh.nodes[name].documents.put(*names, {"apiVersion": "v1", "spec": fields}, mesh.now)
            mesh.give(name, [Persist(change.records, change.effects)])
            mesh.settle()
        document = mesh.nodes["b"].documents.get(*names)
        assert document is not None
        assert document.spec == {"later": 7}


def known(kind: str) -> tuple[str, ...]:
    return next(each.fields for each in OURS if each.name == kind)


def test_what_both_sides_of_a_cut_count_adds_up() -> None:
    mesh = Mesh("a", "b", config=DocumentsConfig(generation_changes=8))
    mesh.link("a", "b")
    add(mesh, "a", 3)
    mesh.settle()
    mesh.cut("a", "b")
    for _ in range(12):
        add(mesh, "a", 2)
        add(mesh, "b", 5)
    add(mesh, "b", -1, "other")
    mesh.run(3)
    mesh.link("a", "b")
    mesh.settle()
    mesh.run(60)
    assert len(mesh.roots()) == 1
    assert mesh.nodes["a"].documents.counters["re-rooted"] > 0
    for name in "ab":
        assert counters_of(fields(mesh, name)) == {"seen": 3 + 24 + 60, "other": -1}  # pyright: ignore[reportArgumentType]
    mesh.put("a", "x", {"v": 1})
    assert counters_of(fields(mesh, "a"))["seen"] == 87  # pyright: ignore[reportArgumentType]
    mesh.restart("a")
    add(mesh, "a", 1)
    assert counters_of(fields(mesh, "a"))["seen"] == 88  # pyright: ignore[reportArgumentType]


def test_nobody_counts_in_the_name_of_another() -> None:
    chunk = chunk_of(fields={"count:seen@" + "0" * 12: "9", "updated_hlc": str(HLC)})
    assert refused(sealed(changes=[chunk])) == "counter-foreign"


def test_a_counter_has_a_name_and_an_end() -> None:
    mesh = Mesh("a")
    for name, amount in (("", 1), ("a@b", 1), ("seen", COUNTER_MAX + 1)):
        with pytest.raises(Invalid):
            mesh.nodes["a"].documents.add(*NAMES, name, amount, mesh.now)
    assert mesh.nodes["a"].documents.count() == 0


def test_a_kind_says_which_counters_its_documents_have() -> None:
    mesh = Mesh("a", config=DocumentsConfig(kinds=OURS))
    documents = mesh.nodes["a"].documents
    for kind, counter in (("Policy", "seen"), ("Node", "seen"), ("AgentCluster", "Two words")):
        with pytest.raises(Invalid, match="counters of kind"):
            documents.add(kind, "default", "x", counter, 1, mesh.now)
    documents.add("AgentCluster", "default", "x", "two-words", 2, mesh.now)
    found = documents.get("AgentCluster", "default", "x")
    assert found is not None
    assert counters_of(found.fields) == {"two-words": 2}
