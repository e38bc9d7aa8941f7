"""The processes of agents on one simulated machine, its supervisor and its bus: what outlives a daemon, and what not.

What an agent is like stands in its command line (see ``manner.py``):
``simulated-agent skill[,skill...] [answer_ms=20] [crash_every=N] [stateful=1] [merge=1] [start=crash|hang] [deaf=1]``.

When the daemon is killed its processes go on and look for the next one for ``ORPHAN_US``; that one is told what it
finds. When the machine loses its power they are gone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    FoundProcess,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.rng import Random
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.model.recipe import Recipe
from meshnode.sim.cells import Tally
from meshnode.sim.manner import Manner, read_manner
from meshnode.sim.stateful import GET, ITEMS, Program
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import RegisterHeader, SkillDescription
from meshnode.wire.frame import Frame

SCRIPT = "simulated-agent"
START_US, REGISTER_US, RECONNECT_US, STOP_US = 40 * MS, 120 * MS, 80 * MS, 60 * MS
FINISH_US = 4 * SECOND  # calls in work have this long to end after a SIGTERM
ORPHAN_US = 20 * SECOND
_UID = 1000

Told = ProcessesFound | ProcessStarted | ProcessFailed | ProcessExited | AgentRegistered | AgentGone | AgentFrames
After = Callable[[int, Callable[[], None]], None]


class Host(Protocol):
    """The daemon these agents belong to: its time, and its ear. Nothing happens after it has died."""

    def after(self, wait_us: int, act: Callable[[], None]) -> None: ...

    def tell(self, event: Told) -> None: ...


@dataclass(eq=False, slots=True)
class _Process:
    """One run, and the hands of its program. ``registered``: the daemon that runs now has taken it in."""

    machine: "SimProcesses"
    start: StartProcess
    pid: int
    manner: Manner
    conn: AgentConn | None = None
    started: bool = False
    registered: bool = False
    gone: bool = False
    outgoing: list[Frame] = field(default_factory=list[Frame])
    program: Program = field(init=False)

    def after(self, wait_us: int, act: Callable[[], None]) -> None:
        self.machine.after(wait_us, lambda: None if self.gone else act())

    def send(self, *frames: Frame) -> None:
        """What is sent at one moment leaves as one message, in the order of sending."""
        if self.registered:
            if not self.outgoing:
                self.after(0, self.flush)
            self.outgoing += frames

    def flush(self) -> None:
        if self.outgoing and self.conn is not None:
            frames, self.outgoing = tuple(self.outgoing), []
            self.machine.tell(AgentFrames(self.conn, frames))

    def crash(self) -> None:
        self.machine.crashed(self)

    def disconnect(self) -> None:
        self.conn, self.registered, self.outgoing = None, False, []


class SimProcesses:
    """``after``: the machine's time, whether a daemon runs or not. ``crashes``: agents that ended by themselves."""

    def __init__(self, after: After, rng: Random, first_pid: int = 0) -> None:
        self.after = after
        self.crashes = 0
        self._host: Host | None = None
        self._life = 0  # of the daemon
        self._rng = rng
        self._last_pid = first_pid
        self._last_conn = 0
        self._running: dict[tuple[InstanceId, int], _Process] = {}
        self._conns: dict[AgentConn, _Process] = {}
        self._answers = 0  # of processes that are gone

    @property
    def answers(self) -> int:
        """Calls they have worked, all together."""
        return self._answers + sum(process.program.answered for process in self._running.values())

    # -- lives of the daemon ------------------------------------------------------------------------------------------

    def attach(self, host: Host) -> None:
        """A daemon begins: it is told what runs, and what runs finds its bus."""
        if self._host is not None:
            self.detach()
        self._host = host
        self._life += 1
        life = self._life
        host.after(0, lambda: self._tell_found(life))
        for process in self._running.values():
            wait_us = round(RECONNECT_US * (0.5 + self._rng.random()))
            process.after(wait_us, lambda process=process: self._register(process, life))

    def detach(self) -> None:
        """The daemon has died. What ran goes on alone for a while; what was just being started never does."""
        self._host = None
        self._life += 1
        life = self._life
        self._conns.clear()
        for process in list(self._running.values()):
            process.disconnect()
            process.program.lost()
            if process.started:
                process.after(ORPHAN_US, lambda process=process: self._orphaned(process, life))
            else:
                self._remove(process)

    def power_off(self) -> None:
        """All is gone at once, and nobody is told."""
        self._host = None
        self._life += 1
        self._conns.clear()
        for process in list(self._running.values()):
            self._remove(process)

    def perform(self, effect: StartProcess | StopProcess | WelcomeAgent | ToAgent) -> None:
        match effect:
            case StartProcess():
                self._start(effect)
            case StopProcess(instance, run_no, grace_us):
                process = self._running.get((instance, run_no))
                if process is not None:
                    self._stop(process, grace_us)
            case WelcomeAgent():
                self._welcome(effect)
            case ToAgent(conn, frames):
                self._deliver(conn, frames)

    # -- for scenarios ------------------------------------------------------------------------------------------------

    def crash_one(self) -> bool:
        """Some agent here gets a SIGKILL. False: none runs."""
        ready = [process for process in self._running.values() if process.registered]
        if not ready:
            return False
        self.crashed(self._rng.choice(ready))
        return True

    def states(self) -> dict[InstanceId, Tally]:
        """What every stateful process that runs here holds, whether a daemon does or not."""
        holding = [p for p in self._running.values() if p.manner.stateful and p.program.ready]
        return {process.start.instance: process.program.tally() for process in holding}

    def running(self) -> list[tuple[InstanceId, int]]:
        """Unit and run number of every process here."""
        return list(self._running)

    # -- one process --------------------------------------------------------------------------------------------------

    def tell(self, event: Told) -> None:
        if self._host is not None:
            self._host.tell(event)

    def crashed(self, process: _Process) -> None:
        if not process.gone:
            self.crashes += 1
            self._end(process, 0, "SIGKILL")

    def _tell_found(self, life: int) -> None:
        if life == self._life:
            runs = self._running.values()
            found = [FoundProcess(p.start.instance, p.start.run_no, p.pid, p.start.ticket) for p in runs]
            self.tell(ProcessesFound(tuple(found)))

    def _start(self, start: StartProcess) -> None:
        words, life = _words(start.recipe), self._life
        if words[0] != SCRIPT:
            self.after(START_US, lambda: self._fail(start, life))
            return
        self._last_pid += 1
        manner = read_manner(start.instance.partition("/")[0], words[1:])
        process = _Process(self, start, self._last_pid, manner)
        process.program = Program(start.instance, manner, process, self._rng)
        self._running[start.instance, start.run_no] = process
        process.after(START_US, lambda: self._started(process))

    def _fail(self, start: StartProcess, life: int) -> None:
        if life == self._life:
            program = _words(start.recipe)[0]
            self.tell(ProcessFailed(start.instance, start.run_no, f"no such program: {program}"))

    def _started(self, process: _Process) -> None:
        process.started = True
        life = self._life
        self.tell(ProcessStarted(process.start.instance, process.start.run_no, process.pid))
        process.after(REGISTER_US, lambda: self._first_steps(process, life))

    def _first_steps(self, process: _Process, life: int) -> None:
        if process.manner.start == "crash":
            self._end(process, 1, tail=f"ImportError: {process.start.instance} was told to")
        else:
            self._register(process, life)

    def _register(self, process: _Process, life: int) -> None:
        if life != self._life or process.conn is not None or process.manner.start == "hang":
            return
        self._last_conn += 1
        process.conn = AgentConn(self._last_conn)
        self._conns[process.conn] = process
        unit, program = process.start.instance, process.program
        header = RegisterHeader(
            unit.partition("/")[0], unit, process.start.ticket, process.pid, "sim",
            ["*"] if process.manner.merges else [], program.ready, program.merge_no,
        )  # fmt: skip
        skills = tuple(_described(name, unit) for name in process.manner.skills)
        self.tell(AgentRegistered(process.conn, header, skills, process.pid, _UID))

    def _welcome(self, effect: WelcomeAgent) -> None:
        process = self._conns.get(effect.conn)
        if process is None:
            return
        if effect.refusal:
            del self._conns[effect.conn]
            process.disconnect()
            process.after(0, lambda: self._end(process, 1, tail=f"refused: {effect.refusal}"))
        else:
            process.registered = True
            process.program.welcomed(effect.first_slot, effect.slots)

    def _deliver(self, conn: AgentConn, frames: tuple[Frame, ...]) -> None:
        process = self._conns.get(conn)
        if process is not None:
            for frame in frames:
                process.program.hear(frame)

    def _stop(self, process: _Process, grace_us: int) -> None:
        process.after(grace_us, lambda: self._end(process, 0, "SIGKILL"))
        if not process.manner.deaf:
            process.program.stopping = True
            process.after(STOP_US, lambda: self._finish(process, FINISH_US))

    def _finish(self, process: _Process, left_us: int) -> None:
        if process.program.busy and left_us > 0:
            process.after(STOP_US, lambda: self._finish(process, left_us - STOP_US))
        else:
            process.flush()
            self._end(process, 0)

    def _orphaned(self, process: _Process, life: int) -> None:
        if life == self._life:
            self._remove(process)

    def _end(self, process: _Process, code: int, signal: str = "", tail: str = "") -> None:
        if process.gone:
            return
        conn = process.conn if process.registered else None
        self._remove(process)
        if conn is not None:
            self.tell(AgentGone(conn))
        self.tell(ProcessExited(process.start.instance, process.start.run_no, code, signal, tail))

    def _remove(self, process: _Process) -> None:
        process.gone = True
        self._answers += process.program.answered
        del self._running[process.start.instance, process.start.run_no]
        if process.conn is not None:
            self._conns.pop(process.conn, None)
        process.disconnect()


def _described(skill: str, unit: InstanceId) -> SkillDescription:
    streams, idempotent = skill.endswith(ITEMS), skill.endswith(GET)
    return SkillDescription(skill, f"answers as {unit}", streams=streams, idempotent=idempotent)


def _words(recipe: Recipe) -> tuple[str, ...]:
    """The command line; of a file its name and its arguments."""
    return (recipe.file.rpartition("/")[2].removesuffix(".py"), *recipe.argv) if recipe.file else recipe.argv
