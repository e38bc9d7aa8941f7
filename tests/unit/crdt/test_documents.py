"""Local writes and what people read: fields, conflicts, deletions, restarts, limits, refusals."""

import json
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import fields as stored
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.messages import DocumentChanged
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore
from meshnode.kernel.effects import Note, Persist
from meshnode.kernel.hlc import wall_ms
from meshnode.kernel.instant import ClockTrust
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import Denied, Invalid, LocalError, NotFound
from tests.unit.crdt.ports import START_MS, Mesh, Node, Register, Table, instant

NAMES = ("Thing", "default", "x")


def divided() -> Mesh:
    """Two nodes that agree on x and were cut."""
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.put("a", "x", {"spec": {"replicas": 1, "image": "i"}})
    mesh.settle()
    mesh.cut("a", "b")
    return mesh


def healed(mesh: Mesh) -> Mesh:
    mesh.link("a", "b")
    mesh.settle()
    assert len(mesh.roots()) == 1
    assert len({str(node.documents.list()) for node in mesh.nodes.values()}) == 1
    return mesh


def test_a_write_reads_back_as_written_with_who_and_when() -> None:
    mesh = Mesh("a")
    given_fields = {
        "apiVersion": "v1",
        "spec": {"n": 3, "f": 1.5, "s": "é", "none": None, "on": True, "l": [{"k": []}]},
    }
    change = mesh.put("a", "x", given_fields)
    document = mesh.nodes["a"].documents.get(*NAMES)
    assert document is not None
    assert (change.created, change.unchanged, change.doc_id) == (True, False, document.doc_id)
    assert document.spec == given_fields["spec"]
    assert document.fields == {"apiVersion": "v1", **{f"spec.{k}": v for k, v in document.spec.items()}}
    assert isinstance(document.spec["n"], int)
    assert isinstance(document.spec["f"], float)
    assert document.doc_id == doc_id_of(*NAMES)
    assert (document.updated_by, document.updated_ms, document.changes) == (mesh.nodes["a"].id, START_MS, 1)
    assert (len(document.heads), document.siblings, document.deleted) == (1, {}, False)


def test_a_write_asks_to_be_kept_before_anything_leaves() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.settle()
    change = mesh.nodes["a"].documents.put(*NAMES, {"v": 1}, mesh.now)
    (record,) = change.records
    assert (record.kind, record.key[:16]) == (RecordKind.ENVELOPE, doc_id_of(*NAMES))
    assert [type(each).__name__ for each in change.effects] == ["EnvelopesKept", "Send", "DocumentChanged"]
    fact = change.effects[-1]
    assert isinstance(fact, DocumentChanged)
    told = (fact.doc_id, fact.kind, fact.namespace, fact.name, fact.by, fact.remote, fact.fields, fact.begins)
    assert told == (doc_id_of(*NAMES), *NAMES, mesh.nodes["a"].id, False, ("v",), True)


def test_the_same_again_writes_nothing() -> None:
    mesh = Mesh("a")
    mesh.put("a", "x", {"spec": {"n": 1, "m": [1, {"b": 1, "a": 2}]}})
    change = mesh.put("a", "x", {"spec": {"m": [1, {"a": 2, "b": 1}], "n": 1}})
    assert (change.unchanged, change.created, change.records, change.effects) == (True, False, (), ())


def test_only_changed_fields_are_written_and_absent_ones_go() -> None:
    mesh = Mesh("a")
    mesh.put("a", "x", {"apiVersion": "v1", "spec": {"n": 1, "m": 2}})
    change = mesh.put("a", "x", {"apiVersion": "v1", "spec": {"n": 5}})
    document = mesh.nodes["a"].documents.get(*NAMES)
    assert document is not None
    assert (document.fields, change.created) == ({"apiVersion": "v1", "spec.n": 5}, False)
    assert len(change.records[0].body) < 400


