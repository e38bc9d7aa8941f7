"""Nodes for people: a lost region in a line, votes, what is known of one that does not answer, who sees it how."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshnode.cli import main as front
from meshnode.cli.look import apart
from meshnode.model.commands import AnyCommand, DescribeNode, FindSkills, ListNodes, PingNode, Why
from meshnode.model.views import AnyView, EventView, Failure, NodesView, NodeView, SkillsView, SkillView, WhyView
from tests.unit.api.asker import ALPHA, BETA, COUNT, CannedNode, daemon

CUT = "region dock unreachable: 2 nodes"
LOST = replace(BETA, reason=CUT, votes={"alpha": "silent", "delta": "silent"}, observers=3, age_s=130.0)
GAMMA = replace(LOST, name="gamma", node_id="c3" * 32, age_s=90.0)
DELTA = replace(BETA, name="delta", node_id="d4" * 32, region="home", state="ready", reason="linked", age_s=0.5)
LATE = Failure(code="timeout", message="deadline passed", exit_code=124, next_step="ask meshnode why NODE")


class Mesh(CannedNode):
    """What one node knows of others, and what others tell: by node, "" for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[NodeView] = []
        self.skills: list[SkillView] = []
        self.told: list[str] = []
        self.stories: Mapping[str, AnyView] = {}

    async def ask(self, command: AnyCommand) -> AnyView:
        match command:
            case ListNodes():
                return NodesView(items=self.nodes)
            case DescribeNode(name=name):
                found = [node for node in self.nodes if node.name == name]
                return found[0] if found else await super().ask(command)
            case Why(node=node):
                self.told.append(node)
                return self.stories.get(node) or self.stories[""]
            case FindSkills():
                return SkillsView(items=self.skills)
            case PingNode():
                return LATE
            case _:
                return await super().ask(command)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Mesh]]:
    mesh, directory = Mesh(), tmp_path_factory.mktemp("n")
    with daemon(directory, mesh):
        yield directory, mesh


@pytest.fixture
def mesh(served: tuple[Path, Mesh], monkeypatch: pytest.MonkeyPatch) -> Mesh:
    monkeypatch.setenv("MESHNODE_DIR", str(served[0]))
    monkeypatch.setenv("TZ", "UTC")
    served[1].nodes = [ALPHA, LOST, DELTA, GAMMA]
    served[1].stories, served[1].told = {}, []
    return served[1]


