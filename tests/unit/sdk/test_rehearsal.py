"""A rehearsed process is as it was before, only warm."""

import signal
import threading
from pathlib import Path

import pytest

from meshnode.sdk import rehearsal
from meshnode.sdk.rehearsal import LIVES, rehearse
from meshnode.sdk.runtime import Runtime


def test_whole_lives_are_lived_and_nothing_of_them_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Runtime] = []
    stop = Runtime.stop

    def counted(runtime: Runtime) -> None:
        stopped.append(runtime)
        stop(runtime)

    monkeypatch.setattr(Runtime, "stop", counted)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    threads, files = threading.active_count(), sorted(Path("/proc/self/fd").iterdir())
    rehearse(str(tmp_path / "bus"))
    assert len(stopped) == LIVES
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert signal.set_wakeup_fd(-1) == -1
    assert (threading.active_count(), len(sorted(Path("/proc/self/fd").iterdir()))) == (threads, len(files))
    assert not list(tmp_path.iterdir())


def test_a_process_that_cannot_rehearse_goes_on_without(tmp_path: Path) -> None:
    rehearse(str(tmp_path / "no-such-directory" / "bus"))


def test_a_rehearsal_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "LIVES_S", 0.05)
    monkeypatch.setattr(rehearsal._Daemon, "_heard", lambda _daemon, _frame: None)
    rehearse(str(tmp_path / "bus"))
    assert not list(tmp_path.iterdir())
