"""The processes of agents on one simulated machine: they start, register, answer calls after a while, and may crash.

What an agent is like stands in its command line: ``SCRIPT skill[,skill...] [answer_ms=20] [crash_every=N]``. Each
answers a call with its arguments and its own name, so that a result can be told from any other.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.kernel.instant import MS
from meshnode.kernel.rng import Random
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import CallHeader, CancelHeader, RegisterHeader, ResultHeader, SkillDescription
from meshnode.wire.frame import Frame, Kind

SCRIPT = "simulated-agent"
START_US, REGISTER_US, STOP_US = 40 * MS, 120 * MS, 60 * MS
_UID = 1000
_encoder = msgspec.msgpack.Encoder()
_calls = msgspec.msgpack.Decoder(CallHeader)
_cancels = msgspec.msgpack.Decoder(CancelHeader)

Told = ProcessStarted | ProcessFailed | ProcessExited | AgentRegistered | AgentGone | AgentFrames


class Host(Protocol):
    """The process these agents belong to: its time, and its ear. Nothing happens after it has died."""

    def after(self, wait_us: int, act: Callable[[], None]) -> None: ...

    def tell(self, event: Told) -> None: ...


class _Process(msgspec.Struct, eq=False):
    start: StartProcess
    pid: int
    conn: AgentConn
    skills: tuple[str, ...]
    answer_us: int
    crash_every: int
    registered: bool = False
    gone: bool = False
    answered: int = 0
    working: dict[bytes, None] = {}


class SimAgents:
    """Supervisor and agent bus in one. ``crashes``: agents that ended by themselves; ``answers``: calls they worked."""

    def __init__(self, host: Host, rng: Random, first_pid: int) -> None:
        self.crashes = 0
        self.answers = 0
        self._host, self._rng = host, rng
        self._last_pid = first_pid
        self._last_conn = 0
        self._running: dict[InstanceId, _Process] = {}
        self._conns: dict[AgentConn, _Process] = {}

    def perform(self, effect: StartProcess | StopProcess | WelcomeAgent | ToAgent) -> None:
        match effect:
            case StartProcess():
                self._start(effect)
            case StopProcess(instance, run_no):
                process = self._running.get(instance)
                if process is not None and process.start.run_no == run_no:
                    self._host.after(STOP_US, lambda: self._end(process, 0))
            case WelcomeAgent(conn, refusal):
                process = self._conns.get(conn)
                if process is not None and refusal:
                    self._end(process, 1)
            case ToAgent(conn, frames):
                for frame in frames:
                    self._frame(conn, frame)

    def crash_one(self) -> bool:
        """Some agent here gets a SIGKILL. False: none runs."""
        ready = [process for process in self._running.values() if process.registered]
        if not ready:
            return False
        self._crash(self._rng.choice(ready))
        return True

    # -- one process --------------------------------------------------------------------------------------------------

    def _start(self, start: StartProcess) -> None:
        words = start.argv
        if words[0] != SCRIPT:
            self._host.after(START_US, lambda: self._fail(start))
            return
        options = dict(word.split("=", 1) for word in words[2:])
        self._last_pid += 1
        self._last_conn += 1
        process = _Process(
            start, self._last_pid, AgentConn(self._last_conn), tuple(words[1].split(",")),
            int(options.get("answer_ms", "20")) * MS, int(options.get("crash_every", "0")),
        )  # fmt: skip
        self._running[start.instance] = process
        self._host.after(START_US, lambda: self._started(process))

    def _fail(self, start: StartProcess) -> None:
        self._host.tell(ProcessFailed(start.instance, start.run_no, f"no such program: {start.argv[0]}"))

    def _started(self, process: _Process) -> None:
        if not process.gone:
            self._host.tell(ProcessStarted(process.start.instance, process.start.run_no, process.pid))
            self._host.after(REGISTER_US, lambda: self._register(process))

    def _register(self, process: _Process) -> None:
        if process.gone:
            return
        process.registered = True
        self._conns[process.conn] = process
        instance = process.start.instance
        header = RegisterHeader(instance.partition("/")[0], instance, process.start.ticket, process.pid, "sim")
        skills = tuple(SkillDescription(name, f"answers as {instance}") for name in process.skills)
        self._host.tell(AgentRegistered(process.conn, header, skills, process.pid, _UID))

    def _crash(self, process: _Process) -> None:
        self.crashes += 1
        self._end(process, -9)

    def _end(self, process: _Process, code: int) -> None:
        if process.gone:
            return
        process.gone = True
        instance, run_no = process.start.instance, process.start.run_no
        if self._running.get(instance) is process:
            del self._running[instance]
        if self._conns.pop(process.conn, None) is not None:
            self._host.tell(AgentGone(process.conn))
        self._host.tell(ProcessExited(instance, run_no, code, "SIGKILL" if code < 0 else ""))

    # -- calls --------------------------------------------------------------------------------------------------------

    def _frame(self, conn: AgentConn, frame: Frame) -> None:
        process = self._conns.get(conn)
        if process is None:
            return
        if frame.kind is Kind.CANCEL:
            process.working.pop(_cancels.decode(frame.header).call_id, None)
        elif frame.kind is Kind.CALL:
            header = _calls.decode(frame.header)
            process.working[header.call_id] = None
            wait_us = round(process.answer_us * (0.5 + self._rng.random()))
            self._host.after(wait_us, lambda: self._answer(process, header, frame.payload))

    def _answer(self, process: _Process, call: CallHeader, arguments: bytes) -> None:
        if process.gone or process.working.pop(call.call_id, False) is False:
            return
        self.answers += 1
        process.answered += 1
        if process.crash_every and process.answered % process.crash_every == 0:
            self._crash(process)
            return
        instance = process.start.instance
        result = msgspec.json.encode({"by": instance, "skill": call.skill, "given": msgspec.Raw(arguments)})
        header = ResultHeader(call.call_id, "", "", instance, process.answer_us)
        frame = Frame(Kind.RESULT, header=_encoder.encode(header), payload=result)
        self._host.tell(AgentFrames(process.conn, (frame,)))
