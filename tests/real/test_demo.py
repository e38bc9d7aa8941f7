"""The demo can fail: each planted fault makes a claim wrong, and an interrupted demo leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.real


def _demo(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _left_behind(tmp_path: Path) -> list[str]:
    files = [str(path) for path in tmp_path.iterdir()]
    processes = [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(tmp_path) in word for word in process.info["cmdline"] or [])
    ]
    return files + processes


@pytest.mark.parametrize(
    ("fault", "noticed"),
    [
        ("forged-record", "nobody believes it, every lie is counted"),
        ("drop-merge", "all documents are equal, every acknowledged write is there"),
        ("lost-write", "alpha's journal holds every acknowledged write"),
    ],
)
def test_a_planted_fault_makes_the_demo_fail_by_the_claim_it_breaks(fault: str, noticed: str, tmp_path: Path) -> None:
    demo = _demo(tmp_path, "--break", fault)
    told, _ = demo.communicate(timeout=120)
    assert demo.returncode == 1, told
    wrong = [line for line in told.splitlines() if line.strip().startswith("- ")]
    assert any(noticed in line for line in wrong), told
    assert not _left_behind(tmp_path)


def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    demo = _demo(tmp_path)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "gamma joined" in line:
            break
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert not _left_behind(tmp_path)
