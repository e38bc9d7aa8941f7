"""Wishes about agents, through the desk: what they start and stop, and everything that refuses them."""

from typing import Any

import pytest

from meshnode.agents.messages import StartProcess
from meshnode.deployments.bundles import BUNDLE_BYTES_MAX
from meshnode.kernel.blobs import digest_of
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.records import RecordKind
from meshnode.model.commands import (
    Apply,
    DeleteDocument,
    KeepBundle,
    ListDocuments,
    PlanManifest,
    RestartAgent,
    RunAgent,
    Scale,
    StopAgent,
    Why,
)
from meshnode.model.document_views import AppliedView, DocumentsView
from meshnode.model.views import AgentView, CallView, Done, PlanView, WhyView
from tests.unit.node.mesh import Box, Mesh, member_record, signer_of, simulated

WORDS = RunAgent(name="words", argv=simulated("words.count", answer_ms=0))
SOURCE = b"from meshnode.sdk import Agent\n"
CARRIED = RunAgent(name="words", file="/lab/simulated-agent.py", argv=["words.count"], source=SOURCE)


def team(replicas: int = 1, *, name: str = "team", agent: str = "words", run: bool = False) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": agent, "replicas": replicas}
    if run:
        entry["run"] = {"command": simulated("words.count", answer_ms=0)}
    return {"apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": name}, "spec": {"agents": [entry]}}


def alone() -> tuple[Mesh, Box]:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    return mesh, box


def starts(box: Box) -> list[str]:
    return [effect.instance for effect in box.effects if isinstance(effect, StartProcess)]


def plan(box: Box, manifest: dict[str, Any] | None = None) -> list[tuple[str, str, str]]:
    view = box.answer(PlanManifest(manifest=manifest or {}))
    assert isinstance(view, PlanView)
    return [(row.unit, row.action, row.node) for row in view.items]


# -- run and stop ------------------------------------------------------------------------------------------------------


def test_run_is_wanted_on_every_node_and_runs_near_the_one_that_was_asked() -> None:
    mesh = Mesh()
    boxes = mesh.start("alpha", "beta", "gamma")
    mesh.run_agent(boxes[1], "words", "words.count")
    assert [box.running() for box in boxes] == [[], ["words/0"], []]
    for box in boxes:
        view = box.units()["words/0", "beta"]
        assert (view.state, view.epoch, view.durability) == ("running", "1@beta", "auto")


def test_the_same_run_from_another_node_is_harmless_and_another_recipe_is_refused_there_too() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(a, "words", "words.count")
    view = b.answer(WORDS)
    assert isinstance(view, AgentView) and (view.node, view.state) == ("alpha", "running")
    refusal = b.has(RunAgent(name="words", argv=simulated("words.sort")), "invalid", 2)
    assert "another recipe" in refusal.message and "meshnode stop words" in refusal.next_step
    b.has(RunAgent(name="words", argv=WORDS.argv, on="beta"), "invalid", 2)
    mesh.run(5 * SECOND)
    assert (starts(a), starts(b)) == (["words/0"], [])


@pytest.mark.parametrize(
    "command",
    [
        RunAgent(name="a b", argv=["x"]),
        RunAgent(name="words"),
        RunAgent(name="words", argv=[""]),
        RunAgent(name="words", argv=["x"], cwd="here"),
        RunAgent(name="words", argv=["x"], environment={"MESHNODE_TICKET": "1"}),
        RunAgent(name="words", argv=["x"], replicas=-1),
        RunAgent(name="words", argv=["x"], tier="thread"),
        RunAgent(name="words", argv=["x"], durability="always"),
        RunAgent(name="words", file="words.py"),
        RunAgent(name="words", file="/words.py", source=b"x" * (BUNDLE_BYTES_MAX + 1)),
    ],
)
def test_a_run_that_breaks_a_rule_is_invalid_and_leaves_nothing(command: RunAgent) -> None:
    mesh, box = alone()
    box.has(command, "invalid", 2)
    mesh.run(SECOND)
    assert box.core.documents.count() == 0 and not box.running() and len(box.blobs) == 0


def test_a_run_on_a_node_nobody_knows_is_not_found() -> None:
    _, box = alone()
    view = box.has(RunAgent(name="words", argv=["x"], on="omega"), "not-found", 3)
    assert "known: alpha" in view.message


