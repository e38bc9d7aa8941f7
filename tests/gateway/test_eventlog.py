"""Segments, runs and the search over them, as pure functions over blobs."""

import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_gateway.model.queries import EventQuery, JournalQuery
from cloud_gateway.model.rows import CursorRow, EventRow, GapRow
from cloud_gateway.store.eventlog import cursor_log, search
from cloud_gateway.store.eventlog.catalog import Catalog, groups
from cloud_gateway.store.eventlog.journal import journal
from cloud_gateway.store.eventlog.run import Run, made_run
from cloud_gateway.store.eventlog.search import Need, NeedDirectory, NeedPosts, NeedSegment, Place, drive
from cloud_gateway.store.eventlog.segment import (
    SEGMENT_BYTES_MAX,
    SEGMENT_ROWS_MAX,
    Origins,
    columns_of,
    head_of,
    joined,
    pack,
    pieces,
    unpack,
)

events = st.builds(
    EventRow,
    node_id=st.sampled_from(["aa", "bb", "cc"]),
    node=st.sampled_from(["a", "b", "ß"]),
    life=st.integers(1, 3),
    boot=st.integers(0, 2**40),
    number=st.integers(1, 2**60),
    at_ms=st.integers(0, 2**45),
    subject=st.text(max_size=20),
    text=st.text(max_size=200),
    region=st.sampled_from(["", "here", "there"]),
)


class Log:
    """A whole log in memory: what an engine keeps in tables."""

    def __init__(self) -> None:
        self.origins, self.catalog = Origins(), Catalog()
        self.segments: dict[int, bytes] = {}
        self.runs: dict[int, Run] = {}
        self.events: list[EventRow] = []
        self.reads: list[Need] = []

    def add(self, rows: Sequence[EventRow]) -> None:
        self.events += rows
        for piece in pieces(rows):
            columns, no = columns_of(piece, self.origins), len(self.segments) + 1
            self.segments[no] = pack(columns)
            self.catalog.add([head_of(no, columns, self.origins)])

    def fold(self) -> None:
        if self.catalog.recent:
            run = made_run(len(self.runs) + 1, self.catalog.recent, 0)
            self.runs[run.head.no] = run
            self.catalog.add_run(run.head)

    def read(self, need: Need) -> Sequence[bytes]:
        self.reads.append(need)
        match need:
            case NeedSegment(no):
                return [self.segments[no]] if no in self.segments else []
            case NeedDirectory(run):
                return [self.runs[run].directory]
            case NeedPosts(run, origins):
                return [
                    block.body
                    for block in self.runs[run].blocks
                    if any(block.first <= origin <= block.last for origin in origins)
                ]

    def page(self, query: EventQuery) -> "search.EventsListed":
        return drive(search.search(query, self.catalog.snapshot(), self.origins), self.read)


def live_log(seed: int, commits: int = 60) -> Log:
    """Commits of some events each, as time goes on; a few nodes come late with what they wrote hours ago."""
    luck, log, numbers = random.Random(seed), Log(), dict.fromkeys("abcd", 0)
    now_ms = 10_000_000
    for _ in range(commits):
        rows: list[EventRow] = []
        late_ms = luck.choice((0, 0, 0, 0, 5_000_000))
        for _ in range(luck.randrange(1, 40)):
            node = luck.choice("abcd")
            numbers[node] += 1
            rows.append(
                EventRow(
                    node_id=node * 2,
                    node=node,
                    region=luck.choice(("north", "south")) if node == "d" else "east",
                    life=1,
                    boot=1,
                    number=numbers[node],
                    at_ms=now_ms + luck.randrange(300) - late_ms,
                    subject=luck.choice(("agent/x", "agent/y", "node/z")),
                    text=luck.choice(("has begun", "has ended", "RARE") if luck.random() < 0.02 else ("has begun",)),
                )
            )
        log.add(rows)
        now_ms += 250
        if luck.random() < 0.1:
            log.fold()
    return log


@given(rows=st.lists(events, max_size=40))
def test_a_segment_gives_back_what_was_packed(rows: list[EventRow]) -> None:
    origins = Origins()
    columns = unpack(pack(columns_of(rows, origins)))
    assert [columns.row(at, origins) for at in range(len(columns))] == rows


@given(parts=st.lists(st.lists(events, min_size=1, max_size=9), min_size=1, max_size=5))
def test_joined_segments_hold_the_rows_of_all(parts: list[list[EventRow]]) -> None:
    origins = Origins()
    columns = joined([columns_of(part, origins) for part in parts])
    assert [columns.row(at, origins) for at in range(len(columns))] == [row for part in parts for row in part]


@given(sizes=st.lists(st.integers(0, 2000), max_size=700))
def test_pieces_are_bounded_and_lose_nothing(sizes: list[int]) -> None:
    rows = [
        EventRow(node_id="a", node="a", life=1, boot=1, number=at, at_ms=1, subject="x/y", text="z" * size)
        for at, size in enumerate(sizes)
    ]
    cut = list(pieces(rows))
    assert [row for piece in cut for row in piece] == rows
    assert all(len(piece) <= SEGMENT_ROWS_MAX for piece in cut)
    assert all(sum(len(row.text) for row in piece) <= SEGMENT_BYTES_MAX for piece in cut if len(piece) > 1)


