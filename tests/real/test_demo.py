"""The demo holds when nothing is planted, and nothing of it stays, also when it is interrupted."""

import signal
from pathlib import Path

import pytest

from tests.demo.plot import CHAPTERS_OF
from tests.real import test_demo_faults, test_demo_units
from tests.real.demo_kit import begun, left_behind, told

pytestmark = pytest.mark.real


def test_the_honest_demo_verifies_every_claim(tmp_path: Path) -> None:
    """Durations are judged in this story alone."""
    code, text = told(tmp_path / "honest", "--away", "5")  # the whole minute is `make demo`'s
    assert code == 0, text
    assert "WRONG" not in text
    for figure in ("cold-mesh", "kill9-state", "no-head", "silent-state", "cold-alone", "heal-merge"):
        assert f"\n  {figure} " in text, text
    assert not left_behind(tmp_path / "honest")


def test_every_fault_of_the_demo_is_planted() -> None:
    assert sorted(CHAPTERS_OF) == sorted({*test_demo_faults.NOTICED, *test_demo_units.NOTICED})


def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    demo = begun(tmp_path / "interrupted", "--chapters", "form,agents")
    assert demo.stdout is not None
    for line in demo.stdout:
        if "the load begins" in line:
            break
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert not left_behind(tmp_path / "interrupted")
