"""The whole command line in process, against a served API: output, errors on stderr, exit codes."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from meshnode.cli import main as front
from meshnode.cli.verbs import VERBS
from meshnode.model import commands
from meshnode.model.views import Failure
from tests.unit.api.asker import CannedNode, daemon


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, CannedNode]]:
    node = CannedNode()
    directory = tmp_path_factory.mktemp("n")
    with daemon(directory, node):
        yield directory, node


@pytest.fixture
def node(served: tuple[Path, CannedNode], monkeypatch: pytest.MonkeyPatch) -> CannedNode:
    monkeypatch.setenv("MESHNODE_DIR", str(served[0]))
    monkeypatch.setenv("TZ", "UTC")
    served[1].asked.clear()
    served[1].refusal = None
    return served[1]


class Ran:
    """What one command did."""

    def __init__(self, line: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.code = front.main(shlex.split(line))
        self.out, self.err = capsys.readouterr()


TABLES = {
    "ls": """\
NODE     STATE        REASON  REGION  HW             AGENTS  LOAD  PATH  SEEN
alpha *  ready        -       home    Pi 5 4cpu 8Gi       1   38%  -     now
beta     unreachable  silent  dock    -                   0     ?  mesh  2m10s (stale)
""",
    "ps": """\
AGENT  STATE    NODE   PID  RESTARTS  SKILLS  SEEN
words  running  alpha   42         1       1  now
""",
    "find words.count": """\
RANK  SKILL        AGENT  NODE   REGION  RTT  AGE            NOTE
1     words.count  words  alpha  home      -  now            -
-     words.count  words  beta   dock      -  2m10s (stale)  excluded: unreachable
""",
    "skills": """\
SKILL        AGENT  NODE   REGION  SEEN           NOTE                   DESCRIPTION
words.count  words  alpha  home    now            -                      Count words.
words.count  words  beta   dock    2m10s (stale)  excluded: unreachable  -
""",
    "conflicts": """\
DOCUMENT                    FIELD     IN FORCE    ALSO WRITTEN
agentcluster/default/line3  replicas  2 by alpha  3 by beta
""",
    "status": """\
alpha  ready  mesh: plant-7  region: home  up 4h12m  1 of 1 peers connected
nodes 1 of 2 reachable   agents 1 of 1 running   documents 1 (root ab12cd34)
machine: Pi 5 4cpu 8Gi   load: cpu 38%
listens on 0.0.0.0:7070   clock synced   journal 1.4Mi   boot 3   version 0.1.0
! beta unreachable for 2m10s -> meshnode why beta
""",
    "stop words": "agent words  running\n",
    "events": """\
1970-01-01 00:00:01  node/beta  fact 1
1970-01-01 00:00:02  node/beta  fact 2
1970-01-01 00:00:03  node/beta  fact 3
""",
    "ping beta": "1: beta  0.9ms  direct  clock -1 ms\n",
    "why beta": """\
beta: unreachable
  1970-01-01 00:00:01        1s ago  fact 1
  1970-01-01 00:00:02        1s ago  fact 2
  1970-01-01 00:00:03        1s ago  fact 3
