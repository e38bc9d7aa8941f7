"""Who may speak on the bus, and who is given up."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest
import zmq

from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    ProcessExited,
    ProcessStarted,
    SkillsOffered,
    StartProcess,
)
from meshnode.kernel.instant import MS
from meshnode.wire.calls import RegisteredHeader, RegisterHeader
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from tests.real.agents_kit import AGENT, WAIT_S, in_loop, node

pytestmark = pytest.mark.real


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
