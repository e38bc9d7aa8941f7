"""The runs a warden has: forked, watched, ended with all that descends from them, reported exactly once.

A run is over when its first process has ended. What is left of its group is killed then, and so is whatever ran away
to another session: the warden inherits orphans (PR_SET_CHILD_SUBREAPER), and every descendant carries the run's mark.
One that does not show it in time is killed as soon as it does (``wardenstrays.py``).
"""

import contextlib
import os
import selectors
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from meshnode.host.agentlog import ERR, OUT, AgentLog, log_path
from meshnode.host.guard import Guard
from meshnode.host.launch import MARK, Launch, Stationery, become, mark_of
from meshnode.host.strays import children, mark_in
from meshnode.host.wardenoutput import Output, Outputs
from meshnode.host.wardenstrays import Strays
from meshnode.host.wardenwire import Exited, Failed, FromWarden, Go, Row, Start, Started, Stop
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.timers import Timers

RUNS_MAX = 10_000
# From SIGKILL to the end of a process; only one stuck in the kernel takes longer.
_KILLED_US = 5 * SECOND
_ALL_SIGNALS = signal.valid_signals()


@dataclass(eq=False, slots=True)
class Run:
    """One run. ``gate``: a pipe it waits at until the daemon knows of it; -1 once it is open.

    ``status``: its exit code, or a signal as a negative number; None while its first process lives.
    """

    order: Start
    pid: int
    mark: str
    output: Output
    gate: int
    stopping: bool = False
    status: int | None = None


