"""Lives of a daemon beside the processes of one simulated machine: the real agents room, and the least of a state."""

import heapq
from collections.abc import Callable
from random import Random

import msgspec

from meshnode.agents.config import AgentsConfig
from meshnode.agents.life import Agents
from meshnode.agents.messages import RunUnit, SkillsOffered, SkillsWithdrawn, StartProcess, StopProcess, WelcomeAgent
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.model.recipe import Recipe
from meshnode.sim.agents import SCRIPT, SimProcesses, Told
from meshnode.sim.cells import Cells, Tally
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import CallHeader, ResultHeader, encoded_call
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import KeptHeader, RestoredCell, RestoreHeader, StateHeader, decode_changes

UNIT = InstanceId("till/0")
_encode = msgspec.msgpack.Encoder().encode


class Time:
    """Virtual time: what is set for one moment happens in the order of setting."""

    def __init__(self) -> None:
        self.now_us = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, wait_us: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_us + wait_us, self._count, act))

    def run(self, for_s: float) -> None:
        end_us = self.now_us + round(for_s * SECOND)
        while self._queue and self._queue[0][0] <= end_us:
            self.now_us, _, act = heapq.heappop(self._queue)
            act()
        self.now_us = end_us


class Daemon:
    """One life. ``keeps``: it declares what agents change kept. ``cells``: what it restores to a new process.
    ``answered``: keys whose answers are on the disk.
    """

    def __init__(
        self,
        time: Time,
        processes: SimProcesses,
        *,
        seed: int = 1,
        cells: tuple[RestoredCell, ...] = (),
        answered: dict[str, None] | None = None,
    ) -> None:
        self.time, self.processes = time, processes
        self.room = Agents(AgentsConfig(node="north"), Random(seed))
        self.cells = cells
        self.keeps = True
        self.alive = True
        self.told: list[Told] = []
        self.effects: list[Effect] = []
        self.frames: list[Frame] = []
        self.states: list[StateHeader] = []
        self.results: dict[bytes, tuple[ResultHeader, bytes]] = {}
        self.kept = Cells()
        self.conns: dict[InstanceId, AgentConn] = {}
        self.calls = 0
        self.answered = {} if answered is None else answered
        processes.attach(self)

    def after(self, wait_us: int, act: Callable[[], None]) -> None:
        self.time.after(wait_us, lambda: act() if self.alive else None)

    def tell(self, event: Told) -> None:
        assert self.alive
        self.told.append(event)
        if isinstance(event, AgentFrames):
            for frame in event.frames:
                self.heard(event.conn, frame)
        else:
            self.act(self.room.handle(event, self.now()))

    def now(self) -> Instant:
        return Instant(self.time.now_us, 0)

    def act(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            match effect:
                case StartProcess() | StopProcess() | WelcomeAgent():
                    self.processes.perform(effect)
                case SkillsOffered():
                    self.conns[effect.instance] = effect.conn
                    if not effect.resumed:
                        header = RestoreHeader(last=True)
                        self.send(effect.conn, Frame(Kind.RESTORE, header=_encode(header), payload=_encode(self.cells)))
                case SkillsWithdrawn(instance):
                    self.conns.pop(instance, None)
                case _:
                    pass
        if (due_us := self.room.deadline()) is not None:
            self.after(max(0, due_us - self.time.now_us), lambda: self.act(self.room.wake(self.now())))

    def heard(self, conn: AgentConn, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.kind is Kind.RESULT:
            header = msgspec.msgpack.decode(frame.header, type=ResultHeader)
            self.results[header.call_id] = (header, frame.payload)
        elif frame.kind is Kind.STATE:
            state = msgspec.msgpack.decode(frame.header, type=StateHeader)
            self.states.append(state)
            self.kept.apply(decode_changes(frame.payload))
            if self.keeps:
                if state.idempotency_key:
                    self.answered[state.idempotency_key] = None
                self.keep(conn, state.seq)

    def keep(self, conn: AgentConn, seq: int) -> None:
        self.send(conn, Frame(Kind.KEPT, header=_encode(KeptHeader(seq, seq))))

    def send(self, conn: AgentConn, *frames: Frame) -> None:
        self.after(0, lambda: self.processes.perform(ToAgent(conn, frames)))

    def run(self, *words: str, unit: InstanceId = UNIT) -> None:
        self.act(self.room.handle(RunUnit(unit, Recipe((SCRIPT, *words)), int(unit.partition("/")[2])), self.now()))

    def call(
        self, skill: str, *, under: str = "", unit: InstanceId = UNIT, stream: bool = False, **arguments: object
    ) -> bytes:
        """Gives the call's id. ``under``: its idempotency key; one whose answer is kept does not reach the agent."""
        self.calls += 1
        call_id = b"%016d" % self.calls
        if under in self.answered:
            return call_id
        header = CallHeader(call_id, skill, 10_000, idempotency_key=under, stream=stream)
        frame = Frame(Kind.CALL, header=encoded_call(header), payload=msgspec.json.encode(arguments))
        self.send(self.conns[unit], frame)
        return call_id

    def answer(self, call_id: bytes) -> object:
        header, payload = self.results[call_id]
        assert header.code == "", header
        return msgspec.json.decode(payload)

    def tally(self) -> Tally:
        return self.kept.tally("total")

    def kill(self) -> None:
        self.alive = False
        self.processes.detach()


class Machine:
    """A machine with a daemon on it that runs a till: a stateful agent."""

    def __init__(self, *words: str, cells: tuple[RestoredCell, ...] = (), seed: int = 5) -> None:
        self.time = Time()
        self.processes = SimProcesses(self.time.after, Random(seed))
        self.words = words or ("till.hello", "stateful=1")
        self.daemon = Daemon(self.time, self.processes, cells=cells)
        self.daemon.run(*self.words)
        self.time.run(0.5)

    def next_life(self, *, wanted: bool = True) -> Daemon:
        self.daemon = Daemon(self.time, self.processes, seed=2, answered=self.daemon.answered)
        if wanted:
            self.daemon.run(*self.words)
        self.time.run(20 * MS / SECOND)
        return self.daemon
