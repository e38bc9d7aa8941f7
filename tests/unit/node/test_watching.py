"""Watching documents: every write once, in order, on from any cursor that is known, and named where it is not."""

from typing import Any

import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import Apply, DeleteDocument, WatchDocuments
from meshnode.model.document_views import AppliedView, DocumentEvent, WatchView
from meshnode.node import watching
from meshnode.node.inputs import CommandDropped
from tests.unit.node.mesh import Box, Mesh

KIND = "AgentCluster"


def manifest(name: str, replicas: int) -> dict[str, Any]:
    agents = [{"name": "words", "replicas": replicas}]
    return {"apiVersion": "v1", "kind": KIND, "metadata": {"name": name}, "spec": {"agents": agents}}


def alone() -> tuple[Mesh, Box]:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    return mesh, box


def put(box: Box, name: str, replicas: int = 0) -> None:
    box.answer(Apply(manifest=manifest(name, replicas)))


def delete(box: Box, name: str) -> None:
    box.answer(DeleteDocument(kind=KIND, namespace="default", name=name))


def watched(box: Box, after: str = "", **more: Any) -> WatchView:  # noqa: ANN401 - fields of the command
    view = box.answer(WatchDocuments(after=after, **more))
    assert isinstance(view, WatchView), view
    return view


def types(view: WatchView) -> list[tuple[str, str]]:
    return [(event.type, event.name) for event in view.items]


def test_a_watch_begins_with_all_documents_and_goes_on_with_every_change_once_and_in_order() -> None:
    _, box = alone()
    put(box, "one")
    put(box, "two")
    first = watched(box)
    assert sorted(types(first)) == [("added", "one"), ("added", "two"), ("synced", "")]
    put(box, "one", 1)
    put(box, "three")
    delete(box, "two")
    put(box, "two", 2)
    then = watched(box, first.cursor)
    assert types(then) == [("changed", "one"), ("added", "three"), ("deleted", "two"), ("added", "two")]
    assert [event.by for event in then.items] == ["alpha"] * 4
    assert then.items[0].fields == ["spec.agents"]
    assert then.items[2].document is None
    assert then.items[3].document is not None
    assert types(watched(box, then.cursor)) == []
    assert types(watched(box, then.items[1].cursor)) == [("deleted", "two"), ("added", "two")]


def test_a_wait_ends_with_the_first_change_that_fits_and_no_other() -> None:
    mesh, box = alone()
    cursor = watched(box).cursor
    number = box.ask(WatchDocuments(name="two", after=cursor, wait_ms=20_000))
    put(box, "one")
    mesh.run(SECOND)
    assert number not in box.replies
    put(box, "two")
    mesh.run(SECOND)
    (view,) = box.replies[number]
    assert isinstance(view, WatchView)
    assert types(view) == [("added", "two")]


def test_a_wait_ends_at_its_time_with_a_cursor_that_went_on() -> None:
    mesh, box = alone()
    cursor = watched(box).cursor
    number = box.ask(WatchDocuments(name="nobody", after=cursor, wait_ms=2_000))
    put(box, "one")
    mesh.run(3 * SECOND)
    (view,) = box.replies[number]
    assert isinstance(view, WatchView)
    assert (view.items, view.cursor != cursor) == ([], True)


def test_who_has_gone_is_not_waited_for() -> None:
    mesh, box = alone()
    number = box.ask(WatchDocuments(after=watched(box).cursor, wait_ms=2_000))
    box.tell(CommandDropped(number))
    mesh.run(3 * SECOND)
    assert number not in box.replies
    assert box.core.watching.deadline() is None


def test_a_cursor_holds_over_a_restart_and_tells_what_came_while_nobody_watched() -> None:
    mesh, box = alone()
    put(box, "one")
    cursor = watched(box).cursor
    put(box, "one", 1)
    delete(box, "one")
    mesh.kill(box)
    again = mesh.boot(box)
    mesh.run(SECOND)
    put(again, "two")
    assert types(watched(again, cursor)) == [("changed", "one"), ("deleted", "one"), ("added", "two")]


