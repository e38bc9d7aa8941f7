"""Journals over a mesh: read behind a cursor, gathered through one node, by those who may."""

from meshnode.kernel.instant import MS, SECOND
from meshnode.model.commands import GatherJournals, GetStatus, JournalCursor, ListLinks, ReadJournal
from meshnode.model.views import Failure, JournalsView, JournalView, LinksView, StatusView
from tests.unit.node.mesh import Box, Mesh, member_record, signer_of


def cursor_of(view: JournalView) -> JournalCursor:
    """What the reader says next, once it has committed the view."""
    last = view.items[-1].number if view.items else 0
    return JournalCursor(view.boot, last, view.run)


def read(box: Box, cursor: JournalCursor | None = None, **more: int | str) -> JournalView:
    view = box.answer(ReadJournal(reader="eyes", cursor=cursor or JournalCursor(), **more))  # pyright: ignore[reportArgumentType]
    assert isinstance(view, JournalView), view
    return view


class Reader:
    """Gathers through one node, and keeps what it was told."""

    def __init__(self, box: Box, *names: str, name: str = "eyes") -> None:
        self.box, self.name = box, name
        self.cursors = dict.fromkeys(names, JournalCursor())
        self.events: list[tuple[str, int, int, str]] = []
        self.missing: dict[str, str] = {}

    def ask(self, wait_ms: int = 8_000) -> int:
        command = GatherJournals(reader=self.name, cursors=dict(self.cursors), wait_ms=wait_ms)
        return self.box.ask(command)

    def gather(self, wait_ms: int = 8_000) -> list[JournalView]:
        number = self.ask(wait_ms)
        self.box.mesh.until(lambda: number in self.box.replies)
        return self.take(number)

    def take(self, number: int) -> list[JournalView]:
        (view,) = self.box.replies[number]
        assert isinstance(view, JournalsView), view
        self.missing = view.missing
        for journal in view.items:
            assert journal.items or journal.anew
            self.events += [(journal.node, item.boot, item.number, item.text) for item in journal.items]
            self.cursors[journal.node] = cursor_of(journal)
        return view.items

    def catch_up(self) -> None:
        while self.gather(wait_ms=1_000):
            pass

    def texts(self, node: str) -> list[str]:
        return [text for name, _, _, text in self.events if name == node]


def test_a_journal_is_read_behind_a_cursor_in_pages() -> None:
    mesh = Mesh()
    (box,) = mesh.start("alpha")
    for number in range(5):
        box.take(box.core._note("node/alpha", f"note {number}", box.now))
    mesh.run(SECOND)
    first = read(box, limit=2)
    assert [item.number for item in first.items] == [1, 2]
    assert (first.first, first.more, first.anew, first.boot, first.node_id) == (1, True, False, 1, box.node.hex())
    assert first.run == box.core.config.run_id.hex()
    rest = read(box, cursor_of(first))
    assert [item.number for item in rest.items] == list(range(3, rest.last + 1)) and not rest.more
    none = read(box, cursor_of(rest))
    assert (none.items, none.boot, none.run) == ([], 1, first.run)


def test_a_reader_waits_for_the_next_event_or_until_its_time_is_over() -> None:
    mesh = Mesh()
    (box,) = mesh.start("alpha")
    cursor = cursor_of(read(box))
    began_us = mesh.now_us
    assert read(box, cursor, wait_ms=2_000).items == []
    assert 2 * SECOND <= mesh.now_us - began_us < 2 * SECOND + 50 * MS
    number = box.ask(ReadJournal(reader="eyes", cursor=cursor, wait_ms=8_000))
    mesh.run(SECOND)
    assert number not in box.replies
    box.take(box.core._note("node/alpha", "something", box.now))
    took_us = mesh.until(lambda: number in box.replies)
    (view,) = box.replies[number]
    assert isinstance(view, JournalView) and [item.text for item in view.items] == ["something"] and took_us < 20 * MS


def test_gathering_answers_soon_after_news_of_any_node() -> None:
    mesh = Mesh()
    a, b, c = mesh.start("alpha", "beta", "gamma")
    reader = Reader(a, "alpha", "beta", "gamma")
    reader.catch_up()
    assert {node for node, *_ in reader.events} == {"alpha", "beta", "gamma"}
    number = reader.ask()
    mesh.run(SECOND)
    assert number not in a.replies
    for box in (b, c):
        box.take(box.core._note("node/x", f"news of {box.name}", box.now))
    took_us = mesh.until(lambda: number in a.replies)
    assert {view.node for view in reader.take(number)} == {"beta", "gamma"}, "one answer for both"
    assert took_us <= 50 * MS
    assert reader.missing == {}


def test_a_node_tells_how_far_its_readers_are() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    reader = Reader(a, "alpha", "beta")
    reader.catch_up()
    status = b.answer(GetStatus())
    assert isinstance(status, StatusView)
    last = b.core.story.shown
    assert status.readers.keys() == {"eyes@alpha"}
    assert status.readers["eyes@alpha"].startswith(f"events up to {last} of {last} are committed, ")
    own = a.answer(GetStatus())
    assert isinstance(own, StatusView) and own.readers.keys() == {"eyes"}


def test_who_is_unknown_or_unreachable_is_missing_with_the_reason() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    mesh.kill(b)
    mesh.run(10 * SECOND)
    reader = Reader(a, "alpha", "beta", "omega")
    reader.gather()
    assert reader.missing["omega"] == "no node of that name is known here"
    assert reader.missing["beta"].startswith(("down: ", "unreachable: "))


def test_a_member_is_denied_the_journal_of_others_and_reads_its_own() -> None:
    mesh = Mesh()
    (a,) = mesh.start("alpha")
    member = member_record("beta", signer_of("beta").public_key, roles=("member",))
    b = Box(mesh, "beta", member=member, seeds=["alpha"]).start()
    mesh.run(3 * SECOND)
    assert read(b).items
    view = b.failure(ReadJournal(reader="eyes", node="alpha"))
    assert (view.code, view.exit_code) == ("denied", 4) and "gateway" in view.next_step
    reader = Reader(b, "alpha", "beta")
    reader.catch_up()
    assert reader.missing["alpha"].startswith("denied: alpha does not show its journal to beta")
    assert not reader.texts("alpha") and reader.texts("beta")
    assert a.core.counters.snapshot()["journal-denied"] >= 2


def test_a_gateway_reads_the_journal_of_every_node() -> None:
    mesh = Mesh()
    mesh.start("alpha")
    member = member_record("beta", signer_of("beta").public_key, roles=("gateway",))
    b = Box(mesh, "beta", member=member, seeds=["alpha"]).start()
    mesh.run(3 * SECOND)
    assert read(b, node="alpha").node == "alpha"
    reader = Reader(b, "alpha")
    reader.catch_up()
    assert reader.texts("alpha") and reader.missing == {}


def test_links_are_shown_by_each_node_also_to_others() -> None:
    mesh = Mesh()
    a, b, _ = mesh.start("alpha", "beta", "gamma")
    own, other = a.answer(ListLinks()), a.answer(ListLinks(node="beta"))
    assert isinstance(own, LinksView) and isinstance(other, LinksView)
    assert own.node == "alpha" and [link.peer for link in own.items] == ["beta", "gamma"]
    assert other.node == "beta" and {link.peer for link in other.items} == {"alpha", "gamma"}
    assert all(link.kind == "neighbour" and link.rtt_ms is not None and link.age_s < 3 for link in own.items)
    mesh.kill(b)
    mesh.run(10 * SECOND)
    view = a.failure(ListLinks(node="beta"))
    assert isinstance(view, Failure) and view.code == "offline"
