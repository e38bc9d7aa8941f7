"""The verbs about agents: what they ask for, what they show, and how they end."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from meshnode.cli import main as front
from meshnode.cli.call import call_line
from meshnode.cli.run import SOURCE_BYTES_MAX, agent_source
from meshnode.model import commands, unit_views, views
from meshnode.model.commands import AnyCommand
from meshnode.model.errors import Invalid
from meshnode.model.views import AnyView, Failure
from tests.unit.api.asker import WORDS, CannedNode

Tell = Callable[..., None]
AGENT = "from meshnode.sdk import Agent\n\nagent = Agent('w')\n"


@pytest.fixture
def node(served: tuple[Path, CannedNode], monkeypatch: pytest.MonkeyPatch) -> CannedNode:
    monkeypatch.setenv("MESHNODE_DIR", str(served[0]))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr("meshnode.cli.run.time.sleep", lambda _: None)
    node = served[1]
    node.asked.clear()
    node.refusal = None
    node.breaks = False
    return node


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


def run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = front.main(shlex.split(line))
    out, err = capsys.readouterr()
    return code, out, err


# -- run ---------------------------------------------------------------------------------------------------------------


def test_a_python_file_that_uses_the_sdk_is_sent_with_its_source(
    node: CannedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my agent.py"
    file.write_text(AGENT)
    line = f"run '{file}' --env A=1 --env B= --label gpu=yes --region eu --on node/beta --durability 'replicated(2)'"
    code, out, err = run(f"{line} --replicas 1 -- --flag x", capsys)
    assert (code, out) == (0, "agent words/0  running  on alpha  pid 42\n  offers words.count\n")
    assert err == " -> meshnode call words.count ...\n"
    assert node.asked == [
        commands.RunAgent(
            name="my-agent", file=str(file), source=AGENT.encode(), argv=["--flag", "x"], cwd=str(tmp_path),
            environment={"A": "1", "B": ""}, labels={"gpu": "yes"}, region="eu", on="beta", durability="replicated(2)",
        )
    ]  # fmt: skip


def test_another_python_file_runs_under_this_python_and_a_program_as_it_is(
    node: CannedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, program = tmp_path / "plain.py", tmp_path / "tool"
    script.write_text("# import meshnode.sdk would make it an agent\n")
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    for file in (script, program):
        assert run(f"run {file} --cwd / -- a", capsys)[0] == 0
    assert node.asked == [
        commands.RunAgent(name="plain", argv=[sys.executable, "-u", str(script), "a"], cwd="/"),
        commands.RunAgent(name="tool", argv=[str(program), "a"], cwd="/"),
    ]


@pytest.mark.parametrize(
    ("text", "is_agent"),
    [
        (AGENT, True), ("import meshnode.sdk\n", True), ("import meshnode.sdk as m\n", True),
        ("if True:\n    from meshnode.sdk import Agent\n", True), ("from meshnode import sdk\n", True),
        ("print('from meshnode.sdk import Agent')\n", False), ("import meshnodes\n", False), ("", False),
    ],
)  # fmt: skip
def test_an_agent_is_a_file_that_imports_the_sdk(tmp_path: Path, text: str, is_agent: bool) -> None:
    file = tmp_path / "a.py"
    file.write_text(text)
    assert (agent_source(file) is not None) is is_agent


def test_a_source_too_long_to_carry_is_refused_with_a_way_out(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(AGENT + "#" * (SOURCE_BYTES_MAX - len(AGENT)))
    assert agent_source(file) is not None
    file.write_text(AGENT + "#" * (SOURCE_BYTES_MAX - len(AGENT) + 1))
    with pytest.raises(Invalid, match="too long to be carried") as caught:
        agent_source(file)
    assert caught.value.next_step


def test_another_recipe_under_a_wanted_name_is_refused_with_both_ways_out(
    node: CannedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.py"
    file.write_text(AGENT)
    node.refusal = Failure(
        code="invalid", message="agent w is wanted already, with another recipe: cwd is /x, not /y", exit_code=2,
        next_step="choose another --name, or meshnode stop w first",
    )  # fmt: skip
    code, out, err = run(f"run {file}", capsys)
    assert (code, out) == (2, "")
    assert err == (
        "error: agent w is wanted already, with another recipe: cwd is /x, not /y\n"
        " -> choose another --name, or meshnode stop w first\n"
    )


def test_run_waits_until_all_replicas_run(
    node: CannedNode, tell: Tell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.py"
    file.write_text(AGENT)
    starting = replace(WORDS, state="starting", pid=None, node="")
    other = replace(WORDS, instance="words/1", node="beta", pid=7)
    tell(
        RunAgent=[starting],
        ListAgents=[views.AgentsView(items=[WORDS]), views.AgentsView(items=[WORDS, other])],
    )
    code, out, _ = run(f"run {file} --replicas 2", capsys)
    assert (code, out.splitlines()[:2]) == (
        0,
        ["agent words/0  running  on alpha  pid 42", "agent words/1  running  on beta  pid 7"],
    )


def test_an_agent_that_ends_at_once_fails_the_command_and_names_its_log(
    node: CannedNode, tell: Tell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.py"
    file.write_text(AGENT)
    failed = replace(WORDS, state="backoff", reason="exit 1: ImportError: no module x", pid=None)
    tell(RunAgent=[replace(WORDS, state="starting")], ListAgents=[views.AgentsView(items=[failed])])
    code, out, err = run(f"run {file}", capsys)
    assert code == 1
    assert "backoff  exit 1: ImportError: no module x" in out
    assert err == "error: agent words is backoff: exit 1: ImportError: no module x\n -> meshnode logs words\n"


def test_a_copy_that_was_lost_with_its_node_does_not_hide_the_one_that_runs(
    node: CannedNode, tell: Tell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.py"
    file.write_text(AGENT)
    lost = replace(WORDS, node="beta", state="unreachable")
    stopped = replace(WORDS, state="stopped", reason="nobody wants it")  # as it was before this run
    tell(RunAgent=[stopped], ListAgents=[views.AgentsView(items=[lost]), views.AgentsView(items=[lost, WORDS])])
    assert run(f"run {file} -o json", capsys)[0] == 0
    assert json.loads(run(f"run {file} -o json", capsys)[1])["node"] == "alpha"


def test_a_thousand_units_are_not_listed_one_by_one(
    node: CannedNode, tell: Tell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.py"
    file.write_text(AGENT)
    units = [replace(WORDS, instance=f"words/{n * 1000}", slots=1000) for n in range(50)]
    tell(RunAgent=[replace(WORDS, state="starting")], ListAgents=[views.AgentsView(items=units)])
    _, out, _ = run(f"run {file} --replicas 50000 --tier actor", capsys)
    assert out.startswith("agent words/0..999  running")
    assert "and 40 more units: meshnode ps words\n" in out


# -- stop --------------------------------------------------------------------------------------------------------------


def test_stop_waits_for_every_unit_and_names_those_that_have_not_heard(
    node: CannedNode, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    away = replace(WORDS, instance="words/1", node="beta", state="unreachable")
    tell(
        StopAgent=[replace(WORDS, state="stopping")],
        ListAgents=[views.AgentsView(items=[replace(WORDS, state="stopping"), away]), views.AgentsView(items=[away])],
    )
    code, out, err = run("stop agent/words", capsys)
    assert (code, out) == (0, "agent words  stopped\n")
    assert err == ("words/1 on beta is unreachable: it stops once it hears of it\n -> meshnode ps words\n")
    assert node.asked[0] == commands.StopAgent(name="words")


# -- call --------------------------------------------------------------------------------------------------------------


def test_a_call_says_how_safe_what_it_changed_is() -> None:
    view = views.CallView(call_id="c1", result=1, instance="w/0", node="a", took_ms=4.2, attempts=2)
    assert call_line(view) == "w/0@a  4.2ms  2 attempts  call c1"
    kept = replace(view, durability="replicated(1)", version=7, replayed=True)
    assert call_line(kept) == "w/0@a  4.2ms  2 attempts  kept: replicated(1), version 7  (stored answer)  call c1"


def test_a_call_may_go_by_capability_and_in_a_session(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("call cap/ocr n=1 --session s1 --to agent/words/3", capsys)[0] == 0
    assert node.asked == [commands.CallSkill(skill="cap/ocr", arguments={"n": 1}, session="s1", to="agent/words/3")]


def test_a_call_with_wrong_types_shows_the_path_to_the_field(
    node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.refusal = Failure(
        code="invalid", message="call words.count: options.limits[2]: Expected `int`, got `str`", exit_code=2,
        next_step="meshnode describe skill words.count shows what it takes and gives",
    )  # fmt: skip
    code, out, err = run("""call words.count 'options={"limits": [1, 2, "x"]}'""", capsys)
    assert (code, out) == (2, "")
    assert err.startswith(
        "error: call words.count: options.limits[2]: Expected `int`, got `str`\n -> meshnode describe"
    )


def test_a_stream_shows_an_item_a_line_and_then_who_answered(
    node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run("call words.all --stream", capsys)
    assert (code, out.splitlines()[:3]) == (0, ['{"n":0}', '{"n":1}', '{"n":2}'])
    assert err == "words/0@alpha  4.2ms  1 attempt  call c1\n"
    assert node.asked == [commands.CallSkill(skill="words.all", stream=True)]
    lines = [json.loads(line) for line in run("call words.all --stream -o jsonl", capsys)[1].splitlines()]
    assert [line.get("number") for line in lines] == [0, 1, 2, None]
    assert lines[-1]["call_id"] == "c1"
    assert run("call words.all --stream -o name", capsys)[1] == "c1\n"


def test_a_stream_that_fails_midway_shows_what_came_and_fails(
    node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.refusal = Failure(code="skill-failed", message="call words.all: ValueError: no", exit_code=1, next_step="look")
    code, out, err = run("call words.all --stream", capsys)
    assert (code, len(out.splitlines()), err) == (1, 3, "error: call words.all: ValueError: no\n -> look\n")


# -- logs --------------------------------------------------------------------------------------------------------------


def test_logs_say_which_node_is_missing_and_are_partial_then(
    node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run("logs words", capsys)
    assert (code, len(out.splitlines())) == (5, 3)
    assert err == "! without beta: unreachable: silent\n"
    assert [command.agent for command in node.asked if isinstance(command, commands.ReadLogs)] == ["words"]


def test_logs_of_one_node_that_is_not_there_are_offline(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run("logs --node node/beta", capsys)
    assert (code, out) == (6, "")
    assert err == "error: the logs of beta cannot be read: unreachable: silent\n -> meshnode why beta\n"


def test_logs_of_all_nodes_are_one_story(node: CannedNode, tell: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.unit.api.asker import ALPHA, BETA

    tell(ListNodes=[views.NodesView(items=[ALPHA, replace(BETA, state="ready")])])
    code, out, _ = run("logs", capsys)
    assert (code, [line.split()[1] for line in out.splitlines()]) == (0, ["alpha", "alpha", "beta", "alpha"])
    rows = [json.loads(line) for line in run("logs -o jsonl", capsys)[1].splitlines()]
    assert [row["hlc"] for row in rows] == sorted(row["hlc"] for row in rows)
    assert len(json.loads(run("logs -o json", capsys)[1])["items"]) == 4
    assert run("logs -o wide", capsys)[1].startswith("1970-01-01 00:00:01.000 alpha words/0 | up\n")


def test_logs_of_one_unit_leave_the_others_out(
    node: CannedNode, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.unit.api.asker import ALPHA, BETA

    tell(ListNodes=[views.NodesView(items=[ALPHA, replace(BETA, state="ready")])])
    assert [line.split()[2] for line in run("logs words/1", capsys)[1].splitlines()] == ["words/1"]
    assert {command.agent for command in node.asked if isinstance(command, commands.ReadLogs)} == {"words"}


def test_logs_since_ask_from_a_stamp_on(
    node: CannedNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshnode.cli.logs.time.time", lambda: 1_000.0)
    run("logs --since 15m", capsys)
    assert [command.after >> 16 for command in node.asked if isinstance(command, commands.ReadLogs)] == [100_000]


def test_following_logs_goes_on_until_ctrl_c(
    node: CannedNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meshnode.client.logs.follow_logs.__kwdefaults__", {"sleep": stop})
    code, out, _ = run("logs -f -o jsonl", capsys)
    assert (code, len(out.splitlines())) == (130, 3)


def test_nothing_written_is_said(node: CannedNode, tell: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.unit.api.asker import ALPHA

    tell(ReadLogs=[views.LogsView(items=[])], ListNodes=[views.NodesView(items=[ALPHA])])
    assert run("logs words", capsys) == (0, "", "nothing was written by words\n")


# -- describe, state, plan ---------------------------------------------------------------------------------------------


def test_an_agent_is_described_with_its_recipe_units_state_skills_and_story(
    node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run("describe agent words", capsys)
    assert (code, out) == (
        0,
        """\
