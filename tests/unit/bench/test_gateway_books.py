"""The books behind the gateway's figures: what they count, and that they notice a lost, doubled or altered event."""

from collections.abc import Callable

import msgspec
import pytest

from bench.gateway.deltas import BYTES, Deltas
from bench.gateway.journals import Journal, Ledger
from bench.gateway.kills import discrepancies
from bench.ideas import with_next_step
from bench.rows import Meter
from cloud_gateway.model.rows import EventRow, GapRow
from meshnode.model.commands import JournalCursor

DELTAS = Deltas()
Harm = Callable[[list[EventRow]], list[EventRow]]


FAULTS: list[tuple[Harm, str]] = [
    (lambda kept: kept[:3], "beta: 4 was acknowledged and is lost"),
    (lambda kept: [*kept[:1], *kept[2:]], "beta: 2 was acknowledged and is lost"),
    (lambda kept: [*kept, kept[0]], "beta: 1 doubled"),
    (lambda kept: [*kept[:3], msgspec.structs.replace(kept[3], text="other")], "beta: 4 has another text"),
    (lambda kept: [*kept, msgspec.structs.replace(kept[3], number=7)], "beta: 7 of life 1 was never written"),
    (lambda kept: [*kept, msgspec.structs.replace(kept[3], life=2)], "beta: 4 of life 2 was never written"),
]


def journal(written: int = 0, *, ledger: Ledger | None = None) -> Journal:
    made = Journal(3, "beta", "b" * 64, DELTAS, ledger or Ledger(), 1_000.0)
    if written:
        made.write(10.0, written)
    return made


def stored(of: Journal, count: int) -> list[EventRow]:
    """What a store has that took this journal's first events as they were told."""
    told = of.view(JournalCursor(), count).items
    return [
        EventRow(node_id=of.node_id, node=of.name, life=1, boot=1, number=item.number, at_ms=item.at_ms,
                 subject=item.subject, text=item.text)
        for item in told
    ]  # fmt: skip


def test_texts_are_a_kibibyte_and_differ_by_node_and_number():
    texts = {DELTAS.text(node, number) for node in range(20) for number in range(1, 200)}
    assert len(texts) == 20 * 199
    assert {len(text.encode()) for text in texts} == {BYTES}
    assert DELTAS.text(1, 2) == Deltas().text(1, 2)


def test_a_page_begins_behind_the_cursor_and_says_whether_there_is_more():
    page = journal(5).view(JournalCursor(boot=1, number=2, run="a1"), 2)
    assert ([item.number for item in page.items], page.more, page.last) == ([3, 4], True, 5)
    rest = journal(5).view(JournalCursor(boot=1, number=4, run="a1"), 2)
    assert ([item.number for item in rest.items], rest.more) == ([5], False)
    assert rest.items[0].at_ms == 1_010_000


def test_what_is_acknowledged_is_counted_once_and_timed_from_its_writing():
    ledger = Ledger()
    one = journal(2, ledger=ledger)
    one.write(11.0, 1)
    assert [one.acknowledge(number, 12.0) for number in (2, 2, 1, 3)] == [2, 0, 0, 1]
    assert (ledger.written, ledger.acknowledged, sorted(ledger.waits)) == (3, 3, [1.0, 2.0, 2.0])
    assert one.faults == []


def test_only_what_was_written_since_a_phase_began_is_timed_in_it():
    ledger = Ledger()
    one = journal(2, ledger=ledger)
    ledger.begin(10.5)
    one.write(11.0, 1)
    one.acknowledge(3, 12.0)
    assert (ledger.acknowledged, ledger.waits) == (3, [1.0])


def test_an_event_that_was_acknowledged_is_not_told_again_to_a_reader_that_lost_it():
    one = journal(5)
    one.acknowledge(3, 11.0)
    page = one.view(JournalCursor(boot=1, number=1, run="a1"), 10)
    assert (page.first, [item.number for item in page.items]) == (4, [4, 5])


def test_acknowledging_what_was_never_written_is_a_fault():
    one = journal(2)
    one.acknowledge(3, 11.0)
    assert one.faults == ["beta: 3 acknowledged, 2 written"]
    assert one.acknowledged == 2


def test_a_store_that_has_all_and_more_than_was_acknowledged_is_right():
    one = journal(6)
    kept = stored(one, 6)
    one.acknowledge(4, 11.0)
    assert discrepancies(one, DELTAS, kept, []) == []
    assert discrepancies(one, DELTAS, kept[:4], []) == []


@pytest.mark.parametrize(
    ("harm", "word"), FAULTS, ids=["lost-at-the-end", "lost-within", "doubled", "altered", "made-up", "another-life"]
)
def test_a_planted_fault_is_found(harm: Harm, word: str):
    one = journal(6)
    kept = stored(one, 4)
    one.acknowledge(4, 11.0)
    assert word in discrepancies(one, DELTAS, harm(kept), [])


def test_a_figure_that_falls_short_is_not_said_to_be_over():
    short = with_next_step(Meter().row("ingest-pg", 15_000.0, "1/s", 20_000.0, n=1, why="because", more=True))
    assert "short by 25 %" in short.why
    spoilt = with_next_step(
        Meter().row("ingest-pg", 25_000.0, "1/s", 20_000.0, n=1, why="because", more=True, ok=False)
    )
    assert spoilt.why == "because; not ok"


def test_a_gap_is_a_loss():
    gap = GapRow(node_id="b" * 64, node="beta", life=1, first=2, last=3, count=2, why="dropped", noticed_ms=1)
    assert discrepancies(journal(), DELTAS, [], [gap]) == ["beta: a gap from 2 to 3: dropped"]
