"""``why`` understands every name a person may give, and says what is so now."""

import pytest

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import Apply, DeleteDocument, StopAgent, Why
from meshnode.model.views import WhyView
from tests.unit.node.mesh import Box, Mesh
from tests.unit.node.test_commands import RUN, manifest


def told() -> tuple[Mesh, Box, Box]:
    """Two nodes; on beta runs ``words``, and there are clusters web, lab/web and lab/line3."""
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "words", "words.count")
    for namespace, name in (("default", "web"), ("lab", "web"), ("lab", "line3")):
        document = manifest(name)
        document["metadata"]["namespace"] = namespace
        a.answer(Apply(manifest=document))
    mesh.run(2 * SECOND)
    return mesh, a, b


def why(box: Box, subject: str) -> WhyView:
    view = box.answer(Why(subject=subject))
    assert isinstance(view, WhyView), view
    assert view.subject == subject
    return view


def subjects(view: WhyView) -> list[str]:
    return list(dict.fromkeys(event.subject for event in view.events))


@pytest.mark.parametrize(
    ("subject", "heard"),
    [
        ("web", ["cluster/default/web", "cluster/lab/web"]),
        ("cluster/web", ["cluster/default/web", "cluster/lab/web"]),
        ("cluster/lab/web", ["cluster/lab/web"]),
        ("lab/web", ["cluster/lab/web"]),
        ("clusters/line3", ["cluster/lab/line3"]),
        ("agentcluster/default/web", ["cluster/default/web"]),
        ("line3", ["cluster/lab/line3"]),
        ("beta", ["node/beta"]),
        ("node/beta", ["node/beta"]),
        ("nodes/beta", ["node/beta"]),
    ],
)
def test_a_subject_may_be_named_in_many_ways(subject: str, heard: list[str]) -> None:
    _, a, _ = told()
    assert subjects(why(a, subject)) == heard


@pytest.mark.parametrize("subject", ["words", "agent/words", "agents/words", "words/0", "words.count"])
def test_an_agent_may_be_named_by_its_instance_and_by_its_skill(subject: str) -> None:
    _, a, b = told()
    assert subjects(why(b, subject)) == ["agent/words"]
    assert "agent words/0 on beta: running" in why(a, subject).now, "events of an agent are told where it runs"


def test_a_node_may_be_named_by_the_beginning_of_its_id() -> None:
    _, a, b = told()
    for subject in (b.node.hex()[:8], f"node/{b.node.hex()[:12]}"):
        assert why(a, subject).now.startswith("node beta: ready")


def test_what_is_so_now_is_said_with_its_age() -> None:
    mesh, a, b = told()
    assert why(a, "alpha").now == "node alpha: ready, this node"
    assert why(a, "beta").now.startswith("node beta: ready: linked (last heard 0")
    mesh.kill(b)
    mesh.run(20 * SECOND)
    present = why(a, "beta").now
    assert present.startswith("node beta: down: ") and "(last heard 2" in present
    assert "agent words/0 on beta: unreachable" in why(a, "words").now


def test_a_node_not_heard_since_the_start_is_not_given_an_age() -> None:
    mesh, a, b = told()
    mesh.kill(b)
    mesh.kill(a)
    again = Box(mesh, "alpha", a.journal, run=2).start()
    mesh.run(SECOND)
    assert "(not heard since this daemon started)" in why(again, "beta").now


def test_a_cluster_says_what_it_waits_for() -> None:
    _, a, _ = told()
    present = why(a, "lab/line3").now
    assert present.startswith("cluster lab/line3: ")
    assert ";" not in why(a, "cluster/default/web").now or "cluster lab/web" not in why(a, "cluster/default/web").now


def test_a_name_of_several_things_tells_of_all() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(Apply(manifest=manifest("beta")))
    mesh.run_agent(a, "beta", "x")
    view = why(a, "beta")
    assert subjects(view) == ["node/beta", "cluster/default/beta", "agent/beta"]
    for part in ("node beta: ready", "agent beta/0 on alpha: running", "cluster default/beta: "):
        assert part in view.now
    assert why(a, "agent/beta").now == "agent beta/0 on alpha: running"
    assert b.exit is None


def test_what_is_gone_is_still_told_of() -> None:
    mesh, a, b = told()
    b.answer(StopAgent(name="words"))
    a.answer(DeleteDocument(kind="AgentCluster", namespace="lab", name="line3"))
    mesh.run(SECOND)
    gone = why(b, "words")
    assert gone.now == "" and "stopped as asked" in [event.text for event in gone.events]
    assert why(a, "lab/line3").now == "" and len(why(a, "lab/line3").events) == 2


@pytest.mark.parametrize(
    "subject", ["omega", "node/omega", "omega/web", "call/12345678", "", "/", "cluster/", "node/", "x" * 5_000]
)
def test_what_nobody_knows_is_not_found(subject: str) -> None:
    _, a, _ = told()
    view = a.has(Why(subject=subject), "not-found", 3)
    assert subject in view.message


def test_few_digits_do_not_name_a_call() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "slow", "slow.one", answer_ms=60_000)
    view = mesh.call(a, "slow.one", deadline_s=0.1)
    call_id = view.details["call_id"]  # pyright: ignore[reportAttributeAccessIssue]
    for subject in (call_id, call_id[:8], call_id[:12].upper(), f"call/{call_id[:10]}"):
        assert subjects(why(a, subject)) == [f"call/{call_id}"]
    a.has(Why(subject=call_id[:4]), "not-found", 3)


def test_the_answer_to_run_explains_itself_later() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(SECOND)
    box.answer(RUN)
    mesh.run(SECOND)
    assert box.machine.crash_one()
    assert "words/0: killed by SIGKILL; starts again in" in why(box, "words").events[-1].text