def test_a_cursor_that_nobody_knows_any_more_is_answered_by_resync_and_all_documents() -> None:
    _, box = alone()
    put(box, "one")
    view = watched(box, f"e.{'ab' * 32}")
    assert types(view) == [("resync", ""), ("added", "one"), ("synced", "")]
    put(box, "two")
    assert types(watched(box, view.cursor)) == [("added", "two")]


def test_a_reader_that_is_too_far_behind_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "EVENTS_MAX", 3)
    _, box = alone()
    start = watched(box).cursor
    for number in range(5):
        put(box, "one", number)
    assert types(watched(box, start))[0] == ("resync", "")
    assert len(box.core.watching._told) == len(box.core.watching._numbers) == 3


def test_all_documents_come_in_pages_that_can_be_gone_on_with() -> None:
    _, box = alone()
    for number in range(7):
        put(box, f"doc-{number}")
    seen, after = list[DocumentEvent](), ""
    for _ in range(10):
        view = watched(box, after, limit=3)
        seen += view.items
        after = view.cursor
        if view.items[-1].type == "synced":
            break
    assert sorted(types(WatchView(items=seen, cursor=""))) == sorted(
        [*(("added", f"doc-{number}") for number in range(7)), ("synced", "")]
    )


def test_changes_come_in_pages_too() -> None:
    _, box = alone()
    after = watched(box).cursor
    for number in range(5):
        put(box, "one", number)
    first = watched(box, after, limit=2)
    assert (len(first.items), first.more) == (2, True)
    rest = watched(box, first.cursor)
    assert (len(rest.items), rest.more) == (3, False)


def test_a_change_of_another_node_is_told_with_its_author() -> None:
    mesh = Mesh()
    alpha, beta = mesh.start("alpha", "beta")
    mesh.run(5 * SECOND)
    cursor = watched(beta).cursor
    put(alpha, "one")
    mesh.run(SECOND)
    view = watched(beta, cursor)
    assert [(event.type, event.name, event.by) for event in view.items] == [("added", "one", "alpha")]


def of_region(name: str, region: str) -> Apply:
    written = manifest(name, 0)
    written["metadata"]["labels"] = {"region": region}
    return Apply(manifest=written)


def interest(box: Box, *regions: str) -> None:
    spec = {"drain": False, **({"interest": {"regions": list(regions)}} if regions else {})}
    view = box.answer(Apply(manifest={"apiVersion": "v1", "kind": "Node", "metadata": {"name": "alpha"}, "spec": spec}))
    assert isinstance(view, AppliedView), view


def test_what_a_node_wants_no_more_is_seen_to_go_and_to_come_back() -> None:
    _, box = alone()
    box.answer(of_region("one", "west"))
    box.answer(of_region("two", "east"))
    cursor = watched(box, kind=KIND).cursor
    interest(box, "west")
    then = watched(box, cursor, kind=KIND)
    assert types(then) == [("deleted", "two")]
    assert sorted(types(watched(box, kind=KIND))) == [("added", "one"), ("synced", "")]
    box.answer(of_region("one", "east"))
    moved = watched(box, then.cursor, kind=KIND)
    assert types(moved) == [("deleted", "one")]
    assert box.answer(of_region("two", "east")).code == "not-held-here"  # pyright: ignore[reportAttributeAccessIssue]
    interest(box)
    assert sorted(types(watched(box, moved.cursor, kind=KIND))) == [("added", "one"), ("added", "two")]


def test_junk_is_refused_by_name() -> None:
    _, box = alone()
    box.has(WatchDocuments(after="x.1"), "invalid", 2)
    box.has(WatchDocuments(limit=0), "invalid", 2)
    box.has(WatchDocuments(wait_ms=-1), "invalid", 2)
