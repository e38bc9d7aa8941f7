"""One document as one session of one reader: a home of their own, one bash, commands in order, nothing left behind."""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import psutil

from meshnode.host.rundir import discard_run_directory
from tests.docs_kit.exceptions import ENDLESS, instead_of, parsed
from tests.docs_kit.reading import ROOT, Step

COMMAND_S, MOMENT_S, ENDS_S = 90.0, 30.0, 15.0
_POLL_S = 0.02
_TERMINAL = f"env COLUMNS=120 LINES=30 TERM=xterm {sys.executable} {ROOT / 'tests/docs_kit/terminal.py'}"
_INTERRUPTED = (0, 130)


class Failed(AssertionError):
    """A command did not do what its document says."""


class Session:
    """``directory``: of this session alone."""

    def __init__(self, directory: Path, name: str) -> None:
        self._name = name
        self._home, self._place, self._told = (directory / part for part in ("home", "clone", "told"))
        for made in (self._home, self._place, self._told):
            made.mkdir(parents=True)
        for entry in ROOT.iterdir():
            if entry.name != ".git":
                (self._place / entry.name).symlink_to(entry)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._read_fd, write_fd = os.pipe()
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=self._place, env=self._environment(), pass_fds=(write_fd,),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._answers = write_fd
        self._count = 0
        self._say("set -m")

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bash.kill()
        self._bash.wait()
        assert self._bash.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._bash.stdin.close()
        os.close(self._read_fd)
        os.close(self._answers)
        for pointer in self._home.glob("*/run"):
            with contextlib.suppress(OSError):
                self._end_all()
                discard_run_directory(pointer.parent)
        self._end_all()

    def run(self, step: Step) -> str:
        """What it printed. Raises ``Failed``."""
        if step.file:
            (self._place / step.file).write_text(step.command)
            return ""
        command = step.command
        for each in instead_of(command):
            if not each.by:
                parsed(command)
                return ""
            command = each.pattern.sub(each.by.format(port=self._port, terminal=_TERMINAL), command)
        self._count += 1
        out = self._told / f"{self._count}.txt"
        wanted = next((seen for endless, seen in ENDLESS if not step.exits and endless.search(step.command)), None)
        if wanted is None:
            self._say(f"{{ {command}\n}} >'{out}' 2>&1 </dev/null; echo $? >&{self._answers}")
            code, codes = self._answer(step, out, COMMAND_S), (step.exits,)
        else:
            code, codes = self._endless(step, command, out, wanted), _INTERRUPTED
        text = _read(out)
        if code not in codes:
            raise self._failed(step, f"exit code {code}, not {' or '.join(map(str, codes))}", text)
        if "Traceback" in text or (not step.exits and any(line.startswith("error: ") for line in text.splitlines())):
            raise self._failed(step, "it complains", text)
        return text

    def _endless(self, step: Step, command: str, out: Path, wanted: re.Pattern[str]) -> int:
        """Goes on until it has printed what is wanted; then Ctrl-C."""
        self._say(f"{{ {command}\n}} >'{out}' 2>&1 </dev/null & echo $! >&{self._answers}")
        group = self._answer(step, out, ENDS_S)
        end = time.monotonic() + MOMENT_S
        while not wanted.search(_read(out)):
            if time.monotonic() >= end or not _runs(group):
                why = "it ended by itself" if time.monotonic() < end else f"nothing sensible within {MOMENT_S:g} s"
                raise self._failed(step, why, _read(out))
            select.select([], [], [], _POLL_S)
        os.killpg(group, signal.SIGINT)
        self._say(f"wait {group}; echo $? >&{self._answers}")
        return self._answer(step, out, ENDS_S)

    def left(self) -> list[str]:
        """Processes of this session that still run."""
        return [" ".join(process.cmdline())[:200] for process in self._processes()]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("LANG", "LC_ALL", "TZ")}
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        return {**kept, "HOME": str(self._home), "PATH": path, "BROWSER": "true", "PYTHONUNBUFFERED": "1"}

    def _say(self, line: str) -> None:
        assert self._bash.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # bash has ended: the answer does not come, and says so
            self._bash.stdin.write(line + "\n")
            self._bash.stdin.flush()

    def _answer(self, step: Step, out: Path, within_s: float) -> int:
        end = time.monotonic() + within_s
        while time.monotonic() < end and self._bash.poll() is None:
            if select.select([self._read_fd], [], [], 0.1)[0]:
                return int(os.read(self._read_fd, 64).split()[0])
        why = "bash could not read it" if self._bash.poll() is not None else f"not done within {within_s:g} s"
        raise self._failed(step, why, _read(out))

    def _failed(self, step: Step, why: str, text: str) -> Failed:
        return Failed(f"{self._name}:{step.line}: {step.command}\n{why}; it printed:\n{text[-3000:]}")

    def _processes(self) -> list[psutil.Process]:
        mine: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("HOME") == str(self._home) and process.status() != psutil.STATUS_ZOMBIE:
                    mine.append(process)
        return mine

    def _end_all(self) -> None:
        end = time.monotonic() + ENDS_S
        while (mine := self._processes()) and time.monotonic() < end:
            for process in mine:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(mine, timeout=1.0)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _runs(group: int) -> bool:
    """Whether any process of the group does."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
