"""Documents applied in one turn: one commit, few signatures, an answer each; from memory before anything is made."""

from collections import deque
from typing import Any

import msgspec
import pytest

from meshnode.crdt.store import PROMISED_MAX
from meshnode.kernel.instant import MS
from meshnode.kernel.records import RecordKind
from meshnode.model.commands import Apply, DeleteDocument, GetStatus, ListDocuments, Shutdown
from meshnode.model.document_views import AppliedView
from meshnode.model.views import AnyView, Failure
from meshnode.node.effects import Reply, Store
from meshnode.node.inputs import CommandGiven, CommandsGiven, Input, LoadSampled, Measured
from meshnode.node.puts import GATHERED_MAX, PROMISE_US, gathered
from tests.unit.node.mesh import LOAD, Box, Mesh

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


def lazies(*names: str, first: int = 2001, replicas: int = 0) -> CommandsGiven:
    return CommandsGiven(
        tuple(applied(first + n, name, lazily=True, replicas=replicas) for n, name in enumerate(names))
    )


def action(box: Box, number: int) -> tuple[str, str]:
    (view,) = box.replies[number]
    assert isinstance(view, AppliedView), view
    return view.action, view.durability


def signatures(box: Box) -> list[bytes]:
    frames = [msgspec.msgpack.decode(r.body[8:]) for r in box.journal if r.kind is RecordKind.ENVELOPE]
    return [signature for _, signature, *_ in frames]


def test_a_lazy_write_is_answered_before_anything_is_made_of_it() -> None:
    _, box = alone()
    effects = box.tell(applied(1001, "one", lazily=True))
    assert [type(each) for each in effects] == [Reply]
    assert action(box, 1001) == ("created", "lazy")
    assert box.core.documents.get(KIND, "default", "one") is None, "the room has it a moment later"


def test_what_is_promised_is_made_signed_once_and_given_to_the_disk_when_its_time_is_over() -> None:
    mesh, box = alone()
    box.tell(lazies("a", "b"))
    mesh.run(PROMISE_US - 1 * MS)
    box.tell(lazies("c", first=2003))
    assert not signatures(box)
    mesh.run(1 * MS)
    assert len(signatures(box)) == 3 and len(set(signatures(box))) == 1
    assert box.core.puts.deadline() is None


@pytest.mark.parametrize(
    "event",
    [
        CommandGiven(3001, ListDocuments(kind=KIND)), applied(3001, "two"), LoadSampled(LOAD),
        CommandGiven(3001, Shutdown()),
    ],
)  # fmt: skip
def test_what_is_promised_is_made_before_anything_else_is_done(event: Input) -> None:
    _, box = alone()
    box.tell(lazies("one"))
    box.tell(event)
    found = box.core.documents.get(KIND, "default", "one")
    assert found is not None and not box.core.puts.owes


def test_a_second_write_of_a_document_stands_on_what_was_promised_of_it() -> None:
    mesh, box = alone()
    box.tell(lazies("one", "other"))
    box.tell(
        CommandsGiven(
            (*lazies("one", first=2003, replicas=3).commands, *lazies("one", first=2004, replicas=3).commands)
        )
    )
    mesh.run(PROMISE_US)
    assert [action(box, number)[0] for number in (2001, 2002, 2003, 2004)] == [
        "created",
        "created",
        "updated",
        "unchanged",
    ]
    found = box.core.documents.get(KIND, "default", "one")
    assert found is not None and found.changes == 2


def test_a_policy_is_in_force_before_the_next_put_is_judged() -> None:
    _, box = alone()
    policy = {"apiVersion": "v1", "kind": "Policy", "metadata": {"name": "somebody"}, "spec": {"roles": ["member"]}}
    box.tell(CommandGiven(1001, Apply(manifest=policy, durability="lazy")))
    assert action(box, 1001) == ("created", "lazy")
    assert box.core.documents.get("Policy", "default", "somebody") is not None


def test_what_was_promised_before_a_policy_is_made_before_it() -> None:
    """Otherwise it could be of a time when this node may not write it any more, and every peer would refuse it."""
    _, box = alone()
    policy = {"apiVersion": "v1", "kind": "Policy", "metadata": {"name": "somebody"}, "spec": {"roles": ["member"]}}
    box.tell(CommandsGiven((*lazies("one").commands, CommandGiven(1001, Apply(manifest=policy, durability="lazy")))))
    one, other = (
        box.core.documents.get(*names) for names in ((KIND, "default", "one"), ("Policy", "default", "somebody"))
    )
    assert one is not None and other is not None and one.updated_hlc < other.updated_hlc


def test_no_more_is_promised_than_the_store_keeps_room_for() -> None:
    _, box = alone()
    names = [f"n{number}" for number in range(PROMISED_MAX + 10)]
    for at in range(0, len(names), GATHERED_MAX):
        box.tell(lazies(*names[at : at + GATHERED_MAX], first=5001 + at))
    assert all(action(box, 5001 + number) == ("created", "lazy") for number in range(len(names)))
    assert len(box.core.documents.list(KIND)) == PROMISED_MAX
    assert box.core.puts.owes


def test_what_a_node_wants_is_in_force_before_the_next_put_is_judged() -> None:
    _, box = alone()

    def lazily(number: int, document: dict[str, Any]) -> AnyView:
        box.tell(CommandGiven(number, Apply(manifest=document, durability="lazy")))
        return box.replies[number][0]

    def wants(number: int, *regions: str) -> AnyView:
        spec: dict[str, Any] = {"drain": False, "interest": {"regions": list(regions)}}
        return lazily(number, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "alpha"}, "spec": spec})

    there = manifest("there")
    there["metadata"]["labels"] = {"region": "east"}
    assert isinstance(wants(1, "west"), AppliedView)
    refused = lazily(2, there)
    assert isinstance(refused, Failure) and refused.code == "not-held-here"
    assert isinstance(wants(3, "east", "west"), AppliedView)
    assert isinstance(lazily(4, there), AppliedView)


def test_what_is_promised_of_what_waited_for_this_boot_is_made_before_what_waited_behind_it() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha")
    box.start()
    box.tell(applied(1001, "one", lazily=True))
    box.tell(CommandGiven(1002, DeleteDocument(kind=KIND, namespace="default", name="one")))
    box.tell(applied(1003, "one", lazily=True))
    assert not box.replies
    mesh.run(100 * MS)
    assert action(box, 1001) == ("created", "lazy")
    assert not isinstance(box.replies[1002][0], Failure), box.replies[1002]
    assert action(box, 1003) == ("created", "lazy")


def test_who_is_content_with_memory_hears_what_is_wrong_as_everybody_does() -> None:
    _, box = alone()
    wrong = manifest("wrong") | {"spec": {"reason": "x" * (128 * 1024)}}
    box.tell(CommandsGiven((CommandGiven(1, Apply(manifest=wrong, durability="lazy")), *lazies("one").commands)))
    assert isinstance(box.replies[1][0], Failure)
    assert action(box, 2001) == ("created", "lazy")


def test_something_that_comes_before_a_promise_is_a_mistake_of_ours_and_is_noticed() -> None:
    _, box = alone()
    box.tell(lazies("one"))
    box.core.documents.put(KIND, "default", "one", {"spec": {"x": 1}}, box.now)
    with pytest.raises(AssertionError, match="came before a promise"):
        box.tell(LoadSampled(LOAD))