def test_what_may_only_run_elsewhere_runs_there_and_waits_while_that_node_is_gone() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(RunAgent(name="words", argv=WORDS.argv, on="beta"))
    mesh.run(2 * SECOND)
    assert (a.running(), b.running()) == ([], ["words/0"])
    mesh.kill(b)
    mesh.run(20 * SECOND)
    assert a.running() == []
    (view,) = [view for view in a.units().values() if view.node != "beta"] or [a.units()["words/0", "beta"]]
    assert view.state in ("pending", "unreachable") and view.reason


def test_a_wanted_agent_that_nothing_can_run_is_pending_with_the_reason() -> None:
    mesh, box = alone()
    box.answer(RunAgent(name="words", argv=["x"], region="mars"))
    mesh.run(5 * SECOND)
    view = box.units()["words/0", ""]
    assert view.state == "pending" and "mars" in view.reason
    story = box.answer(Why(subject="words"))
    assert isinstance(story, WhyView) and story.now.startswith("agent words/0: pending: ")


def test_a_stopped_agent_stops_everywhere_and_may_be_run_again_in_another_way() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(RunAgent(name="words", argv=WORDS.argv, replicas=2))
    mesh.run(4 * SECOND)
    assert (a.running(), b.running()) == (["words/0"], ["words/1"])
    view = b.answer(StopAgent(name="agent/words"))
    assert isinstance(view, AgentView) and (view.state, view.reason) == ("stopping", "stopped as asked")
    mesh.run(2 * SECOND)
    assert (a.running(), b.running(), a.units()) == ([], [], {})
    mesh.run_agent(b, "words", "words.sort")
    assert b.running() == ["words/0"]


def test_only_an_agent_with_a_document_of_its_own_can_be_stopped() -> None:
    mesh, box = alone()
    box.has(StopAgent(name="words"), "not-found", 3)
    box.answer(Apply(manifest=team(run=True)))
    mesh.run(SECOND)
    assert box.running() == ["words/0"]
    view = box.has(StopAgent(name="words"), "invalid", 2)
    assert "wanted by cluster default/team" in view.message and "scale cluster/default/team 0" in view.next_step
    assert box.running() == ["words/0"]


def test_who_may_not_write_documents_may_not_run_stop_restart_or_scale() -> None:
    mesh = Mesh()
    a = Box(mesh, "alpha").start()
    guest = member_record("beta", signer_of("beta").public_key, roles=("guest",))
    b = Box(mesh, "beta", seeds=["alpha"], member=guest).start()
    mesh.run(3 * SECOND)
    mesh.run_agent(a, "words", "words.count")
    for command in (
        RunAgent(name="eyes", argv=["x"]), StopAgent(name="words"), RestartAgent(name="words"),
        Scale(name="words", replicas=2), KeepBundle(source=b"x"),
    ):  # fmt: skip
        b.has(command, "denied", 4)
    mesh.run(2 * SECOND)
    assert (starts(a), starts(b)) == (["words/0"], [])


# -- restart -----------------------------------------------------------------------------------------------------------


def test_a_restart_asked_for_anywhere_restarts_unit_by_unit_and_one_of_two_always_answers() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(RunAgent(name="words", argv=WORDS.argv, replicas=2, on="alpha"))
    mesh.run(4 * SECOND)
    pids = [view.pid for view in b.units().values()]
    view = b.answer(RestartAgent(name="words/1"))
    assert isinstance(view, Done)
    for _ in range(50):
        assert isinstance(mesh.call(b, "words.count"), CallView)
        mesh.run(50 * MS)
    assert starts(a) == ["words/0", "words/1", "words/0", "words/1"]
    after = [view.pid for view in b.units().values()]
    assert None not in after and not set(after) & set(pids)


def test_a_restart_of_what_a_cluster_wants_is_written_into_the_cluster() -> None:
    mesh, box = alone()
    box.answer(Apply(manifest=team(run=True)))
    mesh.run(SECOND)
    box.answer(RestartAgent(name="words"))
    mesh.run(2 * SECOND)
    assert starts(box) == ["words/0", "words/0"]
    view = box.answer(ListDocuments(kind="AgentCluster"))
    assert isinstance(view, DocumentsView) and view.items[0].spec["generation"] == 1