def test_fields_may_be_given_as_they_are_stored() -> None:
    one, other = Mesh("a"), Mesh("a")
    one.put("a", "x", {"spec": {"n": 1, "m": {"k": 2}}})
    other.put("a", "x", {"spec.n": 1, "spec.m": {"k": 2}})
    assert one.roots() == other.roots()


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=20),
            lambda children: (
                st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=6,
    )
)
def test_any_json_reads_back_as_written_or_is_refused_with_a_reason(spec: dict[str, stored.JsonValue]) -> None:
    mesh = Mesh("a")
    try:
        mesh.put("a", "x", {"spec": spec})
    except Invalid:
        assert mesh.nodes["a"].journal == {}
        return
    document = mesh.nodes["a"].documents.get(*NAMES)
    assert document is not None
    assert json.dumps(document.spec, sort_keys=True) == json.dumps(spec, sort_keys=True)
    mesh.nodes["a"].start()
    assert mesh.nodes["a"].documents.get(*NAMES) == document


def deep(levels: int) -> stored.JsonValue:
    value: stored.JsonValue = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"updated_hlc": 1}, "reserved"),
        ({"deleted_at": 1}, "reserved"),
        ({"spec": {"": 1, "x": float("nan")}}, "spec.x"),
        ({"spec": {"a\tb": 1}}, "control"),
        ({"spec": {"x" * 300: 1}}, "256"),
        ({"": 1}, "1 to 256"),
        ({"spec": {"s": "\ud800"}}, "spec.s"),
        ({"spec": {"d": deep(40)}}, "32 levels"),
        ({"spec": {"s": "x" * 140_000}}, "131072"),
        ({"spec": {str(n): n for n in range(600)}}, "512"),
    ],
)
def test_fields_that_cannot_be_stored_are_refused_by_name_and_nothing_changes(
    fields: dict[str, stored.JsonValue], words: str
) -> None:
    mesh = Mesh("a")
    with pytest.raises(Invalid, match=words) as caught:
        mesh.put("a", "x", fields)
    assert caught.value.next_step
    assert (mesh.nodes["a"].journal, mesh.nodes["a"].documents.list()) == ({}, ())


def test_a_document_too_long_for_an_envelope_is_refused_and_a_compressible_one_is_not() -> None:
    mesh = Mesh("a")
    mesh.put("a", "long", {"spec": {"s": "x" * 100_000}})
    noise = Random(1).randbytes(64_000).hex()
    with pytest.raises(Invalid, match="envelope-size"):
        mesh.put("a", "x", {"spec": {"s": noise}})
    assert mesh.nodes["a"].documents.count() == 1
    mesh.put("a", "x", {"spec": {"s": "short"}})


@pytest.mark.parametrize("name", ["", "a/b", "a\n", "x" * 254])
def test_names_that_could_be_mistaken_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        Mesh("a").put("a", name, {"v": 1})


def test_the_policy_is_asked_before_a_local_write() -> None:
    mesh = Mesh("a")
    mesh.authority.denied.append((mesh.nodes["a"].id, "Thing/default/x"))
    with pytest.raises(Denied, match="Thing/default/x"):
        mesh.put("a", "x", {"v": 1})
    mesh.authority.denied.clear()
    mesh.put("a", "x", {"v": 1})
    mesh.authority.denied.append((mesh.nodes["a"].id, "Thing/default/x"))
    with pytest.raises(Denied):
        mesh.delete("a", "x")
    assert mesh.nodes["a"].documents.count() == 1


def test_different_keys_of_a_spec_merge_without_a_conflict() -> None:
    mesh = divided()
    mesh.put("a", "x", {"spec": {"replicas": 2, "image": "i"}})
    mesh.put("b", "x", {"spec": {"replicas": 1, "image": "j", "new": True}})
    document = healed(mesh).nodes["a"].documents.get(*NAMES)
    assert document is not None
    assert (document.spec, document.siblings) == ({"image": "j", "new": True, "replicas": 2}, {})
    assert len(document.heads) == 2


def test_one_key_written_on_both_sides_is_in_force_once_and_listed_twice() -> None:
    mesh = divided()
    mesh.put("a", "x", {"spec": {"replicas": 2, "image": "i"}})
    mesh.put("b", "x", {"spec": {"replicas": 3, "image": "i"}})
    documents = healed(mesh).nodes["a"].documents
    (conflict,) = documents.conflicts()
    document = documents.get(*NAMES)
    assert document is not None
    assert (conflict.field, sorted(map(int, conflict.values))) == ("spec.replicas", [2, 3])  # pyright: ignore[reportArgumentType]
    assert conflict.values[0] == document.spec["replicas"]
    writers = {2: mesh.nodes["a"].id, 3: mesh.nodes["b"].id}
    assert [writers[value] for value in conflict.values] == list(conflict.writers)  # pyright: ignore[reportArgumentType]
    assert list(document.siblings) == ["spec.replicas"]


