"""Documents over time, conflicts, sticks and watching, at the command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from meshnode.cli import main as front
from meshnode.cli import sync
from meshnode.crdt import stick
from meshnode.model import commands, document_views
from meshnode.model.commands import AnyCommand
from meshnode.model.document_views import ImportedView
from meshnode.model.views import AnyView, Failure
from tests.unit.api.asker import CHANGED, IDENTITY, SEEN, STICK, SYNCED, CannedNode

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def node(served: tuple[Path, CannedNode], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CannedNode:
    monkeypatch.setenv("MESHNODE_DIR", str(served[0]))
    monkeypatch.chdir(tmp_path)
    served[1].asked.clear()
    served[1].refusal = None
    return served[1]


def run(line: str, capsys: Capture) -> tuple[int, list[str], str]:
    code = front.main(line.split())
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err


def last(node: CannedNode, kind: type[AnyCommand]) -> AnyCommand:
    return [command for command in node.asked if isinstance(command, kind)][-1]


NAMES = {"kind": "AgentCluster", "namespace": "default", "name": "line3"}


def test_show_tells_field_by_field_who_wrote_what(node: CannedNode, capsys: Capture) -> None:
    code, lines, _ = run("state show cluster line3", capsys)
    assert (code, lines[0]) == (0, "document:  AgentCluster default/line3")
    assert [line.split() for line in lines[-2:]] == [
        ["apiVersion", '"v1"', "alpha", "1970-01-01", "00:00:01", "-"],
        ["spec.replicas", "2", "alpha", "1970-01-01", "00:00:02", "3", "by", "beta"],
    ]
    assert last(node, commands.ShowDocument) == commands.ShowDocument(**NAMES)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("cluster line3", NAMES),
        ("agentcluster dock/line3", {**NAMES, "namespace": "dock"}),
        ("cluster line3 -n dock", {**NAMES, "namespace": "dock"}),
        ("agent words", {"kind": "Agent", "namespace": "default", "name": "words"}),
        ("node beta", {"kind": "Node", "namespace": "default", "name": "beta"}),
    ],
)
def test_a_document_is_named_by_kind_and_name(
    words: str, names: dict[str, str], node: CannedNode, capsys: Capture
) -> None:
    assert run(f"state history {words}", capsys)[0] == 0
    assert last(node, commands.DocumentHistory) == commands.DocumentHistory(**names)


def test_history_tells_the_newest_first_and_what_is_left_out(node: CannedNode, capsys: Capture) -> None:
    code, lines, err = run("state history cluster line3", capsys)
    assert code == 0
    assert [line.split()[0] for line in lines] == ["WRITE", "5", "4"]
    assert "spec.replicas=2" in lines[1]
    assert "deleted it" in lines[2]
    assert "3 older writes are not shown" in err
    assert run("state history cluster line3 -o name", capsys)[1] == [
        "agentcluster/default/line3#5", "agentcluster/default/line3#4",
    ]  # fmt: skip


def test_diff_tells_what_reads_otherwise(node: CannedNode, capsys: Capture) -> None:
    assert run("state diff cluster line3 1 2", capsys)[1] == [
        "agentcluster/default/line3: write 1 -> write 2", "  spec.replicas: 1 -> 2",
    ]  # fmt: skip
    assert last(node, commands.DocumentDiff) == commands.DocumentDiff(**NAMES, first=1, second=2)
    assert run("state diff words 3", capsys)[0] == 0  # a unit's state, as before
    assert isinstance(node.asked[-1], commands.StateDiff)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("state diff cluster line3", "from which write on?"),
        ("state diff cluster line3 x", "x is not the number of a write"),
        ("state diff cluster line3 1 2 3", "what is 3?"),
        ("state show cluster line3 7", "what is 7?"),
        ("state show cluster line3 --key x", "takes no --key"),
        ("state restore cluster line3 --version 2", "what is line3?"),
        ("state show pig line3", "pig is no kind of documents"),
        ("conflicts resolve cluster line3", "which field of what?"),
        ("conflicts resolve pig line3 x --pick 1", "pig is no kind of documents"),
        ("conflicts resolve cluster line3 x", "--pick N takes one of the values"),
        ("conflicts resolve cluster line3 x --pick 0", "invalid number value"),
        ("conflicts --pick 1", "belong to resolve"),
        ("sync export", "which FILE?"),
        ("sync export mesh.stick --kind pig", "pig is no kind of documents"),
        ("sync now x", "what is x?"),
        ("sync import x --kind Agent", "takes no --kind"),
    ],
)
def test_nothing_that_was_typed_is_ignored(line: str, words: str, node: CannedNode, capsys: Capture) -> None:
    code, lines, err = run(line, capsys)
    assert (code, lines) == (2, [])
    assert words in err
    assert "\n -> " in err


def test_a_conflict_is_settled_by_a_pick_or_by_a_value(node: CannedNode, capsys: Capture) -> None:
    assert run("conflicts resolve cluster line3 spec.replicas --pick 2", capsys)[1] == [
        "agentcluster/default/line3 spec.replicas: pick 2 (updated)"
    ]
    asked = commands.ResolveConflict(**NAMES, field="spec.replicas", pick=2)
    assert last(node, commands.ResolveConflict) == asked
    assert run("conflicts resolve cluster line3 spec.replicas --set 7", capsys)[0] == 0
    assert last(node, commands.ResolveConflict) == msgspec.structs.replace(asked, pick=0, value=7)
    assert run("conflicts resolve cluster line3 spec.region --set eu", capsys)[0] == 0
    assert last(node, commands.ResolveConflict) == msgspec.structs.replace(
        asked, field="spec.region", pick=0, value="eu"
    )
    assert run("conflicts", capsys)[1][1].split()[:2] == ["agentcluster/default/line3", "replicas"]


def test_sync_now_tells_who_was_asked(node: CannedNode, capsys: Capture) -> None:
    assert run("sync now", capsys)[1] == ["asked:     beta", "documents: 1 (root ab12cd34)"]


def test_an_export_writes_a_whole_stick_for_this_user_only(node: CannedNode, capsys: Capture) -> None:
    code, lines, _ = run("sync export mesh.stick --kind AgentCluster", capsys)
    assert (code, lines[0].partition(",")[0]) == (0, "mesh.stick: 2 documents")
    read = stick.read(Path("mesh.stick").read_bytes(), "plant-7")
    assert [item.data for item in read.items] == [b"of a later version"]  # told on both pages, carried once
    assert Path("mesh.stick").stat().st_mode & 0o777 == 0o600
    asked = [command for command in node.asked if isinstance(command, commands.ExportStick)]
    assert [(command.kind, command.after) for command in asked] == [("AgentCluster", ""), ("AgentCluster", "d0")]
    assert [path.name for path in Path().iterdir()] == ["mesh.stick"]


def test_an_import_gives_the_items_on_and_tells_what_became_of_them(node: CannedNode, capsys: Capture) -> None:
    run("sync export mesh.stick", capsys)
    assert run("sync import mesh.stick", capsys)[1] == [
        "mesh.stick: 1 items from alpha, written 1970-01-01 00:00:01", "new:      1", "known:    0",
    ]  # fmt: skip
    assert last(node, commands.ImportStick) == commands.ImportStick(
        items=[commands.StickItem(77, b"of a later version")]
    )


def test_what_the_gate_refused_is_told_and_ends_in_partial(
    node: CannedNode, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sync export mesh.stick", capsys)
    refused = ImportedView(applied=3, held=1, refused={"denied": 2}, waits=1, unknown=1)
    monkeypatch.setattr(CannedNode, "_answer_a_reader", lambda _self, _command: refused)
    monkeypatch.setattr(CannedNode, "_answer_about_documents", lambda _self, _command: refused)
    code, lines, _ = run("sync import mesh.stick", capsys)
    assert (code, lines[-1]) == (5, "refused:  2 denied")


def test_a_tired_node_is_given_the_same_again() -> None:
    answers = iter([ImportedView(applied=3, held=0, refused={"rate-peer": 2}), ImportedView(applied=2, held=3)])
    waited: list[float] = []

    def give(_: list[commands.StickItem]) -> ImportedView:
        return next(answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", waited.append)
        assert sync._give(give, []) == ImportedView(applied=5, held=0)
    assert len(waited) == 1


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", 1, "does not begin like a stick"),
        (stick.write("plant-8", "x", 0, []), 1, "it is of mesh plant-8, this node is of mesh plant-7"),
        (stick.write("plant-7", "x", 0, [])[:-1], 1, "torn or damaged"),
    ],
    ids=["empty", "foreign", "torn"],
)
def test_a_file_that_is_no_stick_of_this_mesh_is_refused_before_the_node_is_given_any_of_it(
    content: bytes, code: int, words: str, node: CannedNode, capsys: Capture
) -> None:
    assert IDENTITY.mesh == "plant-7"
    Path("bad.stick").write_bytes(content)
    assert run("sync import bad.stick", capsys)[0] == code
    Path("bad.stick").write_bytes(content)
    _, _, err = run("sync import bad.stick", capsys)
    assert words in err
    assert "Nothing was applied" in err
    assert not [command for command in node.asked if isinstance(command, commands.ImportStick)]


def test_a_stick_that_is_not_there_is_told(node: CannedNode, capsys: Capture) -> None:
    code, _, err = run("sync import nothing.stick", capsys)
    assert (code, "no such file" in err) == (3, True)


def test_a_watch_shows_all_then_every_change_until_the_node_refuses(
    node: CannedNode, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: Iterator[AnyView] = iter(
        [
            document_views.WatchView(items=[SEEN, SYNCED], cursor="e.0"),
            document_views.WatchView(items=[CHANGED], cursor="e.9"),
            Failure(code="invalid", message="enough", exit_code=2, next_step="stop"),
        ]
    )
    monkeypatch.setattr(CannedNode, "_answer_about_documents", lambda _self, _command: next(pages))
    code, lines, err = run("get clusters -w", capsys)
    assert (code, "enough" in err) == (2, True)
    assert lines[1].split()[0] == "line3"
    assert lines[-1] == "1970-01-01 00:00:01  changed  agentcluster/default/line3  by beta: spec.replicas"


def test_a_watch_gives_events_as_json_lines(node: CannedNode, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: Iterator[AnyView] = iter(
        [
            document_views.WatchView(
                items=[document_views.DocumentEvent(type="resync", cursor="s.0."), SEEN, SYNCED], cursor="e.0"
            ),
            document_views.WatchView(items=[CHANGED], cursor="e.9"),
            Failure(code="invalid", message="enough", exit_code=2, next_step="stop"),
        ]
    )
    monkeypatch.setattr(CannedNode, "_answer_about_documents", lambda _self, _command: next(pages))
    _, lines, err = run("get documents -w -o jsonl", capsys)
    assert "cannot tell what changed meanwhile" in err
    assert [(told["type"], told["document"]["name"]) for told in map(json.loads, lines)] == [
        ("added", "line3"), ("changed", "line3"),
    ]  # fmt: skip


def test_the_canned_stick_is_one_that_this_version_reads() -> None:
    assert stick.read(stick.write(STICK.mesh, STICK.node, STICK.at_ms, []), STICK.mesh).items == ()
