"""Documents applied in one turn: one commit, few signatures, an answer each."""

from collections import deque
from typing import Any

from meshnode.kernel.instant import MS
from meshnode.model.commands import Apply, GetStatus
from meshnode.model.views import AppliedView, Failure
from meshnode.node.effects import Store
from meshnode.node.inputs import CommandGiven, CommandsGiven, Input, Measured
from meshnode.node.puts import GATHERED_MAX, gathered
from tests.unit.node.mesh import Box, Mesh

KIND = "AgentCluster"


def manifest(name: str, replicas: int = 0) -> dict[str, Any]:
    agents = [{"name": "words", "replicas": replicas}]
    return {"apiVersion": "v1", "kind": KIND, "metadata": {"name": name}, "spec": {"agents": agents}}


def applied(number: int, name: str, *, lazily: bool = False, **more: int) -> CommandGiven:
    return CommandGiven(number, Apply(manifest=manifest(name, **more), durability="lazy" if lazily else "local"))


def alone() -> tuple[Mesh, Box]:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    return mesh, box


def test_what_is_applied_in_one_turn_is_one_batch_for_the_disk_and_each_has_its_answer() -> None:
    mesh, box = alone()
    wrong = CommandGiven(1003, Apply(manifest={"kind": KIND}))
    effects = box.tell(
        CommandsGiven((applied(1001, "one"), applied(1002, "two"), wrong, applied(1004, "one", replicas=1)))
    )
    envelopes = [len(each.records) for each in effects if isinstance(each, Store) and len(each.records) > 1]
    assert envelopes == [3]
    mesh.run(100 * MS)
    views = [box.replies[number][0] for number in (1001, 1002, 1003, 1004)]
    assert [view.action for view in views if isinstance(view, AppliedView)] == ["created", "created", "updated"]
    assert isinstance(views[2], Failure)
    assert {document.name for document in box.core.documents.list(KIND)} == {"one", "two"}


def test_lazy_ones_are_answered_at_once_and_the_others_by_their_commit() -> None:
    _, box = alone()
    box.tell(
        CommandsGiven((applied(1001, "one", lazily=True), applied(1002, "two"), applied(1003, "three", lazily=True)))
    )
    assert {number: number in box.replies for number in (1001, 1002, 1003)} == {1001: True, 1002: False, 1003: True}


def test_only_what_applies_documents_is_gathered_and_everything_keeps_its_place() -> None:
    status, measured = CommandGiven(3, GetStatus()), Measured(0, 0, 0)
    inbox: deque[Input] = deque([applied(1, "a"), measured, applied(2, "b"), status, applied(4, "c"), applied(5, "d")])
    told = list(gathered(inbox, 5))
    assert told == [measured, CommandsGiven((applied(1, "a"), applied(2, "b"))), status, applied(4, "c")]
    assert list(inbox) == [applied(5, "d")]


def test_not_more_than_so_many_are_gathered() -> None:
    inbox: deque[Input] = deque(applied(number, "a") for number in range(2 * GATHERED_MAX))
    told = list(gathered(inbox, 1000))
    sizes = [len(each.commands) if isinstance(each, CommandsGiven) else 1 for each in told]
    assert sum(sizes) == 2 * GATHERED_MAX
    assert max(sizes) == GATHERED_MAX
