"""What both endpoints of the bus must do, whatever is at the other end."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from meshnode.agents.messages import WelcomeAgent
from meshnode.host.bus_outbox import CALLS_BYTES_MAX
from meshnode.wire.bus import FROM_AGENT, ToAgent
from meshnode.wire.calls import RegisteredHeader, ResultHeader
from meshnode.wire.frame import FRAME_BYTES_MAX, Frame, Kind, encode
from tests.patience import finished
from tests.real.agents_kit import in_loop
from tests.real.bus_kit import (
    SPEAKERS,
    WAIT_S,
    Room,
    Speaker,
    UnixSpeaker,
    ZmqSpeaker,
    agent,
    answered,
    call,
    elsewhere,
    registration,
    result,
    room,
    said_at_once,
    say,
    speaking,
    state,
    waited,
)

pytestmark = pytest.mark.real
Make = Callable[[Room], Speaker]


@pytest.fixture(params=SPEAKERS, ids=["unix", "zmq"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that every user can enter."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def endpoint_of(here: Room, make: Make) -> str:
    return here.bus.endpoint if make is UnixSpeaker else here.bus.zmq_endpoint


# Who may come in


@in_loop
async def test_a_registration_reaches_the_core_with_what_the_kernel_knows_of_its_process(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        here.judge = lambda asked: WelcomeAgent(asked.conn, first_slot=3000, slots=1000)
        await say(speaker, registration("tested", resume=True))
        assert await answered(speaker) == RegisteredHeader("north", first_slot=3000, slots=1000)
        (asked,) = here.registered()
        assert (asked.pid, asked.uid) == (os.getpid(), os.geteuid())
        assert asked.header.agent == "tested" and asked.header.resume, "a process that outlived its daemon says so"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@in_loop
async def test_another_user_is_refused_before_a_byte_of_it_is_read(make: Make, open_directory: Path):
    async with room(open_directory, zmq=True) as here:
        for name in ("bus.sock", "bus.zmq"):
            (open_directory / name).chmod(0o777)
        endpoint = endpoint_of(here, make)

        def strange() -> None:
            os.setgid(65534)
            os.setuid(65534)
            (answer,) = said_at_once(endpoint, [Frame(Kind.CHUNK, header=b"\xc1")], answers=1)
            assert msgspec.msgpack.decode(answer.header, type=RegisteredHeader).refusal == "bus-foreign-user"

        assert await waited(elsewhere(strange)) == 0
        assert here.bus.counters.snapshot() == {"bus-foreign-user": 1}
        assert not here.told


@in_loop
async def test_a_refusal_of_the_core_is_told_to_the_agent_and_not_back_to_the_core(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        here.judge = lambda asked: WelcomeAgent(asked.conn, "wrong-ticket", "not the one it was given")
        await say(speaker, registration())
        assert (await answered(speaker)).refusal == "wrong-ticket"
        assert len(here.bus) == 0 and not here.gone() and here.bus.counters["wrong-ticket"] == 1


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (encode(result()), "bus-unregistered"),
        (encode(Frame(Kind.REGISTER, header=b"\xc1")), "bus-registration"),
        (encode(registration(payload=b'[{"name": "\xff"}]')), "bus-registration"),
        (encode(registration(payload=b"[" * 20_000)), "bus-registration"),
        (encode(registration()) + encode(call()), "bus-early"),
        (b"\xff" * 64, "frame-too-long"),
        ((FRAME_BYTES_MAX + 1).to_bytes(4), "frame-too-long"),
        (b"\0\0\0\1\0", "frame-short"),
    ],
    ids=["result", "no-map", "no-utf-8", "nested", "and-a-call", "junk", "long", "short"],
)  # fmt: skip
@in_loop
async def test_junk_instead_of_a_registration_is_refused_by_name(make: Make, data: bytes, refusal: str, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        await speaker.say(data)
        assert (await answered(speaker)).refusal == refusal
        assert here.bus.counters.snapshot() == {refusal: 1}
        assert not here.told and len(here.bus) == 0


@in_loop
async def test_words_before_the_welcome_end_the_connection(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(make, here) as speaker:
        here.judge = lambda asked: None
        await say(speaker, registration())
        await here.until(here.registered)
        await say(speaker, call())
        assert (await answered(speaker)).refusal == "bus-early"
        assert here.gone() == [here.registered()[0].conn] and not here.batches()


@pytest.mark.parametrize("kind", [Kind.REGISTER, Kind.RESTORE, Kind.KEPT, Kind.STOP, Kind.HELLO, Kind.CONTROL])
@in_loop
async def test_what_only_a_daemon_says_ends_an_agents_connection(make: Make, kind: Kind, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, conn):
        await say(speaker, Frame(kind))
        assert (await answered(speaker)).refusal == "bus-kind"
        assert here.gone() == [conn]


@in_loop
async def test_an_oversized_frame_of_an_agent_ends_its_connection_only(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (other, _), agent(make, here) as (speaker, conn):
        await speaker.say((FRAME_BYTES_MAX + 1).to_bytes(4) + bytes(100))
        assert (await answered(speaker)).refusal == "frame-too-long"
        assert here.gone() == [conn]
        await say(other, call())
        await here.until(here.batches)


# What is given on


@in_loop
async def test_all_kinds_of_an_agent_go_up_in_order_in_one_event(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, _):
        frames = [Frame(kind, header=state().header, payload=b"%d" % kind) for kind in sorted(FROM_AGENT, reverse=True)]
        await say(speaker, *frames)
        await here.until(here.batches)
        assert here.batches() == [frames]


@in_loop
async def test_a_state_of_a_call_and_its_result_are_one_event_wherever_the_bytes_were_cut(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, _):
        await say(speaker, call(b"1" * 16), state(seq=1), state(seq=2))
        await here.until(here.batches)
        assert here.batches() == [[call(b"1" * 16)]]
        await say(speaker, result())
        await here.until(lambda: len(here.batches()) == 2)
        assert here.batches()[1] == [state(seq=1), state(seq=2), result()]


@in_loop
async def test_a_change_an_agent_made_by_itself_waits_for_nothing(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, _):
        await say(speaker, state(b""))
        await here.until(here.batches)
        assert here.batches() == [[state(b"")]]


@in_loop
async def test_a_state_whose_call_has_no_result_is_given_on_as_soon_as_that_is_known(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, _):
        here.bus._pinging.cancel()
        await say(speaker, state())
        asked = await speaker.hear()
        assert asked is not None and asked.kind is Kind.PING
        assert not here.batches()
        await say(speaker, Frame(Kind.PONG))
        await here.until(here.batches)
        assert here.batches() == [[state()]]


@in_loop
async def test_states_without_an_end_are_refused_within_a_bound(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, _):
        for seq in range(65):
            await say(speaker, state(seq=seq))
        await here.until(here.gone)
        assert here.bus.counters["bus-held"] == 1 and not here.batches()


@in_loop
async def test_an_agents_ping_is_answered(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, _):
        await say(speaker, Frame(Kind.PING, stream=7))
        assert await speaker.hear() == Frame(Kind.PONG, stream=7)


@in_loop
async def test_frames_for_an_agent_arrive_in_order_large_ones_too(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (speaker, conn):
        frames = [Frame(Kind.RESTORE, stream=n, payload=bytes(1024 * 1024)) for n in range(16)]
        frames += [call(b"%016d" % n) for n in range(1000)]
        here.bus.perform(ToAgent(conn, tuple(frames[:10])))
        for frame in frames[10:]:
            here.bus.perform(ToAgent(conn, (frame,)))
        assert [await speaker.hear() for _ in frames] == frames


# Who is given up


@in_loop
async def test_calls_for_a_slow_reader_are_answered_within_bounds_and_none_is_lost(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (other, _), agent(make, here) as (speaker, conn):
        sent = [b"%016d" % n for n in range(300)]
        for call_id in sent:
            here.bus.perform(ToAgent(conn, (call(call_id, b" " * 100_000),)))
            await asyncio.sleep(0)  # the endpoint's turn
        refused = [msgspec.msgpack.decode(f.header, type=ResultHeader) for batch in here.batches() for f in batch]
        assert {header.code for header in refused} == {"overloaded"}
        waiting = here.bus._connections[conn].line.outbox.waiting_bytes
        assert CALLS_BYTES_MAX - 200_000 < waiting <= CALLS_BYTES_MAX
        await say(other, state(b""))
        await here.until(lambda: here.batches()[-1] == [state(b"")])
        taken = []
        while len(taken) + len(refused) < len(sent):
            frame = await speaker.hear()
            assert frame is not None
            taken.append(msgspec.msgpack.decode(frame.header)[0])
        assert taken == [call_id for call_id in sent if call_id not in {header.call_id for header in refused}]
        assert not here.gone()


@in_loop
async def test_an_agent_that_never_takes_its_answers_is_given_up(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (_, conn):
        for n in range(100):
            here.bus.perform(ToAgent(conn, (result(b"%016d" % n, bytes(1024 * 1024)),)))
        assert here.gone() == [conn] and here.bus.counters["bus-overflow"] == 1


@in_loop
async def test_silence_is_counted_in_pings_and_told_once(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, agent(make, here) as (_, conn):
        for _ in range(3):
            here.bus._ping_all()
        assert not here.gone()
        here.bus._ping_all()
        here.bus._ping_all()
        assert here.gone() == [conn] and here.bus.counters["bus-silent"] == 1


@in_loop
async def test_every_connection_has_its_turn_to_be_pinged(tmp_path: Path):
    async with room(tmp_path) as here, agent(UnixSpeaker, here) as (one, _), agent(UnixSpeaker, here) as (two, _):
        for _ in range(10):
            here.bus._pinging.cancel()
            here.bus._ping_share()
        for speaker in (one, two):
            assert await speaker.hear() == Frame(Kind.PING)


@in_loop
async def test_a_bus_without_agents_has_no_timer(tmp_path: Path):
    """It would wake a daemon at rest once a second for nothing."""
    async with room(tmp_path) as here:
        assert here.bus._pinging is None
        async with agent(UnixSpeaker, here):
            assert here.bus._pinging is not None
        await here.until(lambda: not len(here.bus))
        here.bus._pinging.cancel()
        here.bus._ping_share()
        assert here.bus._pinging is None


@in_loop
async def test_a_process_that_ends_is_gone_at_once(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here:
        endpoint = endpoint_of(here, make)
        welcome_and_call = 2
        child = elsewhere(lambda: said_at_once(endpoint, [registration()], answers=welcome_and_call))
        await here.until(here.registered)
        (asked,) = here.registered()
        assert asked.pid == child
        here.bus.perform(ToAgent(asked.conn, (call(),)))
        await here.until(here.gone)
        assert here.gone() == [asked.conn]
        assert await waited(child) == 0


@in_loop
async def test_the_last_words_of_a_process_count_even_if_its_end_is_noticed_first(tmp_path: Path):
    async with room(tmp_path) as here, agent(UnixSpeaker, here) as (speaker, conn):
        await say(speaker, *[state(b"", n, bytes(1000)) for n in range(50)], state(), result())
        here.bus._ended(here.bus._connections[conn])
        assert [event.frames[-1] for event in here.told[1:-1]] == [result()]
        assert here.gone() == [conn] and here.bus.counters["bus-cut"] == 0


@in_loop
async def test_a_connection_that_closes_in_the_middle_of_a_frame_is_gone_and_counted(tmp_path: Path):
    async with room(tmp_path) as here, agent(UnixSpeaker, here) as (speaker, conn):
        await speaker.say(encode(call()) + encode(result())[:-1])
        speaker.hang_up()
        await here.until(here.gone)
        assert here.batches() == [[call()]]
        assert here.gone() == [conn] and here.bus.counters["bus-cut"] == 1


@in_loop
async def test_a_change_without_the_end_of_its_call_goes_with_its_process(tmp_path: Path):
    async with room(tmp_path) as here, agent(UnixSpeaker, here) as (speaker, _):
        await say(speaker, state())
        speaker.hang_up()
        await here.until(here.gone)
        assert not here.batches(), "the call fails, and may run again: half of it must not count"


@in_loop
async def test_one_that_never_says_a_word_is_given_up_and_nobody_told(tmp_path: Path):
    async with room(tmp_path) as here, speaking(UnixSpeaker, here) as speaker, agent(UnixSpeaker, here) as (other, _):
        for _ in range(2):
            here.bus._ping_all()
        await say(other, Frame(Kind.PONG), state(b""))
        await here.until(here.batches)
        for _ in range(2):
            here.bus._ping_all()
        assert await speaker.hear() is None
        assert not here.gone() and here.bus.counters["bus-silent"] == 1


# Many at once


@in_loop
async def test_five_hundred_connections_at_once_are_all_welcomed(make: Make, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here:
        if make is ZmqSpeaker:
            await _many_of_zmq(here, 500)
        else:
            speakers = [make(here) for _ in range(500)]  # all connect before the bus takes in one
            for n, speaker in enumerate(speakers):
                await say(speaker, registration(f"agent-{n}"))
            assert [(await answered(speaker)).refusal for speaker in speakers] == [""] * 500
            for speaker in speakers:
                speaker.hang_up()
            await here.until(lambda: len(here.gone()) == 500)
        assert {asked.header.agent for asked in here.registered()} == {f"agent-{n}" for n in range(500)}


async def _many_of_zmq(here: Room, count: int) -> None:
    """From one context, as its thread and descriptors are dear."""
    first = ZmqSpeaker(here)
    dealers = [first._context.socket(first.socket.type) for _ in range(count)]
    for dealer in dealers:
        dealer.connect(here.bus.zmq_endpoint)
    for n, dealer in enumerate(dealers):
        dealer.send(encode(registration(f"agent-{n}")))
    await here.until(lambda: len(here.registered()) == count)
    for dealer in dealers:
        dealer.close(linger=0)
    first.hang_up()


@in_loop
async def test_one_more_than_the_bus_bears_is_refused(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("meshnode.host.agentbus.CONNECTIONS_MAX", 1)
    async with room(tmp_path, zmq=True) as here, agent(make, here), speaking(make, here) as speaker:
        await say(speaker, registration())
        assert (await answered(speaker)).refusal == "bus-full"


CROWD = """
import asyncio, os, resource, socket, sys
from pathlib import Path
from tests.real.bus_kit import UnixSpeaker, answered, registration, room, say
async def main():
    async with room(Path(sys.argv[1])) as here:
        speakers = [UnixSpeaker(here) for _ in range(10)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 8, 20_000))
        for speaker in speakers:
            await say(speaker, registration())
        await here.until(lambda: here.bus.counters["bus-accept-failed"] + here.bus.counters["bus-peer-unknown"])
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 20_000))
        welcomed = sum([(await answered(speaker)).refusal == "" for speaker in speakers])
        print("welcomed", welcomed, here.bus.counters.snapshot())
