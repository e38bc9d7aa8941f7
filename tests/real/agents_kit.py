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
from typing import Any, TypeVar

import msgspec

from meshnode.agents.config import AgentsConfig
from meshnode.agents.life import Agents
from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    AgentsInput,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    RestartUnit,
    RunUnit,
    SkillsOffered,
    StartProcess,
    StopProcess,
    StopUnit,
    WelcomeAgent,
)
from meshnode.host.agentbus import AgentBus
from meshnode.host.blobs import BlobStore
from meshnode.host.rundir import BUS_SOCKET, discard_run_directory, run_directory
from meshnode.host.supervisor import Supervisor
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.model.ids import AgentConn
from meshnode.model.recipe import Recipe
from meshnode.model.units import unit_id
from meshnode.wire import state
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import CallHeader, ChunkHeader, GrantHeader, ResultHeader
from meshnode.wire.frame import Frame, Kind

ROOT = Path(__file__).resolve().parents[2]
Event = ProcessesFound | ProcessStarted | ProcessFailed | ProcessExited | AgentRegistered | AgentGone | AgentFrames
ThingT = TypeVar("ThingT")
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
    """The room, its two hands, and an event for everything that happens: what a daemon is, as far as agents go.

    ``zmq``: agents speak to the ZeroMQ endpoint instead. States are taken as durable at once; a new process starts with
    the cells in ``cells``.
    """

    def __init__(self, data: Path, config: AgentsConfig, *, zmq: bool = False) -> None:
        self.room = Agents(config, Random(1))
        run = run_directory(data)
        self.bus = AgentBus(self.tell, path=run / BUS_SOCKET, node="north", zmq=zmq)
        self.supervisor = Supervisor(
            self.tell,
            logs=data / "logs",
            run=run,
            bus=self.bus.zmq_endpoint if zmq else self.bus.endpoint,
            node="north",
            bundles=data / "bundles",
            blobs=BlobStore(data / "blobs"),
        )
        self.inbox: list[Event] = []
        self.told: list[Event] = []
        self.effects: list[Effect] = []
        self.results: dict[bytes, tuple[ResultHeader, bytes]] = {}
        self.items: dict[bytes, list[bytes]] = {}
        self.changes: list[tuple[state.StateHeader, list[state.Change]]] = []
        self.emitted: list[tuple[str, bytes]] = []
        self.cells: tuple[state.RestoredCell, ...] = ()
        self.asked: dict[bytes, str] = {}
        self.conn = AgentConn(0)
        self.changed = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self.perform(self.room.start(self.now()))
        self.supervisor.start()

    def now(self) -> Instant:
        return Instant(int(asyncio.get_running_loop().time() * 1e6), 0)

    def tell(self, event: Event) -> None:
        """As the daemon's loop does: what is told is heeded in a turn of its own."""
        self.inbox.append(event)
        if len(self.inbox) == 1:
            asyncio.get_running_loop().call_soon(self.turn)

    def turn(self) -> None:
        inbox, self.inbox = self.inbox, []
        for event in inbox:
            self.told.append(event)
            if isinstance(event, AgentFrames):
                for frame in event.frames:
                    self.switch(event.conn, frame)
            else:
                self.give(event)
        self.changed.set()

    def give(self, event: AgentsInput) -> None:
        self.perform(self.room.handle(event, self.now()))

    def switch(self, conn: AgentConn, frame: Frame) -> None:
        """Answers to this test stay here; an agent's own calls go back to it, and so do their answers."""
        match frame.kind:
            case Kind.RESULT:
                header = msgspec.msgpack.decode(frame.header, type=ResultHeader)
                if header.call_id in self.asked:
                    self.results[header.call_id] = (header, frame.payload)
                    return
            case Kind.CHUNK:
                item = msgspec.msgpack.decode(frame.header, type=ChunkHeader)
                if item.call_id in self.asked:
                    self.items[item.call_id].append(frame.payload)
                    return
            case Kind.STATE:
                changed = msgspec.msgpack.decode(frame.header, type=state.StateHeader)
                self.changes.append((changed, state.decode_changes(frame.payload)))
                self.send(conn, Kind.KEPT, state.KeptHeader(changed.seq, len(self.changes)))
                return
            case Kind.EMIT:
                self.emitted.append((msgspec.msgpack.decode(frame.header, type=state.EmitHeader).type, frame.payload))
                return
            case Kind.MERGED:
                return
            case _:
                pass
        self.bus.perform(ToAgent(conn, (frame,)))

    def send(self, conn: AgentConn, kind: Kind, header: msgspec.Struct, payload: bytes = b"") -> None:
        self.bus.perform(ToAgent(conn, (Frame(kind, header=state.encode(header), payload=payload),)))

    def perform(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            match effect:
                case StartProcess() | StopProcess():
                    self.supervisor.perform(effect)
                case WelcomeAgent() | ToAgent():
                    self.bus.perform(effect)
                case SkillsOffered(conn=conn, resumed=resumed):
                    self.conn = conn
                    if not resumed:
                        restored = state.RestoreHeader(last=True, version=len(self.changes))
                        self.send(conn, Kind.RESTORE, restored, state.encode(self.cells))
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

    def run(self, code: str, name: str = "tested", *, slots: int = 1, **environment: str) -> None:
        program = textwrap.dedent(code)
        environment = {"PYTHONPATH": str(ROOT), **environment}
        self.run_recipe(Recipe((sys.executable, "-c", program), environment=environment), name, slots=slots)

    def run_file(self, path: Path, name: str = "tested", *arguments: str, slots: int = 1, **environment: str) -> None:
        """Forked from the warm interpreter."""
        self.run_recipe(Recipe(arguments, environment=environment, file=str(path)), name, slots=slots)

    def run_recipe(self, recipe: Recipe, name: str = "tested", *, slots: int = 1) -> None:
        self.give(RunUnit(unit_id(name, 0), recipe, 0, slots))

    def stop(self, name: str = "tested") -> None:
        self.give(StopUnit(unit_id(name, 0), "the test says so"))

    def restart(self, name: str = "tested") -> None:
        self.give(RestartUnit(unit_id(name, 0), "the test says so"))

    async def until(self, so: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not so():
                self.changed.clear()
                await self.changed.wait()

    async def running(self, name: str = "tested") -> None:
        await self.until(lambda: self.state(name) == "running")

    def all(self, kind: type[ThingT]) -> list[ThingT]:  # of what was told or asked for, in order
        return [thing for thing in (*self.told, *self.effects) if isinstance(thing, kind)]

    def state(self, name: str = "tested") -> str:
        info = self.room.instance(unit_id(name, 0))
        return info.state.value if info else "gone"

    def pid(self, name: str = "tested") -> int:
        info = self.room.instance(unit_id(name, 0))
        assert info is not None
        assert info.pid is not None
        return info.pid

    def send_call(self, skill: str, payload: bytes, deadline_ms: int = 10_000, **header: Any) -> bytes:  # noqa: ANN401
        call_id = os.urandom(16)
        self.asked[call_id], self.items[call_id] = skill, []
        self.send(self.conn, Kind.CALL, CallHeader(call_id, skill, deadline_ms, **header), payload)
        return call_id

    def grant(self, call_id: bytes, total: int) -> None:
        self.send(self.conn, Kind.GRANT, GrantHeader(call_id, total))

    async def ended(self, call_id: bytes) -> tuple[ResultHeader, Any]:
        await self.until(lambda: call_id in self.results)
        header, payload = self.results[call_id]
        return header, msgspec.json.decode(payload) if payload else None

    async def call(self, skill: str, **arguments: object) -> tuple[ResultHeader, Any]:
        return await self.ended(self.send_call(skill, msgspec.json.encode(arguments)))

    async def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        await self.supervisor.close()
        self.bus.close()


@asynccontextmanager
async def node(data: Path, *, zmq: bool = False, **changes: Any) -> AsyncIterator[Node]:  # noqa: ANN401
    made = Node(data, AgentsConfig(node="north", **changes), zmq=zmq)
    try:
        made.start()
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
        if not future.done():
            future.set_result(None)

    loop.add_reader(pidfd, readable)
    return future


AGENT = """
import asyncio, os, sys, time
from collections.abc import AsyncIterator
from meshnode.sdk import Agent, CallFailed, Ctx, SkillError
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
def count(ctx: Ctx, by: int = 1) -> int:
    ctx.state.counter("n").add(by)
    ctx.state["last"] = by
    return ctx.state.counter("n").value

@agent.skill
async def numbers(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number

@agent.skill
async def tell(ctx: Ctx, what: str) -> None:
    ctx.emit("tested.told", {"what": what})

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
