"""The log of an agent on a real disk, and the guard of process groups."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from meshnode.host.agentlog import FILE_BYTES_MAX, AgentLog, Tail
from meshnode.host.guard import Guard

pytestmark = pytest.mark.real


def test_lines_are_appended_also_after_a_reopening(tmp_path: Path):
    path = tmp_path / "logs" / "a.log"
    for line in (b"first\n", b"second\n"):
        log = AgentLog(path)
        log.write(line, 0.0)
        log.close()
    assert path.read_bytes() == b"first\nsecond\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_file_moves_aside_and_the_oldest_goes(tmp_path: Path):
    path = tmp_path / "a.log"
    log = AgentLog(path, minute_bytes_max=10 * FILE_BYTES_MAX)
    for digit in b"0123":
        log.write(bytes([digit]) * (FILE_BYTES_MAX * 2 // 3), 0.0)
    log.close()
    assert path.read_bytes()[:1] == b"3"
    assert (tmp_path / "a.log.1").read_bytes()[:1] == b"2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.log", "a.log.1"]


def test_what_is_over_the_budget_of_a_minute_leaves_a_gap_line_with_its_size(tmp_path: Path):
    path = tmp_path / "a.log"
    log = AgentLog(path, minute_bytes_max=100)
    log.write(b"a" * 90 + b"\n", 0.0)
    log.write(b"b" * 60, 1.0)
    log.write(b"c" * 60, 2.0)
    assert log.dropped_bytes == 120
    log.write(b"d\n", 61.0)
    log.close()
    assert path.read_bytes().splitlines()[1:] == [b"[meshnode] 120 bytes dropped here: over the budget", b"d"]


def test_a_disk_that_cannot_be_written_counts_and_does_not_stop_the_agent(tmp_path: Path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    log = AgentLog(tmp_path / "logs" / "a.log")
    log.write(b"x" * 10, 0.0)
    assert log.dropped_bytes == 10
    (tmp_path / "logs").unlink()
    log.write(b"y\n", 1.0)
    log.close()
    assert b"10 bytes dropped" in (tmp_path / "logs" / "a.log").read_bytes()


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "other").write_text("keep")
    (tmp_path / "a.log").symlink_to(tmp_path / "other")
    log = AgentLog(tmp_path / "a.log")
    log.write(b"x", 0.0)
    assert (tmp_path / "other").read_text() == "keep" and log.dropped_bytes == 1


def test_a_tail_is_short_and_ends_with_the_end():
    tail = Tail()
    for n in range(1000):
        tail.add(b"line %d\n" % n)
    assert len(tail.text()) <= 2048 and tail.text().endswith("line 999\n")


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "1000"], start_new_session=True)


def test_the_guard_kills_what_is_listed_and_spares_what_is_not():
    guard, listed, spared = Guard(), sleeper(), sleeper()
    try:
        guard.add(listed.pid)
        guard.add(spared.pid)
        guard.remove(spared.pid)
        guard.close()
        assert listed.wait(30) == -signal.SIGKILL
        assert spared.poll() is None
    finally:
        for process in (listed, spared):
            process.kill()
            process.wait()


def test_a_guard_that_was_killed_comes_back_with_all_it_guarded():
    guard, first, second = Guard(), sleeper(), sleeper()
    try:
        guard.add(first.pid)
        shell = guard._shell
        assert shell is not None
        os.kill(shell.pid, signal.SIGKILL)
        shell.wait(30)
        guard.add(second.pid)
        guard.close()
        assert [first.wait(30), second.wait(30)] == [-signal.SIGKILL] * 2
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
