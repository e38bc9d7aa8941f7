"""The log of a unit on a real disk, and the guard of process groups."""

import itertools
import os
import signal
import subprocess
from pathlib import Path

import pytest

from meshnode.host.agentlog import FILE_BYTES_MAX, LINE_BYTES_MAX, AgentLog, Tail, log_path, stamp_of
from meshnode.host.guard import Guard
from meshnode.kernel.hlc import Hlc, wall_ms
from meshnode.kernel.instant import SECOND, Instant

pytestmark = pytest.mark.real


def at(seconds: float, wall: int = 1_700_000_000_000) -> Instant:
    return Instant(int(seconds * SECOND), wall + int(seconds * 1000))


def texts(path: Path) -> list[bytes]:
    """Stream and text of every line; all of them must be lines of ours, with rising stamps."""
    lines = path.read_bytes().splitlines()
    stamps = [stamp_of(line) for line in lines]
    assert None not in stamps and all(a < b for a, b in itertools.pairwise(stamps))
    return [line[17:] for line in lines]


def test_lines_are_appended_also_after_a_reopening(tmp_path: Path):
    path = tmp_path / "logs" / "a-0.log"
    for line in (b"first\n", b"second\n"):
        log = AgentLog(path, Hlc())
        assert log.write("out", line, at(0))
        log.close(at(0))
    assert texts(path) == [b"out first", b"out second"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_stamps_go_on_when_the_clock_was_set_back(tmp_path: Path):
    path = tmp_path / "a-0.log"
    for line, wall in ((b"in order\n", 1_700_000_000_000), (b"a machine without a battery\n", 5_000)):
        log = AgentLog(path, Hlc())
        log.write("out", line, at(0, wall))
        log.close(at(0, wall))
    assert len(texts(path)) == 2
    last = stamp_of(path.read_bytes().splitlines()[-1])
    assert last is not None and wall_ms(last) == 1_700_000_000_000


def test_pieces_become_lines_and_the_streams_do_not_mix(tmp_path: Path):
    log = AgentLog(tmp_path / "a-0.log", Hlc())
    for stream, data in (("out", b"he"), ("err", b"wor"), ("out", b"llo\n\nre"), ("err", b"ld\n"), ("out", b"st")):
        log.write(stream, data, at(0))
    log.close(at(0))
    assert texts(tmp_path / "a-0.log") == [b"out hello", b"out ", b"err world", b"out rest"]


def test_a_line_without_end_is_cut_and_nothing_is_lost(tmp_path: Path):
    log = AgentLog(tmp_path / "a-0.log", Hlc())
    for _ in range(5):
        log.write("out", b"x" * (LINE_BYTES_MAX - 100), at(0))
    log.close(at(0))
    lines = texts(tmp_path / "a-0.log")
    assert sum(len(line) - 4 for line in lines) == 5 * (LINE_BYTES_MAX - 100)
    assert max(map(len, lines)) <= LINE_BYTES_MAX + 4


def test_a_line_torn_by_a_crash_is_ended_and_does_not_spoil_the_next(tmp_path: Path):
    path = tmp_path / "a-0.log"
    log = AgentLog(path, Hlc())
    log.write("out", b"whole\n", at(0))
    log.close(at(0))
    path.write_bytes(path.read_bytes() + b"018bcfe5")
    log = AgentLog(path, Hlc())
    log.write("out", b"next\n", at(1))
    log.close(at(1))
    lines = path.read_bytes().splitlines()
    assert lines[1] == b"018bcfe5" and stamp_of(lines[1]) is None and lines[2].endswith(b"out next")


def test_a_full_file_moves_aside_and_the_oldest_goes(tmp_path: Path):
    path = tmp_path / "a-0.log"
    log = AgentLog(path, Hlc())
    for minute, digit in enumerate(b"0123"):
        log.write("out", (bytes([digit]) * 99 + b"\n") * 6_000, at(60 * minute))
    log.close(at(300))
    assert texts(path)[0] == b"out " + b"3" * 99
    assert texts(tmp_path / "a-0.log.1")[0] == b"out " + b"2" * 99
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-0.log", "a-0.log.1"]
    assert path.stat().st_size <= FILE_BYTES_MAX


def test_what_is_over_the_budget_of_a_minute_leaves_a_gap_line_with_its_size(tmp_path: Path):
    path = tmp_path / "a-0.log"
    log = AgentLog(path, Hlc(), minute_bytes_max=100)
    assert log.write("out", b"a" * 50 + b"\n", at(0))
    assert not log.write("out", b"b" * 60 + b"\n", at(1))
    assert not log.write("out", b"c" * 59 + b"\n", at(1.5))
    assert log.dropped_bytes == 60
    assert log.write("out", b"d\n", at(61))
    log.close(at(62))
    why = b"bytes dropped: over the budget of 100 bytes a minute"
    assert texts(path)[1:] == [b"gap 61 " + why, b"gap 60 " + why, b"out d"]


def test_a_flood_that_never_ends_says_so_once_a_second(tmp_path: Path):
    log = AgentLog(tmp_path / "a-0.log", Hlc(), minute_bytes_max=100)
    for hundredth in range(1000):
        log.write("out", b"x" * 99 + b"\n", at(hundredth / 100))
    log.close(at(10))
    gaps = texts(tmp_path / "a-0.log")
    assert 10 <= len(gaps) <= 12
    assert sum(int(line.split()[1]) for line in gaps) == 100_000


def test_a_disk_that_cannot_be_written_counts_and_does_not_stop_the_agent(tmp_path: Path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    log = AgentLog(tmp_path / "logs" / "a-0.log", Hlc())
    log.write("out", b"x" * 9 + b"\n", at(0))
    assert log.dropped_bytes == 10
    (tmp_path / "logs").unlink()
    log.write("out", b"y\n", at(1))
    log.close(at(2))
    assert texts(tmp_path / "logs" / "a-0.log") == [
        b"gap 10 bytes dropped: the disk refused: Not a directory",
        b"out y",
    ]


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "other").write_text("keep")
    (tmp_path / "a-0.log").symlink_to(tmp_path / "other")
    log = AgentLog(tmp_path / "a-0.log", Hlc())
    log.write("out", b"x\n", at(0))
    assert (tmp_path / "other").read_text() == "keep" and log.dropped_bytes == 2


def test_no_name_of_a_unit_leaves_the_folder():
    for unit in ("../../etc/passwd", "a/../../b", "a/0\n", "..", ""):
        assert log_path(Path("/logs"), unit).parent == Path("/logs")


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
        os.kill(guard.pid, signal.SIGKILL)
        os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOWAIT)
        guard.add(second.pid)
        guard.close()
        assert [first.wait(30), second.wait(30)] == [-signal.SIGKILL] * 2
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
