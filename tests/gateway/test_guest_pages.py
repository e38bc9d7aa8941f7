"""Reading a journal page by page: every event once, every hole a gap, whatever the node loses meanwhile."""

from collections.abc import Callable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cloud_gateway.mesh.pages import ANEW, BEFORE, DAMAGED, DROPPED, Page, asked, read_page
from cloud_gateway.model.rows import CursorRow, EventRow, GapRow
from tests.gateway.guest_kit import MadeUpJournal, faults

Read = Callable[[MadeUpJournal, CursorRow, int], Page]
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 12)),
        st.tuples(st.just("drop"), st.integers(1, 12)),
        st.tuples(st.just("damage"), st.integers(0, 50)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("lose"), st.just(0)),
        st.tuples(st.just("read"), st.integers(1, 8)),
        st.tuples(st.just("die"), st.integers(1, 8)),
    ),
    max_size=40,
)


def read(journal: MadeUpJournal, cursor: CursorRow, limit: int) -> Page:
    return read_page(journal.view(asked(cursor), limit), cursor, region="south", now_ms=5)


class Reader:
    """Commits what it reads, as the store does: below the committed cursor nothing is taken twice."""

    def __init__(self, journal: MadeUpJournal, how: Read = read) -> None:
        self.journal, self._how = journal, how
        self.cursor = CursorRow(node_id=journal.node_id, node=journal.name)
        self.events: list[EventRow] = []
        self.gaps: dict[tuple[int, int], GapRow] = {}

    def step(self, limit: int, *, dies: bool = False) -> bool:
        """Whether something was new; ``dies``: before the commit."""
        page = self._how(self.journal, self.cursor, limit)
        if not dies:
            self.events += page.events
            self.gaps |= {(gap.life, gap.first): gap for gap in page.gaps}
            self.cursor = page.cursor
        return bool(page.events or page.gaps)

    def faults(self) -> list[str]:
        while self.step(100):
            pass
        return faults(self.journal, self.cursor, self.events, list(self.gaps.values()))


def play(reader: Reader, steps: list[tuple[str, int]]) -> None:
    journal = reader.journal
    for what, count in steps:
        match what:
            case "write":
                journal.write(count)
            case "drop":
                journal.drop(count)
            case "damage":
                journal.damage(count)
            case "restart":
                journal.restart()
            case "lose":
                journal.lose_disk()
            case _:
                reader.step(count, dies=what == "die")


@given(steps=_STEPS)
def test_every_kept_event_is_read_once_and_every_hole_is_a_gap(steps: list[tuple[str, int]]) -> None:
    reader = Reader(MadeUpJournal("beta"))
    play(reader, steps)
    reader.journal.write(1)  # an empty journal tells nobody that it began anew
    assert not reader.faults()


@given(steps=_STEPS)
def test_an_answer_that_comes_twice_changes_nothing(steps: list[tuple[str, int]]) -> None:
    reader = Reader(MadeUpJournal("beta"))
    play(reader, steps)
    view = reader.journal.view(asked(reader.cursor), 100)
    reader.step(100)
    again = read_page(msgspec.structs.replace(view, anew=False), reader.cursor, region="south", now_ms=5)
    assert not again.events
    assert not again.gaps


def test_a_reader_that_skips_an_event_is_found_out() -> None:
    def skipping(journal: MadeUpJournal, cursor: CursorRow, limit: int) -> Page:
        page = read(journal, cursor, limit)
        return page._replace(events=page.events[1:])

    reader = Reader(MadeUpJournal("beta"), skipping)
    reader.journal.write(3)
    assert any("lost" in fault for fault in reader.faults())


def test_a_reader_that_forgets_where_it_was_is_found_out() -> None:
    def forgetting(journal: MadeUpJournal, cursor: CursorRow, limit: int) -> Page:
        page = read(journal, cursor, limit)
        return page._replace(cursor=cursor) if cursor.number == 0 and page.cursor.number == 3 else page

    reader = Reader(MadeUpJournal("beta"), forgetting)
    reader.journal.write(3)
    reader.step(100)
    reader.journal.write(1)
    assert any("doubled" in fault for fault in reader.faults())


def test_a_reader_that_tells_no_gap_is_found_out() -> None:
    def silent(journal: MadeUpJournal, cursor: CursorRow, limit: int) -> Page:
        return read(journal, cursor, limit)._replace(gaps=[])

    reader = Reader(MadeUpJournal("beta"), silent)
    reader.journal.write(5)
    reader.journal.drop(2)
    assert any("neither" in fault for fault in reader.faults())


def test_a_gap_says_why() -> None:
    reader = Reader(MadeUpJournal("beta"))
    journal = reader.journal
    journal.write(10)
    journal.drop(2)
    reader.step(3)  # 3..5
    journal.drop(5)  # 8.. are kept
    reader.step(1)
    journal.write(5)
    del journal.kept[3]
    reader.step(100)
    told = [(gap.first, gap.last, gap.why) for gap in reader.gaps.values()]
    assert told == [(1, 2, BEFORE), (6, 7, DROPPED), (11, 11, DAMAGED)]


def test_a_journal_that_began_anew_is_the_next_life() -> None:
    reader = Reader(MadeUpJournal("beta"))
    journal = reader.journal
    journal.write(4)
    reader.step(2)
    journal.lose_disk()
    assert reader.step(10)  # an empty journal is a new life already
    assert (reader.cursor.life, reader.cursor.number, reader.cursor.run) == (2, 0, "")
    assert not reader.step(10)
    journal.write(1)
    reader.step(10)
    assert [(event.life, event.number) for event in reader.events] == [(1, 1), (1, 2), (2, 1)]
    (gap,) = reader.gaps.values()
    assert (gap.life, gap.first, gap.last, gap.count, gap.why) == (1, 3, 0, 2, ANEW)
