"""Topics over real daemons: agents, people and programs that publish and listen."""

import json
from typing import Any

import pytest

from meshnode.client.events import TopicEvent
from meshnode.model.errors import Invalid
from meshnode.wire.events import EVENT_BYTES_MAX
from tests.patience import Coming
from tests.real.daemon_kit import Daemon, cli, typed, until
from tests.real.mesh_kit import AGENTS, run, value

pytestmark = pytest.mark.real
LISTENER = str(AGENTS / "listener.py")


def published(daemon: Daemon, topic: str, data: object, *, nodes: int = 0, listeners: int = 0) -> None:
    """Publish once this node knows of so many who listen; until then what is said goes to fewer."""

    def looks() -> bool:
        view = daemon.ask.publish(topic, data)
        return (view.nodes, view.listeners) == (nodes, listeners)

    until(looks, f"{nodes} nodes and {listeners} here listen to {topic}")


def heard(daemon: Daemon, name: str, topic: str) -> list[Any]:
    """[publisher, data] of the events of a topic that the agent got."""
    return [item[1:] for item in value(daemon, f"{name}.seen") if item[0] == topic]


def test_an_event_of_a_person_reaches_an_agent_of_another_node(mesh: list[Daemon]):
    alpha, beta, _ = mesh
    run(beta, "hears", "--on", "beta", file=LISTENER, known=[alpha, beta])
    published(alpha, "topic/real/first", {"n": 1}, nodes=1)
    until(lambda: heard(beta, "listener", "topic/real/first"), "it came")
    assert heard(beta, "listener", "topic/real/first")[0] == ["node/alpha", {"n": 1}]
    published(alpha, "topic/plain", [1], nodes=1)
    until(lambda: heard(beta, "listener", "topic/plain"), "the handler in a thread got it")
    published(alpha, "topic/real/kept", "in the state", nodes=1)
    until(lambda: value(alpha, "listener.last") == "in the state", "a handler changes the state in its turn")
    published(alpha, "topic/real/more", "raise", nodes=1)
    published(alpha, "topic/real/after", None, nodes=1)
    until(lambda: heard(beta, "listener", "topic/real/after"), "a handler that raised goes on")
    assert cli(alpha.directory, "stop", "hears").code == 0


def test_an_event_of_an_agent_reaches_whoever_listens_on_all_nodes(mesh: list[Daemon]):
    alpha, beta, gamma = mesh
    run(beta, "says", "--on", "beta", file=LISTENER, known=[alpha, beta])
    with typed(alpha.directory, "subscribe", "topic/said/*", "-o", "json", "--count", "21") as one:
        assert one.stderr is not None and one.stdout is not None
        assert "listening to topic/said/*" in one.stderr.readline()
        published(gamma, "topic/said/begin", 0, nodes=1)
        published(beta, "topic/said/begin", 0, nodes=1)
        for skill, times in (("say", 20), ("say_from_a_thread", 0)):
            more = {"times": times} if times else {}
            value(beta, f"listener.{skill}", topic="topic/said/x", data={"by": skill}, **more)
        lines = [json.loads(line) for line in one.stdout]
    assert one.wait(10) == 0 and len(lines) == 21
    told = [line for line in lines if line["topic"] == "topic/said/x"]
    assert told and all(line["publisher"] == "agent/says/beta" for line in told)
    assert cli(beta.directory, "stop", "says").code == 0


def test_what_cannot_be_published_or_heard_is_refused_by_name(mesh: list[Daemon]):
    alpha = mesh[0]
    cli(alpha.directory, "publish", "words", "1").refused(2, "event-topic")
    cli(alpha.directory, "publish", "topic/a/../b", "1").refused(2, "event-topic")
    cli(alpha.directory, "publish", "topic/a", "{").refused(2, "no JSON")
    cli(alpha.directory, "subscribe", "topic/*/a").refused(2, "topic/a/*")
    with pytest.raises(Invalid, match="event-too-long"):
        alpha.ask.publish("topic/a", "x" * EVENT_BYTES_MAX)
    counters = alpha.ask.status().counters
    assert counters["calls.event-topic"] >= 2 and counters["calls.event-too-long"] >= 1


def test_an_event_without_listeners_goes_nowhere_and_is_no_error(mesh: list[Daemon]):
    ended = cli(mesh[0].directory, "publish", "topic/nobody/listens", '{"a": [1, 2]}')
    assert ended.code == 0 and ended.out == "topic/nobody/listens: to 0 here, to 0 other nodes\n"


def test_a_reader_that_does_not_read_loses_events_and_hears_how_many(mesh: list[Daemon]):
    alpha = mesh[0]
    stream = alpha.ask.subscribe("topic/flood")
    assert next(stream) == TopicEvent(0, None)
    size, count = 50_000, 300  # far more than what the sockets and the queue of one reader hold
    for number in range(count):
        alpha.ask.publish("topic/flood", [number, "x" * size])
    until(lambda: alpha.ask.status().counters.get("host.event-dropped", 0) > 0, "some were lost")
    got: list[TopicEvent] = []
    lost = 0
    coming = Coming(stream, "the flood")
    while not got or lost == 0:
        alpha.ask.publish("topic/flood", [count, ""])
        event = coming.next()
        got.append(event)
        lost += event.dropped
    assert got[-1].number == len(got) + lost