@pytest.mark.parametrize("seed", range(6))
def test_pages_of_events_are_what_a_sorted_list_says(seed: int) -> None:
    log = live_log(seed)
    middle = sorted(event.at_ms for event in log.events)[len(log.events) // 2]
    for fields in (
        {},
        {"node": "a"},
        {"node": "dd", "region": "north"},
        {"subject": "node/", "q": "ended"},
        {"q": "rare"},
        {"from_ms": middle},
        {"to_ms": middle, "subject": "agent/x"},
        {"node": "nobody"},
    ):
        query = EventQuery(limit=23, **fields)
        got: list[EventRow] = []
        while True:
            page = log.page(query)
            got += page.items
            wanted = [event for event in log.events if _fits(event, query) and event.at_ms >= page.searched_to_ms]
            assert {_id(event) for event in wanted} <= {_id(event) for event in got} or page.after, fields
            if not page.after:
                break
            query = msgspec.structs.replace(query, after=page.after)
        assert sorted(got, key=_id) == sorted((event for event in log.events if _fits(event, query)), key=_id), fields
        assert [event.at_ms for event in got] == sorted((event.at_ms for event in got), reverse=True)


def test_a_search_for_little_among_much_ends_early_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEGMENTS_READ_MAX", 5)
    log = live_log(3, commits=120)
    query, got, pages = EventQuery(q="rare"), [], 0
    while True:
        log.reads.clear()
        page = log.page(query)
        pages += 1
        got += page.items
        told = {_id(event) for event in got}
        assert all(
            _id(event) in told for event in log.events if event.text == "RARE" and event.at_ms >= page.searched_to_ms
        )
        if not page.after:
            break
        query = msgspec.structs.replace(query, after=page.after)
    assert pages > 3
    assert sorted(map(_id, got)) == sorted(_id(event) for event in log.events if event.text == "RARE")


def test_a_search_does_not_read_what_cannot_fit() -> None:
    log = live_log(4)
    log.fold()
    log.page(EventQuery(subject="nothing/"))
    assert not log.reads
    log.page(EventQuery(to_ms=10))
    assert not log.reads


@pytest.mark.parametrize("seed", range(3))
def test_a_journal_is_read_page_by_page_with_its_gaps(seed: int) -> None:
    log = live_log(seed)
    gap = GapRow(node_id="bb", node="b", life=1, first=9_000, last=9_010, count=11, why="lost", noticed_ms=1)
    mine = [event for event in log.events if event.node_id == "bb"]
    got: list[EventRow] = []
    query = JournalQuery(node_id="bb", limit=17)
    while True:
        page = drive(journal(query, log.catalog.snapshot(), log.origins, [gap]), log.read)
        got += page.items
        if not page.more:
            break
        assert not page.gaps
        query = msgspec.structs.replace(query, life=page.items[-1].life, number=page.items[-1].number)
    assert got == mine
    assert page.gaps == [gap]


@given(
    cursors=st.lists(
        st.builds(
            CursorRow,
            node_id=st.text("ab", min_size=1, max_size=3),
            node=st.text("xy", max_size=2),
            number=st.integers(0, 9),
        ),
        max_size=9,
    ),
    gone=st.lists(st.text("ab", min_size=1, max_size=3), max_size=3),
)
def test_cursors_of_a_commit_come_back(cursors: list[CursorRow], gone: list[str]) -> None:
    origins = Origins()
    assert cursor_log.unpack(cursor_log.pack(cursors, gone, origins), origins) == (cursors, gone)


def test_what_a_failed_commit_numbered_is_taken_back() -> None:
    origins = Origins()
    kept = origins.number_of("aa", "a")
    origins.fresh()
    origins.number_of("bb", "b")
    origins.number_of("aa", "renamed")
    origins.forget(1)
    assert origins.fresh() == []
    assert origins.of_node("aa") == (kept,)
    assert origins.of_node("bb") == ()
    assert origins.number_of("cc", "c") == 2


@settings(max_examples=50)
@given(sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(0, 200_000)), min_size=1, max_size=60))
def test_only_small_neighbours_are_written_again(sizes: list[tuple[int, int]]) -> None:
    log = Log()
    log.add([EventRow(node_id="a", node="a", life=1, boot=1, number=1, at_ms=1, subject="x/y", text="")])
    one = log.catalog.recent[0]
    heads = [one._replace(no=at, events=rows, text_bytes=size) for at, (rows, size) in enumerate(sizes)]
    made = groups(heads)
    assert [head for group in made for head in group] == heads
    for group in made:
        if len(group) > 1:
            assert sum(head.events for head in group) <= SEGMENT_ROWS_MAX
            assert all(head.text_bytes < 16 * 1024 for head in group)


def test_places_are_read_as_they_are_written() -> None:
    here = Place(12, 3, 1, 44)
    assert search.place(str(here)) == here
    with pytest.raises(ValueError, match="not enough values"):
        search.place("12-3")


def _id(event: EventRow) -> tuple[str, int, int]:
    return (event.node_id, event.life, event.number)


def _fits(event: EventRow, query: EventQuery) -> bool:
    return (
        query.node in ("", event.node, event.node_id)
        and query.region in ("", event.region)
        and (
            event.subject.startswith(query.subject)
            if query.subject.endswith("/")
            else query.subject in ("", event.subject)
        )
        and query.q.casefold() in event.text.casefold()
        and query.from_ms <= event.at_ms < (query.to_ms or 2**62)
    )
