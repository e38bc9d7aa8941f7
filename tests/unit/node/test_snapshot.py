"""What a node shows of others: with ages, with who left, and whatever strangers say about themselves."""

import platform
from pathlib import Path

import msgspec
import pytest

from hw.report import probe
from meshnode.kernel.instant import MS, SECOND, ClockTrust
from meshnode.kernel.records import RecordKind
from meshnode.model.commands import (
    Apply,
    DescribeNode,
    FindSkills,
    GetIdentity,
    GetStatus,
    ListAgents,
    ListDocuments,
    ListNodes,
    RunAgent,
    Shutdown,
)
from meshnode.model.document_views import DocumentsView
from meshnode.model.errors import NotFound
from meshnode.model.views import AgentsView, IdentityView, NodesView, NodeView, SkillsView, StatusView
from meshnode.node import snapshot
from meshnode.node.inputs import HardwareProbed, LoadSampled, Measured
from tests.unit.node.mesh import FACTS, Box, Mesh, simulated
from tests.unit.node.test_commands import manifest

LOOKS = (ListNodes(), GetStatus(), ListDocuments(), ListAgents(), FindSkills())


def nodes(box: Box) -> dict[str, NodeView]:
    view = box.answer(ListNodes())
    assert isinstance(view, NodesView)
    return {node.name: node for node in view.items}


def status(box: Box) -> StatusView:
    view = box.answer(GetStatus())
    assert isinstance(view, StatusView)
    return view


def test_this_node_comes_first_then_the_others_by_name() -> None:
    mesh = Mesh()
    boxes = mesh.start("beta", "alpha", "gamma")
    assert list(nodes(boxes[2])) == ["gamma", "alpha", "beta"]
    own = nodes(boxes[2])["gamma"]
    assert (own.self_node, own.path, own.age_s, own.rtt_ms, own.reason) == (True, "-", 0.0, None, "")


def test_a_linked_node_is_shown_with_what_it_says_of_itself() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    beta = nodes(a)["beta"]
    assert (beta.state, beta.path, beta.region, beta.roles, beta.boot) == ("ready", "direct", "eu", ["admin"], 1)
    assert beta.rtt_ms == 4.0 and beta.endpoints == ["beta:7000"]
    assert beta.hardware == msgspec.json.decode(FACTS)
    assert beta.load["cpu_percent"] == 10 and beta.load["age_s"] >= 0


def test_the_age_of_a_silent_node_grows() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    mesh.cut("alpha", "beta")
    mesh.run(SECOND)
    first = nodes(a)["beta"].age_s
    mesh.run(20 * SECOND)
    later = nodes(a)["beta"]
    assert 19.0 < later.age_s - first < 21.0
    assert later.state == "unreachable" and later.path == "mesh" and later.reason


def test_a_node_that_left_is_listed_with_its_age_until_it_is_old_news() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.answer(Shutdown())
    mesh.run(10 * SECOND)
    left = nodes(a)["beta"]
    assert left.state == "left" and 9.0 < left.age_s < 11.0
    assert [problem for problem in status(a).problems if "beta" in problem] == []
    described = a.answer(DescribeNode(name="beta"))
    assert isinstance(described, NodeView) and described.state == "left"
    mesh.run(25 * 3600 * SECOND)
    assert list(nodes(a)) == ["alpha"]


def test_who_left_before_a_restart_is_listed_with_the_date_of_its_goodbye() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.answer(Shutdown())
    mesh.run(5 * SECOND)
    mesh.kill(b)
    mesh.kill(a)
    mesh.run(60 * SECOND)
    again = Box(mesh, "alpha", a.journal, run=2).start()
    mesh.run(SECOND)
    left = nodes(again)["beta"]
    assert left.state == "left" and 60.0 < left.age_s < 70.0


def test_a_node_that_comes_back_is_no_longer_left() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.answer(Shutdown())
    mesh.run(5 * SECOND)
    mesh.kill(b)
    Box(mesh, "beta", b.journal, run=2, seeds=["alpha"]).start()
    mesh.run(5 * SECOND)
    assert (nodes(a)["beta"].state, nodes(a)["beta"].boot) == ("ready", 2)


def test_a_node_is_found_by_its_name_before_the_beginning_of_an_id() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    assert snapshot.find_node(a.core, "beta") == b.node
    assert snapshot.find_node(a.core, b.node.hex()) == b.node
    assert snapshot.find_node(a.core, b.node.hex()[:6]) == b.node
    with pytest.raises(NotFound, match=r"known: alpha, beta"):
        snapshot.find_node(a.core, b.node.hex()[:5])
    with pytest.raises(NotFound):
        snapshot.find_node(a.core, "")


