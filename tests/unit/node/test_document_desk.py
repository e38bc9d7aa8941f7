"""What the node tells of one document, how a conflict ends, and what a stick brings."""

from typing import Any

import pytest

from meshnode.kernel.instant import SECOND
from meshnode.model import commands
from meshnode.model.commands import Apply, Drain, ListConflicts, ResolveConflict, StickItem
from meshnode.model.document_views import (
    AppliedView,
    ConflictsView,
    DocumentDiffView,
    DocumentHistoryView,
    DocumentStateView,
    DocumentsView,
    ImportedView,
    StickView,
    SyncView,
)
from meshnode.model.views import AnyView, Failure
from tests.unit.node.mesh import Box, Mesh

KIND, NAMESPACE, NAME = "AgentCluster", "default", "line"
NAMES = {"kind": KIND, "namespace": NAMESPACE, "name": NAME}


def manifest(replicas: int, generation: int, name: str = NAME) -> dict[str, Any]:
    spec = {"replicas": replicas, "generation": generation}
    return {"apiVersion": "v1", "kind": KIND, "metadata": {"name": name}, "spec": spec}


def put(box: Box, replicas: int, generation: int, name: str = NAME) -> None:
    box.answer(Apply(manifest=manifest(replicas, generation, name)))


def told(box: Box, command: commands.AnyCommand, view: type[AnyView]) -> Any:  # noqa: ANN401 - that view
    answer = box.answer(command)
    assert isinstance(answer, view), answer
    return answer


def torn() -> tuple[Mesh, Box, Box]:
    """Both wrote the same two fields while they could not hear each other."""
    mesh = Mesh()
    alpha, beta = mesh.start("alpha", "beta")
    mesh.run(5 * SECOND)
    put(alpha, 1, 1)
    mesh.run(SECOND)
    mesh.cut("alpha", "beta")
    mesh.run(20 * SECOND)
    put(alpha, 2, 2)
    put(beta, 3, 3)
    mesh.heal()
    mesh.until(lambda: len(conflicts(alpha)) == len(conflicts(beta)) == 2, 60 * SECOND)
    return mesh, alpha, beta


def conflicts(box: Box) -> dict[str, list[Any]]:
    view: ConflictsView = told(box, ListConflicts(), ConflictsView)
    return {item.field: item.values for item in view.items}


def test_each_field_names_its_writer_and_what_was_written_beside_it() -> None:
    _, alpha, _ = torn()
    view: DocumentStateView = told(alpha, commands.ShowDocument(**NAMES), DocumentStateView)
    by = {field.field: field for field in view.fields}
    assert by["apiVersion"].writer == "alpha"
    assert {by["spec.replicas"].writer, *by["spec.replicas"].other_writers} == {"alpha", "beta"}
    assert {by["spec.replicas"].value, *by["spec.replicas"].others} == {2, 3}
    assert all(field.at_ms > 0 for field in view.fields)


def test_history_and_difference_are_told_write_by_write() -> None:
    mesh = Mesh()
    (alpha,) = mesh.start("alpha")
    mesh.run(SECOND)
    for number in (1, 2, 3):
        put(alpha, number, 7)
    history: DocumentHistoryView = told(alpha, commands.DocumentHistory(**NAMES), DocumentHistoryView)
    assert [(each.number, each.writer, each.fields.get("spec.replicas")) for each in history.items] == [
        (3, "alpha", 3), (2, "alpha", 2), (1, "alpha", 1),
    ]  # fmt: skip
    short: DocumentHistoryView = told(alpha, commands.DocumentHistory(**NAMES, limit=1), DocumentHistoryView)
    assert (len(short.items), short.left_out) == (1, 2)
    diff: DocumentDiffView = told(alpha, commands.DocumentDiff(**NAMES, first=1), DocumentDiffView)
    assert diff.changed == {"spec.replicas": [1, 3]}
    alpha.has(commands.DocumentDiff(**NAMES, first=9), "not-found", 3)
    alpha.has(commands.DocumentHistory(kind=KIND, namespace=NAMESPACE, name="nobody"), "not-found", 3)
    alpha.has(commands.ShowDocument(kind=KIND, namespace=NAMESPACE, name="nobody"), "not-found", 3)
    alpha.has(commands.DocumentHistory(**NAMES, limit=0), "invalid", 2)