def test_equal_concurrent_values_are_no_conflict() -> None:
    mesh = divided()
    for name in ("a", "b"):
        mesh.put(name, "x", {"spec": {"replicas": 9, "image": "i"}})
    documents = healed(mesh).nodes["b"].documents
    assert documents.conflicts() == ()
    assert mesh.put("b", "x", {"spec": {"replicas": 9, "image": "i"}}).unchanged


def test_a_losing_value_outlives_a_later_change_of_another_field() -> None:
    """The engine's per-head reads lose it here: one head, which shows only the winner."""
    mesh = divided()
    mesh.put("a", "x", {"spec": {"replicas": 2, "image": "i"}})
    mesh.put("b", "x", {"spec": {"replicas": 3, "image": "i"}})
    healed(mesh)
    node = mesh.nodes["a"]
    change = node.documents._pen._sealed(doc_id_of(*NAMES), NAMES, {"spec.image": '"k"'}, mesh.now)
    node.documents._intake.place(change)
    document = node.documents.get(*NAMES)
    assert document is not None
    assert (len(document.heads), document.spec["image"]) == (1, "k")
    assert sorted(map(str, document.siblings["spec.replicas"].values)) == ["2", "3"]


@pytest.mark.parametrize("value", [2, 3, 4])
def test_a_later_put_settles_a_conflict_whichever_value_it_names(value: int) -> None:
    mesh = divided()
    mesh.put("a", "x", {"spec": {"replicas": 2, "image": "i"}})
    mesh.put("b", "x", {"spec": {"replicas": 3, "image": "i"}})
    healed(mesh)
    assert not mesh.put("b", "x", {"spec": {"replicas": value, "image": "i"}}).unchanged
    mesh.settle()
    for node in mesh.nodes.values():
        document = node.documents.get(*NAMES)
        assert document is not None
        assert (document.spec["replicas"], node.documents.conflicts(), len(document.heads)) == (value, (), 1)


def test_a_removal_on_one_side_and_an_edit_on_the_other_are_both_listed() -> None:
    mesh = divided()
    mesh.put("a", "x", {"spec": {"image": "i"}})
    mesh.put("b", "x", {"spec": {"replicas": 3, "image": "i"}})
    (conflict,) = healed(mesh).nodes["a"].documents.conflicts()
    assert set(conflict.values) == {None, 3}


def test_who_leaves_out_a_field_that_was_removed_here_and_edited_there_settles_it() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.put("a", "x", {"v": 1, "w": 1})
    mesh.settle()
    mesh.cut("a", "b")
    for number in range(3):  # so that the removal is in force
        mesh.put("a", "x", {"v": 1, "w": number})
    mesh.put("a", "x", {"w": 9})
    mesh.put("b", "x", {"v": 2, "w": 1})
    mesh.link("a", "b")
    mesh.settle()
    before = mesh.nodes["b"].documents.get("Thing", "default", "x")
    assert before is not None and "v" not in before.fields and "v" in before.siblings
    mesh.put("b", "x", {"w": 9})
    mesh.settle()
    assert [node.documents.conflicts() for node in mesh.nodes.values()] == [(), ()]


def test_one_name_created_on_both_sides_of_a_cut_is_one_document() -> None:
    mesh = Mesh("a", "b")
    mesh.put("a", "x", {"spec": {"only-a": 1, "both": 1}})
    mesh.put("b", "x", {"spec": {"only-b": 2, "both": 2}})
    documents = healed(mesh).nodes["a"].documents
    document = documents.get(*NAMES)
    assert document is not None
    assert (document.spec["only-a"], document.spec["only-b"]) == (1, 2)
    assert [each.field for each in documents.conflicts()] == ["spec.both"]


def test_a_deleted_document_is_gone_everywhere_and_may_be_made_again() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.put("a", "x", {"spec": {"old": 1}})
    mesh.settle()
    mesh.delete("b", "x")
    mesh.settle()
    for node in mesh.nodes.values():
        assert (node.documents.get(*NAMES), node.documents.list(), node.documents.count()) == (None, (), 0)
        node.start()
        assert node.documents.get(*NAMES) is None
    with pytest.raises(NotFound):
        mesh.delete("a", "x")
    assert mesh.put("a", "x", {"spec": {"new": 2}}).created
    document = mesh.nodes["a"].documents.get(*NAMES)
    assert document is not None
    assert (document.spec, document.deleted) == ({"new": 2}, False)


