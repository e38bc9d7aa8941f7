"""The page of all figures says what the benches said: nothing missed or unmeasured is left out."""

import json
import shutil
from pathlib import Path

from bench import figures


def test_the_page_of_figures_is_what_would_be_made() -> None:
    assert figures.is_fresh(figures.FOLDER), "bench/results/README.md is old: make figures"


def test_a_figure_that_has_changed_is_noticed(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    rows = json.loads((folder / "house.json").read_text())
    rows[0]["value"] += 1
    (folder / "house.json").write_text(json.dumps(rows))
    assert not figures.is_fresh(folder)


def test_a_missed_goal_and_a_missing_figure_are_told(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    rows = json.loads((folder / "house.json").read_text())
    rows[0] |= {"ok": False, "why": "four daemons; over by 3 %"}
    (folder / "house.json").write_text(json.dumps(rows[:-1]))
    lines = figures.page(folder).splitlines()
    assert f"* `{rows[0]['id']}`: four daemons; over by 3 %" in lines
    assert f"| `{rows[-1]['id']}` | not measured in a full run |" in "\n".join(lines)
    (counted,) = [line for line in lines if line.startswith("| The first floor |")]
    assert counted == f"| The first floor | {len(rows) - 1} | {sum(row['ok'] for row in rows[:-1])} |"


def test_a_figure_that_was_left_to_the_full_run_is_not_called_met(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    rows = json.loads((folder / "house.json").read_text())
    rows[0] |= {"value": None, "ok": True, "skipped": "full"}
    (folder / "house.json").write_text(json.dumps(rows))
    assert f"| `{rows[0]['id']}` | not measured in a full run |" in figures.page(folder)


def test_a_number_has_no_more_digits_than_say_something() -> None:
    told = {0: "0", 0.0391: "0.0391", 2.0: "2", 45.449: "45.4", 839: "839", 14270.6: "14,271", -0.5: "-0.5"}
    assert {value: figures.number(value) for value in told} == told


def _copy(folder: Path) -> Path:
    for path in figures.FOLDER.iterdir():
        shutil.copy(path, folder)
    return folder