def test_an_agent_that_has_failed_begins_again_when_it_is_restarted() -> None:
    mesh, box = alone()
    box.answer(RunAgent(name="words", argv=simulated("words.count", crash_every=1, answer_ms=0)))
    mesh.run(SECOND)
    while box.units()["words/0", "alpha"].state != "failed":
        mesh.call(box, "words.count", deadline_s=1.0)
        mesh.run(SECOND)
    before = len(starts(box))
    mesh.run(60 * SECOND)
    assert len(starts(box)) == before, "it was left alone"
    box.answer(RestartAgent(name="words"))
    mesh.run(SECOND)
    assert box.units()["words/0", "alpha"].state == "running"


def test_what_nobody_wants_cannot_be_restarted() -> None:
    _, box = alone()
    box.has(RestartAgent(name="words"), "not-found", 3)


# -- scale and plan ----------------------------------------------------------------------------------------------------


def test_scaling_starts_and_stops_units_and_says_what_it_did() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(WORDS)
    mesh.run(2 * SECOND)
    actions = list[str]()
    for replicas in (4, 4, 1):
        view = b.answer(Scale(name="words", replicas=replicas))
        assert isinstance(view, AppliedView)
        actions.append(view.action)
        mesh.run(5 * SECOND)
        assert len(a.running()) + len(b.running()) == replicas
    assert actions == ["updated", "unchanged", "updated"]


def test_scaled_to_nothing_an_agent_is_still_known() -> None:
    mesh, box = alone()
    box.answer(WORDS)
    mesh.run(SECOND)
    box.answer(Scale(name="agent/words", replicas=0))
    mesh.run(SECOND)
    assert box.running() == []
    view = box.answer(WORDS)
    assert isinstance(view, AgentView) and (view.state, view.reason) == ("pending", "it is wanted 0 times")


def test_who_governs_the_number_is_to_be_scaled() -> None:
    mesh, box = alone()
    box.answer(WORDS)
    box.answer(Apply(manifest=team(2)))
    mesh.run(3 * SECOND)
    assert len(box.running()) == 2
    view = box.has(Scale(name="words", replicas=3), "invalid", 2)
    assert view.next_step == "meshnode scale cluster/default/team 3 --agent words"
    assert isinstance(box.answer(Scale(name="cluster/default/team", replicas=3, agent="words")), AppliedView)
    mesh.run(3 * SECOND)
    assert len(box.running()) == 3


@pytest.mark.parametrize(
    ("command", "code", "exit_code"),
    [
        (Scale(name="words", replicas=-1), "invalid", 2),
        (Scale(name="words", replicas=10**9), "invalid", 2),
        (Scale(name="eyes", replicas=1), "not-found", 3),
        (Scale(name="cluster/default/team", replicas=1, agent="eyes"), "not-found", 3),
        (Scale(name="cluster/team/none", replicas=1), "not-found", 3),
    ],
)
def test_a_scale_that_makes_no_sense_changes_nothing(command: Scale, code: str, exit_code: int) -> None:
    mesh, box = alone()
    box.answer(WORDS)
    box.answer(Apply(manifest=team(1, agent="ears", run=True)))
    mesh.run(SECOND)
    root = box.core.documents.root()
    box.has(command, code, exit_code)
    assert box.core.documents.root() == root


def test_a_plan_tells_what_would_happen_and_nothing_does() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(Apply(manifest=team(1, run=True)))
    mesh.run(3 * SECOND)
    (first,) = plan(b)
    assert first[:2] == ("words/0", "keep")
    changed = plan(b, team(2, run=True))
    assert [row[:2] for row in changed] == [("words/0", "keep"), ("words/1", "start")]
    assert changed[0][2] != changed[1][2], "on the other node"
    assert [row[:2] for row in plan(b, team(0, run=True))] == [("words/0", "stop")]
    mesh.run(3 * SECOND)
    assert len(a.running()) + len(b.running()) == 1
    b.has(PlanManifest(manifest={"kind": "AgentCluster"}), "invalid", 2)


def test_what_was_planned_happens_when_it_is_applied() -> None:
    mesh = Mesh()
    a, b, c = mesh.start("alpha", "beta", "gamma")
    planned = plan(b, team(3, run=True))
    b.answer(Apply(manifest=team(3, run=True)))
    mesh.run(5 * SECOND)
    assert {(unit, node) for unit, node in c.units()} == {(unit, node) for unit, _, node in planned}
    assert [len(box.running()) for box in (a, b, c)] == [1, 1, 1]


