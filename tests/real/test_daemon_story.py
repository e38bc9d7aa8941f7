"""What a newcomer does by hand in two terminals, every command once for people and once as JSON."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.daemon_kit import Daemons, Ended, alive, cli, client, holders, shell, typed, until

pytestmark = pytest.mark.real

UP = ("up", "--bind", "127.0.0.1", "--no-mdns")
MANIFEST = """\
apiVersion: v1
kind: AgentCluster
metadata:
  name: readers
spec:
  agents:
    - name: poets
      replicas: 2
      resources: {cpu: "1", memory: 64Mi}
"""


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def told(ended: Ended, *words: str) -> str:
    """What a command that went well printed."""
    assert ended.code == 0, ended.err
    for word in words:
        assert word in ended.out, f"{word!r} is missing: {ended.out}"
    return ended.out


def both(directory: Path, *words: str) -> tuple[str, Any]:
    """One command for people, by a process of its own, and the same as JSON."""
    return told(shell(directory, *words)), cli(directory, *words, "-o", "json").json


def test_two_terminals(daemons: Daemons) -> None:
    a, b, manifest = daemons.directory / "A", daemons.directory / "B", daemons.directory / "x.yaml"
    manifest.write_text(MANIFEST)

    made = told(shell(a, *UP, "--name", "alpha"), "made", "name: alpha", "recovery words", "listens on 127.0.0.1:")
    words = re.search(r"^  ((?:[a-z]{5}-){7}[a-z]{5})$", made, re.MULTILINE)
    assert words, made
    for name, data in ((str(p), p.read_bytes()) for p in a.rglob("*") if p.is_file()):
        assert words[1].encode() not in data, f"the recovery words are kept in {name}"
    assert a.stat().st_mode & 0o777 == 0o700
    assert told(shell(a, "up")) == f"already running: alpha in {a}\n"

    token = told(shell(a, "invite")).strip()
    told(shell(b, "join", token), "joined", "region: home")
    told(shell(b, *UP), "ready  listens on 127.0.0.1:")
    beta = cli(b, "id", "-o", "json").json["name"]
    for directory in (a, b):
        until(lambda at=directory: _linked(at, {"alpha", beta}), "both list both")
    table, listed = both(a, "ls")
    assert beta in table
    assert {node["name"]: node["state"] for node in listed["items"]} == {"alpha": "ready", beta: "ready"}

    told(shell(a, "run", "examples/words.py"), "agent words/0  running  on alpha", "offers words.count")
    assert cli(a, "run", "examples/words.py", "-o", "json").json["state"] == "running"
    until(lambda: [s for s in client(b).skills("words.count") if not s.excluded], "B knows the skill")
    counted = shell(b, "call", "words.count", "text=to be or not to be")
    assert json.loads(told(counted))["words"] == 6
    assert "words/0@alpha" in counted.err
    called = cli(b, "call", "words.count", "text=one two", "-o", "json").json
    assert (called["node"], called["result"]["words"]) == ("alpha", 2)

    told(shell(b, "apply", "-f", str(manifest)), "agentcluster/default/readers created (local)")
    again = cli(b, "apply", "-f", str(manifest), "-o", "json").json
    assert [item["action"] for item in again["items"]] == ["unchanged"]
    until(lambda: client(a).documents("AgentCluster"), "A has the document")
    table, got = both(a, "get", "clusters")
    assert "readers" in table
    assert [(item["name"], item["updated_by"]) for item in got["items"]] == [("readers", beta)]
    text, described = both(a, "describe", "cluster", "readers")
    assert "pending" in text.lower(), text
    assert {condition["type"] for condition in described["conditions"]} >= {"Ready"}

    _look(a, b, beta)
    _leave(a, b, beta)


def _linked(directory: Path, names: set[str]) -> bool:
    return {node.name for node in client(directory).nodes() if node.state == "ready"} == names


def _look(a: Path, b: Path, beta: str) -> None:
    text, status = both(b, "status")
    assert "1 of 1 peers connected" in text
    assert (status["peers_connected"], status["documents"], status["nodes_reachable"]) == (1, 2, 2)
    text, found = both(b, "find", "words.count")
    assert "alpha" in text
    assert [(item["rank"], item["node"], item["excluded"]) for item in found["items"]] == [(1, "alpha", "")]
    text, pinged = both(a, "ping", beta)
    assert "direct" in text
    assert pinged["node"] == beta and pinged["rtt_ms"] > 0
    text, why = both(b, "why", "alpha")
    assert "ready" in text and "linked" in text
    assert why["events"]
    _, conflicts = both(a, "conflicts")
    assert conflicts == {"items": []}
    text, identity = both(b, "id")
    assert f"spiffe://{identity['mesh']}/node/{beta}" in text
    for kind, one in (("nodes", "node"), ("agents", "agent"), ("skills", "skill")):
        assert cli(b, "get", kind, "-o", "name").out.startswith(f"{one}/"), kind
    for form in ("table", "wide", "json", "yaml", "name", "jsonl"):
        for verb in (("ls",), ("ps",), ("status",), ("get", "clusters"), ("skills",)):
            told(cli(b, *verb, "-o", form))


def _leave(a: Path, b: Path, beta: str) -> None:
    """One goes; the other still answers everything, from what it has, with ages."""
    pid = int((a / "lock").read_text())
    assert told(shell(a, "down")) == f"down: {a}\n"
    assert not alive(pid)
    assert told(shell(a, "down")) == f"not running: {a}\n"
    assert not (a / "run").exists()
    until(lambda: client(b).node("alpha").state == "left", "B knows that alpha left")
    assert client(b).node("alpha").age_s > 0
    until(lambda: cli(b, "call", "words.count", "text=x").code == 0, "its agent went to B")
    assert cli(b, "call", "words.count", "text=x", "-o", "json").json["node"] == beta
    cli(b, "call", "poets.rhyme").refused(3, "poets.rhyme", "meshnode skills")
    cli(b, "ping", "alpha").refused(6, "alpha", "meshnode why")
    assert [item["name"] for item in cli(b, "get", "clusters", "-o", "json").json["items"]] == ["readers"]
    for verb in (("status",), ("ls",), ("ps",), ("skills",), ("why", "alpha"), ("describe", "node", "alpha"), ("id",)):
        told(cli(b, *verb))
    # Without flags: port and the rest are remembered.
    told(shell(a, "up"), "ready  listens on 127.0.0.1:")
    until(lambda: cli(a, "call", "words.count", "text=x y").code == 0, "A reaches the agent")
    assert cli(a, "down", "-o", "json").json == {"message": "down"}
    assert cli(b, "down").code == 0
    assert list(holders(a.parent)) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_in_order_with_its_agents(daemons: Daemons, number: signal.Signals) -> None:
    daemon = daemons.start("alpha")
    agent = cli(daemon.directory, "run", "examples/words.py", "-o", "json").json
    assert alive(agent["pid"])
    until(lambda: daemon.ask.agents()[0].state == "running", "the agent runs")
    daemon.signal(number)
    assert daemon.ends() == 0, daemon.log()
    assert not alive(agent["pid"])
    assert not (daemon.directory / "run").exists()
    cli(daemon.directory, "status").refused(6, "no daemon runs")


def test_in_the_foreground_it_tells_when_it_is_ready_and_ends_by_ctrl_c(daemons: Daemons) -> None:
    with typed(daemons.directory / "alpha", *UP, "--foreground", "--name", "alpha") as daemon:
        assert daemon.stdout is not None
        lines = [daemon.stdout.readline() for _ in range(3)]
        daemon.send_signal(signal.SIGUSR2)
        daemon.send_signal(signal.SIGINT)
        _, err = daemon.communicate(timeout=15)
    assert daemon.returncode == 0, err
    assert "most recent call first" in err, "there, too, it tells where its threads stand, and goes on"
    assert [word for line in lines for word in ("made", "recovery words", "ready") if line.startswith(word)] == [
        "made", "recovery words", "ready",
    ]  # fmt: skip
    assert "Traceback" not in err


@pytest.mark.parametrize("reached", ["logs/daemon.log", "identity", "journal"])
def test_ctrl_c_while_up_waits_leaves_no_process_and_no_mesh(daemons: Daemons, reached: str) -> None:
    """The person has enough before the daemon is ready, and never saw the recovery words."""
    directory = daemons.directory / "alpha"
    with typed(directory, *UP) as starting:
        until(
            lambda: starting.poll() is not None or ((directory / reached).exists() and _children(starting.pid)),
            "the daemon has got that far, or further",
        )
        starting.send_signal(signal.SIGINT)
        out, err = starting.communicate(timeout=15)
    if "recovery words" in out:  # too late: the node was ready, and has said what it made
        return
    assert starting.returncode == 130, err
    assert (out, err) == ("", "")
    assert list(holders(daemons.directory)) == []
    assert not (directory / "identity").exists()
    assert not (directory / "journal").exists()
    assert shell(directory, *UP).code == 0  # and nothing stands in the way of the next start


def _children(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_events_follow_what_happens_until_the_reader_leaves(daemons: Daemons) -> None:
    daemon = daemons.start("alpha")
    with typed(daemon.directory, "events", "-f", "-o", "jsonl") as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert (first["event"]["subject"], first["event"]["text"]) == ("node/alpha", "started, boot 1")
        assert cli(daemon.directory, "invite", "--name", "guest").code == 0
        seen = next(told for told in map(json.loads, watching.stdout) if told["event"]["subject"] == "node/guest")
        assert "invited" in seen["event"]["text"]
        assert seen["number"] > first["number"]
        assert cli(daemon.directory, "down").code == 0  # a watcher must not hold the node
        _, err = watching.communicate(timeout=10)
    Ended(watching.returncode, "", err).refused(6, "the node has ended", "status")


def test_a_person_without_rights_to_the_directory_is_told(daemons: Daemons) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory that it may not use look like somebody else's")
    daemon = daemons.start("alpha")
    os.chown(Path((daemon.directory / "run").read_text().strip()) / "api.sock", 12345, 12345)
    cli(daemon.directory, "status").refused(4, "belongs to another user")


def test_a_daemon_tells_where_its_threads_stand_and_goes_on(daemons: Daemons) -> None:
    alpha = daemons.start("alpha")
    assert "most recent call first" not in alpha.log()
    os.kill(int((alpha.directory / "lock").read_text()), signal.SIGUSR2)
    until(lambda: "in run_until_complete" in alpha.log(), "its main thread is told")
    assert alpha.ask.status().name == "alpha"
