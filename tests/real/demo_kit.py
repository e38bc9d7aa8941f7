"""The demo as a process of its own: what it told, whether it noticed a planted fault, and what it left behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.real.daemon_kit import ROOT

STORY_S = 200


def begun(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    directory.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def told(directory: Path, *arguments: str) -> tuple[int, str]:
    """The exit status and the whole story."""
    demo = begun(directory, *arguments)
    text, _ = demo.communicate(timeout=STORY_S)
    return demo.returncode, text


def left_behind(directory: Path) -> list[str]:
    """Files, and processes that name the directory: daemons, helpers and wardens, whose ends are the agents' too."""
    files = [str(path) for path in directory.iterdir()]
    processes = [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in word for word in process.info["cmdline"] or [])
    ]
    return files + processes


def notices(directory: Path, fault: str, *claims: str) -> None:
    """With that fault planted the demo fails, by one of those claims and no other, and nothing stays."""
    code, text = told(directory, "--break", fault)
    assert code == 1, text
    wrong = [line.strip() for line in text.splitlines() if line.strip().startswith("- ")]
    assert len(wrong) == 1 and any(claim in wrong[0] for claim in claims), text
    assert not left_behind(directory)