def test_a_document_whose_history_was_just_summed_up_has_none_and_is_known() -> None:
    mesh = Mesh()
    (alpha,) = mesh.start("alpha")
    mesh.run(SECOND)
    written = 0
    while not written or told(alpha, commands.DocumentHistory(**NAMES), DocumentHistoryView).items:
        assert written <= 257, "its generation never ends"
        put(alpha, 1, written)
        mesh.run(SECOND // 2)
        written += 1
    diff: DocumentDiffView = told(alpha, commands.DocumentDiff(**NAMES, first=0), DocumentDiffView)
    assert diff.changed == {}
    alpha.has(commands.DocumentDiff(**NAMES, first=1), "not-found", 3)


@pytest.mark.parametrize("pick", [1, 2])
def test_a_pick_ends_a_conflict_everywhere_and_leaves_the_others(pick: int) -> None:
    mesh, alpha, beta = torn()
    wanted = conflicts(alpha)["spec.replicas"][pick - 1]
    view = told(alpha, ResolveConflict(**NAMES, field="spec.replicas", pick=pick), AppliedView)
    assert view.action == "updated"
    mesh.run(5 * SECOND)
    for box in (alpha, beta):
        assert list(conflicts(box)) == ["spec.generation"]
        state: DocumentStateView = told(box, commands.ShowDocument(**NAMES), DocumentStateView)
        assert {field.field: field.value for field in state.fields}["spec.replicas"] == wanted


def test_a_value_of_ones_own_ends_a_conflict_too_if_the_document_stays_a_good_one() -> None:
    _, alpha, _ = torn()
    refused = alpha.has(ResolveConflict(**NAMES, field="spec.replicas", value="many"), "invalid", 2)
    assert "replicas" in refused.message
    told(alpha, ResolveConflict(**NAMES, field="spec.replicas", value=9), AppliedView)
    assert list(conflicts(alpha)) == ["spec.generation"]


def test_what_is_no_conflict_or_no_choice_is_refused_by_name() -> None:
    _, alpha, _ = torn()
    alpha.has(ResolveConflict(**NAMES, field="apiVersion", pick=1), "not-found", 3)
    alpha.has(ResolveConflict(**NAMES, field="spec.replicas", pick=3), "invalid", 2)
    alpha.has(ResolveConflict(kind=KIND, namespace=NAMESPACE, name="nobody", field="x", pick=1), "not-found", 3)
    alpha.has(ResolveConflict(kind="State", namespace="", name="words/0", field="x", pick=1), "invalid", 2)


@pytest.mark.parametrize(("pick", "left"), [(1, 1), (2, 0)])
def test_a_deletion_that_met_an_edit_is_decided_by_a_pick(pick: int, left: int) -> None:
    mesh, alpha, beta = torn()
    mesh.cut("alpha", "beta")
    mesh.run(20 * SECOND)
    alpha.answer(commands.DeleteDocument(**NAMES))
    put(beta, 5, 5)
    mesh.heal()
    mesh.until(lambda: "deleted_at" in conflicts(alpha), 60 * SECOND)
    alpha.has(ResolveConflict(**NAMES, field="deleted_at", value=1), "invalid", 2)
    told(alpha, ResolveConflict(**NAMES, field="deleted_at", pick=pick), AppliedView)
    mesh.run(5 * SECOND)
    for box in (alpha, beta):
        assert box.core.documents.count() == left
        assert "deleted_at" not in conflicts(box)


def test_a_stick_in_pages_brings_all_to_a_node_of_the_mesh_that_was_never_linked() -> None:
    mesh = Mesh()
    alpha, beta = Box(mesh, "alpha").start(), Box(mesh, "beta").start()
    mesh.run(SECOND)
    for number in range(5):
        put(alpha, number, number, f"doc-{number}")
    page: StickView = told(alpha, commands.ExportStick(), StickView)
    assert (page.documents, page.next) == (5, "")
    items = [StickItem(item.kind, item.data) for item in page.items]
    first: ImportedView = told(beta, commands.ImportStick(items=items), ImportedView)
    assert (first.applied, first.members, first.refused) == (5, 1, {})
    again: ImportedView = told(beta, commands.ImportStick(items=items), ImportedView)
    assert (again.applied, again.held) == (0, 5)
    assert alpha.core.documents.root() == beta.core.documents.root()
    alpha.has(commands.ExportStick(after="zz"), "invalid", 2)
    beta.has(commands.ImportStick(items=[StickItem(1, b"")] * 5_001), "invalid", 2)


def test_sync_asks_every_linked_peer_now() -> None:
    mesh = Mesh()
    alpha, _ = mesh.start("alpha", "beta")
    mesh.run(5 * SECOND)
    view: SyncView = told(alpha, commands.SyncNow(), SyncView)
    assert (view.peers, view.waiting) == (["beta"], 0)


def test_a_lazy_write_is_answered_before_its_commit_and_says_what_it_is() -> None:
    (box,) = Mesh().start("alpha")
    box.disk = "slow"
    view = told(box, Apply(manifest=manifest(1, 1), durability="lazy"), AppliedView)
    assert (view.action, view.durability) == ("created", "lazy")
    box.disk = "ok"
    view = told(box, Apply(manifest=manifest(2, 2), durability="local"), AppliedView)
    assert (view.action, view.durability) == ("updated", "local")
    assert told(box, Apply(manifest=manifest(2, 2)), AppliedView).action == "unchanged"


@pytest.mark.parametrize("level", ["auto", "replicated(2)", "disk", "LAZY"])
def test_a_level_that_documents_do_not_have_is_refused_and_nothing_is_stored(level: str) -> None:
    (box,) = Mesh().start("alpha")
    view = box.has(Apply(manifest=manifest(1, 1), durability=level), "invalid", 2)
    assert level in view.message and "lazy" in view.next_step
    assert told(box, Apply(manifest=manifest(1, 1)), AppliedView).action == "created"


def test_a_document_that_a_node_does_not_want_is_fetched_when_it_is_asked_for() -> None:
    mesh = Mesh()
    alpha, beta = mesh.start("alpha", "beta")
    spec = {"drain": False, "interest": {"regions": ["west"]}}
    beta.answer(Apply(manifest={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "beta"}, "spec": spec}))
    mesh.run(5 * SECOND)
    far = manifest(1, 1)
    far["metadata"]["labels"] = {"region": "east"}
    alpha.answer(Apply(manifest=far))
    mesh.run(10 * SECOND)
    first = beta.answer(commands.ShowDocument(**NAMES))
    assert isinstance(first, Failure)
    assert first.message.startswith("no AgentCluster default/line is here: beta wants documents of region west")
    assert first.next_step == "ask again in a second"
    mesh.run(SECOND)
    view: DocumentStateView = told(beta, commands.ShowDocument(**NAMES), DocumentStateView)
    assert "may be old" in view.note
    assert {field.field: field.value for field in view.fields}["spec.generation"] == 1
    listed: DocumentsView = told(beta, commands.ListDocuments(kind=KIND), DocumentsView)
    assert listed.items == []
    beta.answer(Drain(node="beta", reason="new disk"))
    assert beta.core.documents.interests.mine.regions == ("west",), "a drain keeps what else stands there"