name:       words
state:      ready
reason:     1 of 1 runs
replicas:   1
tier:       process
where:      near alpha
durability: auto
updated:    1970-01-01 00:00:01 by alpha
recipe:
  file: /w/words.py
  cwd: /w
unit words/0:
  state:    running on alpha, pid 42
  seen:     now
  epoch:    3@alpha
  restarts: 1
  version:  7, auto
  copies:   beta
  state of words/0 on alpha (owner): version 7, 2 keys, 1.5Ki, checkpoint 5 + 2 entries, hash abababababab, \
seen now, 1 conflicts: meshnode conflicts
  state of words/0 on beta (copy): version 6, 2 keys, 1.4Ki, checkpoint 5 + 1 entries, hash cdcdcdcdcdcd, \
seen 2m10s (stale)
skills:
  words.count  Count words.
last:
  1970-01-01 00:00:01        1s ago  fact 1
  1970-01-01 00:00:02        1s ago  fact 2
  1970-01-01 00:00:03        1s ago  fact 3
""",
    )


def test_a_unit_that_never_was_is_not_described(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run("describe agent words/7", capsys)
    assert (code, err) == (3, "error: no agent named words/7 is known here\n -> meshnode ps\n")


def test_a_slot_inside_a_unit_of_many_is_described_by_its_unit(
    node: CannedNode, tell: Tell, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(
        ListAgents=[views.AgentsView(items=[replace(WORDS, slots=1000)])], ListStates=[unit_views.StatesView(items=[])]
    )
    code, out, _ = run("describe agent words/999", capsys)
    assert (code, "unit words/0..999:" in out) == (0, True)
    assert run("describe agent words/1000", capsys)[0] == 3


def test_a_state_is_narrowed_by_key_and_session(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    run("state show agent/words/0 --key count --session s1", capsys)
    run("state diff words 3", capsys)
    run("state restore words/0 --version 3", capsys)
    assert node.asked == [
        commands.ShowState(unit="words/0", key="count", session="s1"),
        commands.StateDiff(unit="words", first=3),
        commands.RestoreState(unit="words/0", version=3),
    ]


MANIFEST = """\
apiVersion: v1
kind: Agent
metadata: {name: words}
spec:
  run: {file: /w/words.py}
  replicas: 2
"""


def test_a_plan_of_a_file_is_asked_for_and_nothing_is_applied(
    node: CannedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST)
    code, _, err = run(f"plan -f {file}", capsys)
    assert (code, err) == (0, f"1 of 2 can run now\n -> meshnode apply -f {file}\n")
    assert [type(command) for command in node.asked] == [commands.PlanManifest]


def test_an_agent_is_applied_deleted_and_refused_like_a_cluster(
    node: CannedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(MANIFEST)
    assert run(f"apply -f {file}", capsys)[:2] == (0, "agent/default/words created (local)\n")
    assert run(f"delete -f {file}", capsys)[:2] == (0, "agent/default/words deleted (local)\n")
    file.write_text(MANIFEST.replace("replicas: 2", "replica: 2"))
    code, _, err = run(f"apply -f {file}", capsys)
    assert (code, err.startswith(f"error: {file}:6: spec.replica: unknown field")) == (2, True)


def test_a_cluster_of_several_agents_is_scaled_by_agent(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("scale cluster/default/line3 0 --agent words", capsys)[0] == 0
    assert node.asked == [commands.Scale(name="cluster/default/line3", replicas=0, agent="words")]
