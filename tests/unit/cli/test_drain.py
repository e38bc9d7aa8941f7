"""drain and resume: what they ask for, how long they wait, what they show, and how they end."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshnode.cli import main as front
from meshnode.model import commands, document_views, view_parts, views
from meshnode.model.commands import AnyCommand
from meshnode.model.views import AnyView
from tests.unit.api.asker import BETA, WORDS, CannedNode

Tell = Callable[..., None]
HERE = replace(WORDS, node="beta")
STAYS = "beta is drained (new disk), and there is no other node"


@pytest.fixture
def node(served: tuple[Path, CannedNode], monkeypatch: pytest.MonkeyPatch) -> CannedNode:
    monkeypatch.setenv("MESHNODE_DIR", str(served[0]))
    monkeypatch.setattr("meshnode.cli.drain.time.sleep", lambda _: None)
    served[1].asked.clear()
    served[1].refusal = None
    return served[1]


@pytest.fixture
def tell(node: CannedNode, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Give other answers to some commands: ``tell(ListAgents=[first, second])``; the last one stays."""
    whole = node.ask

    def answers(**given: list[AnyView]) -> None:
        async def ask(command: AnyCommand) -> AnyView:
            told = given.get(type(command).__name__)
            if told is None:
                return await whole(command)
            node.asked.append(command)
            return told.pop(0) if len(told) > 1 else told[0]

        monkeypatch.setattr(node, "ask", ask)

    return answers


def document(units: int, stay: int = 0) -> document_views.DocumentsView:
    left = f"words/0 stays: {STAYS}" if stay else f"{units} units are leaving" if units else "it has no units"
    rows = [
        view_parts.Condition(
            type="Accepted", status="True", reason="Valid", message="it is to be without units: new disk"
        ),
        view_parts.Condition(type="Drained", status="False", reason="UnitsStay", message=left),
    ]
    status = {"drained": True, "units": units, "stay": stay, "staying": {"words/0": STAYS} if stay else {}}
    view = document_views.DocumentView(
        kind="Node", namespace="default", name="beta", doc_id="d", api_version="v1", spec={"drain": True}, heads=["h"],
        changes=1, updated_ms=0, updated_by="alpha", conflicts=[], conditions=rows, status=status,
    )  # fmt: skip
    return document_views.DocumentsView(items=[view])


def agents(*units: views.AgentView) -> views.AgentsView:
    return views.AgentsView(items=list(units))


def ran(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = front.main(shlex.split(line))
    out, err = capsys.readouterr()
    return code, out, err


def test_drain_waits_until_the_node_is_empty(node: CannedNode, tell: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    stopping = replace(HERE, state="stopping")
    elsewhere = replace(HERE, node="alpha")
    tell(ListAgents=[agents(HERE), agents(stopping, elsewhere), agents(elsewhere)], ListDocuments=[document(1)])
    code, out, err = ran("drain node/beta --reason 'new disk'", capsys)
    assert node.asked[0] == commands.Drain(node="beta", reason="new disk")
    assert (code, err) == (0, "")
    first, last = out.splitlines()
    assert first == "node beta  drained  (local)" and last.startswith("node beta  empty after 0.")
    assert sum(isinstance(asked, commands.ListAgents) for asked in node.asked) == 3


def test_what_cannot_leave_ends_the_wait_with_its_reason(tell: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    tell(ListAgents=[agents(HERE)], ListDocuments=[document(1), document(1, stay=1)])
    code, out, err = ran("drain beta", capsys)
    assert code == 5
    assert out.splitlines()[-1] == "node beta  1 unit stays"
    assert f"words/0 stays: {STAYS}" in err and "meshnode why node/beta" in err


def test_no_wait_asks_once_and_looks_at_nothing(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ran("drain beta --no-wait -o json", capsys)
    assert code == 0 and node.asked == [commands.Drain(node="beta")]
    assert json.loads(out)["kind"] == "Node"


def test_units_out_of_reach_are_not_waited_for(tell: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    tell(ListAgents=[agents(replace(HERE, state="unreachable"))], ListDocuments=[document(0)])
    assert ran("drain beta", capsys)[0] == 0


def test_resume_asks_and_says_so(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("resume beta", capsys)[:2] == (0, "node beta  takes units  (local)\n")
    assert node.asked == [commands.Resume(node="beta")]


def test_a_refusal_ends_with_its_code(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    node.refusal = views.Failure(code="not-found", message="no node named x", next_step="meshnode ls", exit_code=3)
    for line in ("drain x", "resume x"):
        code, _, err = ran(line, capsys)
        assert code == 3 and "no node named x" in err


def test_a_drained_node_shows_in_lists_and_descriptions(tell: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    beta = replace(BETA, state="ready", reason="", drained=True)
    tell(ListNodes=[views.NodesView(items=[beta])], DescribeNode=[beta], ListDocuments=[document(2)])
    assert "beta  ready,drained  dock" in ran("ls", capsys)[1]
    told = ran("describe node beta", capsys)[1]
    assert "ready,drained" in told and "it is to be without units: new disk; 2 units are leaving" in told
