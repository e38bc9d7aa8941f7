"""Deleted documents: gone after the horizon, not brought back by sleepers, and those who slept too long are told."""

from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore
from meshnode.crdt.succession import LOOKED_MAX
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.model.ids import DocId
from tests.unit.crdt.ports import Mesh

NAMES = ("Thing", "default", "x")
DOC = doc_id_of(*NAMES)
DAY = 24 * 3600
SHORT = DocumentsConfig(generation_changes=8)


def lived(sleeper: bool = False) -> Mesh:
    """A document with a secret, known to all three; deleted by a, while c may sleep."""
    mesh = Mesh("a", "b", "c", config=SHORT)
    for one, other in (("a", "b"), ("b", "c"), ("a", "c")):
        mesh.link(one, other)
    mesh.put("a", "x", {"secret": "s3cret", "v": 1})
    mesh.settle()
    if sleeper:
        mesh.cut("c", "a")
        mesh.cut("c", "b")
    mesh.delete("a", "x")
    mesh.settle()
    return mesh


def days_pass(mesh: Mesh, days: float) -> None:
    mesh.seconds += days * DAY
    mesh.run(130)


def wake_up(mesh: Mesh) -> None:
    mesh.link("c", "a")
    mesh.link("c", "b")
    mesh.settle()
    mesh.run(130)


def kept(mesh: Mesh, name: str) -> bytes:
    return b"".join(record.body for record in mesh.nodes[name].journal.values())


def generations(mesh: Mesh) -> list[int]:
    return [node.documents._store.pin(DOC)[0] for node in mesh.nodes.values()]


def test_a_deleted_document_is_physically_gone_after_the_horizon_and_not_before() -> None:
    mesh = lived()
    days_pass(mesh, 29.9)
    assert generations(mesh) == [0, 0, 0]
    assert all(b"s3cret" in kept(mesh, name) for name in "abc")
    days_pass(mesh, 0.2)
    assert generations(mesh) == [1, 1, 1]
    assert len(mesh.roots()) == 1
    assert not any(b"s3cret" in kept(mesh, name) for name in "abc")
    assert [node.documents.get(*NAMES) for node in mesh.nodes.values()] == [None] * 3
    mesh.restart("a")
    assert mesh.nodes["a"].documents.get(*NAMES) is None


def test_a_document_may_be_made_anew_on_its_grave() -> None:
    mesh = lived()
    days_pass(mesh, 31)
    mesh.put("b", "x", {"v": 2})
    mesh.settle()
    for node in mesh.nodes.values():
        document = node.documents.get(*NAMES)
        assert document is not None
        assert document.fields == {"v": 2}
        assert node.rejects == []


def test_a_node_that_slept_less_than_the_horizon_brings_nothing_back() -> None:
    mesh = lived(sleeper=True)
    days_pass(mesh, 20)
    wake_up(mesh)
    assert [node.documents.get(*NAMES) for node in mesh.nodes.values()] == [None] * 3
    assert len(mesh.roots()) == 1


def test_a_node_that_slept_longer_brings_nothing_back_and_is_told() -> None:
    mesh = lived(sleeper=True)
    mesh.edit("c", "x", {"v": "late"})
    days_pass(mesh, 40)
    assert generations(mesh) == [1, 1, 0]
    wake_up(mesh)
    assert [node.documents.get(*NAMES) for node in mesh.nodes.values()] == [None] * 3
    assert len(mesh.roots()) == 1
    (note,) = mesh.nodes["c"].notes
    assert "deleted elsewhere" in note.text
    assert note.subject == "document/Thing/default/x"


def test_an_edit_that_met_the_deletion_in_time_keeps_the_document_alive() -> None:
    mesh = lived(sleeper=True)
    mesh.edit("c", "x", {"v": "late"})
    days_pass(mesh, 20)
    wake_up(mesh)
    days_pass(mesh, 20)
    document = mesh.nodes["a"].documents.get(*NAMES)
    assert document is not None
    assert document.fields == {"secret": "s3cret", "v": "late"}


def test_a_clock_nobody_vouches_for_buries_nothing() -> None:
    mesh = lived()
    now = Instant(10**15, mesh.now.wall_ms + 99 * DAY * 1000, ClockTrust.FLOOR)
    a = mesh.nodes["a"]
    a.perform(a.documents.wake(now), now)
    assert generations(mesh) == [0, 0, 0]


def test_a_grave_goes_after_a_year_and_is_not_fetched_again() -> None:
    mesh = lived()
    days_pass(mesh, 31)
    days_pass(mesh, 335)
    assert [len(node.documents._store) for node in mesh.nodes.values()] == [0, 0, 0]
    assert all(kept(mesh, name) == b"" for name in "abc")
    assert len(mesh.roots()) == 1
    for node in mesh.nodes.values():  # and no room is taken by what is gone
        store = node.documents._store
        assert isinstance(store, AutomergeStore) and store._warm_bytes == 0


def crowd(count: int) -> Mesh:
    """A node that has just started, with so many deleted documents, nearly all at rest."""
    mesh = Mesh("a", "b", store=lambda: AutomergeStore(hydrated_min=4))
    for number in range(count):
        mesh.put("a", f"d{number}", {"v": number})
        mesh.delete("a", f"d{number}")
    mesh.link("a", "b")
    mesh.settle()
    mesh.restart("a")
    mesh.link("a", "b")
    mesh.settle()
    return mesh


def used(mesh: Mesh) -> list[DocId]:
    store = mesh.nodes["a"].documents._store
    assert isinstance(store, AutomergeStore)
    return list(store._records)


def test_deleted_documents_are_looked_at_a_few_at_a_time_and_then_rest_until_their_day() -> None:
    mesh = crowd(3 * LOOKED_MAX)
    a, before = mesh.nodes["a"].documents, len(used(mesh))
    a.wake(mesh.now)
    assert LOOKED_MAX - 8 < len(used(mesh)) - before <= LOOKED_MAX
    mesh.run(30)
    mesh.run(600)  # all of them were looked at, and all cooled since
    rested = used(mesh)
    assert len(rested) <= 4
    mesh.run(600)
    assert used(mesh) == rested


def test_all_of_many_deleted_documents_are_gone_after_the_horizon() -> None:
    mesh = crowd(3 * LOOKED_MAX)
    mesh.run(60)
    days_pass(mesh, 31)
    assert {
        each.documents._store.pin(doc)[0] for each in mesh.nodes.values() for doc in each.documents._store.docs()
    } == {1}


def test_only_a_grave_that_nobody_has_written_on_is_forgotten() -> None:
    mesh = lived()
    store = mesh.nodes["a"].documents._store
    assert mesh.nodes["a"].documents._generations.spent_ms(DOC) is None
    days_pass(mesh, 31)
    assert store.changes(DOC) == 1
    assert mesh.nodes["a"].documents._generations.spent_ms(DOC) is not None
    mesh.put("a", "x", {"v": 3})
    assert mesh.nodes["a"].documents._generations.spent_ms(DOC) is None
