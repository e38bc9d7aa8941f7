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
from meshnode.model.views import Failure
from tests.unit.api.asker import ALPHA, COUNT, IDENTITY, LINE3, STATUS, STORY, WORDS, CannedNode, daemon


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
    served[1].never = False
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


def test_every_method_asks_its_command(client: Client, node: CannedNode) -> None:
    client.run("w", ["python", "w.py"], "/w", {"A": "1"})
    client.stop("w")
    client.call(CallSkill(skill="s", arguments={"n": 1}, deadline_s=2.0, to="beta", idempotency_key="k"))
    client.ping("beta", 1.5)
    client.apply({"metadata": {"name": "x"}})
    client.delete("AgentCluster", "default", "x")
    client.why("cluster/default/x y")
    client.invite("n", 60, "dock")
    assert node.asked == [
        commands.RunAgent(name="w", argv=["python", "w.py"], cwd="/w", environment={"A": "1"}),
        commands.StopAgent(name="w"),
        commands.CallSkill(skill="s", arguments={"n": 1}, deadline_s=2.0, to="beta", idempotency_key="k"),
        commands.PingNode(name="beta", deadline_s=1.5),
        commands.Apply(manifest={"metadata": {"name": "x"}}),
        commands.DeleteDocument(kind="AgentCluster", namespace="default", name="x"),
        commands.Why(subject="cluster/default/x y"),
        commands.MakeInvite(name="n", ttl_s=60, region="dock"),
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
