"""The line of a long wait: on a terminal, after a moment, and gone when it is over."""

import io

import pytest

from meshnode.cli import progress
from meshnode.cli.progress import Progress


class Screen(io.StringIO):
    """A standard error that is a terminal, or is not."""

    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    return now


def _told(screen: Screen, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stderr", screen)
    with Progress() as line:
        line.tell("1 of 3 run")
        clock[0] += 5
        line.tell("2 of 3\nrun")
    return screen.getvalue()


def test_a_terminal_sees_one_line_that_is_gone_afterwards(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _told(Screen(tty=True), clock, monkeypatch) == "\r\x1b[K2 of 3 run  (5s)\r\x1b[K"


def test_a_file_sees_nothing(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _told(Screen(tty=False), clock, monkeypatch) == ""
