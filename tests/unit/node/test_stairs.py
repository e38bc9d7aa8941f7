"""Every fact is heard by somebody, and nothing of a stranger is."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from typing import Any

import pytest

import meshnode
from meshnode.agents.messages import AgentRegistered, StartProcess
from meshnode.gossip.messages import Twinned
from meshnode.kernel import rng
from meshnode.kernel.effects import Channel, Effect, Fact
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.reasons import Loss
from meshnode.links.config import HubConfig
from meshnode.links.hub import Hub
from meshnode.links.messages import (
    CloseLink,
    ControlReceived,
    Expelled,
    FramesReceived,
    LinkBytes,
    LinkOpened,
    PeerDown,
    PeerUp,
    Post,
    Transmit,
)
from meshnode.model.commands import Apply, CallSkill, FindSkills, ListAgents, ListNodes, StopAgent, Why
from meshnode.model.errors import Invalid
from meshnode.model.ids import AgentConn, LinkId, MeshId, NodeName, Region
from meshnode.model.views import AgentsView, CallView, Failure, NodesView, SkillsView, WhyView
from meshnode.node import stairs
from meshnode.node.stairs import climb
from meshnode.security.identity import RecordSigner
from meshnode.wire.calls import CallHeader, RegisterHeader, SkillDescription, encoded_call
from meshnode.wire.frame import Frame, Kind
from tests.house.syntax import every, tree
from tests.unit.node.mesh import Box, Mesh, member_record, signer_of
from tests.unit.node.test_commands import RUN, manifest
from tests.unit.security.world import MESH


def all_facts() -> list[type[Fact]]:
    """Every subclass of Fact in the product, wherever it lives."""
    for module in pkgutil.walk_packages(meshnode.__path__, "meshnode."):
        if module.name.split(".")[1] not in ("cli", "daemon", "host", "api", "sim", "sdk", "client"):
            importlib.import_module(module.name)
    found: dict[type[Fact], None] = {}
    waiting = list(Fact.__subclasses__())
    while waiting:
        fact = waiting.pop()
        found[fact] = None
        waiting += fact.__subclasses__()
    return sorted((fact for fact in found if fact.__module__.startswith("meshnode.")), key=lambda fact: fact.__name__)


def lines_of_climb() -> list[str]:
    """The names of facts that the stairs have a line for."""
    trees = [tree(inspect.getsource(flight)) for flight in (climb, stairs._of_unit, stairs._of_state)]
    patterns = [node.cls for each in trees for node in every(ast.MatchClass, each)]
    return sorted(pattern.id for pattern in patterns if isinstance(pattern, ast.Name))


def test_every_fact_of_every_room_has_a_line() -> None:
    facts = [fact.__name__ for fact in all_facts()]
    assert len(facts) > 15
    assert lines_of_climb() == facts


def test_a_line_names_the_very_class_of_the_room() -> None:
    for fact in all_facts():
        assert getattr(stairs, fact.__name__) is fact


def test_a_fact_nobody_hears_stops_the_node() -> None:
    class Forgotten(Fact, frozen=True):
        pass

    box = Box(Mesh(), "alpha").start()
    with pytest.raises(AssertionError, match="nobody hears"):
        climb(box.core, Forgotten(), box.now)


# -- strangers ---------------------------------------------------------------------------------------------------------


def started() -> tuple[Mesh, Box]:
    mesh = Mesh()
    box = Box(mesh, "alpha").start()
    mesh.run(100 * MS)
    return mesh, box


class Stranger:
    """The links of a process that says its HELLO and everything else in one breath. Its certificate is good."""

    def __init__(self, name: str, member: bytes) -> None:
        self.name, self.signer = name, signer_of(name)
        config = HubConfig(
            mesh=MeshId(MESH), node=self.signer.node, name=NodeName(name), region=Region("eu"), boot=1,
            run_id=bytes(8), member=member,
        )  # fmt: skip
        self.hub = Hub(config, rng.fork(name.encode(), "links"))

    def says(self, box: Box, *frames: Frame) -> list[Effect]:
        """HELLO, and with it whatever else; what the node wants of all that."""
        near, far = LinkId(901), LinkId(902)
        hello = self.hub.handle(LinkOpened(far, box.node, box.name, False, 1, "alpha:1"), box.now)
        effects = box.tell(LinkOpened(near, self.signer.node, self.name, True, 0, f"{self.name}:1"))
        effects += box.tell(LinkBytes(near, _bytes(hello)))
        self.hub.handle(LinkBytes(far, _bytes(effects)), box.now)
        return effects + box.tell(LinkBytes(near, _bytes(self.hub.handle(Post(box.node, frames), box.now))))


def _bytes(effects: Sequence[Effect]) -> bytes:
    return b"".join(effect.data for effect in effects if isinstance(effect, Transmit))


FORGED = member_record("mallory", signer_of("mallory").public_key, admin=RecordSigner(bytes(32)))
BORROWED = member_record("beta", signer_of("beta").public_key)


@pytest.mark.parametrize(
    ("member", "why"),
    [(FORGED, "unknown-admin"), (BORROWED, "of-another-node"), (b"", "malformed"), (b"\xff" * 40, "malformed")],
    ids=["forged", "borrowed", "empty", "junk"],
)
def test_a_peer_whose_member_record_does_not_fit_is_hung_up_on_and_told_of_once(member: bytes, why: str) -> None:
    mesh, a = started()
    effects = Stranger("mallory", member).says(a)
    assert CloseLink(LinkId(901), abort=False) in effects
    mesh.run(5 * SECOND)
    assert (list(a.core.hub.peers()), list(a.core.linked)) == ([], [])
    assert [node.name for node in _nodes(a)] == ["alpha"]
    told = a.told(f"node/{signer_of('mallory').node.hex()[:12]}") + a.told("node/mallory")
    assert [text for text in told if "refused what it sent: member-" in text and why in text], told
    assert a.core.counters["member-refused"] == 1


def test_nothing_that_a_refused_peer_said_in_the_same_breath_is_applied() -> None:
    """PeerUp and what follows it come out of one piece of bytes: the refusal must win over all of it."""
    mesh, a = started()
    mesh.run_agent(a, "words", "words.count")
    call = Frame(Kind.CALL, header=encoded_call(CallHeader(bytes(16), "words.count", 1_000)), payload=b"{}")
    Stranger("mallory", FORGED).says(a, call)
    mesh.run(SECOND)
    assert a.core.counters["member-refused"] == 1
    node = signer_of("mallory").node
    before = a.core.gossip.counters.snapshot(), a.core.documents.counters.snapshot()
    said = (
        PeerUp(node, "mallory", "eu", 1, True, 0, "m:1", FORGED),
        ControlReceived(node, Channel.GOSSIP, b"junk"),
        ControlReceived(node, Channel.STATE, b"junk"),
        FramesReceived(node, (call, call)),
        PeerDown(node, Loss.CLOSED, ""),
    )
    assert a.core._settle(said, a.now) == [], "told of already, and nothing else"
    assert (a.core.gossip.counters.snapshot(), a.core.documents.counters.snapshot()) == before
    assert a.core.counters["unadmitted"] == 4
    assert not [frame for frame in a.to_agents() if frame.kind is Kind.CALL]


def test_a_good_peer_is_heard_after_it_was_refused() -> None:
    mesh, a = started()
    forged = member_record("beta", signer_of("beta").public_key, admin=RecordSigner(bytes(32)))
    Stranger("beta", forged).says(a)
    mesh.run(5 * SECOND)
    Box(mesh, "beta", run=2, seeds=["alpha"]).start()
    mesh.run(5 * SECOND)
    assert [node.name for node in _nodes(a)] == ["alpha", "beta"]


def test_a_node_does_not_start_with_a_member_record_that_is_not_its_own() -> None:
    for member in (FORGED, BORROWED):
        with pytest.raises(Invalid, match="does not fit its identity"):
            Box(Mesh(), "mallory", member=member)


def _nodes(box: Box) -> list[Any]:
    view = box.answer(ListNodes())
    assert isinstance(view, NodesView)
    return view.items


# -- twins -------------------------------------------------------------------------------------------------------------


def test_a_twin_leaves_with_exit_code_4_and_says_why() -> None:
    for fact in (Expelled(signer_of("beta").node, "twin"), Twinned("a row of this node says boot 9")):
        mesh, a = started()
        a.take(a.core._settle([fact], a.now))
        assert a.exit is not None and a.exit.code == 4
        assert "copy of a running node" in a.exit.reason
        assert a.exit.reason in a.told("node/alpha")
        mesh.run(SECOND)


def test_of_two_processes_with_one_identity_one_leaves() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    twin = Box(mesh, "beta", run=2, seeds=["alpha"])
    twin.core.boot = b.core.boot
    mesh.boxes["beta"], mesh.boxes["beta-copy"] = b, twin
    twin.name = "beta-copy"
    twin.start()
    mesh.run(10 * SECOND)
    assert [box.exit.code for box in (b, twin) if box.exit is not None] == [4]
    assert a.exit is None


# -- agents and skills -------------------------------------------------------------------------------------------------


def test_what_an_agent_offers_is_known_everywhere_and_goes_with_it() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "words", "words.count", "words.sort")
    assert _skills(a) == ["words.count", "words.sort"]
    assert [(view.name, view.node, view.state) for view in _agents(a)] == [("words", "beta", "running")]
    a.answer(StopAgent(name="words"))
    mesh.run(2 * SECOND)
    assert _skills(a) == [] == _skills(b)
    assert _agents(a) == []


def test_two_agents_with_one_skill_stand_in_for_each_other() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "first", "count")
    mesh.run_agent(b, "second", "count")
    b.answer(StopAgent(name="second"))
    mesh.run(2 * SECOND)
    view = mesh.call(a, "count")
    assert isinstance(view, CallView) and view.instance == "first/0"
    b.answer(StopAgent(name="first"))
    mesh.run(2 * SECOND)
    view = mesh.call(a, "count")
    assert isinstance(view, Failure) and view.code == "not-found"


def test_an_agent_asked_to_stop_answers_its_calls_first() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "slow", "slow.one", answer_ms=1_000)
    number = a.ask(CallSkill(skill="slow.one", deadline_s=30))
    mesh.run(10 * MS)
    b.ask(StopAgent(name="slow"))
    mesh.run(100 * MS)
    assert number not in a.replies
    mesh.run(3 * SECOND)
    (view,) = a.replies[number]
    assert isinstance(view, CallView) and view.instance == "slow/0"
    assert not b.running()


def test_an_agent_that_crashes_ends_its_calls_and_comes_back() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.run_agent(b, "slow", "slow.one", answer_ms=500)
    number = a.ask(CallSkill(skill="slow.one", deadline_s=30))
    mesh.run(10 * MS)
    assert b.machine.crash_one()
    mesh.run(100 * MS)
    (view,) = a.replies[number]
    assert isinstance(view, Failure) and view.code == "agent-died"
    mesh.run(5 * SECOND)
    assert isinstance(mesh.call(a, "slow.one"), CallView)


def test_a_registration_of_nobody_we_started_is_refused() -> None:
    mesh, a = started()
    a.answer(RUN)
    mesh.run(SECOND)
    header = RegisterHeader("words", "words/0", "guess", 4_711)
    a.tell(AgentRegistered(AgentConn(99), header, (SkillDescription("words.count"),), 4_711, 0))
    assert a.refused() == ["wrong-ticket"]
    assert not [effect for effect in a.effects if isinstance(effect, StartProcess) and effect.run_no > 1]


def _skills(box: Box) -> list[str]:
    view = box.answer(FindSkills())
    assert isinstance(view, SkillsView)
    return [item.skill for item in view.items]


def _agents(box: Box) -> list[Any]:
    view = box.answer(ListAgents())
    assert isinstance(view, AgentsView)
    return view.items


# -- documents and links -----------------------------------------------------------------------------------------------


def test_a_change_of_a_document_is_told_on_every_node_under_its_name() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    a.answer(Apply(manifest=manifest()))
    mesh.run(2 * SECOND)
    for box in (a, b):
        view = box.answer(Why(subject="cluster/default/web"))
        assert isinstance(view, WhyView)
        assert [event.text for event in view.events] == ["changed by alpha"]


def test_links_are_told_by_the_name_that_admins_signed() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    assert any(text.startswith("linked from beta") for text in a.told("node/beta"))
    mesh.kill(b)
    mesh.run(SECOND)
    assert "link lost: reset" in a.told("node/beta")