def test_an_edit_wins_against_a_deletion_that_did_not_know_it_and_the_deletion_is_listed() -> None:
    mesh = divided()
    mesh.delete("a", "x")
    mesh.put("b", "x", {"spec": {"replicas": 7, "image": "i"}})
    documents = healed(mesh).nodes["a"].documents
    document = documents.get(*NAMES)
    assert document is not None
    assert document.spec["replicas"] == 7
    (conflict,) = documents.conflicts()
    assert (conflict.field, conflict.values[0]) == ("deleted_at", None)
    assert conflict.writers == (mesh.nodes["b"].id, mesh.nodes["a"].id)
    mesh.put("a", "x", {"spec": {"replicas": 7, "image": "i"}})
    mesh.settle()
    assert mesh.nodes["b"].documents.conflicts() == ()
    mesh.delete("b", "x")
    mesh.settle()
    assert mesh.nodes["a"].documents.get(*NAMES) is None


def test_two_deletions_delete_and_conflict_with_nobody() -> None:
    mesh = divided()
    mesh.delete("a", "x")
    mesh.delete("b", "x")
    documents = healed(mesh).nodes["a"].documents
    assert (documents.get(*NAMES), documents.conflicts()) == (None, ())


def test_listing_is_sorted_and_narrows_by_kind_and_namespace() -> None:
    documents = Mesh("a").nodes["a"].documents
    for kind, namespace, name in (("B", "n", "2"), ("A", "n", "1"), ("A", "m", "3"), ("A", "m", "0")):
        documents.put(kind, namespace, name, {"v": 1}, instant())
    assert [(d.kind, d.namespace, d.name) for d in documents.list()] == [
        ("A", "m", "0"), ("A", "m", "3"), ("A", "n", "1"), ("B", "n", "2"),
    ]  # fmt: skip
    assert [d.name for d in documents.list("A", "m")] == ["0", "3"]
    assert [d.name for d in documents.list("", "n")] == ["1", "2"]
    assert [d.name for d in documents.list("B")] == ["2"]


def by_key(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda each: each.key)


def test_a_node_comes_back_from_its_records_alone_whatever_their_order() -> None:
    mesh = divided()
    mesh.put("a", "x", {"spec": {"replicas": 2, "image": "i"}})
    mesh.put("b", "x", {"spec": {"replicas": 3, "image": "i"}})
    mesh.put("b", "y", {"v": 1})
    healed(mesh)
    for name, node in mesh.nodes.items():
        before, root = node.documents.list(), node.documents.root()
        conflicts = node.documents.conflicts()
        for order in (lambda r: r, reversed, by_key):
            records = list(node.journal.values())
            node.journal = {(each.kind, each.key): each for each in order(records)}
            node.start()
            assert (node.documents.list(), node.documents.root(), node.documents.conflicts()) == (
                before,
                root,
                conflicts,
            )
        assert not mesh.put(name, "y", {"v": name}).unchanged


def test_a_restarted_node_writes_on_and_stamps_later_though_its_clock_went_back() -> None:
    mesh = Mesh("a")
    mesh.put("a", "x", {"v": 1})
    node = mesh.nodes["a"]
    node.start()
    change = node.documents.put(*NAMES, {"v": 2}, instant(0, ClockTrust.FLOOR, wall_ms=0))
    node.perform([Persist(change.records, change.effects)], mesh.now)
    document = node.documents.get(*NAMES)
    assert document is not None
    assert wall_ms(document.updated_hlc) == START_MS
    assert document.spec == {}
    node.start()
    assert node.documents.get(*NAMES) == document


