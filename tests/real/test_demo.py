"""The demo holds when nothing is planted, each planted fault makes the claim fail that it breaks, and nothing stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Two cores bear two stories at once; durations are judged in the honest one alone, which has the machine for itself.
AT_ONCE = 2
STORY_S = 240
NOTICED = {
    "forged-record": "nobody believes it, every lie is counted",
    "drop-documents": "all documents are equal, every acknowledged write is there",
    "lost-write": "delta's journal holds every acknowledged write",
    "double-count": "none is counted twice: every total is the sum of its readings",
    "lose-ack": "its files hold every reading that it acknowledged",
    "stale-restore": "its agents answer, state intact",
    "two-owners": "exactly the wanted units, none twice",
    "drop-merge": "every acknowledged reading is there, say all nodes",
    "skip-event": "its history is what the four journals hold",
}
Told = tuple[int, str]

pytestmark = pytest.mark.real


def _demo(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    directory.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _told(directory: Path, *arguments: str) -> Told:
    demo = _demo(directory, *arguments)
    text, _ = demo.communicate(timeout=STORY_S)
    return demo.returncode, text


def _left_behind(directory: Path) -> list[str]:
    """Files, and processes that name the directory: daemons, helpers and wardens, whose ends are the agents' too."""
    files = [str(path) for path in directory.iterdir()]
    processes = [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(str(directory) in word for word in process.info["cmdline"] or [])
    ]
    return files + processes


def test_the_honest_demo_verifies_every_claim(tmp_path: Path) -> None:
    code, text = _told(tmp_path / "honest", "--away", "5")  # the whole minute is `make demo`'s
    assert code == 0, text
    assert "WRONG" not in text
    for figure in ("cold-mesh", "kill9-state", "no-head", "silent-state", "cold-alone", "heal-merge"):
        assert f"\n  {figure} " in text, text
    assert not _left_behind(tmp_path / "honest")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Path, Future[Told]]]]:
    """Every broken story, some at once; each test waits for its own."""
    base = tmp_path_factory.mktemp("broken")
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        yield {fault: (base / fault, lanes.submit(_told, base / fault, "--break", fault)) for fault in NOTICED}


@pytest.mark.parametrize("fault", NOTICED)
def test_a_planted_fault_makes_the_demo_fail_by_the_claim_it_breaks(
    fault: str, broken: dict[str, tuple[Path, Future[Told]]]
) -> None:
    directory, story = broken[fault]
    code, text = story.result()
    assert code == 1, text
    wrong = [line.strip() for line in text.splitlines() if line.strip().startswith("- ")]
    assert len(wrong) == 1 and NOTICED[fault] in wrong[0], text
    assert not _left_behind(directory)


def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    demo = _demo(tmp_path / "interrupted", "--chapters", "form,agents")
    assert demo.stdout is not None
    for line in demo.stdout:
        if "the load begins" in line:
            break
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert not _left_behind(tmp_path / "interrupted")
