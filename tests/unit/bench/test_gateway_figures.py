"""How the gateway's figures are made of what was noted: waits of the feed, medians of lists, what is asked."""

import json
from collections.abc import Sequence

import pytest

from bench.gateway import lists
from bench.gateway.__main__ import IDS
from bench.gateway.feed import waits_ms
from bench.gateway.ingest import Figures, rows_of
from bench.gateway.naive import Naive
from bench.gateway.questions import questions
from bench.gateway.watchers import Tally
from bench.rows import Meter, Row
from cloud_gateway.model.listings import LISTINGS
from tests.demo.fleet import ROOT
from tests.gateway.fleet import Fleet


def frame(at_ms: int, *numbers: int) -> bytes:
    return json.dumps({"at_ms": at_ms, "events": [{"node": "beta", "number": number} for number in numbers]}).encode()


def test_a_reader_waits_from_the_commit_and_not_from_a_later_one_in_the_same_frame():
    heard = [("beta", 1, 1_000.0, 1_030.0), ("beta", 2, 1_000.0, 1_030.0), ("beta", 3, 1_000.0, 1_030.0)]
    assert waits_ms(heard, {("beta", 1): 980.0, ("beta", 2): 1_010.0}) == [50.0, 30.0, 30.0]


def test_each_reader_of_a_frame_counts_with_each_of_its_events():
    tally = Tally(2)
    for now_ms in (1_010.0, 1_020.0):
        tally.note(b"changed", frame(1_000, 7, 8), now_ms)
    tally.note(b"reset", b"{}", 1_030.0)
    tally.note(b"beat", b"{}", 1_030.0)
    assert (len(tally.heard), tally.frames, tally.resets) == (4, 2, 1)
    assert ("beta", 8, 1_000, 1_020.0) in tally.heard


def row_of(*times: Sequence[float]) -> Row:
    each = [(f"nodes{at}", of_one) for at, of_one in enumerate(times)]
    return lists.figure(Meter(), "page-queries", 5.0, each, {"SQLite": [1.0]})


def test_one_slow_list_among_quick_ones_is_not_averaged_away():
    quick = [[1.0] * 10] * 200
    assert row_of(*quick).ok
    spoilt = row_of(*quick, [9.0])
    assert (spoilt.value, spoilt.ok) == (1.0, False)
    assert "nodes200 9.0" in spoilt.why


def test_a_tail_over_the_goal_is_a_miss_though_all_medians_are_within():
    assert not row_of([1.0] * 90 + [6.0] * 10).ok


def test_every_order_of_every_list_is_asked_both_ways():
    asked = {one.address for one in questions(Fleet(30, now_ms=1_764_000_000_000))}
    for kind, listing in LISTINGS.items():
        path = "clusters" if kind == "wishes" else kind
        for sort in listing.sorts:
            column = sort.removeprefix("-")
            assert {f"{path}?sort={column}", f"{path}?sort=-{column}"} <= asked


@pytest.mark.parametrize(
    ("per_s", "p99_ms", "bytes_each", "paced_bytes", "ok"),
    [
        (3_000.0, 250.0, 1_500.0, 900.0, True),
        (2_999.0, 250.0, 1_500.0, 900.0, False),
        (9_000.0, 251.0, 1_500.0, 900.0, False),
        (9_000.0, 200.0, 900.0, 1_501.0, False),
    ],
)
def test_ingest_is_held_to_all_three_of_its_goals(
    per_s: float, p99_ms: float, bytes_each: float, paced_bytes: float, *, ok: bool
):
    figures = Figures(per_s, 1, 1.0, p99_ms, 1, bytes_each, paced_bytes, 5_000.0, 0.5, 0.5)
    rows = rows_of("sqlite", Meter(), figures, "naive", Naive(1_000.0, 10.0, 9_000.0))
    assert rows[0].ok is ok
    assert rows[2].value == max(bytes_each, paced_bytes)


def test_the_committed_results_hold_every_figure_of_a_full_run():
    told = json.loads((ROOT / "bench" / "results" / "gateway.json").read_text())
    assert sorted(line["id"] for line in told) == sorted(IDS)
    assert all("skipped" not in line and line["n"] > 0 for line in told)
