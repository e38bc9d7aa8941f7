"""What a gateway finds at the door of its node: the journals of two daemons, by cursor, over the local API."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.model.commands import GatherJournals, JournalCursor, ReadJournal
from meshnode.model.errors import Denied
from meshnode.model.views import JournalView
from tests.real.daemon_kit import Daemon, Daemons, cli, until
from tests.real.mesh_kit import beside

pytestmark = pytest.mark.real


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


class Reader:
    """Keeps what it is told by one node of the journals of several."""

    def __init__(self, daemon: Daemon, *names: str) -> None:
        self.daemon = daemon
        self.cursors = dict.fromkeys(names, JournalCursor())
        self.seen: list[tuple[str, int, int, str]] = []
        self.missing: dict[str, str] = {}

    def gather(self, wait_ms: int) -> list[JournalView]:
        command = GatherJournals(reader="eyes", cursors=self.cursors, wait_ms=wait_ms)
        view = self.daemon.ask.journals(command)
        self.missing = view.missing
        for journal in view.items:
            self.seen += [(journal.node, item.boot, item.number, item.text) for item in journal.items]
            self.cursors[journal.node] = JournalCursor(journal.boot, journal.items[-1].number, journal.run)
        return view.items

    def catch_up(self) -> None:
        while self.gather(wait_ms=1_000):
            pass


def join(daemons: Daemons, host: Daemon, name: str, role: str) -> Daemon:
    """A node of that role, linked to its host."""
    token = host.ask.invite(name, role=role).token
    assert cli(daemons.directory / name, "join", token).code == 0
    daemon = daemons.start(name)
    until(lambda: len(daemon.ask.links().items) == 1, f"{name} is linked")
    return daemon


def test_a_gateway_hears_within_a_moment_what_happens_on_another_node(daemons: Daemons) -> None:
    alpha = daemons.start("alpha")
    eyes = join(daemons, alpha, "eyes", "gateway")
    assert eyes.ask.identity().roles == ["gateway"]
    reader = Reader(eyes, "alpha", "eyes")
    reader.catch_up()
    assert {name for name, *_ in reader.seen} == {"alpha", "eyes"} and reader.missing == {}
    with beside(reader.gather, 8_000) as told:
        until(lambda: "eyes@eyes" in alpha.ask.status().readers, "alpha knows its reader")
        alpha.ask.invite("late")
        began = time.monotonic()
        assert [journal.node for journal in told.result(timeout=10)] == ["alpha"]
    assert time.monotonic() - began < 1.0
    assert reader.seen[-1][3].startswith("invited")
    last = reader.cursors["alpha"].number
    reader.gather(wait_ms=500)
    assert f"up to {last} of {last} are committed" in alpha.ask.status().readers["eyes@eyes"]


def test_a_killed_node_is_missing_and_goes_on_in_its_journal_with_its_next_boot(daemons: Daemons) -> None:
    alpha = daemons.start("alpha")
    eyes = join(daemons, alpha, "eyes", "gateway")
    reader = Reader(eyes, "alpha")
    reader.catch_up()
    before = reader.cursors["alpha"]
    alpha.kill()
    until(lambda: not reader.gather(500) and "alpha" in reader.missing, "alpha is missing")
    again = daemons.start("alpha")
    until(lambda: reader.gather(500), "alpha tells again")
    reader.catch_up()
    numbers = [number for name, _, number, _ in reader.seen if name == "alpha"]
    assert numbers == list(range(1, len(numbers) + 1)), "all, once, in order"
    assert reader.cursors["alpha"].boot == before.boot + 1 and reader.cursors["alpha"].run != before.run
    view = again.ask.journal(ReadJournal(reader="me", cursor=before))
    assert not view.anew and view.items[0].number == before.number + 1


def test_a_member_is_refused_in_words_and_shows_its_links(daemons: Daemons) -> None:
    alpha = daemons.start("alpha")
    plain = join(daemons, alpha, "plain", "member")
    with pytest.raises(Denied, match="alpha does not show its journal to plain") as refused:
        plain.ask.journal(ReadJournal(reader="eyes", node="alpha"))
    assert "--role gateway" in refused.value.next_step
    assert plain.ask.journal(ReadJournal(reader="eyes")).items, "its own it reads"
    assert [link.peer for link in plain.ask.links("alpha").items] == ["plain"]
    assert plain.ask.links().items[0].kind == "neighbour"
    page = plain.ask.nodes_page(limit=1)
    assert [*page, *plain.ask.nodes_page(page[0].node_id, 1)][1].node_id > page[0].node_id
