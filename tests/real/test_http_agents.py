"""Agents without the SDK, over HTTP: the examples in bash and Node.js, and whoever breaks the rules."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshnode.model.commands import CallSkill
from meshnode.model.errors import LocalError
from meshnode.model.views import StreamItem
from tests.real.daemon_kit import Daemon, cli, typed, until
from tests.real.mesh_kit import call, offered, run, units, value

pytestmark = pytest.mark.real
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WORDS, SENSOR, COUNTER = (str(EXAMPLES / name) for name in ("words.py", "shell/sensor.sh", "node/counter.js"))
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node: apt install nodejs")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl: apt install curl")


def heard(daemon: Daemon, topic: str, ask: Callable[[], object]) -> Any:  # noqa: ANN401 - JSON
    """The first event of a topic. It is asked for again and again: others hear of a new listener in their time."""
    with typed(daemon.directory, "subscribe", topic, "-o", "json", "--count", "1") as listening:
        until(lambda: (ask(), listening.poll() is not None)[1], f"an event of {topic} came")
        out, err = listening.communicate(timeout=10)
    assert listening.returncode == 0, err
    return json.loads(out)


@needs_curl
def test_an_agent_in_bash_answers_calls_others_listens_and_publishes(mesh: list[Daemon]):
    alpha, beta, _ = mesh
    run(alpha, "words", "--on", "alpha", file=WORDS, known=[alpha, beta])
    run(beta, "sensor", "--on", "beta", file=SENSOR, known=[alpha, beta])
    answer = call(alpha, "shell.machine")
    assert answer.node == "beta" and set(answer.result) == {"host", "load"}
    assert value(alpha, "shell.count", text='it\'s a "b" c')["words"] == 4
    assert cli(alpha.directory, "stop", "words").code == 0
    until(lambda: not offered(beta, "words"), "words is gone")
    with pytest.raises(LocalError, match=r"words\.count did not answer") as failed:
        call(alpha, "shell.count", {"text": "x"})
    assert failed.value.code == "agent.no-count"
    event = heard(beta, "topic/example/greeted", lambda: beta.ask.publish("topic/example/greet", "hello"))
    assert event["publisher"] == "agent/sensor/beta" and event["data"]["data"] == "hello"
    assert event["data"]["publisher"] == "node/beta"
    assert cli(beta.directory, "stop", "sensor").code == 0
    until(lambda: not offered(alpha, "sensor"), "it ended in order")


@needs_node
def test_an_agent_in_node_streams_and_keeps_its_state(mesh: list[Daemon]):
    alpha, beta, gamma = mesh
    run(beta, "counter", "--on", "beta", file=COUNTER, known=[alpha, beta, gamma])
    wanted = CallSkill(skill="js.primes", arguments={"below": 300}, stream=True, deadline_s=20)
    items = [item.item for item in alpha.ask.call_stream(wanted) if isinstance(item, StreamItem)]
    assert len(items) == 62 and items[:4] == [2, 3, 5, 7] and items[-1] == 293
    assert value(alpha, "js.primes", below=12) == [2, 3, 5, 7, 11]
    event = heard(gamma, "topic/example/*", lambda: call(alpha, "js.add", {"by": 2}))
    assert event["publisher"] == "agent/counter/beta"
    total = value(alpha, "js.add", by=3)
    shown = json.loads(cli(beta.directory, "state", "show", "counter", "-o", "json").out)
    assert shown["keys"] == {"total": total}
    before = pids(beta)
    cli(beta.directory, "restart", "counter")
    until(lambda: pids(beta) and pids(beta) != before, "another process runs")
    assert value(alpha, "js.add", by=0) == total, "it goes on with what was kept"
    assert cli(beta.directory, "stop", "counter").code == 0


def pids(daemon: Daemon) -> list[int]:
    return [unit.pid for unit in units(daemon, "counter").values() if unit.pid]
