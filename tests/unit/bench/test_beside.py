"""Anchors that cannot run are named, with the reason; those that can leave nothing behind."""

import shutil
import signal
import sys
from pathlib import Path

import pytest

from bench import failover
from bench.anchors import beside, plain
from bench.rows import Meter


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that holds this interpreter and nothing to measure."""
    monkeypatch.setattr(beside, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(beside, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(beside, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(beside, "__file__", str(tmp_path / "beside.py"))
    return tmp_path


def test_without_its_environment_an_anchor_is_missing_and_says_what_it_needs(environment: Path):
    with pytest.raises(beside.Missing, match=r"ray==2\.60\.0"):
        beside.once("ray_cold.py", timeout_s=5)


def test_nats_without_its_server_says_which_package_has_it(environment: Path, monkeypatch: pytest.MonkeyPatch):
    (environment / "stamp").touch()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(beside.Missing, match="apt install nats-server"):
        beside.Server("nats_calls.py")


def test_the_last_line_of_a_script_is_its_outcome(environment: Path):
    (environment / "stamp").touch()
    (environment / "x.py").write_text("import sys\nprint('noise')\nprint('{\"s\": %s}' % sys.argv[1])")
    assert beside.once("x.py", "3", timeout_s=10) == {"s": 3}


def test_a_script_that_fails_or_hangs_is_missing_with_its_last_word(environment: Path):
    (environment / "stamp").touch()
    (environment / "x.py").write_text("raise SystemExit('no room')")
    with pytest.raises(beside.Missing, match="exit 1: no room"):
        beside.once("x.py", timeout_s=10)
    (environment / "y.py").write_text("import signal\nsignal.pause()")
    with pytest.raises(beside.Missing, match="not done after"):
        beside.once("y.py", timeout_s=0.5)


def test_a_script_that_serves_rounds_and_says_nothing_more_is_ended_and_missing(environment: Path):
    (environment / "stamp").touch()
    (environment / "y.py").write_text("import signal\nprint('{}', flush=True)\nsignal.pause()")
    server = beside.Server("y.py")
    server.within_s = 0.1
    with pytest.raises(beside.Missing, match=r"^no answer within 0\.1 s$"):
        server.round("same", 1, 0.0)
    assert server.process.returncode == -signal.SIGKILL


def test_tuned_health_checks_are_in_the_environment_of_the_tuned_run_only(environment: Path):
    (environment / "stamp").touch()
    code = "import json, os\nprint(json.dumps({'period': os.environ.get('RAY_health_check_period_ms')}))"
    (environment / "x.py").write_text(code)
    assert beside.once("x.py", timeout_s=10, tuned=True) == {"period": "500"}
    assert beside.once("x.py", timeout_s=10) == {"period": None}


def test_a_row_whose_anchor_is_missing_keeps_its_figure_and_says_why(environment: Path):
    row = Meter().row("kill9-state", 0.1, "s", 0.75, n=3, why="because")
    told = failover.beside_ray(row, "kill9-state-tuned", "kill", failover.TUNED, rounds=1, tuned=True)
    assert (told.id, told.value, told.anchor, told.anchor_value) == ("kill9-state-tuned", 0.1, failover.TUNED, None)
    assert "not measured: its environment could not be made" in told.why


def test_a_plain_process_answers_every_call_and_ends_when_closed():
    process = plain.Plain()
    assert len(process.sequence(5)) == 5
    pid = process.pid
    process.close()
    assert not Path(f"/proc/{pid}").exists()
