"""``why`` understands every name a person may give, and says what is so now."""

import pytest

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import Apply, DeleteDocument, GetStatus, ListNodes, StopAgent, Why
from meshnode.model.views import NodesView, NodeView, StatusView, WhyView
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


def divided() -> tuple[Mesh, dict[str, Box]]:
    """Ann, bob and cid in the east; xia, yan and zoe in the west."""
    mesh = Mesh()
    homes = {"ann": "east", "bob": "east", "cid": "east", "xia": "west", "yan": "west", "zoe": "west"}
    boxes = {
        name: Box(mesh, name, seeds=["ann"] if name != "ann" else [], region=region).start()
        for name, region in homes.items()
    }
    mesh.run(5 * SECOND)
    assert len(nodes(boxes["ann"])) == 6
    return mesh, boxes


def nodes(box: Box) -> dict[str, NodeView]:
    view = box.answer(ListNodes())
    assert isinstance(view, NodesView)
    return {item.name: item for item in view.items}


def cut(mesh: Mesh) -> None:
    for east in ("ann", "bob", "cid"):
        for west in ("xia", "yan", "zoe"):
            mesh.cut(east, west)


def test_who_says_what_against_a_node_is_told() -> None:
    mesh, boxes = divided()
    mesh.kill(boxes["bob"])
    mesh.run(5 * SECOND)
    view = why(boxes["ann"], "bob")
    assert view.state == "down"
    assert view.details[0] == "no link; looked for at bob:7000"
    assert view.details[1].startswith("5 of 5 observers speak against it: refuses a fresh dial (ann, cid, xia, ")
    seen = nodes(boxes["ann"])
    assert set(seen["bob"].votes) == {"ann", "cid", "xia", "yan", "zoe"} and seen["bob"].observers == 5
    assert not any(seen[name].votes for name in ("ann", "cid", "xia"))


def test_how_a_node_is_reached_is_told() -> None:
    mesh, boxes = divided()
    assert why(boxes["ann"], "ann").details == []
    assert why(boxes["ann"], "zoe").details[0].startswith("reached by a link of its own, ")
    cut(mesh)
    mesh.until(lambda: why(boxes["ann"], "zoe").state == "suspect")
    assert why(boxes["ann"], "zoe").details[0] == "a link to it stands, but nothing comes over it"


def test_a_lost_region_is_one_thing_wherever_it_is_told() -> None:
    mesh, boxes = divided()
    cut(mesh)
    mesh.run(20 * SECOND)
    ann = boxes["ann"]
    assert why(ann, "region/west").now.startswith("region west unreachable since 2")
    assert [event.text for event in why(ann, "region/west").events] == ["unreachable: 3 nodes"]
    assert why(ann, "regions/east").now == "region east: 3 of 3 nodes reachable"
    status = ann.answer(GetStatus())
    assert isinstance(status, StatusView)
    lost = [problem for problem in status.problems if "region west" in problem]
    assert len(lost) == 1 and lost[0].endswith(": 3 nodes: meshnode why region/west")
    for name in ("xia", "yan", "zoe"):
        assert nodes(ann)[name].reason == "region west unreachable: 3 nodes"
        assert not any(text.startswith("unreachable") for text in ann.told(f"node/{name}"))


def test_the_story_of_a_node_holds_what_happened_to_its_region() -> None:
    mesh, boxes = divided()
    cut(mesh)
    mesh.run(20 * SECOND)
    mesh.heal()
    mesh.until(lambda: all(view.state == "ready" for view in nodes(boxes["ann"]).values()), 60 * SECOND)
    told = [event.text for event in why(boxes["ann"], "node/zoe").events]
    assert "its region west: unreachable: 3 nodes" in told
    assert any(text.startswith("its region west: reachable again: ") for text in told)
    assert not any(text.startswith("its region") for text in (e.text for e in why(boxes["ann"], "node/bob").events))


def test_a_region_nobody_is_of_is_not_found() -> None:
    _, boxes = divided()
    boxes["ann"].has(Why(subject="region/north"), "not-found", 3)
