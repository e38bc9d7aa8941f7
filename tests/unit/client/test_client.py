"""The client against a served API on a real unix socket."""

import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.client.client import Client
from meshnode.client.errors import error_of
from meshnode.client.events import read_events
from meshnode.model import commands
from meshnode.model.commands import CallSkill
from meshnode.model.errors import Denied, Invalid, LocalError, NotFound, Offline, TimedOut
from meshnode.model.patience import TRIES_MAX
from meshnode.model.views import CallView, Failure, LogsView, StreamItem
from tests.unit.api.asker import (
    ALPHA,
    COPY,
    COUNT,
    DIFF,
    HISTORY,
    IDENTITY,
    LINE3,
    LINES,
    PLAN,
    SHOWN,
    STATE,
    STATUS,
    STORY,
    WORDS,
    CannedNode,
    daemon,
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, CannedNode]]:
    node = CannedNode()
    directory = tmp_path_factory.mktemp("n")
    with daemon(directory, node):
        yield directory, node


@pytest.fixture
def node(served: tuple[Path, CannedNode]) -> CannedNode:
    served[1].asked.clear()
    served[1].refusal = None
    served[1].sheds.clear()
    served[1].never = False
    served[1].breaks = False
    served[1].dropped = 0
    served[1].stream_dropped.clear()
    return served[1]


@pytest.fixture
def client(served: tuple[Path, CannedNode], node: CannedNode) -> Client:
    return Client(str(served[0]))


def test_answers_come_back_as_the_views_they_were(client: Client) -> None:
    assert client.status() == STATUS
    assert client.identity() == IDENTITY
    assert client.nodes()[0] == ALPHA
    assert client.node("alpha") == ALPHA
    assert client.agents() == [WORDS]
    assert client.skills("words.count")[0] == COUNT
    assert client.documents("AgentCluster") == [LINE3]
    assert client.document("AgentCluster", "default", "line3") == LINE3
    assert client.conflicts()[0].values == [2, 3]
    assert (client.states(), client.state("words"), client.history("words")) == ([STATE, COPY], SHOWN, HISTORY)
    assert (client.plan(), client.diff("words", 3), client.checkpoint("words")) == (PLAN, DIFF, [STATE, COPY])
    assert client.logs() == LogsView(items=LINES)


def shed(retry_after_ms: object, code: str = "overloaded") -> Failure:
    return Failure(code=code, message="no room", details={"retry_after_ms": retry_after_ms})


def test_a_call_that_is_shed_is_made_again_until_there_is_room(client: Client, node: CannedNode) -> None:
    node.sheds = [shed(1), shed(1)]
    assert client.call(CallSkill(skill="s", deadline_s=20.0, batch=True)).call_id == "c1"
    asked = [command for command in node.asked if isinstance(command, CallSkill)]
    assert len(asked) == 3 and all(command.batch for command in asked)
    assert 0 < asked[2].deadline_s < asked[1].deadline_s < asked[0].deadline_s == 20.0, "all within the one deadline"


def test_a_call_that_is_shed_again_and_again_fails_as_it_was_refused(client: Client, node: CannedNode) -> None:
    node.sheds = [shed(1)] * (TRIES_MAX + 1)
    with pytest.raises(LocalError, match="no room") as caught:
        client.call(CallSkill(skill="s"))
    assert (caught.value.code, caught.value.details) == ("overloaded", {"retry_after_ms": 1})
    assert (len(node.asked), len(node.sheds)) == (TRIES_MAX, 1)


@pytest.mark.parametrize("refusal", [shed(5_000), shed(0), shed("soon"), shed(1, "unavailable"), shed(None)])
def test_a_call_is_not_made_again_without_a_wait_that_fits(client: Client, node: CannedNode, refusal: Failure) -> None:
    node.sheds = [refusal]
    with pytest.raises(LocalError, match="no room"):
        client.call(CallSkill(skill="s", deadline_s=1.5))
    assert len(node.asked) == 1


