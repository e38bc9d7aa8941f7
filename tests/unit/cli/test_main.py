"""The whole command line in process, against a served API: output, errors on stderr, exit codes."""

import json
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from meshnode.cli import main as front
from meshnode.cli.verbs import VERBS
from meshnode.model import commands
from meshnode.model.views import Failure, PingView
from tests.patience import finished
from tests.unit.api.asker import CannedNode, daemon


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
UNIT     STATE    NODE   VERSION  DURABILITY  COPIES  RESTARTS  SEEN
words/0  running  alpha        7  auto        beta           1  now
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
    "state list": """\
UNIT     ROLE   NODE   VERSION  KEYS   SIZE  CHECKPOINT  SINCE  DURABILITY  COPIES  CONFLICTS  SEEN
words/0  owner  alpha        7     2  1.5Ki           5      2  auto        beta            1  now
words/0  copy   beta         6     2  1.4Ki           5      1  auto        -               -  2m10s (stale)
""",
    "state show words": """\
unit:      words/0
node:      alpha (owner)
version:   7, epoch 3@alpha, hash abababababab
seen:      now
answers:   3 kept
conflicts: title
keys:
  count: 12
  session s1, last:
    text: hi
""",
    "state history words/0": """\
VERSION  KIND        WHEN                 EPOCH    KEYS   SIZE  CALL     HASH
      6  entry       1970-01-01 00:00:02  3@alpha  count    40  order-1  cdcdcdcdcdcd
      5  checkpoint  1970-01-01 00:00:01  2@beta   -       900  -        efefefefefef
""",
    "state diff words 3 5": """\
words/0: 3 -> 5
  count: 1 -> 12
  new: - -> "x"
""",
    "state forget words/3": "the state of words/3 is gone from here\n",
    "restart words": "agent words: 1 unit restarts\n",
    "scale words 3": "agent/default/words updated: 3 wanted (local)\n",
    "plan": """\
UNIT     ACTION   NODE   NOW ON  REASON
words/0  keep     alpha  alpha   runs there
words/1  pending  -      -       memory: 8Gi wanted, alpha has 2Gi free
""",
    "logs --node alpha": """\
00:00:01.000 alpha words/0 | up
00:00:01.001 alpha words/0 ! careful
00:00:01.002 alpha words/0 ~ -- gap: 3 lines dropped --
""",
    "conflicts": """\
SUBJECT                     FIELD     IN FORCE    ALSO WRITTEN
agentcluster/default/line3  replicas  2 by alpha  3 by beta
""",
    "status": """\
alpha  ready, 1 problem
! beta unreachable for 2m10s -> meshnode why beta
  mesh       plant-7, region home, 1 of 1 peers connected
  nodes      1 of 2 reachable
  agents     1 of 1 running
  documents  1 (root ab12cd34)
  machine    Pi 5 4cpu 8Gi
  load       cpu 38%
  daemon     up 4h12m, boot 3, version 0.1.0, journal 1.4Mi
  clock      synced
  address    0.0.0.0:7070
""",
    "stop words --wait 0": "agent words  running\n",
    "events": """\
1970-01-01 00:00:01  node/beta  fact 1
1970-01-01 00:00:02  node/beta  fact 2
1970-01-01 00:00:03  node/beta  fact 3
""",
    "ping beta": "1: beta  0.9ms  direct  clock -1 ms\n",
    "why beta": """\
beta: unreachable
  1970-01-01 00:00:01        1s ago  alpha  fact 1
  1970-01-01 00:00:02        1s ago  alpha  fact 2
  1970-01-01 00:00:03        1s ago  alpha  fact 3
  not asked, out of reach now: beta
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
        ("ls", "node/alpha node/beta"), ("ps", "agent/words/0"), ("ps words", "agent/words/0"),
        ("skills", "skill/words.count skill/words.count"),
        ("get nodes beta", "node/beta"), ("get agents", "agent/words/0"), ("get skills words.count",
        "skill/words.count skill/words.count"), ("get clusters", "agentcluster/default/line3"),
        ("get documents", "agentcluster/default/line3"), ("describe node beta", "node/beta"),
        ("describe agent words", "agent/words"),
        ("describe agent words/0", "agent/words/0"), ("describe skill words.count", "skill/words.count"),
        ("describe cluster line3", "agentcluster/default/line3"),
        ("get clusters agentcluster/default/line3", "agentcluster/default/line3"),
        ("status", "node/alpha"), ("id", "node/alpha"),
        ("conflicts", "agentcluster/default/line3#replicas"), ("why beta", "beta"), ("ping beta", "node/beta"),
        ("invite", "node/calm-otter"), ("stop words --wait 0", "agent/words/0"), ("version", "0.1.0"),
        ("delete cluster line3", "agentcluster/default/line3"), ("call words.count", "c1"),
        ("delete agent words", "agent/default/words"), ("restart words", "agent/words"),
        ("scale agent/words 3", "agent/default/agent/words"), ("plan", "unit/words/0 unit/words/1"),
        ("state list", "state/words/0@alpha state/words/0@beta"), ("state show words", "state/words/0"),
        ("state history words", "state/words/0#6 state/words/0#5"), ("state diff words 3", "state/words/0"),
        ("state restore words --version 3", "state/words/0"), ("state forget words/3", "state/words/3"),
        ("checkpoint words", "state/words/0@alpha state/words/0@beta"),
        ("find words.count --where gpu_mem>=2Gi", "skill/words.count skill/words.count"),
        ("logs --node alpha", "unit/words/0@alpha unit/words/0@alpha unit/words/0@alpha"),
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
        ("invite --role admin", 2, "meshnode invite: argument --role: invalid choice", "meshnode invite --help"),
        ("delete cluster", 2, "delete: what?", "meshnode delete agentcluster NAME"),
        ("ps nope", 3, "no agent named nope is known here", "meshnode get agents"),
        ("run {py} --durability most", 2, "durability 'most' is none", "use auto, lazy"),
        ("run {py} --tier actor", 2, "{py}: only a Python file that uses meshnode.sdk can be", "leave --tier out"),
        ("run {py} --replicas -1", 2, "meshnode run: argument --replicas: invalid number of", "meshnode run --help"),
        ("run {py} --label gpu", 2, "--label gpu: must be KEY=VALUE", "for example --label A=1"),
        ("state", 2, "meshnode state: the following arguments are required: action", "meshnode state --help"),
        ("state shout words", 2, "meshnode state: argument action: invalid choice: 'shout'", "meshnode state --help"),
        ("state show", 2, "state show: of which unit?", "meshnode state list"),
        ("state diff words", 2, "state diff: from which version on?", "meshnode state history words"),
        ("state diff words 1 2 3", 2, "state diff: what is 3?", "meshnode state --help"),
        ("state show words 3", 2, "state show: what is 3?", "meshnode state --help"),
        ("state restore words", 2, "state restore: to which version?", "meshnode state restore words --version V"),
        ("state list --key k", 2, "state list takes no --key", "meshnode state --help"),
        ("state restore words --version x", 2, "meshnode state: argument --version: invalid", "meshnode state --help"),
        ("scale words many", 2, "meshnode scale: argument N: invalid number of replicas", "meshnode scale --help"),
        ("plan -f nowhere.yaml", 2, "nowhere.yaml: there is no such file", "check the path"),
        ("logs --since soon", 2, "soon: must be a length of time", "for example"),
        ("logs --node gamma", 3, "no node gamma", "meshnode ls"),
        ("delete node beta", 2, "nodes are no kind of documents", "kinds of documents"),
        ("up --port 70000", 2, "meshnode up: argument --port: invalid port value", "meshnode up --help"),
        ("up --seed here", 2, "meshnode up: argument --seed: invalid HOST:PORT value", "meshnode up --help"),
        ("apply", 2, "meshnode apply: the following arguments are required: -f", "meshnode apply --help"),
    ],
)
@pytest.mark.usefixtures("node")
def test_an_error_says_what_and_what_next(
    line: str, code: int, what: str, then: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plain = tmp_path / "plain.py"
    plain.write_text("print('hello')\n")
    ran = Ran(line.replace("{py}", str(plain)), capsys)
    what = what.replace("{py}", str(plain))
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
    ran = Ran(
        """call words.count text=hi n=3 --json '{"n": 1, "b": false}' --deadline 2 --to beta --key k --batch""", capsys
    )
    assert json.loads(ran.out) == {"n": 3, "b": False, "text": "hi"}
    assert ran.err == "words/0@alpha  4.2ms  1 attempt  call c1\n"
    assert node.asked == [
        commands.CallSkill(
            skill="words.count", arguments={"n": 3, "b": False, "text": "hi"}, deadline_s=2.0, to="beta",
            idempotency_key="k", batch=True,
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
    assert ran.err.splitlines()[-1] == "1 of 2 answered, 1 lost, min / median / max 0.9ms / 0.9ms / 0.9ms"


def test_a_ping_tells_of_heartbeats_that_nobody_answered(
    node: CannedNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def weak(_command: commands.AnyCommand) -> object:
        return PingView(
            node="beta", rtt_ms=2.0, path="relay rho", clock_offset_ms=3.0, heartbeats=31, unanswered=2
        )  # fmt: skip

    monkeypatch.setattr(node, "ask", weak)
    assert Ran("ping beta", capsys).out == "1: beta  2.0ms  relay rho  clock +3 ms  2 of 31 heartbeats unanswered\n"


def test_an_invite_prints_the_token_alone_on_stdout(node: CannedNode, capsys: pytest.CaptureFixture[str]) -> None:
    ran = Ran("invite --name shed --ttl 15m --region dock", capsys)
    assert ran.out == "mnj1-TOKEN\n"
    assert "named shed" in ran.err
    assert node.asked == [commands.MakeInvite(name="shed", ttl_s=900, region="dock")]
    Ran("invite --role gateway", capsys)
    assert node.asked[1:] == [commands.MakeInvite(role="gateway")]


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
    done = finished([sys.executable, "-c", program])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.real
def test_status_imports_no_asyncio_and_no_yaml(node: CannedNode) -> None:
    program = (
        "import sys; from meshnode.cli.main import main; assert main(['status']) == 0;"
        "sys.stderr.write(' '.join({'asyncio', 'yaml', 'starlette', 'cryptography'} & set(sys.modules)))"
    )
    done = finished([sys.executable, "-c", program])
    assert (done.returncode, done.stderr) == (0, "")
    assert node.asked == [commands.GetStatus()]


@pytest.mark.real
@pytest.mark.parametrize("verb", sorted(VERBS.keys() - {"apply", "delete", "up", "join"}))
def test_a_verb_starts_without_what_is_slow_to_import(verb: str) -> None:
    program = (
        f"import sys, importlib; importlib.import_module('meshnode.cli.{VERBS[verb][0]}');"
        "slow = {'asyncio', 'yaml', 'starlette', 'cryptography', 'psutil', 'statistics', 'http.client', 'zmq'};"
        "sys.stderr.write(' '.join(slow & set(sys.modules)))"
    )
    done = finished([sys.executable, "-c", program])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.real
def test_a_reader_that_leaves_early_is_no_noise() -> None:
    command = f"{shlex.quote(sys.executable)} -m meshnode.cli --help | true; exit ${{PIPESTATUS[0]}}"
    for _ in range(3):
        done = finished(["bash", "-c", command])
        assert done.returncode in (0, 141)
        assert done.stderr == ""


@pytest.mark.real
def test_python_without_assertions_is_refused() -> None:
    done = finished([sys.executable, "-O", "-m", "meshnode.cli", "ls"])
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
        return finished(["bash", "-c", program], check=True, env=environment).stdout.split()

    assert completed("meshnode", "st") == ["state", "status", "stop"]
    assert completed("meshnode", "demo", "") == ["failover", "partition"]
    assert completed("meshnode", "-C", str(served[0]), "restart", "") == ["words"]
    assert completed("meshnode", "-C", str(served[0]), "state", "show", "") == ["words/0"]
    assert completed("meshnode", "ls", "-o", "js") == ["json", "jsonl"]
    assert completed("meshnode", "-C", str(served[0]), "ping", "b") == ["beta"]
    assert completed("meshnode", "-C", str(served[0]), "call", "w") == ["words.count"]
