"""``meshnode top`` in a terminal: a real daemon, a real pty, the screen read by a terminal emulator."""

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from tests.real.daemon_kit import Daemon, Daemons

pytestmark = pytest.mark.real
COLUMNS, LINES = 120, 30
PATIENCE_S = 15.0


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *argv: str) -> None:
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._fd, theirs = pty.openpty()
        size = {"COLUMNS": str(COLUMNS), "LINES": str(LINES), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "meshnode.cli", *argv], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
            env={**os.environ, **size},
        )  # fmt: skip
        os.close(theirs)

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def until(self, holds: Callable[[str], bool]) -> str:
        """The screen as soon as it is as wanted."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if holds(self.text):
                return self.text
            if select.select([self._fd], [], [], 0.1)[0]:
                self._read()
        raise AssertionError(f"never seen; the screen is:\n{self.text}")

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    def ended(self) -> int:
        """Its exit code; what it prints is read, so that it is not held up."""
        end = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self._fd], [], [], 0.1)[0]:
                self._read()
        return self.process.wait(timeout=1.0)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end was closed: it has ended
            self._stream.feed(os.read(self._fd, 65536))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[tuple[Terminal, Daemon]]:
    with Daemons(tmp_path) as daemons:
        daemon = daemons.start("alpha")
        shown = Terminal("-C", str(daemon.directory), "top", "--every", "0.3")
        try:
            yield shown, daemon
        finally:
            shown.close()


def test_top_shows_the_node_follows_keys_and_leaves(terminal: tuple[Terminal, Daemon]) -> None:
    shown, daemon = terminal
    name = daemon.ask.status().name
    first = shown.until(lambda text: f"{name} *" in text)
    assert "1 of 1 reachable" in first
    shown.type("\t\t")
    shown.until(lambda text: "[events]" in text and f"node/{name}" in text)
    shown.type("\r")
    shown.until(lambda text: f"why node/{name}" in text and "esc closes this" in text)
    shown.type("q")
    shown.until(lambda text: "esc closes this" not in text)
    shown.type("q")
    assert shown.ended() == 0


def test_top_says_so_when_the_node_goes_away(terminal: tuple[Terminal, Daemon]) -> None:
    shown, daemon = terminal
    shown.until(lambda text: "reachable" in text)
    daemon.kill()
    shown.until(lambda text: "! as of" in text and str(daemon.directory) in text)
