"""What a test has started ends with the process of the tests, however that ends."""

import os
import select
import signal
import sys
from pathlib import Path

import pytest

from tests.docs_kit.reading import ROOT
from tests.patience import PATIENCE_S, finished

# A daemon as they are: a session of its own, and so has its child, which knows nothing of its environment.
DAEMON = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"], env={}, start_new_session=True)
print(os.getpid(), child.pid, flush=True)
os.close(1)
time.sleep(1000)
"""
HANGS = f"""
import faulthandler, subprocess, sys, time

def test_that_hangs(tmp_path):
    command = [sys.executable, "-S", "-c", {DAEMON!r}]
    daemon = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    with open("pids", "wb") as pids:
        pids.write(daemon.stdout.readline())
    faulthandler.dump_traceback_later(0.01, exit=True)  # the watchdog
    time.sleep(1000)
"""


def left_by_one_that_hangs(at: Path, *options: str) -> list[int]:
    """Processes that were started in a test which the watchdog ended: descriptors of those that still run."""
    (at / "test_hangs.py").write_text(HANGS)
    options = ("-q", "-s", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), *options)
    done = finished([sys.executable, "-m", "pytest", *options, str(at / "test_hangs.py")], cwd=at)
    assert done.returncode != 0 and "test_that_hangs" in done.stderr, done.stderr
    left: list[int] = []
    for word in (at / "pids").read_text().split():
        try:
            left.append(os.pidfd_open(int(word)))
        except ProcessLookupError:
            continue
    return left


def test_what_a_hung_test_has_started_ends_with_it(tmp_path: Path) -> None:
    for process in left_by_one_that_hangs(tmp_path, "-p", "tests.conftest"):
        assert select.select([process], [], [], PATIENCE_S)[0], "it runs on"
        os.close(process)


def test_without_a_guard_it_would_run_on(tmp_path: Path) -> None:
    left = left_by_one_that_hangs(tmp_path)
    assert len(left) == 2
    for process in left:
        assert not select.select([process], [], [], 0.0)[0]
        signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_command_that_is_to_end_well_is_a_failure_when_it_does_not(*, ends_well: bool) -> None:
    command = [
        sys.executable,
        "-S",
        "-c",
        f"import sys; print('said', file=sys.stderr); sys.exit({int(not ends_well)})",
    ]
    if ends_well:
        assert finished(command, check=True).stderr == "said\n"
    else:
        with pytest.raises(AssertionError, match=r"(?s)exit code 1: .*said"):
            finished(command, check=True)


def test_a_command_that_does_not_end_is_ended_and_told_with_what_it_said() -> None:
    command = [sys.executable, "-S", "-c", "import time; print('so far', flush=True); time.sleep(1000)"]
    with pytest.raises(AssertionError, match=r"(?s)did not end within 1 s: .*so far"):
        finished(command, within_s=1.0)
