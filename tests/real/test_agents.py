"""Agents as processes: started, called, crashed, killed, refused. Real processes, pipes and sockets; no sleeping."""

import asyncio
import functools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest
import zmq

from meshnode.agents.instance import AgentsConfig
from meshnode.agents.life import Agents
from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    InstanceChanged,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.host.agentbus import AgentBus
from meshnode.host.rundir import discard_run_directory, run_directory
from meshnode.host.supervisor import Supervisor
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.commands import RunAgent
from meshnode.model.ids import AgentConn
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import CallHeader, CancelHeader, RegisteredHeader, RegisterHeader, ResultHeader
from meshnode.wire.frame import Frame, FrameReader, Kind, encode

pytestmark = pytest.mark.real

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


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    made = Fifo(tmp_path)
    yield made
    os.close(made.fd)


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


@in_loop
async def test_a_call_goes_through_the_bus_and_comes_back(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        assert [s.name for s in here.all(SkillsOffered)[0].skills][:2] == ["tested.add", "tested.twice"]
        header, value = await here.call("tested.add", a=2, b=3)
        assert (header.code, value, header.instance) == ("", 5, "tested/north")
        assert (await here.call("tested.add", a=2))[1] == 3, "defaults hold"
        assert (await here.call("tested.twice", a=21))[1] == 42, "a skill may call a skill"


@in_loop
async def test_many_calls_at_once_all_come_back(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        asked = {here.send_call("tested.add", b'{"a": %d, "b": 0}' % n): n for n in range(200)}
        await here.until(lambda: len(here.results) == len(asked))
        assert {here.results[call_id][1]: n for call_id, n in asked.items()} == {b"%d" % n: n for n in range(200)}


@in_loop
async def test_a_large_argument_and_a_large_result_pass(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(
            """
            from meshnode.sdk import Agent
            agent = Agent("tested")
            @agent.skill
            def echo(text: str) -> str:
                return text
            agent.run()
            """
        )
        await here.until(lambda: here.state() == "running")
        text = "x" * 900_000
        header, value = await here.call("tested.echo", text=text)
        assert header.code == "" and value == text


@in_loop
async def test_errors_have_stable_codes_and_words(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        header, _ = await here.call("tested.add", a="two")
        assert header.code == "invalid" and "$.a" in header.message
        header, _ = await here.call("tested.add", a=1, c=1)
        assert header.code == "invalid" and "`c`" in header.message
        header, _ = await here.call("tested.refuse")
        assert (header.code, header.message) == ("skill:not-found", "there is none")
        header, _ = await here.call("tested.fail")
        assert header.code == "skill-failed" and "ZeroDivisionError: by zero" in header.message
        assert (await here.call("tested.ask_nobody"))[1] == "Unavailable not-found"


@in_loop
async def test_a_hanging_skill_answers_nothing_and_a_cancel_ends_it(tmp_path: Path, fifo: Fifo):
    async with node(tmp_path) as here:
        here.run(AGENT, FIFO=fifo.path)
        await here.until(lambda: here.state() == "running")
        hanging = here.send_call("tested.hang", b"{}")
        assert await fifo.line() == "hanging"
        assert (await here.call("tested.add", a=1))[1] == 2, "others are served meanwhile"
        cancel = Frame(Kind.CANCEL, header=msgspec.msgpack.encode(CancelHeader(hanging, "test")))
        here.bus.perform(ToAgent(here.conn, (cancel,)))
        assert await fifo.line() == "ended"
        overdue = here.send_call("tested.hang", b"{}", deadline_ms=500)
        assert [await fifo.line(), await fifo.line()] == ["hanging", "ended"]
        assert (await here.call("tested.add", a=1))[1] == 2, "whatever it said came before this"
        assert hanging not in here.results and overdue not in here.results


@in_loop
async def test_a_crash_is_told_with_its_reason_and_restarted_with_backoff(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("raise SystemExit('the model file is missing')")
        await here.until(lambda: len(here.all(ProcessExited)) == 3)
        exits = here.all(ProcessExited)
        assert [e.code for e in exits] == [1, 1, 1]
        reasons = [c.reason for c in here.all(InstanceChanged) if c.state == "backoff"]
        assert all(r.startswith("exited with code 1: the model file is missing; starts again in") for r in reasons)
        assert "crash 3 in a row" in reasons[2]
        assert len(here.all(StartProcess)) == 3, "the third wait has begun, not ended"


@in_loop
async def test_an_agent_that_dies_in_a_call_is_noticed_and_comes_back(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        here.send_call("tested.die", b"{}")
        await here.until(lambda: here.all(SkillsWithdrawn))
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        assert (await here.call("tested.add", a=1))[1] == 2


@in_loop
async def test_one_that_ignores_sigterm_is_killed_with_its_whole_group(tmp_path: Path, fifo: Fifo):
    async with node(tmp_path, grace_us=200 * MS) as here:
        here.run(
            """
            import os, signal, subprocess
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its child inherits that
            child = subprocess.Popen(["sleep", "1000"])
            with open(os.environ["FIFO"], "w") as fifo:
                print(child.pid, file=fifo)
            child.wait()
            """,
            FIFO=fifo.path,
        )
        child = int(await fifo.line())
        child_ended = ended(child)
        here.perform(here.room.stop("tested", here.now()))
        await here.until(lambda: here.all(ProcessExited))
        assert here.all(ProcessExited)[0].signal == "SIGKILL"
        await asyncio.wait_for(child_ended, WAIT_S)
        assert here.state() == "gone"


@in_loop
async def test_children_left_behind_by_a_crash_are_killed(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(
            """
            import subprocess, sys
            child = subprocess.Popen(["sleep", "1000"])
            sys.exit(f"child {child.pid}")
            """
        )
        await here.until(lambda: here.all(ProcessExited))
        child = int(here.all(ProcessExited)[0].tail.split()[-1])
        await asyncio.wait_for(ended(child), WAIT_S)


@in_loop
async def test_a_graceful_stop_ends_in_order(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        here.perform(here.room.stop("tested", here.now()))
        await here.until(lambda: here.all(ProcessExited))
        exited = here.all(ProcessExited)[0]
        assert (exited.code, exited.signal) == (0, "")


@in_loop
async def test_a_missing_program_or_folder_fails_with_its_name(tmp_path: Path):
    async with node(tmp_path) as here:
        for name, argv, cwd in (("a", ["no-such-program"], "/"), ("b", ["./x"], "/"), ("c", ["true"], "/no/such")):
            command = RunAgent(name=name, argv=argv, cwd=cwd)
            here.perform(here.room.run(command, here.now()))
        errors = [failed.error for failed in here.all(ProcessFailed)]
        assert ["no-such-program" in errors[0], "./x" in errors[1], "/no/such" in errors[2]] == [True] * 3


@in_loop
async def test_an_agent_gets_a_clean_environment_and_no_way_to_more_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("A_SECRET_OF_THE_DAEMON", "1")
    async with node(tmp_path) as here:
        here.run(AGENT, OURS="yes")
        await here.until(lambda: here.state() == "running")
        given = (await here.call("tested.environment"))[1]
        assert isinstance(given, dict)
        assert "A_SECRET_OF_THE_DAEMON" not in given and given["OURS"] == "yes"
        assert (given["MESHNODE_AGENT"], given["MESHNODE_INSTANCE"]) == ("tested", "tested/north")
        status = str((await here.call("tested.status"))[1])
        assert "NoNewPrivs:\t1" in status
        ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
        pid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Pid:"))
        assert os.getsid(pid) == pid, "a session of its own"
        assert ignored & ~(1 << (signal.SIGPIPE - 1)) & ~(1 << (signal.SIGXFSZ - 1)) == 0


@in_loop
async def test_the_log_is_kept_within_its_two_files(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("import sys\nfor n in range(60_000): print('x' * 60)\nsys.exit('done')")
        await here.until(lambda: here.all(ProcessExited))
        sizes = [path.stat().st_size for path in (tmp_path / "logs").iterdir()]
        assert 500_000 < sum(sizes) <= 2 * 1024 * 1024 and max(sizes) <= 1024 * 1024
        assert here.all(ProcessExited)[0].tail.strip().endswith("done")


DAEMON = """
import asyncio, sys
from pathlib import Path
from meshnode.agents.messages import StartProcess
from meshnode.host.supervisor import Supervisor
AGENT = '''
import os, subprocess
child = subprocess.Popen(["sleep", "1000"])
with open(os.environ["FIFO"], "w") as fifo:
    print(os.getpid(), child.pid, file=fifo)
child.wait()
'''
async def main(directory, fifo):
    supervisor = Supervisor(print, logs=Path(directory) / "logs", bus="/nowhere", node="north")
    supervisor.perform(StartProcess("a/north", 1, (sys.executable, "-c", AGENT), directory, {"FIFO": fifo}, "t"))
    await asyncio.Event().wait()
asyncio.run(main(*sys.argv[1:]))
"""


@in_loop
async def test_a_killed_daemon_leaves_no_agent_and_no_child_of_one(tmp_path: Path, fifo: Fifo):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(tmp_path), fifo.path, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        agent, child = map(int, (await fifo.line()).split())
        assert not gone(agent) and not gone(child)
        both = (ended(agent), ended(child))
    finally:
        daemon.kill()
        await daemon.wait()
    async with asyncio.timeout(WAIT_S):
        for one in both:
            await one
    assert gone(agent) and gone(child)


class Stranger:
    """A process that speaks the bus's language by itself (this test's own), with any registration it likes."""

    def __init__(self, endpoint: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.endpoint = endpoint

    def __enter__(self) -> "Stranger":
        self.socket.connect(self.endpoint)
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()

    def register(self, ticket: str, instance: str = "tested/north") -> None:
        header = RegisterHeader("tested", instance, ticket, os.getpid())
        self.send(Frame(Kind.REGISTER, header=msgspec.msgpack.encode(header), payload=b"[]"))

    def send(self, *frames: Frame) -> None:
        self.socket.send(b"".join(map(encode, frames)))

    async def answer(self) -> RegisteredHeader:
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(None, self._receive)
        (frame,) = FrameReader().feed(data)
        return msgspec.msgpack.decode(frame.header, type=RegisteredHeader)

    def _receive(self) -> bytes:
        assert self.socket.poll(int(WAIT_S * 1000)), "no answer"
        return self.socket.recv()


@in_loop
async def test_a_wrong_ticket_and_a_foreign_process_are_refused_by_name(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("import time; time.sleep(1000)")
        await here.until(lambda: here.all(ProcessStarted))
        ticket = here.all(StartProcess)[0].ticket
        for given, refusal in (("0" * 32, "wrong-ticket"), (ticket, "foreign-process")):
            with Stranger(here.bus.endpoint) as stranger:
                stranger.register(given)
                assert (await stranger.answer()).refusal == refusal
        assert not here.all(SkillsOffered)


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (encode(Frame(Kind.RESULT)), "bus-unregistered"),
        (encode(Frame(Kind.REGISTER, header=b"\xc1")), "bus-registration"),
        (b"\x00", "bus-frames"),
        (b"\xff" * 64, "frame-too-long"),
        (b"", "bus-frames"),
    ],
)
@in_loop
async def test_junk_instead_of_a_registration_is_refused_and_counted(tmp_path: Path, data: bytes, refusal: str):
    async with node(tmp_path) as here:
        with Stranger(here.bus.endpoint) as stranger:
            stranger.socket.send(data)
            assert (await stranger.answer()).refusal == refusal
        assert here.bus.counters[refusal] == 1
        assert not here.all(AgentRegistered)


@in_loop
async def test_a_route_chosen_by_the_peer_is_refused(tmp_path: Path):
    async with node(tmp_path) as here:
        stranger = Stranger(here.bus.endpoint)
        stranger.socket.setsockopt(zmq.ROUTING_ID, b"chosen")
        with stranger:
            stranger.register("")
            assert (await stranger.answer()).refusal == "bus-route"


@in_loop
async def test_a_child_of_the_started_process_may_register(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(
            """
            import subprocess, sys, os
            sys.exit(subprocess.call([sys.executable, "-c", os.environ["INNER"]]))
            """,
            INNER=AGENT,
        )
        await here.until(lambda: here.state() == "running")
        registered = here.all(AgentRegistered)[0]
        assert registered.pid != here.all(ProcessStarted)[0].pid
        assert here.all(ProcessStarted)[0].pid in registered.lineage
        assert (await here.call("tested.add", a=1))[1] == 2


@in_loop
async def test_a_refused_agent_says_why_it_ended(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("import os\nos.environ['MESHNODE_TICKET'] = 'forged'\n" + AGENT)
        await here.until(lambda: here.all(ProcessExited))
        exited = here.all(ProcessExited)[0]
        assert exited.code == 1 and "refused this agent: wrong-ticket" in exited.tail


@in_loop
async def test_calls_for_an_agent_that_takes_none_are_answered_within_bounds_and_others_go_on(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT, name="other")
        await here.until(lambda: here.state("other") == "running")
        other = here.conn
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        info = here.room.instance("tested")
        assert info is not None and info.pid is not None
        os.kill(info.pid, signal.SIGSTOP)
        sent = [here.send_call("tested.add", b" " * 500_000) for _ in range(200)]
        await here.until(lambda: here.results)
        assert {header.code for header, _ in here.results.values()} == {"overloaded"}
        assert 100 < len(here.results) < len(sent), "the bound is in bytes, and holds"
        here.conn = other
        assert (await here.call("tested.add", a=1))[1] == 2


@in_loop
async def test_a_silent_agent_is_given_up_after_three_unanswered_pings(tmp_path: Path):
    async with node(tmp_path, mute_us=1, grace_us=100 * MS) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        info = here.room.instance("tested")
        assert info is not None and info.pid is not None
        os.kill(info.pid, signal.SIGSTOP)
        for _ in range(3):
            here.bus._ping_all()
        assert not here.all(AgentGone)
        here.bus._ping_all()
        assert len(here.all(AgentGone)) == 1
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        assert here.all(ProcessExited)[0].signal == "SIGKILL"


@in_loop
async def test_a_living_agent_answers_pings(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        for _ in range(10):
            here.bus._ping_all()
            assert (await here.call("tested.add", a=1))[1] == 2
        assert not here.all(AgentGone)


@in_loop
async def test_the_words_example_counts(tmp_path: Path):
    corpus = tmp_path / "texts"
    corpus.mkdir()
    (corpus / "a.md").write_text("One fish, two fish.")
    (corpus / "b.txt").write_text("Red fish")
    async with node(tmp_path, settle_us=60 * SECOND) as here:
        argv = [sys.executable, str(ROOT / "examples" / "words.py")]
        environment = {"PYTHONPATH": str(ROOT), "WORDS_CORPUS": str(corpus)}
        command = RunAgent(name="words", argv=argv, cwd=str(ROOT), environment=environment)
        here.perform(here.room.run(command, here.now()))
        await here.until(lambda: here.state("words") == "running")
        counted = (await here.call("words.count", text="To be or not to be"))[1]
        assert counted["words"] == 6 and counted["unique"] == 4
        assert counted["top"][:2] == [{"word": "be", "times": 2}, {"word": "to", "times": 2}]
        told = (await here.call("words.corpus"))[1]
        assert (told["files"], told["words"], told["top"][0]) == (2, 6, {"word": "fish", "times": 3})


def test_a_deep_data_directory_gets_a_short_private_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    run = run_directory(deep)
    try:
        assert len(str(run / "api.sock")) <= 107
        assert run.stat().st_mode & 0o777 == 0o700
        assert Path((deep / "run").read_text().strip()) == run
        assert run_directory(deep) == run, "and again the same"
    finally:
        discard_run_directory(deep)
    assert not run.exists() and not (deep / "run").exists()


def test_a_run_directory_that_is_a_link_or_open_to_others_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    runtime, elsewhere = tmp_path / "r", tmp_path / "elsewhere"
    runtime.mkdir(mode=0o700)
    elsewhere.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    (runtime / "meshnode").symlink_to(elsewhere)
    for spoil in (lambda: None, lambda: _replace_by_open_directory(runtime / "meshnode")):
        spoil()
        run = run_directory(tmp_path)
        try:
            assert not run.is_relative_to(runtime), "the next candidate is taken"
        finally:
            discard_run_directory(tmp_path)
    assert not any(elsewhere.iterdir())


def _replace_by_open_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    path.chmod(0o755)
