"""Reads what agents wrote: the lines of one node, of all units of an agent, in the order in which they were written.

Nothing is remembered between two readings: stamps rise within a file, so what comes after one is found by bisection.
"""

import errno
import heapq
import mmap
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from meshnode.host.agentlog import STAMP_DIGITS, TEXT_AT, stamp_of
from meshnode.kernel.hlc import wall_ms
from meshnode.model.views import LogLine

_SUFFIXES = (".log", ".log.1")


def read_logs(directory: Path, agent: str, after_hlc: int, limit: int, node: str) -> tuple[list[LogLine], bool]:
    """Lines of one agent ("" = all) stamped after ``after_hlc``, the first ``limit`` of them; with 0 the newest ones.

    The flag says that there are later lines already. Raises ``OSError``; a node without logs has no lines.
    """
    if limit <= 0:
        return [], False
    names = _names(directory, agent)
    if after_hlc <= 0:
        with _opened(directory, _latest(directory, names, limit), 0) as files:
            return _newest(files, limit, node), False
    with _opened(directory, names, after_hlc) as files:
        rows = heapq.merge(*(file.lines(file.first_after(after_hlc)) for file in files))
        found = [_line(row, node) for row in islice(rows, limit + 1)]
    return found[:limit], len(found) > limit


@dataclass(frozen=True, slots=True)
class _File:
    """One file as it was when it was opened; ``end``: after its last whole line."""

    unit: str
    data: mmap.mmap
    end: int

    def last(self) -> int:
        """The newest stamp; 0 if there is none to be read."""
        end = self.end
        while end > 0:
            start = self.data.rfind(b"\n", 0, end - 1) + 1
            stamp = stamp_of(self.data[start : end - 1])
            if stamp is not None:
                return stamp
            end = start
        return 0

    def first_after(self, after: int) -> int:
        low, high = 0, self.end
        while low < high:
            middle = (low + high) // 2
            start = max(low, self.data.rfind(b"\n", low, middle) + 1)
            stamp, stop = self._readable_from(start, high)
            if stamp is not None and stamp <= after:
                low = stop
            else:
                high = start  # lines that cannot be read are passed over later: they may stand on either side
        return low

    def _readable_from(self, at: int, end: int) -> tuple[int | None, int]:
        """The stamp of the first line that can be read, and where that line ends."""
        while at < end:
            stop = self.data.find(b"\n", at, self.end)
            stamp = stamp_of(self.data[at : min(stop, at + TEXT_AT)])
            at = stop + 1
            if stamp is not None:
                return stamp, at
        return None, at

    def lines(self, at: int) -> Iterator[tuple[int, str, bytes]]:
        """(stamp, unit, line) from a start of a line on; what is no line of ours is passed over."""
        while at < self.end:
            stop = self.data.find(b"\n", at, self.end)
            line = self.data[at:stop]
            stamp = stamp_of(line)
            if stamp is not None:
                yield stamp, self.unit, line
            at = stop + 1

    def lines_backwards(self) -> Iterator[tuple[int, str, bytes]]:
        end = self.end
        while end > 0:
            start = self.data.rfind(b"\n", 0, end - 1) + 1
            line = self.data[start : end - 1]
            stamp = stamp_of(line)
            if stamp is not None:
                yield stamp, self.unit, line
            end = start


def _newest(files: list[_File], limit: int, node: str) -> list[LogLine]:
    newest_first = heapq.merge(*(file.lines_backwards() for file in files), reverse=True)
    found = [_line(row, node) for row in islice(newest_first, limit)]
    found.reverse()
    return found


def _latest(directory: Path, names: list[tuple[str, str]], limit: int) -> list[tuple[str, str]]:
    """The files the newest ``limit`` lines are in: each one holds its own newest line, so no more than that."""
    if len(names) <= limit:
        return names
    lasts: list[tuple[int, str, str]] = []
    for name, unit in names:
        with _opened(directory, [(name, unit)], 0) as files:
            lasts += [(file.last(), name, unit) for file in files]
    return [(name, unit) for _, name, unit in heapq.nlargest(limit, lasts)]


@contextmanager
def _opened(directory: Path, names: list[tuple[str, str]], after: int) -> Generator[list[_File]]:
    """Those of the files that have lines after a stamp, mapped: a file that is renamed meanwhile stays readable."""
    files: list[_File] = []
    seen: dict[int, None] = {}
    try:
        # ".log" stands before ".log.1": a file renamed in between is met twice rather than not at all.
        for name, unit in names:
            file = _open(directory / name, unit, seen)
            if file is None:
                continue
            if file.last() > after:
                files.append(file)
            else:
                file.data.close()  # at once: each takes a descriptor, and there may be thousands
        yield files
    finally:
        for file in files:
            file.data.close()


def _open(path: Path, unit: str, seen: dict[int, None]) -> _File | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # it went meanwhile, or somebody put a link there
            return None
        raise
    try:
        status = os.fstat(fd)
        if status.st_size == 0 or status.st_ino in seen:
            return None
        seen[status.st_ino] = None
        data = mmap.mmap(fd, status.st_size, access=mmap.ACCESS_READ)
        return _File(unit, data, data.rfind(b"\n") + 1)
    finally:
        os.close(fd)


def _names(directory: Path, agent: str) -> list[tuple[str, str]]:
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names alone are wanted
    except FileNotFoundError:
        return []
    found: list[tuple[str, str]] = []
    for name in names:
        for suffix in _SUFFIXES:
            owner, dash, slot = name.removesuffix(suffix).rpartition("-")
            if name.endswith(suffix) and dash and agent in ("", owner):
                found.append((name, f"{owner}/{slot}"))
    return found


def _line(row: tuple[int, str, bytes], node: str) -> LogLine:
    stamp, unit, line = row
    return LogLine(
        hlc=stamp,
        at_ms=wall_ms(stamp),
        node=node,
        unit=unit,
        stream=line[STAMP_DIGITS + 1 : TEXT_AT - 1].decode(errors="replace"),
        text=line[TEXT_AT:].decode(errors="replace"),
    )