asyncio.run(main())
"""


@in_loop
async def test_who_comes_while_no_descriptor_is_left_waits_and_is_not_lost(tmp_path: Path):
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CROWD, str(tmp_path), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        told, _ = await asyncio.wait_for(child.communicate(), 2 * WAIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
    assert told.startswith(b"welcomed 10"), told


# The endpoints themselves


@in_loop
async def test_a_route_chosen_by_the_peer_is_refused(tmp_path: Path):
    async with room(tmp_path, zmq=True) as here:
        speaker = ZmqSpeaker(here)
        speaker.socket.routing_id = b"chosen"
        await say(speaker, registration())
        assert (await answered(speaker)).refusal == "bus-route"
        speaker.hang_up()


@pytest.mark.parametrize("data", [b"", b"\0", encode(registration()) + b"\0"], ids=["empty", "a-byte", "a-byte-more"])
@in_loop
async def test_a_message_that_is_not_whole_frames_is_refused(data: bytes, tmp_path: Path):
    async with room(tmp_path, zmq=True) as here, speaking(ZmqSpeaker, here) as speaker:
        await speaker.say(data)
        assert (await answered(speaker)).refusal == "bus-frames"


@in_loop
async def test_a_message_of_two_parts_is_refused(tmp_path: Path):
    async with room(tmp_path, zmq=True) as here:
        speaker = ZmqSpeaker(here)
        speaker._connect()
        speaker.socket.send_multipart([encode(registration()), b"more"])
        assert (await answered(speaker)).refusal == "bus-parts"
        speaker.hang_up()


@in_loop
async def test_the_endpoints_lie_side_by_side_private_and_leave_nothing(tmp_path: Path):
    (tmp_path / "bus.sock").touch()  # of a daemon that was killed
    async with room(tmp_path) as here:
        assert (here.bus.endpoint, here.bus.zmq_endpoint) == (f"unix://{tmp_path}/bus.sock", "")
        assert here.bus.enable_zmq() == here.bus.enable_zmq() == f"ipc://{tmp_path}/bus.zmq" == here.bus.zmq_endpoint
        modes = {name: os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)}  # noqa: PTH116, PTH208
        assert modes == {"bus.sock": 0o600, "bus.zmq": 0o600}
    assert not os.listdir(tmp_path)  # noqa: PTH208


def test_zeromq_is_not_loaded_unless_asked_for() -> None:
    code = "import sys, meshnode.host.agentbus; sys.exit('zmq' in sys.modules)"
    assert finished([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
