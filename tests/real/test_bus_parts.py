"""Long frames on an agent's own connection, both ways: whatever is short, of another call, does not wait for them."""

import asyncio
import os
from pathlib import Path

import pytest

from meshnode.agents.messages import WelcomeAgent
from meshnode.host.bus_zmq import HIGH_WATER
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import RegisterHeader
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.parts import BUS_PART_BYTES, Assembly, part
from tests.real.agents_kit import in_loop
from tests.real.bus_kit import SPEAKERS, Room, Speaker, UnixSpeaker, answered, call, pack, result, room, say, speaking
from tests.real.test_bus import Make

pytestmark = pytest.mark.real
MIB = 1024 * 1024


@pytest.fixture(params=SPEAKERS, ids=["unix", "zmq"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


async def welcomed(speaker: Speaker, here: Room, *, parts: bool = True) -> None:
    here.judge = lambda asked: WelcomeAgent(asked.conn)
    header = RegisterHeader("tested", "tested/0", "ticket", os.getpid(), parts=parts)
    await say(speaker, Frame(Kind.REGISTER, header=pack(header), payload=b"[]"))
    assert (await answered(speaker)).parts is parts


async def hear(speaker: Speaker, count: int) -> list[Frame]:
    """So many frames as they are complete."""
    assembly, came = Assembly(), list[Frame]()
    while len(came) < count:
        frame = await speaker.hear()
        assert frame is not None
        whole = assembly.take(frame) if frame.kind is Kind.PART else frame
        came += [whole] if whole is not None and whole.kind is not Kind.PING else []
    return came


@in_loop
async def test_a_small_call_passes_large_answers_for_the_same_agent(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        await welcomed(speaker, here)
        conn = here.registered()[-1].conn
        large = [result(b"%016d" % number, bytes(MIB)) for number in range(24)]
        for frame in large:
            here.bus.perform(ToAgent(conn, (frame,)))
            await asyncio.sleep(0)  # the endpoint's turn: it has begun with them
        here.bus.perform(ToAgent(conn, (call(),)))
        came = await hear(speaker, 25)
        before = came.index(call())
        # What lay in the socket; libzmq holds as many messages as it may, each of one part.
        assert before * MIB <= (MIB if make is UnixSpeaker else HIGH_WATER * BUS_PART_BYTES + MIB)
        assert sorted(frame.header for frame in came if frame != call()) == [frame.header for frame in large]


@in_loop
async def test_frames_of_one_call_keep_their_order(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        await welcomed(speaker, here)
        conn = here.registered()[-1].conn
        sent = [result(payload=bytes([number]) * length) for number, length in enumerate([MIB, 10, 70_000, 1, MIB])]
        for frame in sent:
            here.bus.perform(ToAgent(conn, (frame,)))
        assert await hear(speaker, 5) == sent


@in_loop
async def test_an_agents_long_answer_in_parts_goes_up_whole(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        await welcomed(speaker, here)
        large = result(payload=bytes(range(250)) * 800)
        pieces = [part(large, 1, at, 64 * 1024) for at in range(0, len(large.payload), 64 * 1024)]
        await say(speaker, pieces[0], call(), *pieces[1:-1])
        await here.until(here.batches)
        assert here.batches() == [[call()]]
        await say(speaker, pieces[-1])
        await here.until(lambda: len(here.batches()) == 2)
        assert here.batches()[1] == [large]


@in_loop
async def test_an_agent_of_an_earlier_release_gets_whole_frames_and_may_send_no_parts(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        await welcomed(speaker, here, parts=False)
        conn = here.registered()[-1].conn
        here.bus.perform(ToAgent(conn, (result(payload=bytes(MIB)),)))
        assert await speaker.hear() == result(payload=bytes(MIB))
        await say(speaker, part(result(payload=bytes(100_000)), 1, 0))
        await here.until(here.gone)
        assert here.bus.counters["bus-kind"] == 1


@in_loop
async def test_parts_that_make_no_frame_end_the_connection_by_name(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        await welcomed(speaker, here)
        await say(speaker, part(result(payload=bytes(100_000)), 1, 32 * 1024))
        assert (await answered(speaker)).refusal == "part-unknown"
        await here.until(here.gone)
        assert here.bus.counters["part-unknown"] == 1
