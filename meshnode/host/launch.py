"""Becomes an agent: what a child of the warden does between the fork and the agent's own code.

The warden has one thread, so that code may run here which would be unsafe after the fork of a process with several. The
child takes its rights away, ties its life to the warden's, lets go of everything it inherited and marks itself: all its
descendants carry the mark, so that they are found wherever they run away to.
"""

import atexit
import ctypes
import gc
import hashlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

import msgspec

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
_NAME_BYTES_MAX = 15
_GATE = 3
CANNOT_RUN = 126
NOT_FOUND = 127

MARK = "MESHNODE_MARK"
_MARK_DIGITS = 16
NOBODY = "0" * _MARK_DIGITS
# Also what whoever started the daemon may have ignored: a shell does so for jobs in the background.
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_LIBC = ctypes.CDLL(None, use_errno=True)


class Launch(msgspec.Struct, frozen=True):
    """``out``, ``err``: the writing ends of pipes. ``warden``: the process the agent must not outlive.

    ``gate``: the reading end of a pipe; the agent's own code begins when there is something in it.
    """

    argv: tuple[str, ...]
    cwd: str
    environment: dict[str, str]
    file: str
    out: int
    err: int
    gate: int
    warden: int
    files_max: int


def prctl(option: int, value: int) -> None:
    """Raises ``OSError``."""
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def mark_of(run_directory: str, run: str = "") -> str:
    """Two digests: whose warden, which of its runs ("" = the warden's own)."""
    which = hashlib.sha256(run.encode()).hexdigest()[:_MARK_DIGITS] if run else NOBODY
    return f"{hashlib.sha256(os.fsencode(run_directory)).hexdigest()[:_MARK_DIGITS]}.{which}"


class Stationery:
    """Where the kernel shows this process's first environment and command line: a fork may write its own there."""

    def __init__(self) -> None:
        """Raises ``OSError``; a process without the mark in its environment has no room for one, and does without."""
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        self._argv, argv_end, environment, end = (int(field) for field in fields[45:49])
        self._argv_bytes = argv_end - self._argv
        found = ctypes.string_at(environment, end - environment).find(f"{MARK}=".encode())
        self._mark = environment + found + len(MARK) + 1 if found >= 0 else 0

    def write(self, mark: str, title: str) -> None:
        if self._mark:
            ctypes.memmove(self._mark, mark.encode(), len(mark))
        line = title.encode()[: self._argv_bytes - 1]
        ctypes.memmove(self._argv, line.ljust(self._argv_bytes, b"\0"), self._argv_bytes)


def become(launch: Launch, stationery: Stationery, title: str) -> NoReturn:
    """In the child. Signals must be blocked; whatever happens, this does not return into the warden's code."""
    try:
        _restrict(launch)
        if launch.file:
            _run_file(launch, stationery, title)
        else:
            _execute(launch)
    except BaseException:  # noqa: BLE001 - the warden's code must not go on in two processes
        traceback.print_exc()
    os._exit(CANNOT_RUN)


def _restrict(launch: Launch) -> None:
    os.setsid()
    prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != launch.warden:
        os._exit(CANNOT_RUN)  # the warden died before we could tie ourselves to it
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    null = os.open("/dev/null", os.O_RDONLY)
    for fd, standard in ((null, 0), (launch.out, 1), (launch.err, 2)):
        os.dup2(fd, standard)
    gate = os.dup2(launch.gate, _GATE, inheritable=False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    os.closerange(gate + 1, hard if hard != resource.RLIM_INFINITY else 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (launch.files_max, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _reset_signals()
    os.chdir(launch.cwd)
    os.read(gate, 1)
    os.close(gate)


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _execute(launch: Launch) -> None:
    # An ignored signal stays ignored across exec, and Python ignores these two.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    program = launch.argv[0]
    try:
        os.execvpe(program, launch.argv, launch.environment)  # noqa: S606 - what the node's owner asked for
    except OSError as error:
        os.write(2, f"meshnode: cannot run {program}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN)


def _run_file(launch: Launch, stationery: Stationery, title: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stationery.write(launch.environment.get(MARK, ""), title)
    _LIBC.prctl(PR_SET_NAME, ctypes.c_char_p(title.encode()[:_NAME_BYTES_MAX]), 0, 0, 0)
    os.environ.clear()
    os.environ.update(launch.environment)
    if "TZ" in launch.environment:
        time.tzset()
    sys.path[:0] = [entry for entry in launch.environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    gc.freeze()  # what is the warden's stays as it is: a collection that looked at it would copy it
    from meshnode.sdk import forked

    code = forked.main(launch.file, list(launch.argv))
    # As the interpreter does at its end, of which there is none here: the frames below are the warden's.
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001 - there is no public way
    os._exit(code)
