"""A watch by the client: typed events, one connection or many, over a node that comes and goes."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.client.client import Client
from meshnode.client.events import read_changes
from meshnode.client.watching import followed
from meshnode.model import commands
from meshnode.model.document_views import DocumentEvent, WatchView
from meshnode.model.errors import Invalid, Offline
from meshnode.model.views import Failure
from tests.unit.api.asker import CHANGED, SEEN, SYNCED, CannedNode, daemon


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CannedNode]:
    canned = CannedNode()
    with daemon(tmp_path, canned):
        yield canned


def test_a_stream_gives_typed_events_and_the_places_between_them(tmp_path: Path, node: CannedNode) -> None:
    assert list(Client(str(tmp_path)).watch("AgentCluster", follow=False)) == [
        SEEN, SYNCED, DocumentEvent(type="", cursor="e.1"),
    ]  # fmt: skip
    asked = node.asked[0]
    assert isinstance(asked, commands.WatchDocuments)
    assert asked.kind == "AgentCluster"


def test_an_event_that_was_cut_off_is_not_given() -> None:
    whole = b'id: e.1\nevent: synced\ndata: {"type":"synced","cursor":"e.1"}\n\n'
    assert [event.type for event in read_changes(io.BytesIO(whole + whole[:-1]))] == ["synced"]


def test_a_followed_watch_goes_on_behind_the_last_cursor(tmp_path: Path, node: CannedNode) -> None:
    events = followed(Client(str(tmp_path)))
    assert [next(events) for _ in range(3)] == [SEEN, SYNCED, CHANGED]
    asked = [command.after for command in node.asked if isinstance(command, commands.WatchDocuments)]
    assert asked == ["", "e.1"]


def test_a_followed_watch_outlives_its_daemon(tmp_path: Path) -> None:
    first, second = CannedNode(), CannedNode()
    with daemon(tmp_path, first):
        events = followed(Client(str(tmp_path)))
        seen = [next(events), next(events)]
    (tmp_path / "run").unlink()
    for left in (tmp_path / "r").iterdir():
        left.unlink()
    (tmp_path / "r").rmdir()
    with daemon(tmp_path, second):
        seen.append(next(events))
        events.close()  # pyright: ignore[reportAttributeAccessIssue]  # a generator
    assert seen == [SEEN, SYNCED, CHANGED]
    assert [command.after for command in second.asked if isinstance(command, commands.WatchDocuments)] == ["e.1"]


def test_a_node_that_stays_away_ends_the_watch_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(Offline, match="no daemon runs"):
        next(followed(Client(str(tmp_path)), patience_s=0.0))


def test_a_refusal_ends_the_watch_at_once(tmp_path: Path, node: CannedNode) -> None:
    node.refusal = Failure(code="invalid", message="after is no cursor", exit_code=2)
    with pytest.raises(Invalid):
        next(followed(Client(str(tmp_path)), after="x"))


def test_whoever_is_gone_is_asked_no_more(tmp_path: Path) -> None:
    assert list(followed(Client(str(tmp_path)), gone=lambda: True)) == []


def test_an_empty_answer_moves_the_cursor(tmp_path: Path, node: CannedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    views = iter([WatchView(items=[], cursor="e.5"), WatchView(items=[CHANGED], cursor=CHANGED.cursor)])
    asked: list[str] = []

    def changes(_: Client, command: commands.WatchDocuments) -> WatchView:
        asked.append(command.after)
        return next(views)

    monkeypatch.setattr(Client, "changes", changes)
    assert next(followed(Client(str(tmp_path)))) == CHANGED
    assert asked == ["", "e.5"]