def corrupt(node: Node, number: int) -> Record:
    """Flip a bit in one record."""
    key = list(node.journal)[number]
    record = node.journal[key]
    body = bytearray(record.body)
    body[len(body) // 2] ^= 4
    node.journal[key] = Record(record.kind, record.key, bytes(body))
    return record


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_corrupt_record_is_left_out_noted_and_healed_by_a_peer(number: int) -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    for value in (1, 2, 3):
        mesh.put("a", "x", {"v": value})
    mesh.put("a", "y", {"v": 9})
    mesh.settle()
    whole = mesh.nodes["b"].documents.root()
    node = mesh.nodes["a"]
    corrupt(node, number)
    mesh.restart("a")
    assert node.documents.counters["quarantined"] == 1
    document = node.documents.get(*NAMES)
    assert (document.fields["v"] if document else 0) == number  # what stood before the hole; the rest waits
    assert node.documents.waiting() == 2 - number
    assert node.documents.get("Thing", "default", "y") is not None
    assert node.documents.deadline() == 0
    effects = node.documents.wake(mesh.now)
    assert [type(each) for each in effects] == [Note]
    mesh.put("a", "x", {"v": "written-with-a-hole"})
    mesh.link("a", "b")
    mesh.settle()
    assert len(mesh.roots()) == 1
    assert mesh.roots() != {whole}
    (conflict,) = node.documents.conflicts()
    assert set(conflict.values) == {3, "written-with-a-hole"}
    node.start()
    assert (node.documents.counters["quarantined"], node.documents.waiting()) == (0, 0)


def test_a_flipped_bit_anywhere_in_a_record_is_noticed() -> None:
    """In the signature too, which nobody verifies at start: peers would refuse what this node hands on."""
    mesh = Mesh("a")
    mesh.put("a", "x", {"v": 1})
    node = mesh.nodes["a"]
    ((key, record),) = node.journal.items()
    for at in range(len(record.body)):
        body = bytearray(record.body)
        body[at] ^= 1
        node.journal[key] = Record(record.kind, record.key, bytes(body))
        node.start()
        assert (node.documents.counters["quarantined"], node.documents.count()) == (1, 0), at


def test_a_record_under_the_key_of_another_is_corrupt() -> None:
    mesh = Mesh("a")
    mesh.put("a", "x", {"v": 1})
    mesh.put("a", "y", {"v": 1})
    node = mesh.nodes["a"]
    (one, other) = node.journal.values()
    node.journal[one.kind, one.key] = Record(one.kind, one.key, other.body)
    node.start()
    assert node.documents.counters["quarantined"] == 1
    assert node.documents.count() == 1


def test_a_document_at_its_limit_refuses_more_writes_and_says_what_to_do() -> None:
    node = Node("a", Register(), Table(), store=lambda: AutomergeStore(changes_max=3))
    for value in range(3):
        node.documents.put(*NAMES, {"v": value}, instant())
    with pytest.raises(LocalError, match="document-full") as caught:
        node.documents.put(*NAMES, {"v": "more"}, instant())
    assert (caught.value.code, bool(caught.value.next_step)) == ("document-full", True)
    document = node.documents.get(*NAMES)
    assert document is not None
    assert document.fields == {"v": 2}


def test_engines_are_made_for_changes_in_another_form_and_their_number_is_bounded() -> None:
    node = Node("a", Register(), Table(), store=lambda: AutomergeStore(engines_max=4))
    store = node.documents._store
    assert isinstance(store, AutomergeStore)
    for value in (1, 2):
        for number in range(12):
            change = node.documents.put("Thing", "default", f"d{number}", {"v": value}, instant())
            node.perform([Persist(change.records, change.effects)], instant())
    assert not store._engines
    for number in range(12):
        draft = node.documents._pen.put("Thing", "default", f"d{number}", {"v": 3}, instant())
        assert draft.admitted is not None
        store.apply(msgspec.structs.replace(draft.admitted, proven=False))
    assert len(store._engines) == 4
    node.documents.put("Thing", "default", "d11", {"v": 4}, instant())
    draft = node.documents._pen.put("Thing", "default", "d11", {"v": 3}, instant())
    assert draft.admitted is not None
    store.apply(msgspec.structs.replace(draft.admitted, proven=False))  # on top of one it was not asked about
    assert {document.fields["v"] for document in node.documents.list()} == {3}
    node.start()
    store = node.documents._store
    assert isinstance(store, AutomergeStore)
    assert (len(store._engines), node.documents.count()) == (0, 12)


def test_a_config_out_of_range_is_refused() -> None:
    for wrong in ({"repair_every_us": 0}, {"repair_jitter": 1.0}, {"held_max": 0}):
        with pytest.raises(ValueError, match="out of range"):
            DocumentsConfig(**wrong)  # pyright: ignore[reportArgumentType]
