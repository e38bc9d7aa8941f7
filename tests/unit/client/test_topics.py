"""Publishing and listening by the client, and by the command line over it."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.client.client import Client
from meshnode.client.events import TopicEvent, read_topics
from meshnode.model import commands
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.view_parts import TopicEventView
from tests.real.daemon_kit import cli
from tests.unit.api.asker import CannedNode, daemon

ONE = TopicEventView(topic="topic/line/3", publisher="agent/words/beta", data={"n": 1})


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CannedNode]:
    canned = CannedNode()
    with daemon(tmp_path, canned):
        yield canned


def test_a_subscription_begins_by_saying_so_and_tells_what_was_lost(tmp_path: Path, node: CannedNode) -> None:
    heard = list(Client(str(tmp_path)).subscribe("topic/line/*", "topic/a"))
    assert node.subscribed == ("topic/line/*", "topic/a")
    assert heard[:2] == [TopicEvent(0, None), TopicEvent(1, ONE)]
    assert (heard[2].number, heard[2].dropped) == (5, 3)


@pytest.mark.parametrize("query", ["", "?topic=words", "?topic=topic/*/a", "?filter=topic/a"])
def test_a_subscription_to_nothing_is_refused(query: str, tmp_path: Path, node: CannedNode) -> None:
    client = Client(str(tmp_path))
    with (
        pytest.raises(Invalid, match="query"),
        client._exchange("GET", f"/v1/subscribe{query}", None, 5.0) as answer,  # pyright: ignore[reportPrivateUsage]
    ):
        answer.read()
    assert node.subscribed == ()


def test_an_event_that_was_cut_off_is_not_given_and_a_failure_is_raised() -> None:
    whole = b'id: 1\nevent: event\ndata: {"topic":"topic/a","publisher":"node/a","data":1}\n\n'
    assert len(list(read_topics(io.BytesIO(whole + whole[:-1])))) == 1
    failure = b'event: failure\ndata: {"code":"offline","message":"full","exit_code":6}\n\n'
    with pytest.raises(LocalError, match="full"):
        list(read_topics(io.BytesIO(failure)))


@pytest.mark.usefixtures("node")
def test_the_command_line_publishes_and_listens(tmp_path: Path, node: CannedNode) -> None:
    assert cli(tmp_path, "publish", "topic/a", '{"n": 1}').out == "topic/a: to 2 here, to 1 other node\n"
    assert node.asked == [commands.PublishEvent(topic="topic/a", data={"n": 1})]
    told = cli(tmp_path, "subscribe", "topic/line/*", "--count", "2")
    assert "listening to topic/line/*" in told.err and "3 events were lost here" in told.err
    assert 'topic/line/3  by agent/words/beta  {"n":1}\n' in told.out
    assert cli(tmp_path, "subscribe", "topic/line/*", "--count", "1", "-o", "name").out == "topic/line/3\n"
    cli(tmp_path, "subscribe", "topic/line/*", "--count", "0").refused(2)
