"""A node's supervisor and bus without the rest of the node, and an agent that misbehaves on demand."""

import asyncio
import functools
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from meshnode.agents.instance import AgentsConfig
from meshnode.agents.life import Agents
from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    SkillsOffered,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.host.agentbus import AgentBus
from meshnode.host.rundir import discard_run_directory, run_directory
from meshnode.host.supervisor import Supervisor
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.model.commands import RunAgent
from meshnode.model.ids import AgentConn
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import CallHeader, ResultHeader
from meshnode.wire.frame import Frame, Kind

ROOT = Path(__file__).resolve().parents[2]
Event = ProcessStarted | ProcessFailed | ProcessExited | AgentRegistered | AgentGone | AgentFrames
WAIT_S = 30.0  # a bound for a broken test, not a pace


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*given: object, **named: object) -> None:
        asyncio.run(test(*given, **named))

    return run


class Fifo:
    """A named pipe: how a process of a test says that it has come so far."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "fifo")
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        self.pending = b""

    async def line(self) -> str:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(WAIT_S):
            while b"\n" not in self.pending:
                readable = loop.create_future()
                loop.add_reader(self.fd, readable.set_result, None)
                await readable
                loop.remove_reader(self.fd)
                self.pending += os.read(self.fd, 4096)
        line, _, self.pending = self.pending.partition(b"\n")
        return line.decode()


class Node:
    """The room, its two hands, and an event for everything that happens: what a daemon is, as far as agents go."""

    def __init__(self, data: Path, config: AgentsConfig) -> None:
        self.room = Agents(config, Random(1), ())
        self.grace_us = config.grace_us
        run = run_directory(data)
        self.bus = AgentBus(self.tell, path=run / "bus.sock", node="north")
        self.supervisor = Supervisor(self.tell, logs=data / "logs", bus=run / "bus.sock", node="north")
        self.told: list[Event] = []
        self.effects: list[Effect] = []
        self.results: dict[bytes, tuple[ResultHeader, bytes]] = {}
        self.asked: dict[bytes, str] = {}
        self.conn = AgentConn(0)
        self.changed = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None

    def now(self) -> Instant:
        return Instant(int(asyncio.get_running_loop().time() * 1e6), 0)

    def tell(self, event: Event) -> None:
        self.told.append(event)
        if isinstance(event, AgentFrames):
            self.switch(event)
        else:
            self.perform(self.room.handle(event, self.now()))
        self.changed.set()

    def switch(self, event: AgentFrames) -> None:
        """Answers to this test stay here; an agent's own calls go back to it, and so do their answers."""
        for frame in event.frames:
            header = msgspec.msgpack.decode(frame.header, type=ResultHeader) if frame.kind is Kind.RESULT else None
            if header is not None and header.call_id in self.asked:
                self.results[header.call_id] = (header, frame.payload)
            else:
                self.bus.perform(ToAgent(event.conn, (frame,)))

    def perform(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            match effect:
                case StartProcess() | StopProcess():
                    self.supervisor.perform(effect)
                case WelcomeAgent() | ToAgent():
                    self.bus.perform(effect)
                case SkillsOffered(conn=conn):
                    self.conn = conn
                case _:
                    pass
        self.arm()
        self.changed.set()

    def arm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        deadline = self.room.deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_at(deadline / 1e6 + 0.0001, lambda: self.perform(self.room.wake(self.now())))

    def run(self, code: str, name: str = "tested", **environment: str) -> None:
        program = textwrap.dedent(code)
        environment = {"PYTHONPATH": str(ROOT), **environment}
        command = RunAgent(name=name, argv=[sys.executable, "-c", program], cwd="/", environment=environment)
        self.perform(self.room.run(command, self.now()))

    async def until(self, so: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not so():
                self.changed.clear()
                await self.changed.wait()

    def all(self, kind: type) -> list:  # of what was told or asked for, in order
        return [thing for thing in (*self.told, *self.effects) if isinstance(thing, kind)]

    def state(self, name: str = "tested") -> str:
        info = self.room.instance(name)
        return info.state.value if info else "gone"

    def send_call(self, skill: str, payload: bytes, deadline_ms: int = 10_000) -> bytes:
        call_id = os.urandom(16)
        self.asked[call_id] = skill
        header = msgspec.msgpack.encode(CallHeader(call_id, skill, deadline_ms))
        self.bus.perform(ToAgent(self.conn, (Frame(Kind.CALL, header=header, payload=payload),)))
        return call_id

    async def call(self, skill: str, **arguments: object) -> tuple[ResultHeader, object]:
        call_id = self.send_call(skill, msgspec.json.encode(arguments))
        await self.until(lambda: call_id in self.results)
        header, payload = self.results[call_id]
        return header, msgspec.json.decode(payload) if payload else None

    async def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        await self.supervisor.close()
        self.bus.close()


@asynccontextmanager
async def node(data: Path, **changes: object) -> AsyncIterator[Node]:
    made = Node(data, AgentsConfig(node="north", **changes))
    try:
        yield made
    finally:
        await made.close()
        discard_run_directory(data)


def gone(pid: int) -> bool:
    """No such process, or only its unread exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def ended(pid: int) -> "asyncio.Future[None]":
    """Done when the process has ended, whoever's child it is."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        future.set_result(None)
        return future

    def readable() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        future.set_result(None)

    loop.add_reader(pidfd, readable)
    return future


AGENT = """
import asyncio, os, sys, time
from meshnode.sdk import Agent, SkillError, CallFailed
agent = Agent("tested")

@agent.skill
def add(a: int, b: int = 1) -> int:
    "Add."
    return a + b

@agent.skill
async def twice(a: int) -> int:
    return 2 * await agent.call("tested.add", a=a, b=0)

@agent.skill
async def hang() -> None:
    with open(os.environ["FIFO"], "w", buffering=1) as fifo:
        print("hanging", file=fifo)
        try:
            await asyncio.Event().wait()
        finally:
            print("ended", file=fifo)

@agent.skill
def refuse() -> None:
    raise SkillError("not-found", "there is none")

@agent.skill
def fail() -> None:
    raise ZeroDivisionError("by zero")

@agent.skill
async def ask_nobody() -> str:
    try:
        await agent.call("tested.nothing")
    except CallFailed as error:
        return f"{type(error).__name__} {error.code}"
    return "answered"

@agent.skill
def environment() -> dict[str, str]:
    return dict(os.environ)

@agent.skill
def status() -> str:
    return open("/proc/self/status").read()

@agent.skill
def die() -> None:
    os._exit(3)

agent.run()
"""