class Runs:
    """``tell`` hears what happens. Nothing here waits: ends come with SIGCHLD, limits with ``wake``."""

    def __init__(
        self,
        tell: Callable[[FromWarden], None],
        now: Callable[[], Instant],
        selector: selectors.BaseSelector,
        *,
        run_directory: str,
        logs: Path,
        files_max: int,
    ) -> None:
        self._tell, self._now, self._logs = tell, now, logs
        self._run_directory, self._files_max = run_directory, files_max
        self._outputs = Outputs(selector, now)
        self._hlc = Hlc()
        self._guard = Guard()
        self._stationery = Stationery()
        self._runs: dict[tuple[str, int], Run] = {}
        self._by_pid: dict[int, Run] = {}
        self._ending: dict[str, Run] = {}  # by mark: the first process is gone, others may not be
        self._strays = Strays(mark_of(run_directory))
        self._due: Timers[Run] = Timers()

    def __len__(self) -> int:
        return len(self._runs)

    def rows(self) -> tuple[Row, ...]:
        """Runs whose first process has not been seen to end."""
        live = (run for run in self._runs.values() if run.status is None)
        return tuple(Row(run.order.instance, run.order.run_no, run.pid, run.order.ticket) for run in live)

    # Starting

    def start(self, order: Start) -> None:
        if (order.instance, order.run_no) in self._runs:
            self._fail(order, f"run {order.run_no} of it has not ended yet")
        elif len(self._runs) >= RUNS_MAX:
            self._fail(order, f"{RUNS_MAX} processes run on this node already, which is the limit")
        else:
            try:
                run = self._fork(order)
            except OSError as error:
                self._fail(order, f"the machine does not allow another process: {error.strerror or error}")
            else:
                self._guard.add(run.pid)
                self._tell(Started(order.instance, order.run_no, run.pid))

    def _fail(self, order: Start, error: str) -> None:
        self._tell(Failed(order.instance, order.run_no, error))

    def _fork(self, order: Start) -> Run:
        mark = mark_of(self._run_directory, f"{order.instance} {order.run_no} {order.ticket}")
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as its:
            out, its_out = _pipe(ours, its)
            err, its_err = _pipe(ours, its)
            its_gate, gate = _pipe(its, ours)
            launch = Launch(
                argv=order.argv,
                cwd=order.cwd,
                environment={**order.environment, MARK: mark},
                file=order.file,
                out=its_out,
                err=its_err,
                gate=its_gate,
                warden=os.getpid(),
                files_max=self._files_max,
            )
            pid = self._child(launch, f"meshnode {order.instance} {order.file or order.argv[0]}")
            ours.pop_all()
        run = Run(order, pid, mark, Output(AgentLog(log_path(self._logs, order.instance), self._hlc)), gate)
        self._outputs.add(run.output, out, OUT)
        self._outputs.add(run.output, err, ERR)
        self._runs[order.instance, order.run_no] = self._by_pid[pid] = run
        return run

    def _child(self, launch: Launch, title: str) -> int:
        # Blocked until the child has handlers of its own: a signal for it must not be taken for one to the warden.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                become(launch, self._stationery, title)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def go(self, order: Go) -> None:
        run = self._runs.get((order.instance, order.run_no))
        if run is not None:
            _open_gate(run)

    def go_all(self) -> None:
        """Who was to be told is gone: the next one finds them all in the list."""
        for run in self._runs.values():
            _open_gate(run)

    # Ending

    def stop(self, order: Stop) -> None:
        run = self._runs.get((order.instance, order.run_no))
        if run is not None:
            self._stop(run, order.grace_us)

    def stop_all(self, grace_us: int) -> None:
        for run in self._runs.values():
            run.stopping = run.stopping and grace_us > 0
            self._stop(run, grace_us)

    def close(self) -> None:
        """Last of all: whoever is still a child of this process is killed, marked or not."""
        for pid in children():
            if pid != self._guard.pid:
                _signal(pid, signal.SIGKILL)
        self._guard.close()

    def deadline(self) -> int | None:
        dues = (self._due.deadline(), self._outputs.deadline(), self._strays.deadline())
        return min((due for due in dues if due is not None), default=None)

    def wake(self, now: Instant) -> None:
        self._outputs.wake(now)
        self._look_again(now)
        for run in self._due.pop_due(now.mono_us):
            if run.status is None:
                _signal_group(run.pid, signal.SIGKILL)
            else:
                self._over(run)  # stuck in the kernel: nobody waits for it any longer

    def reap(self) -> None:
        """Some child has ended, perhaps several, perhaps none."""
        look = bool(self._ending)
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None:
                break
            run = self._by_pid.get(found.si_pid)
            if run is not None:
                self._first_ended(run)
                look = True
            else:
                os.waitpid(found.si_pid, 0)
                look = self._strays.reaped(found.si_pid) or look
        if look:
            self._look()

    def _stop(self, run: Run, grace_us: int) -> None:
        if run.status is not None or run.stopping:
            return
        run.stopping = True
        if grace_us <= 0:
            _signal_group(run.pid, signal.SIGKILL)
            return
        _signal_group(run.pid, signal.SIGTERM)
        self._due.set(run, self._now().mono_us + grace_us)

    def _first_ended(self, run: Run) -> None:
        """The first process is a zombie now: until it is reaped, its number cannot become another group's."""
        _signal_group(run.pid, signal.SIGKILL)
        self._guard.remove(run.pid)
        _, status = os.waitpid(run.pid, 0)
        del self._by_pid[run.pid]
        _open_gate(run)
        run.status = os.waitstatus_to_exitcode(status)
        self._ending[run.mark] = run
        self._due.set(run, self._now().mono_us + _KILLED_US)

    def _look(self) -> None:
        """Kill what descends from runs that have ended; those of which nothing is left are over."""
        by_session = {run.pid: run.mark for run in self._ending.values()}
        shown: dict[int, str | None] = {}
        for pid in children():
            if pid not in self._by_pid and pid != self._guard.pid:
                mark = mark_in(pid)
                shown[pid] = mark or by_session.get(_session(pid), mark)
        now_us, live = self._now().mono_us, {run.mark for run in self._by_pid.values()}
        left: dict[str | None, None] = {}
        for pid in self._strays.judge(shown, live, now_us):
            left[shown[pid]] = None
            _signal(pid, signal.SIGKILL)
        if not self._strays.hold(now_us):
            for run in [run for mark, run in self._ending.items() if mark not in left]:
                self._over(run)

    def _look_again(self, now: Instant) -> None:
        """At those who showed nothing; at all when one of them shows something, or a run waits for its end."""
        due = self._strays.due(now.mono_us)
        if due and (self._ending or any(mark_in(pid) is not None for pid in due)):
            self._look()
        else:
            for pid in due:
                self._strays.hides(pid, now.mono_us)

    def _over(self, run: Run) -> None:
        self._due.cancel(run)
        del self._ending[run.mark]
        del self._runs[run.order.instance, run.order.run_no]
        self._outputs.close(run.output)
        status = run.status or 0
        name = _signal_name(-status) if status < 0 else ""
        self._tell(Exited(run.order.instance, run.order.run_no, max(status, 0), name, run.output.tail()))


def _pipe(reads: contextlib.ExitStack, writes: contextlib.ExitStack) -> tuple[int, int]:
    """(reading end, writing end), each to be closed by its stack."""
    reading, writing = os.pipe()
    reads.callback(os.close, reading)
    writes.callback(os.close, writing)
    return reading, writing


def _open_gate(run: Run) -> None:
    if run.gate >= 0:
        with contextlib.suppress(BrokenPipeError):  # it did not come as far as the gate
            os.write(run.gate, b"!")
        os.close(run.gate)
        run.gate = -1


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        _signal(pid, number)  # it has not come as far as a group of its own
    except PermissionError:
        pass  # only processes of other users are left, which an agent without new rights cannot have made


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
