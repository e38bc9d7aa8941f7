"""What one unit writes, as lines that can be read back, within a byte budget: flash wears out, and a loop of prints
fills any disk.

A line of the file is ``STAMP STREAM TEXT``: an HLC stamp in 16 hexadecimal digits, ``out``, ``err`` or ``gap``, and
what was written. Stamps rise within a file and over all units of a node, so that readers can bisect and merge.
"""

import contextlib
import os
from pathlib import Path

from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import SECOND, Instant

FILE_BYTES_MAX = 1024 * 1024
MINUTE_BYTES_MAX = 1024 * 1024
# A longer line is cut into several; a line without an end is shown when it is that long.
LINE_BYTES_MAX = 16 * 1024
TAIL_BYTES = 2048
OUT, ERR, GAP = "out", "err", "gap"
STAMP_DIGITS = 16
TEXT_AT = STAMP_DIGITS + 5  # "STAMP out "
_MINUTE_US = 60 * SECOND
# While a flood lasts, a gap line says so once in so many microseconds.
_GAP_EVERY_US = SECOND
_LAST_LINE_BYTES = LINE_BYTES_MAX + TEXT_AT + 1


class AgentLog:
    """Two files, ``PATH`` and ``PATH.1``, of at most ``FILE_BYTES_MAX`` each, opened when there is something to write.

    A broken disk must not stop agents: bytes that could not be written count as dropped.
    """

    def __init__(self, path: Path, hlc: Hlc, *, minute_bytes_max: int = MINUTE_BYTES_MAX) -> None:
        self._path, self._hlc = path, hlc
        self._minute_bytes_max = min(minute_bytes_max, FILE_BYTES_MAX)
        self._fd = -1
        self._size = 0
        self._minute = -1
        self._minute_bytes = 0
        self._partial: dict[str, bytes] = {}
        self._gap_due_us = 0
        self._why_dropped = ""
        self.dropped_bytes = 0

    def write(self, stream: str, data: bytes, now: Instant) -> bool:
        """False: it was dropped, as the budget of this minute is spent."""
        minute = now.mono_us // _MINUTE_US
        if minute != self._minute:
            self._minute, self._minute_bytes = minute, 0
        if self._minute_bytes >= self._minute_bytes_max:
            return self._drop(stream, data, now)
        begun = self._partial.pop(stream, b"")
        *lines, rest = (begun + data).split(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            lines.append(rest)
            rest = b""
        self._ready()
        encoded = self._owed(now) + self._encoded(stream, lines, now)
        if self._minute_bytes + len(encoded) > self._minute_bytes_max:
            self._minute_bytes = self._minute_bytes_max
            return self._drop(stream, begun + data, now)
        if rest:
            self._partial[stream] = rest
        self._keep(encoded, sum(map(len, lines)) + len(lines))
        return True

    def close(self, now: Instant) -> None:
        """Lines without an end are written now, and what was dropped since the last gap line is owned up to."""
        rests, self._partial = self._partial, {}
        if rests or self.dropped_bytes:
            self._ready()
            encoded = [self._owed(now), *(self._encoded(stream, [rest], now) for stream, rest in rests.items())]
            self._keep(b"".join(encoded), sum(map(len, rests.values())))
        self._close_file()

    def _drop(self, stream: str, data: bytes, now: Instant) -> bool:
        self.dropped_bytes += len(self._partial.pop(stream, b"")) + len(data)
        self._why_dropped = f"over the budget of {self._minute_bytes_max} bytes a minute"
        if now.mono_us >= self._gap_due_us:
            self._gap_due_us = now.mono_us + _GAP_EVERY_US
            self._keep(self._owed(now), 0)
        return False

    def _keep(self, encoded: bytes, raw_bytes: int) -> None:
        self._minute_bytes += len(encoded)
        if not encoded:
            return
        try:
            self._append(encoded)
        except OSError as error:
            self.dropped_bytes += raw_bytes
            self._why_dropped = f"the disk refused: {error.strerror or error}"
            self._close_file()  # what was half written is ended by the next opening
        else:
            self.dropped_bytes = 0

    def _ready(self) -> None:
        """Open before stamps are given: they have to be later than those in the file."""
        if self._fd < 0:
            with contextlib.suppress(OSError):  # the writing itself will meet it again and count
                self._open()

    def _owed(self, now: Instant) -> bytes:
        if not self.dropped_bytes:
            return b""
        return self._encoded(GAP, [f"{self.dropped_bytes} bytes dropped: {self._why_dropped}".encode()], now)

    def _encoded(self, stream: str, lines: list[bytes], now: Instant) -> bytes:
        name, stamp = stream.encode(), self._hlc.stamp
        return b"".join(
            b"%016x %s %s\n" % (stamp(now), name, line[at : at + LINE_BYTES_MAX])
            for line in lines
            for at in range(0, max(len(line), 1), LINE_BYTES_MAX)
        )

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._open()
        if self._size + len(data) > FILE_BYTES_MAX:
            self._close_file()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._open()
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._size += written
            view = view[written:]

    def _open(self) -> None:
        with contextlib.suppress(FileExistsError):
            self._path.parent.mkdir(mode=0o700, parents=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._size:
            self._go_on()

    def _go_on(self) -> None:
        """Stamps go on after those in the file, even if the clock was set back; a line torn by a crash is ended."""
        end = os.pread(self._fd, 2 * _LAST_LINE_BYTES, max(0, self._size - 2 * _LAST_LINE_BYTES))
        if not end.endswith(b"\n"):
            self._size += os.write(self._fd, b"\n")
        for line in reversed(end.split(b"\n")):
            stamp = stamp_of(line)
            if stamp is not None:
                self._hlc.last = max(self._hlc.last, stamp)
                break

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def stamp_of(line: bytes) -> int | None:
    """None: this is not a line of ours."""
    if len(line) < TEXT_AT or line[STAMP_DIGITS : STAMP_DIGITS + 1] != b" ":
        return None
    try:
        return int(line[:STAMP_DIGITS], 16)
    except ValueError:
        return None


def log_path(directory: Path, unit: str) -> Path:
    """Where the lines of ``AGENT/SLOT`` are kept."""
    agent, _, slot = unit.partition("/")
    return directory / f"{_plain(agent)}-{_plain(slot)}.log"


class Tail:
    """The last bytes of a stream, for the reason of an exit."""

    def __init__(self) -> None:
        self._bytes = b""

    def add(self, data: bytes) -> None:
        self._bytes = (self._bytes + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def text(self) -> str:
        return self._bytes.decode(errors="replace")


def _plain(name: str) -> str:
    """Names are checked where they enter; a path is made of nothing else all the same."""
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)
