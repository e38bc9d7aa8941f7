"""Draining whole cores: commands and their answers, the way of a unit with its state, the stories, boots and rights."""

import pytest

from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import (
    Apply,
    CallSkill,
    DescribeNode,
    Drain,
    ListConflicts,
    ListDocuments,
    PlanManifest,
    Resume,
    RunAgent,
    Why,
)
from meshnode.model.document_views import AppliedView, ConflictsView, DocumentsView
from meshnode.model.ids import InstanceId
from meshnode.model.nodewish import node_manifest
from meshnode.model.views import CallView, NodeView, PlanView, WhyView
from meshnode.node.succession import WAIT_US
from tests.unit.node.mesh import Box, Mesh, member_record, signer_of, simulated


def three(*, slow_ms: int = 0) -> tuple[Mesh, Box, Box, Box]:
    """alpha, beta and gamma; words run on beta and remember."""
    mesh = Mesh()
    a, b, c = mesh.start("alpha", "beta", "gamma")
    mesh.run_agent(b, "words", "words.count", stateful=1, answer_ms=slow_ms)
    assert "words/0" in [unit for unit, _ in b.machine.running()]
    return mesh, a, b, c


def drain(box: Box, node: str, reason: str = "") -> AppliedView:
    view = box.answer(Drain(node=node, reason=reason))
    assert isinstance(view, AppliedView), view
    return view


def homes(mesh: Mesh, unit: str = "words/0") -> list[str]:
    return [name for name, box in mesh.boxes.items() if unit in [each for each, _ in box.machine.running()]]


def story(box: Box, subject: str = "node/beta") -> tuple[str, list[str]]:
    view = box.answer(Why(subject=subject))
    assert isinstance(view, WhyView), view
    return view.now, [event.text for event in view.events]


def test_a_drain_moves_a_unit_with_its_state_and_tells_of_both_ends() -> None:
    mesh, a, b, c = three()
    mesh.call(b, "words.add", arguments={"id": "1", "n": 7}, idempotency_key="1")
    view = drain(a, "beta", "new disk")
    assert (view.kind, view.name, view.action, view.notes) == (
        "Node",
        "beta",
        "created",
        ["1 unit moves to other nodes"],
    )
    mesh.until(lambda: len(homes(mesh)) == 1 and homes(mesh) != ["beta"], 3 * SECOND)
    mesh.run(SECOND)
    answer = mesh.call(c, "words.get")
    assert isinstance(answer, CallView) and answer.result["total"] == 7 and answer.node != "beta"
    now, told = story(a)
    assert "node beta is drained (new disk): it has no units" in now
    assert "drained (new disk), as alpha asked: its units move away, and it takes no new ones" in told
    assert "drained: it has no units any more" in story(b)[1]
    assert a.answer(Resume(node="beta")) == AppliedView(
        kind="Node", namespace="default", name="beta", action="updated", notes=[]
    )
    mesh.run(SECOND)
    assert story(c)[1][-1] == "takes units again, as alpha asked"
    assert "drained" not in story(c)[0]


def test_nobody_reads_less_than_was_acknowledged_while_a_unit_moves() -> None:
    """One call after the other, each from another node, while who runs it is drained again and again."""
    mesh, a, b, c = three()
    for turn in range(120):
        box = (a, b, c)[turn % 3]
        if turn % 30 == 0:
            here = homes(mesh)[0]
            for name in mesh.boxes:
                box.answer(Resume(node=name))
            drain(box, here)
        added = mesh.call(box, "words.add", arguments={"id": f"{turn}", "n": 1}, idempotency_key=f"{turn}")
        assert isinstance(added, CallView), added
        read = mesh.call((a, b, c)[(turn + 1) % 3], "words.get")
        assert isinstance(read, CallView) and read.result["total"] == turn + 1
        mesh.run(30 * MS)
    assert b.core.scheduler.claim_of(InstanceId("words/0")) != Epoch(1, b.node), "it has moved"


def test_a_successor_does_not_wait_for_ever_for_a_predecessor_that_does_not_let_go() -> None:
    mesh, a, b, _ = three()
    b.answer(CallSkill(skill="words.add", arguments={"id": "1", "n": 7}))
    b.machine.perform = lambda effect: None  # type: ignore[method-assign]  # its supervisor stops nothing any more
    drain(a, "beta")
    waited = mesh.until(lambda: isinstance(mesh.call(a, "words.get", deadline_s=0.5), CallView), 10 * SECOND)
    answer = mesh.call(a, "words.get")
    assert isinstance(answer, CallView) and (answer.node != "beta", answer.result["total"]) == (True, 7)
    assert waited >= WAIT_US // 2


def test_the_same_again_changes_nothing_and_another_reason_is_news() -> None:
    mesh, a, *_ = three()
    assert drain(a, "gamma", "one").action == "created"
    assert drain(a, "gamma", "one").action == "unchanged"
    assert drain(a, "gamma", "two").action == "updated"
    assert a.answer(Resume(node="beta")) == AppliedView(
        kind="Node", namespace="default", name="beta", action="unchanged", notes=["beta is not drained"]
    )
    assert drain(a, "gamma", "two").notes == ["gamma has no units"]
    mesh.run(SECOND)


