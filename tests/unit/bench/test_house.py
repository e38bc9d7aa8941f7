"""The file a bench leaves: complete, or the run has failed."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import agents, recovery
from bench.house import IDS
from bench.rows import Meter, Row, missing, show, skipped, spread, write
from tests.demo.fleet import ROOT
from tests.patience import finished

FIELDS = {
    "id", "value", "unit", "anchor", "anchor_value", "ratio", "goal", "ok", "n", "load", "why", "date",
}  # fmt: skip


def row(id_: str, value: float, *, ok: bool | None = None) -> Row:
    return Meter().row(id_, value, "s", 2.0, n=5, why="because", ok=ok)


def test_a_value_over_its_goal_is_not_ok():
    assert (row("a", 2.0).ok, row("a", 2.001).ok) == (True, False)


def test_a_second_figure_can_spoil_a_row_whose_value_is_fine():
    assert not row("cli", 0.1, ok=False).ok


def test_every_figure_left_out_is_named():
    assert missing([row(id_, 1.0) for id_ in IDS], IDS) == []
    assert missing([row(id_, 1.0) for id_ in IDS if id_ != "idle-sent"], IDS) == ["idle-sent"]


def test_a_figure_left_to_the_full_run_says_so_and_counts_as_there(tmp_path: Path):
    rows = [skipped("idle-disk", "MB/day", 5.0), row("cli", 1.0)]
    write(tmp_path / "out" / "house.json", rows)
    first, second = json.loads((tmp_path / "out" / "house.json").read_text())
    assert (first["ok"], first["skipped"], first["value"]) == (True, "full", None)
    assert set(second) == FIELDS
    assert "idle-disk" not in missing(rows, IDS)


def test_the_spread_shows_every_run_and_a_miss_is_marked():
    assert spread([3.0, 1.0, 2.0]) == "median 2.00 of 3.00 1.00 2.00"
    assert "OVER" in show(row("cli", 9.0))


@pytest.mark.parametrize(("bench", "ids"), [("house", IDS), ("recovery", recovery.IDS), ("agents", agents.IDS)])
def test_the_committed_results_hold_every_figure_of_a_full_run(bench: str, ids: Sequence[str]):
    told = json.loads((ROOT / "bench" / "results" / f"{bench}.json").read_text())
    assert sorted(line["id"] for line in told) == sorted(ids)
    assert all(set(line) - {"more"} == FIELDS and line["n"] > 0 for line in told)


def test_an_unknown_option_measures_nothing():
    assert finished([sys.executable, "-m", "bench.house", "--fast"], cwd=ROOT).returncode == 2