@pytest.mark.parametrize(
    "facts",
    [
        b'{"cpu":{"usable":"many"},"memory":[]}',
        b'{"cpu":{"usable":1e308},"memory":{"limit_bytes":-1},"accelerators":{}}',
        b'{"machine":"\xff\xfe"}',
        b'{"memory":{"limit_bytes":' + b"9" * 300 + b"}}",
        b'{"accelerators":[1,null,"x"]}',
    ],
)
def test_strange_facts_of_a_peer_disturb_nobody(facts: bytes) -> None:
    """The sender's own node may look at them as well."""
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(Apply(manifest=manifest()))
    b.tell(HardwareProbed(facts))
    b.tell(LoadSampled(b"not a load vector"))
    mesh.run(3 * SECOND)
    for box in (a, b):
        for command in (
            ListNodes(),
            GetStatus(),
            ListDocuments(),
            ListAgents(),
            FindSkills(),
            DescribeNode(name="beta"),
        ):
            msgspec.json.encode(box.answer(command))
    assert nodes(a)["beta"].load.get("cpu_percent") is None


def test_agents_are_shown_with_state_skills_and_age() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "words", "words.sort", "words.count")
    for box in (a, b):
        view = box.answer(ListAgents())
        assert isinstance(view, AgentsView)
        ((words),) = view.items
        assert (words.instance, words.node, words.state) == ("words/0", "beta", "running")
        assert sorted(words.skills) == ["words.count", "words.sort"]
    mesh.kill(b)
    mesh.run(3 * SECOND)
    units = a.units()
    gone, here = units["words/0", "beta"], units["words/0", "alpha"]
    assert gone.state == "unreachable" and gone.reason.startswith("last known running; ") and gone.age_s > 2
    assert (here.state, here.epoch) == ("running", "2@alpha"), "it goes on where somebody is left"


def test_skills_are_ranked_and_say_why_they_are_excluded() -> None:
    mesh = Mesh()
    a, b, c = mesh.start("alpha", "beta", "gamma")
    b.answer(RunAgent(name="words", argv=simulated("words.count", answer_ms=0), replicas=3))
    mesh.run(5 * SECOND)
    assert [box.running() for box in (a, b, c)].count([]) == 0, "one each"
    mesh.kill(b)
    mesh.run(3 * SECOND)
    view = a.answer(FindSkills(skill="words.count"))
    assert isinstance(view, SkillsView)
    assert [(item.rank, item.node, item.excluded) for item in view.items] == [
        (1, "alpha", ""), (2, "gamma", ""),
        (3, "beta", "down, last heard 3.8 s ago: refuses a fresh dial, say 2 of 2 observers"),
    ]  # fmt: skip


def test_documents_are_shown_with_writer_and_conditions() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(Apply(manifest=manifest()))
    mesh.run(2 * SECOND)
    view = b.answer(ListDocuments(kind="AgentCluster", name="web"))
    assert isinstance(view, DocumentsView)
    (document,) = view.items
    assert (document.updated_by, document.api_version, document.conflicts) == ("alpha", "v1", [])
    assert [condition.type for condition in document.conditions] == ["Accepted", "Schedulable", "Ready", "Pending"]
    for command in (ListDocuments(kind="Other"), ListDocuments(namespace="lab"), ListDocuments(name="other")):
        assert b.answer(command) == DocumentsView(items=[])


def test_the_status_counts_and_names_the_problems() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    well = status(a)
    assert (well.nodes_known, well.nodes_reachable, well.peers_connected, well.problems) == (2, 2, 1, [])
    assert well.boot == 1 and well.clock == "synchronised" and well.documents_root == a.core.documents.root().hex()
    a.tell(Measured(1_500, 77, 2, "/x/journal: No space left on device"))
    mesh.kill(b)
    mesh.run(20 * SECOND)
    a.trust = ClockTrust.FLOOR
    ill = status(a)
    assert (ill.nodes_reachable, ill.peers_connected, ill.handle_max_ms, ill.journal_bytes) == (1, 0, 1.5, 77)
    said = "\n".join(ill.problems)
    for part in ("beta down", "No space left on device", "2 damaged journal records", "clock is not synchronised"):
        assert part in said


