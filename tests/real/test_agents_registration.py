"""Who may speak on the bus for an agent that this node started, and who is given up."""

import asyncio
import os
import signal
from pathlib import Path

import msgspec
import pytest

from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    ProcessExited,
    ProcessStarted,
    SkillsOffered,
    StartProcess,
)
from meshnode.host.agentbus import AgentBus
from meshnode.kernel.instant import MS
from meshnode.wire.calls import RegisteredHeader, RegisterHeader
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from tests.real.agents_kit import AGENT, ROOT, WAIT_S, in_loop, node

pytestmark = pytest.mark.real

both = pytest.mark.parametrize("zmq", [False, True], ids=["unix", "zmq"])


async def refusal_of(bus: AgentBus, ticket: str, instance: str = "tested/0") -> str:
    """What a process that nobody started (this one) is told when it registers."""
    header = RegisterHeader("tested", instance, ticket, os.getpid())
    asked = encode(Frame(Kind.REGISTER, header=msgspec.msgpack.encode(header), payload=b"[]"))
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_unix_connection(bus.endpoint.removeprefix("unix://"))
        writer.write(asked)
        (frame,) = FrameReader().feed(await reader.read())  # to its end: who is refused is hung up on
        writer.close()
        await writer.wait_closed()
    return msgspec.msgpack.decode(frame.header, type=RegisteredHeader).refusal


@in_loop
async def test_a_wrong_ticket_and_a_foreign_process_are_refused_by_name(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run("import time; time.sleep(1000)")
        await here.until(lambda: here.all(ProcessStarted))
        ticket = here.all(StartProcess)[0].ticket
        assert await refusal_of(here.bus, "0" * 32) == "wrong-ticket"
        assert await refusal_of(here.bus, ticket) == "foreign-process"
        assert await refusal_of(here.bus, ticket, "other/0") == "unknown-instance"
        assert not here.all(SkillsOffered) and not here.all(AgentGone)


@both
@in_loop
async def test_a_child_of_the_started_process_may_register(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
        here.run(
            """
            import subprocess, sys, os
            sys.exit(subprocess.call([sys.executable, "-c", os.environ["INNER"]]))
            """,
            INNER=AGENT,
        )
        await here.running()
        registered = here.all(AgentRegistered)[0]
        assert registered.pid != here.all(ProcessStarted)[0].pid
        assert here.all(ProcessStarted)[0].pid in registered.lineage
        assert (await here.call("tested.add", a=1))[1] == 2


@both
@in_loop
async def test_a_refused_agent_says_why_it_ended(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
        here.run("import os\nos.environ['MESHNODE_TICKET'] = 'forged'\n" + AGENT)
        await here.until(lambda: here.all(ProcessExited))
        exited = here.all(ProcessExited)[0]
        assert exited.code == 1 and "refused this agent: wrong-ticket" in exited.tail


@both
@in_loop
async def test_calls_for_an_agent_that_takes_none_are_answered_within_bounds_and_others_go_on(
    zmq: bool, tmp_path: Path
):
    async with node(tmp_path, zmq=zmq) as here:
        here.run(AGENT, name="other")
        await here.running("other")
        other = here.conn
        here.run(AGENT)
        await here.running()
        os.kill(here.pid(), signal.SIGSTOP)
        sent = [here.send_call("tested.add", b" " * 500_000) for _ in range(200)]
        await here.until(lambda: here.results)
        assert {header.code for header, _ in here.results.values()} == {"overloaded"}
        assert 100 < len(here.results) < len(sent), "the bound is in bytes, and holds"
        here.conn = other
        assert (await here.call("tested.add", a=1))[1] == 2


@both
@in_loop
async def test_a_silent_agent_is_given_up_after_three_unanswered_pings(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq, mute_us=1, grace_us=100 * MS) as here:
        here.run(AGENT)
        await here.running()
        here.bus._pinging.cancel()  # the bus's own ping, sent right before the silence, would be a fourth
        await here.until(lambda: not any(each.talk.missed for each in here.bus._connections.values()))
        os.kill(here.pid(), signal.SIGSTOP)
        for _ in range(3):
            here.bus._ping_all()
        assert len(here.bus) == 1
        here.bus._ping_all()
        assert len(here.bus) == 0
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        assert len(here.all(AgentGone)) == 1
        assert here.all(ProcessExited)[0].signal == "SIGKILL"


@both
@in_loop
async def test_a_living_agent_answers_pings(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
        here.run(AGENT)
        await here.running()
        for _ in range(10):
            here.bus._ping_all()
            assert (await here.call("tested.add", a=1))[1] == 2
        assert not here.all(AgentGone)


@in_loop
async def test_an_agent_that_lost_its_connection_comes_back_with_what_it_holds(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.running()
        assert (await here.call("tested.count", by=2))[1] == 2
        (connection,) = here.bus._connections.values()
        here.bus._drop(connection)
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        first, again = here.all(AgentRegistered)
        assert (first.header.resume, again.header.resume) == (False, True)
        assert first.pid == again.pid and here.all(SkillsOffered)[1].resumed
        assert (await here.call("tested.count", by=3))[1] == 5, "nothing was restored, nothing was lost"


@in_loop
async def test_an_agent_outlives_the_bus_it_was_registered_on(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.running()
        assert (await here.call("tested.count"))[1] == 1
        path, before = Path(here.bus.endpoint.removeprefix("unix://")), here.pid()
        here.bus.close()
        for gone in [event.conn for event in here.all(AgentRegistered)]:
            here.give(AgentGone(gone))
        here.bus = AgentBus(here.tell, path=path, node="north")
        await here.until(lambda: len(here.all(SkillsOffered)) == 2)
        assert here.pid() == before
        assert (await here.call("tested.count"))[1] == 2


@in_loop
async def test_many_agents_register_at_once(tmp_path: Path):
    (tmp_path / "tested.py").write_text(AGENT)
    async with node(tmp_path) as here:
        for n in range(30):
            here.run_file(tmp_path / "tested.py", f"tested{n}", PYTHONPATH=str(ROOT))
        await here.until(lambda: len(here.all(SkillsOffered)) == 30)
        assert len(here.bus) == 30
        assert not here.bus.counters.snapshot()
