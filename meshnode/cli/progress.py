"""One line that says how far a long wait is: on a terminal only, gone when it ends, never part of the output."""

import os
import shutil
import sys
import time
from types import TracebackType

from meshnode.cli.words import one_line

# What is over sooner needs no line.
QUIET_S = 0.4
_TO_START_AND_CLEAR = "\r\x1b[K"


class Progress:
    """``with Progress() as progress: progress.tell("2 of 3 run")``, as often as you like."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._shown = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._shown:
            self._write("")

    def tell(self, text: str) -> None:
        took_s = time.monotonic() - self._began_s
        if took_s < QUIET_S or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return
        line = one_line(f"{text}  ({took_s:.0f}s)")[: shutil.get_terminal_size().columns - 1]
        if line != self._shown:
            self._write(line)

    def _write(self, line: str) -> None:
        self._shown = line
        sys.stderr.write(_TO_START_AND_CLEAR + line)
        sys.stderr.flush()
