"""Waits for processes and streams, each with an end: what hangs is a failure that tells what was said, and where each
thread stands. Python tells the latter at SIGABRT, where it was started with ``TELLING``. Whatever a test still has
running when the watchdog ends it (pyproject.toml) is ended by ``leftovers.py``.
"""

import contextlib
import os
import queue
import resource
import signal
import subprocess
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")
TELLING = ("-X", "faulthandler")
PATIENCE_S = 90.0  # a bound for what is broken, not a pace
STACKS_S = 10.0
TOLD_CHARS = 6000


def abort(process: "subprocess.Popen[Any]") -> None:
    """End it, and its pipes with it; on its stderr it tells where its threads stand."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    process.send_signal(signal.SIGABRT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STACKS_S)
    process.kill()


@contextlib.contextmanager
def bounded(
    process: "subprocess.Popen[Any]",
    what: str,
    within_s: float = PATIENCE_S,
    failure: type[Exception] = AssertionError,
) -> Generator[None]:
    """Within the block the process is waited for, by whatever blocks until it speaks or ends. When that took too long
    it is ended, so that every wait is over, and the block fails with what it said that nobody has read."""
    over, late = threading.Event(), threading.Event()

    def watch() -> None:
        if not over.wait(within_s):
            late.set()
            abort(process)

    watching = threading.Thread(target=watch, name=f"bound of {what}", daemon=True)
    watching.start()
    failed: Exception | None = None
    try:
        yield
    except Exception as error:
        if not late.is_set():
            raise
        failed = error
    finally:
        over.set()
        watching.join(2 * STACKS_S)
    if late.is_set():
        raise failure(f"not within {within_s:g} s: {what}; it said:\n{_rest(process)}") from failed


def ends(process: "subprocess.Popen[Any]", what: str, within_s: float) -> int:
    """Its exit code. A process that goes on is ended, and has told on its stderr where its threads stand."""
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        abort(process)
        raise AssertionError(f"it did not end within {within_s:g} s: {what}") from None


def finished(
    command: Sequence[str | Path],
    *,
    within_s: float = PATIENCE_S,
    check: bool = False,
    said: str = "",
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """A command that ends by itself, and what it printed. ``check``: it is to end well; ``said``: to its stdin."""
    try:
        done = subprocess.run(
            command, input=said, capture_output=True, text=True, timeout=within_s, check=False, cwd=cwd, env=env
        )
    except subprocess.TimeoutExpired as error:
        told = b"".join(part for part in (error.stdout, error.stderr) if isinstance(part, bytes))
        late = f"it did not end within {within_s:g} s: {command}; it said:\n{told.decode(errors='replace')}"
        raise AssertionError(late[-TOLD_CHARS:]) from None
    assert not check or done.returncode == 0, f"exit code {done.returncode}: {command}; it said:\n{done.stderr}"
    return done


def _rest(process: "subprocess.Popen[Any]") -> str:
    """What it has said that nobody has read. Its children may hold its pipes open: nobody waits for their end."""
    said = b""
    for pipe in (process.stdout, process.stderr):
        if pipe is not None and not pipe.closed:
            os.set_blocking(pipe.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                while piece := os.read(pipe.fileno(), 65_536):
                    said += piece
    return said.decode(errors="replace")[-TOLD_CHARS:]


class Coming(Generic[ItemT]):
    """What a stream brings, read in a thread: a heartbeat keeps a stream alive for ever on which nothing comes."""

    def __init__(self, stream: Iterable[ItemT], what: str) -> None:
        self._what = what
        self._items: queue.SimpleQueue[ItemT | BaseException] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(stream,), name=what, daemon=True).start()

    @property
    def has_come(self) -> bool:
        """The next one is there."""
        return not self._items.empty()

    def next(self, within_s: float = PATIENCE_S) -> ItemT:
        """The next one. Raises what ended the stream."""
        try:
            item = self._items.get(timeout=within_s)
        except queue.Empty:
            raise AssertionError(f"nothing came within {within_s:g} s: {self._what}") from None
        if isinstance(item, BaseException):
            raise item
        return item

    def _read(self, stream: Iterable[ItemT]) -> None:
        try:
            for item in stream:
                self._items.put(item)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the next one is told
            self._items.put(error)
        else:
            self._items.put(EOFError(f"the stream has ended: {self._what}"))