def ran(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = front.main(shlex.split(line))
    out, err = capsys.readouterr()
    return code, out, err


def story(state: str, *, now: str = "", details: tuple[str, ...] = ()) -> WhyView:
    event = EventView(at_ms=1_800_000_000_000, age_s=7.0, subject="node/beta", text=f"{state}: so it is")
    return WhyView(
        subject="node/beta", now=now or f"node beta: {state}", events=[event], details=list(details), state=state
    )


@pytest.mark.parametrize("line", ["ls", "get nodes"])
def test_a_lost_region_is_one_line(line: str, mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ran(line, capsys)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [row.split()[0] for row in lines[1:3]] == ["alpha", "delta"]
    assert lines[3:] == ["region dock unreachable since 1m30s: 2 nodes (-o wide names them)"]


def test_every_other_format_names_all_nodes(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(json.loads(ran("ls -o json", capsys)[1])["items"]) == 4
    assert ran("ls -o name", capsys)[1].splitlines() == ["node/alpha", "node/beta", "node/delta", "node/gamma"]
    wide = ran("ls -o wide", capsys)[1]
    assert wide.count(CUT) == 2 and wide.count("2 of 3") == 2 and "region dock unreachable since" not in wide


def test_a_node_that_is_asked_for_is_shown_with_its_votes(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    title, row = ran("get nodes beta", capsys)[1].splitlines()
    assert "VOTES" in title and "2 of 3" in row and CUT in row


def test_votes_have_no_column_while_all_is_well(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.nodes = [ALPHA, DELTA]
    assert "VOTES" not in ran("ls", capsys)[1]


def test_a_region_is_lost_only_with_all_its_nodes_and_two_at_least() -> None:
    assert apart([ALPHA, LOST]) == ([ALPHA, LOST], [])
    back = replace(GAMMA, state="ready", reason="linked")
    assert apart([LOST, back]) == ([LOST, back], [])
    down = replace(GAMMA, state="down", reason="refuses a fresh dial, say 2 of 3 observers")
    assert apart([LOST, down]) == ([LOST, down], [])
    silent = [replace(node, age_s=-1.0) for node in (LOST, GAMMA)]
    assert apart(silent) == ([], ["region dock unreachable: 2 nodes (-o wide names them)"])


def test_a_ping_without_an_answer_says_once_what_is_known(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ran("ping beta -c 2", capsys)
    assert (code, out) == (124, "")
    known = f"beta is unreachable: {CUT} (heard 2m10s ago); 2 of 3 observers speak against it"
    assert err.splitlines()[0] == known and err.count("speak against it") == 1
    assert ran("ping omega", capsys)[2].startswith("error: ")
    assert "speak against" not in ran("ping beta -o json", capsys)[2]


def test_why_tells_the_way_and_the_votes_before_the_events(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.stories = {"": story("down", details=("no link", "2 of 3 observers speak against it: silent (alpha, delta)"))}
    mesh.nodes = [ALPHA]
    lines = ran("why beta", capsys)[1].splitlines()
    assert lines[:3] == [
        "beta: node beta: down", "  no link", "  2 of 3 observers speak against it: silent (alpha, delta)"
    ]  # fmt: skip
    assert lines[3].endswith("down: so it is") and len(lines) == 4


def test_why_says_who_sees_it_differently(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.stories = {"": story("down"), "delta": story("unreachable")}
    assert "  nodes see it differently: down (alpha); unreachable (delta)" in ran("why beta", capsys)[1]
    mesh.stories = {"": story("down"), "delta": story("down")}
    assert "differently" not in ran("why beta", capsys)[1]
    itself = story("ready", now="node beta: ready, this node")
    mesh.stories = {"": story("unreachable"), "delta": itself}
    assert "differently" not in ran("why beta", capsys)[1], "what it says of itself is no other view"


def test_why_names_a_dozen_of_those_out_of_reach(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.nodes = [ALPHA, *(replace(LOST, name=f"n{number:02}") for number in range(40))]
    mesh.stories = {"": story("down")}
    last = ran("why beta", capsys)[1].splitlines()[-1]
    assert last.startswith("  not asked, out of reach now: n00, n01, ") and last.endswith(" and 28 more")


def test_find_says_why_nobody_is_called_and_how_it_is_known(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    why = f"unreachable, last heard 9.0 s ago: {CUT}; 2 of 3 observers speak against it"
    mesh.skills = [replace(COUNT, node="beta", excluded=why, path="told by gamma 9.1 s ago")]
    assert f"excluded: {why}; told by gamma 9.1 s ago" in ran("find words.count", capsys)[1]
    mesh.skills = []
    code, _, err = ran("find words.*", capsys)
    assert code == 3 and "in other regions only a whole name is looked for" in err
    assert "of other regions: meshnode find SKILL" in "".join(ran("skills", capsys)[1:])


def test_why_asks_those_first_who_speak_against_the_node(mesh: Mesh, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a large mesh it asks only some."""
    crowd = [replace(DELTA, name=f"n{number:02}") for number in range(40)]
    mesh.nodes = [ALPHA, replace(LOST, votes={"alpha": "silent", "n38": "silent"}), *crowd]
    mesh.stories = {"": story("down")}
    ran("why node/beta", capsys)
    assert mesh.told[:3] == ["", "n38", "n00"] and len(mesh.told) == 24
    mesh.told.clear()
    ran("why node/n39", capsys)
    assert mesh.told[:3] == ["", "n39", "n00"], "and the node itself"
