"""apply and delete: all checked before anything is stored; refusals with file, line and field."""

import json
from pathlib import Path

import pytest

from meshnode.cli import main as front
from meshnode.model import commands
from meshnode.model.commands import AnyCommand
from meshnode.model.views import AnyView, Failure
from tests.unit.api.asker import CannedNode

GOOD = """\
apiVersion: v1
kind: AgentCluster
metadata: {name: NAME}
spec:
  agents:
    - {name: inspector, replicas: 2, resources: {cpu: "2", memory: 4Gi}}
"""


@pytest.fixture
def node(served: tuple[Path, CannedNode], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CannedNode:
    monkeypatch.setenv("MESHNODE_DIR", str(served[0]))
    monkeypatch.chdir(tmp_path)
    served[1].asked.clear()
    served[1].refusal = None
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.yaml").write_text(GOOD.replace("NAME", name))
    return served[1]


def names_applied(node: CannedNode) -> list[str]:
    return [command.manifest["metadata"]["name"] for command in node.asked if isinstance(command, commands.Apply)]


def test_every_manifest_of_every_file_is_applied_in_order(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.yaml").write_text("---\n".join(GOOD.replace("NAME", name) for name in ("b1", "b2")))
    assert front.main(["apply", "-f", "a.yaml", "b.yaml", "-f", "c.yaml"]) == 0
    assert names_applied(node) == ["a", "b1", "b2", "c"]
    assert capsys.readouterr().out.splitlines() == [
        f"agentcluster/default/{name} created (local)" for name in ("a", "b1", "b2", "c")
    ]


def test_one_bad_field_and_nothing_is_stored(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.yaml").write_text(GOOD.replace("NAME", "b").replace("4Gi", "4Gb"))
    Path("c.yaml").write_text(GOOD.replace("NAME", "c").replace("replicas: 2", "replica: 2"))
    assert front.main(["apply", "-f", "a.yaml", "b.yaml", "c.yaml"]) == 2
    assert node.asked == []
    out, err = capsys.readouterr()
    assert out == ""
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith("error: b.yaml:6: spec.agents[0].resources.memory: ")
    assert errors[1].startswith("error: c.yaml:6: spec.agents[0].replica: ")


@pytest.mark.parametrize("file", ["missing.yaml", ".", "empty.yaml"])
def test_a_file_that_cannot_be_used_is_a_usage_error(
    file: str, node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.yaml").write_text("")
    assert front.main(["apply", "-f", "a.yaml", file]) == 2
    assert node.asked == []
    assert capsys.readouterr().err.startswith(f"error: {file}")


def test_what_only_the_node_can_refuse_is_shown_at_its_line(
    node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.refusal = Failure(
        code="invalid", message="spec.agents[0].name: no such agent type", exit_code=2, next_step="choose",
        details={"path": ["spec", "agents", 0, "name"]},
    )  # fmt: skip
    assert front.main(["apply", "-f", "a.yaml"]) == 2
    assert capsys.readouterr().err == "error: a.yaml:6: spec.agents[0].name: no such agent type\n -> choose\n"


def test_a_node_that_fails_half_way_is_partial(
    node: CannedNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = node.ask

    async def only_the_first(command: AnyCommand) -> AnyView:
        answer = await whole(command)
        return answer if len(node.asked) == 1 else Failure(code="disk-full", message="the disk is full")

    monkeypatch.setattr(node, "ask", only_the_first)
    assert front.main(["apply", "-f", "a.yaml", "b.yaml", "-o", "json"]) == 5
    out, err = capsys.readouterr()
    assert [item["name"] for item in json.loads(out)["items"]] == ["a"]
    assert err == "error: the disk is full\n -> 1 of 2 done; repeating the command is harmless\n"


def test_delete_takes_files_or_names_and_not_both(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["delete", "-f", "a.yaml"]) == 0
    assert front.main(["delete", "clusters", "x", "y", "-n", "dock"]) == 0
    assert node.asked == [
        commands.DeleteDocument(kind="AgentCluster", namespace="default", name="a"),
        commands.DeleteDocument(kind="AgentCluster", namespace="dock", name="x"),
        commands.DeleteDocument(kind="AgentCluster", namespace="dock", name="y"),
    ]
    capsys.readouterr()
    assert front.main(["delete", "cluster", "x", "-f", "a.yaml"]) == 2
    assert "not both" in capsys.readouterr().err