""",
    "delete cluster line3": "agentcluster/default/line3 deleted (local)\n",
}


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("line", TABLES)
def test_the_table_of_a_verb(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(line, capsys)
    assert (ran.code, ran.out) == (0, TABLES[line])


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("ls", "node/alpha node/beta"), ("ps", "agent/words/alpha"), ("skills", "skill/words.count skill/words.count"),
        ("get nodes beta", "node/beta"), ("get agents", "agent/words/alpha"), ("get skills words.count",
        "skill/words.count skill/words.count"), ("get clusters", "agentcluster/default/line3"),
        ("get documents", "agentcluster/default/line3"), ("describe node beta", "node/beta"),
        ("describe agent words", "agent/words/alpha"), ("describe skill words.count", "skill/words.count"),
        ("describe cluster line3", "agentcluster/default/line3"),
        ("get clusters agentcluster/default/line3", "agentcluster/default/line3"),
        ("status", "node/alpha"), ("id", "node/alpha"),
        ("conflicts", "agentcluster/default/line3#replicas"), ("why beta", "beta"), ("ping beta", "node/beta"),
        ("invite", "node/calm-otter"), ("stop words", "agent/words/alpha"), ("version", "0.1.0"),
        ("delete cluster line3", "agentcluster/default/line3"), ("call words.count", "c1"),
    ],
)  # fmt: skip
def test_every_verb_speaks_every_format(line: str, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Ran(f"{line} -o name", capsys).out.split() == names.split()
    as_json = json.loads(Ran(f"{line} -o json", capsys).out)
    assert yaml.safe_load(Ran(f"{line} -o yaml", capsys).out) == as_json
    lines = [json.loads(row) for row in Ran(f"{line} -o jsonl", capsys).out.splitlines()]
    assert lines == as_json.get("items", [as_json])
    for output in ("table", "wide"):
        ran = Ran(f"{line} -o {output}", capsys)
        assert (ran.code, bool(ran.out.strip()), "\x1b" in ran.out) == (0, True, False)


@pytest.mark.parametrize(
    ("line", "code", "what", "then"),
    [
        ("stauts", 2, "unknown command: stauts", "did you mean: meshnode status"),
        ("zzzzz", 2, "unknown command: zzzzz", "meshnode --help"),
        ("--nope ls", 2, "unknown option: --nope", "meshnode --help"),
        ("ls --nope", 2, "meshnode ls: unrecognized arguments: --nope", "meshnode ls --help"),
        ("ls -o xml", 2, "meshnode ls: argument -o: invalid choice: 'xml'", "meshnode ls --help"),
        ("get pods", 2, "unknown kind: pods", "kinds: nodes"),
        ("get nodes gamma", 3, "no node named gamma is known here", "meshnode get nodes"),
        ("get cluster other", 3, "no agentcluster named other", "meshnode get agentclusters"),
        ("describe node gamma", 3, "no node gamma", "meshnode ls"),
        ("describe agent x", 3, "no agent named x", "meshnode ps"),
        ("find nope", 3, "nobody known here offers nope", "meshnode skills"),
        ("call s text", 2, "text: an argument is key=value", "meshnode call"),
        ("call s --json [1]", 2, "--json: Expected `object`", "an object by argument name"),
        ("call s n=\udc80", 2, "this cannot be written as JSON", "text must be Unicode"),
        ("call s --deadline nan", 2, "meshnode call: argument --deadline: invalid SECONDS", "meshnode call --help"),
        ("ping beta --deadline -1", 2, "meshnode ping: argument --deadline", "meshnode ping --help"),
        ("run nowhere.py", 2, "nowhere.py: no such file", "meshnode run FILE"),
        ("ping beta -c 0", 2, "meshnode ping: argument -c", "meshnode ping --help"),
        ("invite --ttl soon", 2, "soon: must be a length of time", "for example"),
        ("delete cluster", 2, "delete: what?", "meshnode delete agentcluster NAME"),
        ("delete node beta", 2, "nodes are no kind of documents", "kinds of documents"),
        ("up --port 70000", 2, "meshnode up: argument --port: invalid port value", "meshnode up --help"),
        ("up --seed here", 2, "meshnode up: argument --seed: invalid HOST:PORT value", "meshnode up --help"),
        ("apply", 2, "meshnode apply: the following arguments are required: -f", "meshnode apply --help"),
    ],
)
@pytest.mark.usefixtures("node")
def test_an_error_says_what_and_what_next(
    line: str, code: int, what: str, then: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(line, capsys)
    said, _, next_step = ran.err.partition("\n -> ")
    assert (ran.code, ran.out) == (code, "")
    assert said.startswith(f"error: {what}")
    assert next_step.startswith(then)


@pytest.mark.parametrize("exit_code", [1, 2, 3, 4, 5, 6, 124])
def test_the_exit_code_is_the_one_of_the_refusal(
    exit_code: int, node: CannedNode, capsys: pytest.CaptureFixture[str]
) -> None:
    node.refusal = Failure(code="odd", message="no \x1b[2J", next_step="do", exit_code=exit_code)
    ran = Ran("ls", capsys)
    assert (ran.code, ran.err) == (exit_code, "error: no \\x1b[2J\n -> do\n")


def test_no_daemon_is_6_with_the_command_that_starts_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (f"-C {tmp_path} ls", f"ls -C {tmp_path}"):
        ran = Ran(line, capsys)
        assert (ran.code, ran.err) == (6, f"error: no daemon runs in {tmp_path}\n -> meshnode -C {tmp_path} up\n")


def test_the_directory_behind_the_verb_wins(
    node: CannedNode, served: tuple[Path, CannedNode], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Ran(f"-C {tmp_path} ls -C {served[0]}", capsys).code == 0
    assert node.asked == [commands.ListNodes()]


def test_a_call_prints_the_result_alone_on_stdout(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran("""call words.count text=hi n=3 --json '{"n": 1, "b": false}' --deadline 2 --to beta --key k""", capsys)
    assert json.loads(ran.out) == {"n": 3, "b": False, "text": "hi"}
    assert ran.err == "words/alpha@alpha  4.2ms  1 attempt  call c1\n"
    assert node.asked == [
        commands.CallSkill(
            skill="words.count", arguments={"n": 3, "b": False, "text": "hi"}, deadline_s=2.0, to="beta",
            idempotency_key="k",
        )
    ]  # fmt: skip


def test_pings_that_all_fail_end_with_their_code_and_some_with_5(
    node: CannedNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node.refusal = Failure(code="timeout", message="silence", exit_code=124)
    ran = Ran("ping beta -c 2", capsys)
    assert (ran.code, ran.err.splitlines()[-1]) == (124, "0 of 2 answered")
    node.refusal = None
    answers = iter([True, False])
    whole = node.ask

    async def every_other(command: commands.AnyCommand) -> object:
        return await whole(command) if next(answers) else Failure(code="timeout", message="silence", exit_code=124)

    monkeypatch.setattr(node, "ask", every_other)
    ran = Ran("ping node/beta -c 2", capsys)
    assert ran.code == 5
    assert ran.err.splitlines()[-1] == "1 of 2 answered, min / median / max 0.9ms / 0.9ms / 0.9ms"


def test_an_agent_runs_under_this_python_from_its_own_directory(
    node: CannedNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my agent.py").write_text("")
    ran = Ran(f"run '{tmp_path}/my agent.py' --env A=1 --env B= -- --flag x", capsys)
    assert ran.out == "agent words  running  on alpha  pid 42\n  offers words.count\n"
    assert node.asked == [
        commands.RunAgent(
            name="my-agent", argv=[sys.executable, "-u", str(tmp_path / "my agent.py"), "--flag", "x"],
            cwd=str(tmp_path), environment={"A": "1", "B": ""},
        )
    ]  # fmt: skip


def test_an_invite_prints_the_token_alone_on_stdout(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran("invite --name shed --ttl 15m --region dock", capsys)
    assert ran.out == "mnj1-TOKEN\n"
    assert "named shed" in ran.err
    assert node.asked == [commands.MakeInvite(name="shed", ttl_s=900, region="dock")]


def test_up_over_a_running_daemon_says_so_and_is_harmless(
    node: CannedNode, served: tuple[Path, CannedNode], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran("up", capsys)
    assert (ran.code, ran.out) == (0, f"already running: alpha in {served[0]}\n")
    assert node.asked == [commands.GetStatus()]


def test_down_waits_until_nobody_answers_and_repeats_harmlessly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with daemon(tmp_path, CannedNode()):
        ran = Ran(f"-C {tmp_path} down", capsys)
        assert (ran.code, ran.out) == (0, f"down: {tmp_path}\n")
        ran = Ran(f"-C {tmp_path} down", capsys)
        assert (ran.code, ran.out) == (0, f"not running: {tmp_path}\n")


def test_watching_repeats_until_ctrl_c_which_is_130_and_quiet(
    node: CannedNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("meshnode.cli.output.time.sleep", wait)
    ran = Ran("ls -w -o name", capsys)
    assert (ran.code, ran.out, ran.err) == (130, "node/alpha\nnode/beta\n" * 2, "")
    assert len(node.asked) == 2


@pytest.mark.parametrize("line", ["--help", "help", "-h"])
def test_help_names_every_verb(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran(line, capsys)
    assert ran.code == 0
    for verb, (_, summary) in VERBS.items():
        assert f"  {verb:<11} {summary}\n" in ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_of_its_own(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (f"{verb} --help", f"help {verb}"):
        with pytest.raises(SystemExit) as ended:
            Ran(line, capsys)
        assert ended.value.code == 0
        assert f"usage: meshnode {verb}" in capsys.readouterr().out


def test_no_verb_at_all_shows_the_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran("", capsys)
    assert (ran.code, ran.out.startswith("usage: meshnode")) == (2, True)


@pytest.mark.real
def test_help_imports_neither_argparse_nor_msgspec_nor_asyncio() -> None:
    program = (
        "import sys; from meshnode.cli.main import main; assert main(['--help']) == 0;"
        "sys.stderr.write(' '.join({'argparse', 'msgspec', 'asyncio', 'http.client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.real
def test_status_imports_no_asyncio_and_no_yaml(node: CannedNode) -> None:
    program = (
        "import sys; from meshnode.cli.main import main; assert main(['status']) == 0;"
        "sys.stderr.write(' '.join({'asyncio', 'yaml', 'starlette', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert node.asked == [commands.GetStatus()]


@pytest.mark.real
def test_a_reader_that_leaves_early_is_no_noise() -> None:
    command = f"{shlex.quote(sys.executable)} -m meshnode.cli --help | true; exit ${{PIPESTATUS[0]}}"
    for _ in range(3):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 141)
        assert done.stderr == ""


@pytest.mark.real
def test_python_without_assertions_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "meshnode.cli", "ls"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: meshnode does not run without its assertions")


@pytest.mark.real
def test_the_completion_is_valid_bash_and_completes_verbs_and_live_names(
    served: tuple[Path, CannedNode], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(Ran("completion bash", capsys).out)
    shim = tmp_path / "meshnode"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m meshnode.cli "$@"\n')
    shim.chmod(0o700)

    def completed(*words: str) -> list[str]:
        listed = " ".join(map(shlex.quote, words))
        program = (
            f"source {shlex.quote(str(script))}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _meshnode;"
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, env=environment)
        return done.stdout.split()

    assert completed("meshnode", "st") == ["status", "stop"]
    assert completed("meshnode", "ls", "-o", "js") == ["json", "jsonl"]
    assert completed("meshnode", "-C", str(served[0]), "ping", "b") == ["beta"]
    assert completed("meshnode", "-C", str(served[0]), "call", "w") == ["words.count"]
