"""Starts a daemon apart from this terminal and waits until it says that it is ready, or why it is not.

The daemon writes one JSON line into the pipe whose descriptor it gets with ``--ready-fd``.
"""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from meshnode.model.errors import LocalError, TimedOut

READY_BYTES_MAX = 64 * 1024
LOG_LINES_SHOWN = 5
IDENTITY, JOURNAL = "identity", "journal"  # what a daemon makes of an empty directory


class Refusal(msgspec.Struct, frozen=True):
    """Why the daemon did not start; ends the command with its own exit code."""

    code: str
    message: str
    next_step: str = ""
    exit_code: int = 1


class Ready(msgspec.Struct, frozen=True):
    """The daemon's one line. ``made``: what it made of an empty directory, once, with the words to recover it."""

    ok: bool
    made: dict[str, object] | None = None
    recovery_words: str | None = None
    listen: str = ""
    error: Refusal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """How to start: the daemon's own arguments, and how long to wait for its line."""

    directory: Path
    argv: list[str]
    timeout_s: float
    program: tuple[str, ...] = (sys.executable, "-m", "meshnode.daemon.main")

    @property
    def log(self) -> Path:
        return self.directory / "logs" / "daemon.log"


def start(how: Start) -> Ready:
    """Start the daemon detached, and wait.

    Raises:
        LocalError: it refused, died or said nothing in time; then none is left running.
    """
    _make(how)
    read_end, write_end = os.pipe()
    try:
        with _Undisturbed() as undisturbed:
            process = _spawn(how, write_end)
            os.close(write_end)
            write_end, told = -1, bytearray()
            try:
                undisturbed.end()
                _read_line(read_end, how, told)
                return _judged(bytes(told), how, process)
            except BaseException:  # Ctrl-C as well: a daemon nobody waited for must not stay
                _end(process)
                _read_rest(read_end, told)
                _unmake(bytes(told), how)
                raise
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


class _Undisturbed:
    """Until ``end``, Ctrl-C waits: between the start of a process and the first line that knows of it."""

    def __init__(self) -> None:
        self._pressed = False
        self._former = signal.getsignal(signal.SIGINT)
        self._holds = threading.current_thread() is threading.main_thread() and self._former is not None

    def __enter__(self) -> "_Undisturbed":
        if self._holds:
            signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def end(self) -> None:
        """Raises KeyboardInterrupt if it was pressed meanwhile."""
        self._give_back()
        if self._pressed:
            raise KeyboardInterrupt

    def _press(self, _number: int, _frame: object) -> None:
        self._pressed = True

    def _give_back(self) -> None:
        if self._holds:
            signal.signal(signal.SIGINT, self._former)
            self._holds = False


def _make(how: Start) -> None:
    try:
        how.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        how.log.parent.mkdir(mode=0o700, exist_ok=True)
        how.log.touch(mode=0o600)
    except OSError as error:
        raise LocalError(
            f"{how.directory} cannot be a node's directory: {error.filename or how.log}: {error.strerror}",
            next_step="choose one you may write to: meshnode -C DIR up",
        ) from error


def _spawn(how: Start, ready_fd: int) -> subprocess.Popen[bytes]:
    argv = [*how.program, *how.argv, "--ready-fd", str(ready_fd)]
    with how.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(ready_fd,),
            start_new_session=True,
            cwd="/",  # so that no mount is held busy
        )


def _read_line(read_end: int, how: Start, told: bytearray) -> None:
    """Up to the line's end, or what there is when the daemon dies."""
    until = time.monotonic() + how.timeout_s
    while b"\n" not in told and len(told) < READY_BYTES_MAX:
        ready, _, _ = select.select([read_end], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimedOut(f"the daemon was not ready after {how.timeout_s:g} s", next_step=f"look at {how.log}")
        chunk = os.read(read_end, 4096)
        if not chunk:
            break
        told += chunk


def _read_rest(read_end: int, told: bytearray) -> None:
    """What a daemon that has ended had said."""
    os.set_blocking(read_end, False)
    with contextlib.suppress(OSError):
        while len(told) < READY_BYTES_MAX and (chunk := os.read(read_end, 4096)):
            told += chunk


def _unmake(line: bytes, how: Start) -> None:
    """It was ready in that very moment, and nobody will see the recovery words of the mesh it made: nothing stays."""
    with contextlib.suppress(msgspec.DecodeError):
        if msgspec.json.decode(line, type=Ready).recovery_words:
            shutil.rmtree(how.directory / IDENTITY, ignore_errors=True)
            (how.directory / JOURNAL).unlink(missing_ok=True)


def _judged(line: bytes, how: Start, process: subprocess.Popen[bytes]) -> Ready:
    try:
        ready = msgspec.json.decode(line, type=Ready)
    except msgspec.DecodeError:
        raise _died(how, process) from None
    if ready.ok:
        process.returncode = 0  # it outlives this command; Popen must not mourn it
        return ready
    refusal = ready.error or Refusal("failed", "the daemon did not say why it does not start")
    error = LocalError(refusal.message, next_step=refusal.next_step)
    error.code = refusal.code
    error.exit_code = refusal.exit_code
    raise error


def _died(how: Start, process: subprocess.Popen[bytes]) -> LocalError:
    code = process.wait(timeout=5)
    how_so = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    last = how.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    told = "\n".join(["the daemon " + how_so + " before it was ready", *(f"  {line}" for line in last)])
    return LocalError(told, next_step=f"the whole log: {how.log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