def test_the_status_names_agents_that_keep_ending_and_documents_that_start_less_than_they_say() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    box.answer(RunAgent(name="broken", argv=["no-such-program"]))
    box.answer(Apply(manifest=manifest()))
    mesh.run(5 * SECOND)
    said = "\n".join(status(box).problems)
    assert "agent broken/0 keeps ending: could not start: no such program" in said
    assert "cluster/default/web: agent words: nothing says how to run it" in said
    mesh.run(900 * SECOND)
    assert "agent broken/0 has failed: " in "\n".join(status(box).problems)
    for number in range(2 * snapshot.PROBLEMS_MAX):
        box.answer(Apply(manifest=manifest(f"web{number}")))
    assert len(status(box).problems) == snapshot.PROBLEMS_MAX + 1


def test_the_identity_tells_who_may_do_what() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    view = box.answer(GetIdentity())
    assert isinstance(view, IdentityView)
    assert (view.name, view.node_id, view.roles, view.enroller) == ("alpha", box.node.hex(), ["admin"], False)


def test_what_the_host_found_at_the_start_is_told() -> None:
    mesh = Mesh()
    box = Box(mesh, "alpha", notes=("journal: its end was cut off",)).start()
    mesh.run(100 * MS)
    assert box.told("node/alpha")[:2] == ["started, boot 1", "journal: its end was cut off"]
    assert len(box.records(RecordKind.EVENT)) >= 2


# -- in pages ----------------------------------------------------------------------------------------------------------


def test_nodes_come_in_pages_in_the_order_of_their_ids_and_all_of_them_once() -> None:
    mesh = Mesh()
    (box, *_) = mesh.start(*(f"n{number}" for number in range(6)))
    seen: list[NodeView] = []
    while True:
        page = box.answer(ListNodes(after=seen[-1].node_id if seen else "", limit=4))
        assert isinstance(page, NodesView)
        if not page.items:
            break
        seen += page.items
        assert len(page.items) <= 4
    assert [node.node_id for node in seen] == sorted(node.node_id for node in seen)
    assert {node.name for node in seen} == set(nodes(box)) and len(seen) == 6
    whole = nodes(box)
    assert [node.roles for node in seen] == [whole[node.name].roles for node in seen]


def test_a_node_taken_down_in_order_is_left_out_of_pages_as_of_the_whole() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.ask(Shutdown())
    mesh.run(2 * SECOND)
    page = a.answer(ListNodes(limit=10))
    assert isinstance(page, NodesView) and {node.name for node in page.items} == {"alpha", "beta"}
    mesh.run(25 * 3600 * SECOND)
    page = a.answer(ListNodes(limit=10))
    assert isinstance(page, NodesView) and [node.name for node in page.items] == ["alpha"]


@pytest.mark.parametrize(
    "command",
    [
        ListNodes(limit=-1), ListNodes(after="beta", limit=1), ListAgents(limit=-1), FindSkills(limit=-1),
        FindSkills(after=-1),
    ],
)  # fmt: skip
def test_a_page_that_is_none_is_invalid(command: ListNodes | ListAgents | FindSkills) -> None:
    (box,) = Mesh().start("alpha")
    box.has(command, "invalid", 2)


def test_agents_come_in_pages_running_or_pending() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    for name in ("words", "eyes"):
        a.answer(RunAgent(name=name, argv=simulated(name, answer_ms=0), replicas=3))
    a.answer(RunAgent(name="lost", argv=simulated("x"), labels={"rack": "none"}))
    mesh.run(5 * SECOND)
    whole = a.answer(ListAgents())
    assert isinstance(whole, AgentsView)
    keys: list[str] = []
    while True:
        page = a.answer(ListAgents(after=keys[-1] if keys else "", limit=2))
        assert isinstance(page, AgentsView)
        if not page.items:
            break
        keys += [f"{view.instance}@{view.node}" for view in page.items]
    assert keys == sorted(f"{view.instance}@{view.node}" for view in whole.items)
    assert len(keys) == 7 and "lost/0@" in keys


def test_skills_come_in_pages_by_their_rank() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    mesh.run_agent(a, "words", *(f"words.s{number}" for number in range(5)))
    whole = a.answer(FindSkills())
    first, second, none = (a.answer(FindSkills(after=after, limit=3)) for after in (0, 3, 6))
    for view in (whole, first, second, none):
        assert isinstance(view, SkillsView)
    assert isinstance(whole, SkillsView) and isinstance(first, SkillsView) and isinstance(second, SkillsView)
    assert [*first.items, *second.items] == whole.items and len(first.items) == 3
    assert none == SkillsView(items=[])


def test_what_placement_asks_of_a_machine_is_where_this_machine_tells_it() -> None:
    told = snapshot.machine(msgspec.json.encode(probe(Path("/"))))
    assert told.machine.arch == platform.machine()
    assert told.cpu.usable
    assert told.memory.limit_bytes