def test_every_method_asks_its_command(client: Client, node: CannedNode) -> None:
    client.run(commands.RunAgent(name="w", file="/w/w.py", source=b"\xff\x00", replicas=2, environment={"A": "1"}))
    client.stop("w")
    client.restart("w")
    client.scale("cluster/default/x", 3, "w")
    client.plan()
    client.plan({"kind": "Agent"})
    client.states("w")
    client.state("w/7", "count", "s 1")
    client.history("w/7")
    client.diff("w", 3, 5)
    client.restore("w/7", 3)
    client.forget("w/7")
    client.checkpoint("w")
    client.logs("w", "beta", 17, 9)
    client.skills("cap/count", "gpu_mem>=2Gi,site=plant-7")
    client.call(CallSkill(skill="s", arguments={"n": 1}, deadline_s=2.0, to="beta", idempotency_key="k"))
    client.ping("beta", 1.5)
    client.apply({"metadata": {"name": "x"}})
    client.delete("AgentCluster", "default", "x")
    client.why("cluster/default/x y")
    client.invite("n", 60, "dock")
    client.invite("n", role="gateway")
    client.nodes_page("ab", 7)
    client.agents_page("words/0@alpha", 7)
    client.skills_page("cap/count", "site=plant-7", 40, 7)
    client.journal(commands.ReadJournal(reader="eyes", cursor=commands.JournalCursor(1, 2, "ab"), node="beta"))
    client.journals(commands.GatherJournals(reader="eyes", cursors={"beta": commands.JournalCursor()}, wait_ms=9))
    client.links("beta")
    assert node.asked == [
        commands.RunAgent(name="w", file="/w/w.py", source=b"\xff\x00", replicas=2, environment={"A": "1"}),
        commands.StopAgent(name="w"),
        commands.RestartAgent(name="w"),
        commands.Scale(name="cluster/default/x", replicas=3, agent="w"),
        commands.PlanManifest(),
        commands.PlanManifest(manifest={"kind": "Agent"}),
        commands.ListStates(agent="w"),
        commands.ShowState(unit="w/7", key="count", session="s 1"),
        commands.StateHistory(unit="w/7"),
        commands.StateDiff(unit="w", first=3, second=5),
        commands.RestoreState(unit="w/7", version=3),
        commands.ForgetState(unit="w/7"),
        commands.FoldState(agent="w"),
        commands.ReadLogs(agent="w", node="beta", after=17, limit=9),
        commands.FindSkills(skill="cap/count", where="gpu_mem>=2Gi,site=plant-7"),
        commands.CallSkill(skill="s", arguments={"n": 1}, deadline_s=2.0, to="beta", idempotency_key="k"),
        commands.PingNode(name="beta", deadline_s=1.5),
        commands.Apply(manifest={"metadata": {"name": "x"}}),
        commands.DeleteDocument(kind="AgentCluster", namespace="default", name="x"),
        commands.Why(subject="cluster/default/x y"),
        commands.MakeInvite(name="n", ttl_s=60, region="dock"),
        commands.MakeInvite(name="n", role="gateway"),
        commands.ListNodes(after="ab", limit=7),
        commands.ListAgents(after="words/0@alpha", limit=7),
        commands.FindSkills(skill="cap/count", where="site=plant-7", after=40, limit=7),
        commands.ReadJournal(reader="eyes", cursor=commands.JournalCursor(1, 2, "ab"), node="beta"),
        commands.GatherJournals(reader="eyes", cursors={"beta": commands.JournalCursor()}, wait_ms=9),
        commands.ListLinks(node="beta"),
    ]


def test_strange_names_reach_the_node_whole(client: Client, node: CannedNode) -> None:
    with pytest.raises(NotFound):
        client.node("a b?c=d&e#f%41ü")
    assert node.asked == [commands.DescribeNode(name="a b?c=d&e#f%41ü")]


def test_a_refusal_is_raised_as_its_family_with_all_it_said(client: Client, node: CannedNode) -> None:
    node.refusal = Failure(
        code="duplicate-name", message="taken", next_step="choose", exit_code=4, details={"path": ["a", 1]}
    )
    with pytest.raises(Denied) as caught:
        client.invite("beta")
    error = caught.value
    assert (error.code, error.message, error.next_step, error.exit_code) == ("duplicate-name", "taken", "choose", 4)
    assert error.details == {"path": ["a", 1]}


