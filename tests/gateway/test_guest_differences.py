"""Only what differs is written, what vanished is removed, and what grew old is refreshed at a bounded rate."""

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cloud_gateway.mesh.differences import REFRESH_AFTER_S, Differences
from cloud_gateway.model.fingerprint import fingerprint
from cloud_gateway.model.rows import Key, NodeRow, OfferRow, Row, key_of


def node(number: int, state: str = "ready", as_of_ms: int = 0) -> NodeRow:
    return NodeRow(node_id=f"{number:064x}", name=f"n{number}", state=state, as_of_ms=as_of_ms)


class Kept:
    """What a store would hold."""

    def __init__(self, differences: Differences) -> None:
        self.differences = differences
        self.rows: dict[Key, Row] = {}

    def round(self, rows: Sequence[Row], now_s: int = 100) -> list[Row]:
        self.differences.begin(now_s)
        changed = self.differences.changed(rows)
        self.rows |= {key_of(self.differences.kind, row): row for row in changed}
        self.differences.written(changed)
        gone = self.differences.gone()
        for key in gone:
            del self.rows[key]
        self.differences.forgotten(gone)
        return changed

    def keys(self) -> dict[Key, int]:
        return {key: fingerprint(row) for key, row in self.rows.items()}


@given(rounds=st.lists(st.dictionaries(st.integers(0, 6), st.sampled_from(["ready", "down"])), max_size=12))
def test_what_is_kept_is_what_the_newest_round_saw(rounds: list[dict[int, str]]) -> None:
    kept = Kept(Differences("nodes", {}))
    for seen in rounds:
        rows = [node(number, state) for number, state in seen.items()]
        kept.round(rows)
        assert kept.rows == {key_of("nodes", row): row for row in rows}


@given(
    before=st.dictionaries(st.integers(0, 6), st.sampled_from(["ready", "down"])),
    after=st.dictionaries(st.integers(0, 6), st.sampled_from(["ready", "down"])),
)
def test_a_restarted_gateway_writes_only_what_differs(before: dict[int, str], after: dict[int, str]) -> None:
    kept = Kept(Differences("nodes", {}))
    kept.round([node(number, state) for number, state in before.items()])
    kept.differences = Differences("nodes", kept.keys(), refreshes_a_second=0)
    written = kept.round([node(number, state) for number, state in after.items()])
    assert written == [node(number, state) for number, state in after.items() if before.get(number) != state]
    assert kept.rows == {key_of("nodes", node(n)): node(n, state) for n, state in after.items()}


def test_a_row_that_was_not_committed_is_written_again() -> None:
    differences = Differences("nodes", {})
    differences.begin(1)
    assert differences.changed([node(1)]) == [node(1)]
    differences.begin(2)
    assert differences.changed([node(1)]) == [node(1)]


def test_rows_that_only_grew_older_are_refreshed_at_a_bounded_rate() -> None:
    kept = Kept(Differences("nodes", {}, refreshes_a_second=2))
    rows = [node(number) for number in range(5)]
    kept.round(rows, 100)
    later = [node(number, as_of_ms=9) for number in range(5)]
    assert not kept.round(later, 100 + REFRESH_AFTER_S - 1)
    assert len(kept.round(later, 100 + REFRESH_AFTER_S)) == 2
    assert len(kept.round(later, 100 + REFRESH_AFTER_S + 1)) == 2
    assert len(kept.round(later, 100 + REFRESH_AFTER_S + 2)) == 1
    assert not kept.round(later, 100 + REFRESH_AFTER_S + 3)


def test_a_restart_is_no_reason_to_write_everything_again() -> None:
    rows = [node(number) for number in range(5)]
    kept = Kept(Differences("nodes", {key_of("nodes", row): fingerprint(row) for row in rows}, refreshes_a_second=2))
    assert len(kept.round(rows, 1_000_000_000)) == 2


def test_a_row_that_one_page_skipped_is_not_gone_where_pages_may_skip() -> None:
    offer = OfferRow(skill="words.count", agent="words", node="beta")
    kept = Kept(Differences("skills", {}, patience=1))
    kept.round([offer])
    kept.round([])
    assert kept.rows
    kept.round([offer])
    kept.round([])
    kept.round([])
    assert not kept.rows


def test_a_broken_off_round_removes_nothing() -> None:
    kept = Kept(Differences("nodes", {}))
    kept.round([node(1), node(2)])
    for second in range(101, 110):
        kept.differences.begin(second)
        kept.differences.changed([node(1)])
    kept.round([node(1), node(2)])
    assert len(kept.rows) == 2


def test_what_is_kept_of_a_row_is_one_integer_that_differs_with_the_row() -> None:
    assert fingerprint(node(1)) != fingerprint(node(1, "down"))
    assert fingerprint(node(1)) == fingerprint(msgspec.structs.replace(node(1), as_of_ms=7))