def test_bad_names_and_reasons_are_refused_and_nothing_is_written() -> None:
    _, a, *_ = three()
    for command in (Drain(node="nobody"), Resume(node="nobody")):
        a.has(command, "not-found", 3)
    assert a.failure(Drain(node="beta", reason="a\nb")).code == "invalid"
    assert a.failure(Drain(node="beta", reason="x" * 300)).code == "invalid"
    view = a.answer(ListDocuments(kind="Node"))
    assert isinstance(view, DocumentsView) and view.items == []


def test_a_manifest_does_the_same_and_a_plan_of_it_says_what_would_move() -> None:
    mesh, a, b, _ = three()
    manifest = node_manifest("beta", drain=True, reason="by file")
    plan = a.answer(PlanManifest(manifest=manifest))
    assert isinstance(plan, PlanView)
    (row,) = plan.items
    assert (row.unit, row.action, row.now_on) == (
        "words/0",
        "move",
        "beta",
    ) and "beta is drained (by file)" in row.reason
    a.answer(Apply(manifest=manifest))
    mesh.run(3 * SECOND)
    assert homes(mesh) != ["beta"] and len(homes(mesh)) == 1
    for box in (a, b):
        node = box.answer(DescribeNode(name="beta"))
        assert isinstance(node, NodeView) and node.drained
    (document,) = a.answer(ListDocuments(kind="Node")).items  # type: ignore[union-attr]
    assert document.status == {"drained": True, "units": 0, "stay": 0, "staying": {}}
    assert [(row.type, row.status) for row in document.conditions] == [("Accepted", "True"), ("Drained", "True")]


def test_a_pinned_unit_stops_and_its_state_is_there_when_the_node_is_resumed() -> None:
    mesh, a, b, _ = three()
    a.answer(RunAgent(name="pinned", argv=simulated("p", answer_ms=0, stateful=1), on="beta"))
    mesh.run(2 * SECOND)
    mesh.call(a, "pinned.add", arguments={"id": "1", "n": 3}, idempotency_key="k")
    notes = drain(a, "beta", "new disk").notes
    assert notes == [
        "1 unit moves to other nodes",
        "pinned/0 stops until beta takes units again: it may only run on beta, and beta is drained (new disk)",
    ]
    mesh.run(3 * SECOND)
    assert homes(mesh, "pinned/0") == [] and b.machine.running() == []
    told = story(b, "agent/pinned")[1]
    assert "pinned/0: it may only run on beta, and beta is drained (new disk)" in told
    b.answer(Resume(node="beta"))
    mesh.run(3 * SECOND)
    answer = mesh.call(a, "pinned.get")
    assert isinstance(answer, CallView) and (answer.node, answer.result["total"]) == ("beta", 3)


def test_the_only_node_keeps_its_units_and_the_answer_says_so() -> None:
    mesh = Mesh()
    (a,) = mesh.start("alpha")
    mesh.run_agent(a, "words", "words.count")
    assert drain(a, "alpha").notes == ["words/0: it stays: alpha is drained, and there is no other node"]
    mesh.run(5 * SECOND)
    assert homes(mesh) == ["alpha"]
    assert "words/0 stays: alpha is drained, and there is no other node" in story(a, "node/alpha")[0]


def test_a_drain_outlives_restarts_of_who_is_drained() -> None:
    mesh, a, b, _ = three()
    drain(a, "beta", "new disk")
    mesh.run(3 * SECOND)
    mesh.kill(b)
    again = mesh.boot(b, seeds=["alpha"])
    mesh.run(3 * SECOND)
    assert homes(mesh) != ["beta"] and len(homes(mesh)) == 1
    assert "is drained (new disk)" in story(again)[0]
    assert story(again)[1].count("drained: it has no units any more") <= 1


def test_a_drain_and_a_resume_on_two_sides_of_a_cut_are_read_alike_and_shown_as_a_conflict() -> None:
    mesh, a, b, c = three()
    drain(a, "gamma", "one")
    mesh.run(SECOND)
    mesh.isolate(c)
    mesh.run(10 * SECOND)
    drain(a, "gamma", "two")
    c.answer(Resume(node="gamma"))
    mesh.run(SECOND)
    mesh.heal()
    mesh.run(15 * SECOND)
    read = [box.core.intentions.reading.drains for box in (a, b, c)]
    assert read[0] == read[1] == read[2]
    told = a.answer(ListConflicts())
    assert isinstance(told, ConflictsView) and all((row.kind, row.name) == ("Node", "gamma") for row in told.items)
    drain(b, "gamma", "three")
    mesh.run(SECOND)
    assert [box.core.intentions.reading.drains for box in (a, b, c)] == [{"gamma": "three"}] * 3
    settled = a.answer(ListConflicts())
    assert isinstance(settled, ConflictsView) and settled.items == []


@pytest.mark.parametrize(("roles", "allowed"), [(("member",), False), (("gateway",), True), (("admin",), True)])
def test_a_member_may_drain_itself_alone(roles: tuple[str, ...], *, allowed: bool) -> None:
    mesh = Mesh()
    (a,) = mesh.start("alpha")
    record = member_record("beta", signer_of("beta").public_key, roles=roles)
    b = Box(mesh, "beta", member=record, seeds=["alpha"]).start()
    mesh.run(3 * SECOND)
    view = b.answer(Drain(node="alpha"))
    assert isinstance(view, AppliedView) is allowed, view
    assert isinstance(b.answer(Drain(node="beta")), AppliedView)
    mesh.run(SECOND)
    assert a.core.intentions.reading.drains == ({"alpha": "", "beta": ""} if allowed else {"beta": ""})
