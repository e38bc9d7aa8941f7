"""The one door to the files of a machine: all is read below a root, "/" or a recorded tree of another machine.

What cannot be read is ``None``: sysfs and procfs refuse single files for many honest reasons (no such sensor, radio
off, not root), and a missing fact is left out of a report, never guessed. Reads are capped: no file can fill memory.
A name with a NUL byte, which Python refuses by ``ValueError``, names no file either.
"""

import os
from pathlib import Path

FILE_BYTES_MAX = 65_536
LABEL_MAX = 100
# Files that mean "no limit" or "never" show numbers near 2^63; no fact of a machine is that large.
NUMBER_MAX = 1 << 60
NAMES_MAX = 1024


class Root:
    """Reads below ``path``. ``live``: the machine we run on, so the system may be asked too (psutil, statvfs)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.live = path == Path("/")

    def at(self, relative: str) -> Path:
        return self.path / relative.lstrip("/")

    def exists(self, relative: str) -> bool:
        try:
            return self.at(relative).exists()
        except (OSError, ValueError):
            return False

    def text(self, relative: str) -> str | None:
        """The stripped text; NUL bytes, which end the strings of a device tree, count as white space at both ends."""
        try:
            with self.at(relative).open("rb", buffering=0) as file:
                raw = file.read(FILE_BYTES_MAX)
        except (OSError, ValueError):
            return None
        return raw.decode("utf-8", "replace").strip(" \t\r\n\0")

    def label(self, relative: str) -> str | None:
        """A short name for people: one line of printable characters, or nothing."""
        return as_label(self.text(relative))

    def number(self, relative: str) -> int | None:
        return as_int(self.text(relative))

    def lines(self, relative: str) -> list[str]:
        text = self.text(relative)
        return text.splitlines() if text else []

    def names(self, relative: str) -> list[str]:
        """What lies in a directory, sorted so that two looks agree; numbers in names count as numbers."""
        try:
            with os.scandir(self.at(relative)) as entries:
                found = [entry.name for entry, _ in zip(entries, range(NAMES_MAX), strict=False)]
        except (OSError, ValueError):
            return []
        return sorted(found, key=_natural)


class KeptFile:
    """A file read again and again by one kept descriptor: a tenth of the cost of opening it each time.

    Works for procfs and sysfs, which render anew at offset 0. What cannot be opened or read is ``None``.
    """

    def __init__(self, path: Path, bytes_max: int = 16_384) -> None:
        self._bytes_max = bytes_max
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            self._fd = -1

    def read(self) -> bytes | None:
        if self._fd < 0:
            return None
        try:
            return os.pread(self._fd, self._bytes_max, 0)
        except OSError:
            return None

    def number(self) -> int | None:
        raw = self.read()
        return None if raw is None else as_int(raw.decode("ascii", "replace"))

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def as_label(text: str | None) -> str | None:
    """Words of printable characters, ``LABEL_MAX`` at most, or nothing."""
    words = "".join(char if char.isprintable() else " " for char in (text or "")[: 4 * LABEL_MAX]).split()
    return " ".join(words)[:LABEL_MAX].strip() or None


def as_int(text: str | None) -> int | None:
    """A decimal or 0x number, or nothing, also when it is too large to be a fact."""
    digits = (text or "").strip()
    try:
        number = int(digits, 16 if digits[:2] in ("0x", "0X") else 10)
    except ValueError:
        return None
    return number if abs(number) < NUMBER_MAX else None


def _natural(name: str) -> tuple[str, int, str]:
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    return (head, int(tail) if tail else -1, name)
