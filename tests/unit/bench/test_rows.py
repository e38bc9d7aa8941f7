"""Rows beside anchors, and what a miss says."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import agents, recovery
from bench.ideas import with_next_step
from bench.rows import Anchor, Meter, Row, merged, missing, quantile, read, show, skipped, write
from tests.demo.fleet import Broken

GOALS = (
    "kill9-state", "silent-state", "cold-alone", "heal-merge", "no-head", "cold-mesh", "call-local", "call-remote",
    "spawn", "agent-mem", "density",
)  # fmt: skip


def row(value: float, *, anchor: Anchor | None = None, more: bool = False, goal: float | None = 2.0) -> Row:
    return Meter().row("a", value, "s", goal, n=5, why="because", anchor=anchor, more=more)


def test_a_ratio_says_how_many_times_better_than_the_anchor():
    anchor = Anchor(name="it", value=6.0)
    assert row(2.0, anchor=anchor).ratio == 3.0
    assert row(12.0, anchor=anchor, more=True).ratio == 2.0


def test_where_more_is_better_the_goal_is_the_least():
    assert (row(1.9, more=True).ok, row(2.0, more=True).ok) == (False, True)
    assert ">=2" in show(row(3.0, more=True))


def test_an_anchor_that_was_not_measured_says_why():
    told = row(1.0, anchor=Anchor(name="it", why="not here"))
    assert (told.anchor, told.anchor_value, told.ratio, told.why) == ("it", None, None, "because; it: not here")


def test_a_figure_for_information_has_no_goal_to_miss():
    assert row(1e9, goal=None).ok


def test_a_figure_of_zero_divides_nothing():
    assert row(0.0, anchor=Anchor(name="it", value=6.0)).ratio is None


def test_a_miss_says_by_how_much_and_what_to_try_next():
    missed = with_next_step(Meter().row("cold-mesh", 0.9, "s", 0.6, n=1, why="because"))
    assert "over by 50 %; next: " in missed.why
    held = Meter().row("cold-mesh", 0.6, "s", 0.6, n=1, why="because")
    assert with_next_step(held) == held


def test_a_row_that_a_second_figure_spoils_is_not_said_to_be_over():
    spoilt = with_next_step(Meter().row("kill9-state", 0.1, "s", 0.75, n=1, why="because", ok=False))
    assert "not ok" in spoilt.why
    assert "over by" not in spoilt.why


def test_every_goal_has_its_row():
    assert [goal for goal in GOALS if goal not in (*recovery.IDS, *agents.IDS)] == []


def test_what_breaks_one_group_is_told_and_takes_no_other_row_with_it(capsys: pytest.CaptureFixture[str]):
    def rows() -> Iterator[Row]:
        yield row(1.0)
        raise Broken("the mesh is gone")

    assert len(recovery.collect(rows())) == 1
    assert "the mesh is gone" in capsys.readouterr().err


def test_a_run_that_lacks_a_figure_fails_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert recovery.finish([row(1.0)], ("a",), tmp_path / "x.json") == 0
    assert recovery.finish([row(1.0)], ("a", "b"), tmp_path / "x.json") == 1
    assert "not measured: b" in capsys.readouterr().err


def test_what_is_left_to_the_full_run_is_no_miss_and_no_hit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert recovery.finish([skipped("a", "s", 2.0)], ("a",), tmp_path / "x.json") == 0
    assert "0 of 0" in capsys.readouterr().out


def test_groups_measured_one_at_a_time_end_in_one_file_and_what_was_left_out_takes_no_figure_away(tmp_path: Path):
    file = tmp_path / "x.json"
    older = [replace(row(1.0), id=id_) for id_ in ("c", "a", "gone")]
    write(file, older)
    now = [replace(row(5.0, more=True), id="b"), replace(row(6.0), id="a"), skipped("c", "s", 2.0)]
    assert merged(read(file), now, ("a", "b", "c")) == [now[1], now[0], older[0]]


def test_a_file_that_is_read_again_says_what_was_written_and_none_says_nothing(tmp_path: Path):
    rows = [row(1.0, anchor=Anchor(name="it", value=6.0)), row(3.0, more=True), skipped("c", "s", 2.0)]
    write(tmp_path / "x.json", rows)
    assert read(tmp_path / "x.json") == rows
    assert read(tmp_path / "none.json") == []


def test_a_quantile_is_one_of_the_values():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([1.0], 0.99) == 1.0


def test_only_rows_where_more_is_better_say_so_in_the_file(tmp_path: Path):
    write(tmp_path / "x.json", [row(1.0), row(3.0, more=True)])
    less, more = json.loads((tmp_path / "x.json").read_text())
    assert ("more" in less, more["more"]) == (False, True)
    assert missing([row(1.0)], ("a",)) == []