def test_events_arrive_with_their_numbers(client: Client) -> None:
    told = list(client.events(1, follow=False))
    assert [(one.number, one.event) for one in told] == [(one.number, one.event) for one in STORY[1:]]


def test_a_node_that_says_nothing_is_a_timeout(served: tuple[Path, CannedNode], node: CannedNode) -> None:
    node.never = True
    with pytest.raises(TimedOut, match=r"said nothing for 0\.05 s"):
        Client(str(served[0]), timeout_s=0.05).status()


def test_no_daemon_is_offline(tmp_path: Path) -> None:
    with pytest.raises(Offline, match="no daemon runs"):
        Client(str(tmp_path)).status()
    (tmp_path / "run").symlink_to(tmp_path)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "api.sock"))
    door.close()  # a socket that nobody serves any more, as SIGKILL leaves it
    with pytest.raises(Offline, match="no daemon runs"):
        Client(str(tmp_path)).status()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"junk\r\n\r\n"])
def test_a_daemon_that_dies_while_answering_leaves_the_outcome_open(tmp_path: Path, answer: bytes) -> None:
    (tmp_path / "run").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "api.sock"))
        door.listen()

        def die() -> None:
            peer, _ = door.accept()
            peer.recv(65_536)
            peer.sendall(answer)
            peer.close()

        dying = threading.Thread(target=die)
        dying.start()
        with pytest.raises(Offline, match="may have been carried out"):
            Client(str(tmp_path)).stop("words")
        dying.join()


def test_a_streaming_call_gives_its_items_and_then_how_it_ended(client: Client, node: CannedNode) -> None:
    heard = list(client.call_stream(CallSkill(skill="s", deadline_s=2.0)))
    assert [one.item for one in heard if isinstance(one, StreamItem)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert isinstance(heard[-1], CallView) and len(heard) == 4
    assert node.asked == [CallSkill(skill="s", deadline_s=2.0, stream=True)]


def test_a_stream_that_fails_midway_gives_what_came_and_then_its_failure(client: Client, node: CannedNode) -> None:
    node.refusal = Failure(code="skill-failed", message="s: ValueError: no", next_step="look")
    heard: list[object] = []
    with pytest.raises(LocalError, match="s: ValueError: no") as caught:
        heard.extend(client.call_stream(CallSkill(skill="s")))
    assert (caught.value.code, caught.value.next_step) == ("skill-failed", "look")
    assert len(heard) == 3


def test_a_stream_without_an_end_leaves_the_outcome_open(client: Client, node: CannedNode) -> None:
    node.breaks = True
    with pytest.raises(Offline, match="may have been carried out"):
        list(client.call_stream(CallSkill(skill="s")))


def test_a_stream_closed_before_its_end_cancels_the_call(client: Client, node: CannedNode) -> None:
    node.never = True
    stream = client.call_stream(CallSkill(skill="s"))
    assert next(stream) == StreamItem(number=0, item={"n": 0})
    stream.close()
    assert node.stream_dropped.wait(10)


def test_what_is_no_json_never_leaves(client: Client, node: CannedNode) -> None:
    with pytest.raises(Invalid, match="cannot be written as JSON"):
        client.call(CallSkill(skill="s", arguments={"n": "\udc80"}))  # a byte of argv that is no UTF-8
    assert node.asked == []


def test_an_error_body_that_is_none_still_makes_an_error() -> None:
    error = error_of(502, b"<html>")
    assert type(error) is LocalError
    assert error.message == "the node answered with HTTP 502 and no reason"


@pytest.mark.parametrize(("exit_code", "family"), [(2, Invalid), (3, NotFound), (6, Offline), (124, TimedOut)])
def test_families_follow_exit_codes(exit_code: int, family: type[LocalError]) -> None:
    body = b'{"error": {"code": "odd", "message": "m", "exit_code": %d}}' % exit_code
    error = error_of(500, body)
    assert type(error) is family
    assert error.code == "odd"


def test_an_event_cut_in_the_middle_is_not_given() -> None:
    whole = b'id: 7\nevent: note\ndata: {"at_ms":1,"age_s":0,"subject":"s","text":"t"}\n\n'
    stream = b": hello\n\n" + whole + whole[:-1]
    assert [told.number for told in read_events(io.BytesIO(stream))] == [7]
