"""Starts and ends the processes of agents, and tells how they went.

Each run is a session and group of its own, bound to the daemon's life (host/launch.py, host/guard.py). A run is over
when its first process has ended: what is left of the group is killed, then the exit is told, exactly once.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from meshnode.agents.messages import ProcessExited, ProcessFailed, ProcessStarted, StartProcess, StopProcess
from meshnode.host.agentlog import AgentLog, Tail
from meshnode.host.guard import Guard

Told = ProcessStarted | ProcessFailed | ProcessExited

_LAUNCHER = Path(__file__).with_name("launch.py")
_PASSED_ON = ("PATH", "HOME", "LANG")
_DEFAULTS = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/", "LANG": "C.UTF-8"}
_READ_BYTES = 64 * 1024
# After the end of a run at most this much of what its pipes still hold is read.
_DRAIN_READS_MAX = 16
# From SIGKILL to the end of a process; only one stuck in the kernel takes longer.
_KILLED_S = 5.0


@dataclass(eq=False, slots=True)
class _Process:
    """One run. ``pipes``: descriptors of its standard output and error, while they are open."""

    start: StartProcess
    popen: subprocess.Popen[bytes]
    pidfd: int
    log: AgentLog
    pipes: dict[int, Tail] = field(default_factory=dict[int, Tail])
    out: Tail = field(default_factory=Tail)
    err: Tail = field(default_factory=Tail)
    kill: asyncio.TimerHandle | None = None


class Supervisor:
    """``tell`` is called from the loop; ``bus``: path of the socket agents connect to; ``node``: this node's name."""

    def __init__(self, tell: Callable[[Told], None], *, logs: Path, bus: Path | str, node: str) -> None:
        self._tell, self._logs, self._bus, self._node = tell, logs, bus, node
        self._loop = asyncio.get_running_loop()
        self._guard = Guard()
        self._processes: dict[tuple[str, int], _Process] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def perform(self, effect: StartProcess | StopProcess) -> None:
        if isinstance(effect, StartProcess):
            self._start(effect)
        else:
            self._stop(effect)

    async def close(self) -> None:
        """Kill what still runs, at once, and wait until it is gone. For a graceful end there is StopProcess."""
        for process in list(self._processes.values()):
            _signal_group(process, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILLED_S):
                await self._empty.wait()
        self._guard.close()

    # Starting

    def _start(self, effect: StartProcess) -> None:
        environment = self._environment(effect)
        try:
            _find_program(effect, environment["PATH"])
            popen = self._spawn(effect, environment)
        except OSError as error:
            what = f": {error.filename}" if error.filename else ""
            self._tell(ProcessFailed(effect.instance, effect.run_no, f"{error.strerror or error}{what}"))
            return
        self._guard.add(popen.pid)
        self._watch(_Process(effect, popen, os.pidfd_open(popen.pid), self._log_of(effect)))
        self._tell(ProcessStarted(effect.instance, effect.run_no, popen.pid))

    def _environment(self, effect: StartProcess) -> dict[str, str]:
        agent = effect.instance.partition("/")[0]
        return {
            **{name: os.environ.get(name, _DEFAULTS[name]) for name in _PASSED_ON},
            "PYTHONUNBUFFERED": "1",  # the last lines before a crash are the ones that matter
            **effect.environment,
            "MESHNODE_AGENT": agent,
            "MESHNODE_INSTANCE": effect.instance,
            "MESHNODE_TICKET": effect.ticket,
            "MESHNODE_BUS": f"ipc://{self._bus}",
            "MESHNODE_NODE": self._node,
        }

    def _spawn(self, effect: StartProcess, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        # In the loop's own thread, always: the death signal of the launcher follows the thread that started it.
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        return subprocess.Popen(  # noqa: S603 - running what the node's owner asked for is the purpose
            [*launcher, *effect.argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=effect.cwd,
            env=environment,
            start_new_session=True,
            close_fds=True,
            bufsize=0,
        )

    def _log_of(self, effect: StartProcess) -> AgentLog:
        log = AgentLog(self._logs / f"{effect.instance.partition('/')[0]}.log")
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        log.write(f"[meshnode] {began} run {effect.run_no}: {' '.join(effect.argv)[:500]}\n".encode(), time.monotonic())
        return log

    def _watch(self, process: _Process) -> None:
        self._processes[_key(process.start)] = process
        self._empty.clear()
        for stream, tail in ((process.popen.stdout, process.out), (process.popen.stderr, process.err)):
            self._watch_pipe(process, stream, tail)
        self._loop.add_reader(process.pidfd, self._ended, process)

    def _watch_pipe(self, process: _Process, stream: IO[bytes] | None, tail: Tail) -> None:
        assert stream is not None
        fd = os.dup(stream.fileno())
        stream.close()
        os.set_blocking(fd, False)
        process.pipes[fd] = tail
        self._loop.add_reader(fd, self._readable, process, fd)

    # Output

    def _readable(self, process: _Process, fd: int) -> bool:
        """Read once. False when there is nothing more to read now, or ever."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_pipe(process, fd)
            return False
        process.pipes[fd].add(data)
        process.log.write(data, time.monotonic())
        return True

    def _close_pipe(self, process: _Process, fd: int) -> None:
        self._loop.remove_reader(fd)
        del process.pipes[fd]
        os.close(fd)

    # Ending

    def _stop(self, effect: StopProcess) -> None:
        process = self._processes.get(_key(effect))
        if process is None or process.kill is not None:
            return
        _signal_group(process, signal.SIGTERM)
        process.kill = self._loop.call_later(effect.grace_us / 1e6, _signal_group, process, signal.SIGKILL)

    def _ended(self, process: _Process) -> None:
        """The first process is a zombie now: until it is reaped, its number cannot become another group's."""
        self._loop.remove_reader(process.pidfd)
        os.close(process.pidfd)
        if process.kill is not None:
            process.kill.cancel()
        _signal_group(process, signal.SIGKILL)
        self._guard.remove(process.popen.pid)
        for fd in list(process.pipes):
            self._drain(process, fd)
        status = process.popen.wait()
        process.log.close()
        del self._processes[_key(process.start)]
        if not self._processes:
            self._empty.set()
        self._tell(_exit_of(process, status))

    def _drain(self, process: _Process, fd: int) -> None:
        for _ in range(_DRAIN_READS_MAX):
            if not self._readable(process, fd):
                break
        if fd in process.pipes:
            self._close_pipe(process, fd)


def _key(effect: StartProcess | StopProcess) -> tuple[str, int]:
    return effect.instance, effect.run_no


def _exit_of(process: _Process, status: int) -> ProcessExited:
    name = _signal_name(-status) if status < 0 else ""
    tail = process.err.text() if process.err.text().strip() else process.out.text()
    return ProcessExited(process.start.instance, process.start.run_no, max(status, 0), name, tail)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _signal_group(process: _Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.popen.pid, number)


def _find_program(effect: StartProcess, path: str) -> None:
    """Fail before the start, with the name of what is missing, rather than by the launcher's exit code."""
    if not Path(effect.cwd).is_dir():
        raise FileNotFoundError(2, "no such folder", effect.cwd)
    program = effect.argv[0]
    if "/" in program:
        found = os.access(Path(effect.cwd) / program, os.X_OK)
    else:
        found = shutil.which(program, path=path) is not None
    if not found:
        raise FileNotFoundError(2, "no such program, or it may not be executed", program)