def test_a_cluster_without_a_recipe_says_so_until_there_is_one() -> None:
    mesh, box = alone()
    box.answer(Apply(manifest=team(2)))
    mesh.run(3 * SECOND)
    assert not box.running()
    story = box.answer(Why(subject="cluster/default/team"))
    assert isinstance(story, WhyView) and "nothing says how to run it" in story.now
    box.answer(WORDS)
    mesh.run(3 * SECOND)
    assert len(box.running()) == 2
    story = box.answer(Why(subject="cluster/default/team"))
    assert isinstance(story, WhyView) and "2" in story.now and "nothing says" not in story.now
    box.answer(DeleteDocument(kind="AgentCluster", namespace="default", name="team"))
    mesh.run(3 * SECOND)
    assert len(box.running()) == 1, "as its own document wants it"


# -- files -------------------------------------------------------------------------------------------------------------


def test_the_file_of_a_run_is_durable_before_the_run_is() -> None:
    mesh, box = alone()
    number = box.ask(CARRIED)
    assert len(box.blobs) == 0 and not box.records(RecordKind.ENVELOPE)
    mesh.run(2 * SECOND)
    (view,) = box.replies[number]
    assert isinstance(view, AgentView)
    assert list(box.blobs.content().values()) == [SOURCE]
    assert box.running() == ["words/0"]


def test_a_file_the_disk_does_not_take_is_said_and_nothing_is_wanted() -> None:
    mesh, box = alone()
    box.disk = "No space left on device"
    view = box.failure(CARRIED)
    assert "could not be stored: No space left on device. Nothing changed" in view.message
    assert box.core.documents.count() == 0
    view = box.failure(KeepBundle(source=SOURCE))
    assert "Nothing changed" in view.message
    box.disk = "ok"
    assert isinstance(box.answer(CARRIED), AgentView)
    mesh.run(2 * SECOND)
    assert box.running() == ["words/0"]


def test_of_two_runs_of_one_name_at_once_the_second_hears_that_it_came_second() -> None:
    mesh, box = alone()
    first = box.ask(CARRIED)
    second = box.ask(RunAgent(name="words", file="/lab/simulated-agent.py", argv=["words.count"], source=b"other"))
    mesh.run(SECOND)
    assert isinstance(box.replies[first][0], AgentView)
    assert box.replies[second][0].code == "invalid"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_kept_file_is_told_by_its_hash() -> None:
    _, box = alone()
    view = box.answer(KeepBundle(source=SOURCE))
    assert isinstance(view, Done) and view.message == digest_of(SOURCE)
    box.has(KeepBundle(source=b""), "invalid", 2)
    box.has(KeepBundle(source=b"x" * (BUNDLE_BYTES_MAX + 1)), "invalid", 2)


def test_another_node_has_the_file_before_it_starts_the_agent() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    before = len(b.effects)
    a.answer(RunAgent(name="words", file=CARRIED.file, argv=CARRIED.argv, source=SOURCE, on="beta"))
    mesh.until(lambda: bool(starts(b)))
    assert list(b.blobs.content().values()) == [SOURCE], "it came over the mesh"
    assert len(b.effects) > before and not starts(a)
    mesh.run(SECOND)
    assert b.units()["words/0", "beta"].state == "running"


def test_a_node_starts_without_the_file_when_nobody_has_it() -> None:
    """It may lie there under its own name; whether it does, only the host can tell."""
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    run = {"file": CARRIED.file, "argv": CARRIED.argv, "bundle": digest_of(SOURCE)}
    a.answer(Apply(manifest={"apiVersion": "v1", "kind": "Agent", "metadata": {"name": "words"},
                             "spec": {"run": run, "on": "beta"}}))  # fmt: skip
    took_us = mesh.until(lambda: bool(starts(b)))
    assert took_us < SECOND
    mesh.run(SECOND)
    assert b.units()["words/0", "beta"].state == "running"


def test_a_file_that_arrives_later_starts_what_failed_without_it() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    run = {"file": "/lab/missing.py", "bundle": digest_of(SOURCE)}  # no simulated machine has a program of that name
    a.answer(Apply(manifest={"apiVersion": "v1", "kind": "Agent", "metadata": {"name": "words"},
                             "spec": {"run": run, "on": "beta"}}))  # fmt: skip
    for _ in range(60):
        mesh.run(10 * SECOND)
    assert b.units()["words/0", "beta"].state == "failed"
    before = len(starts(b))
    a.answer(KeepBundle(source=SOURCE))
    mesh.run(10 * SECOND)
    assert list(b.blobs.content().values()) == [SOURCE]
    assert len(starts(b)) > before
