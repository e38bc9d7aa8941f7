"""A local process with a program of its own, through both endpoints of the bus to a real switch: what it gains by it.

Whatever it does has a name, is counted, and neither ends nor answers a call of somebody else.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from meshnode.agents.messages import AgentGone, AgentRegistered
from meshnode.host.agentbus import Told
from meshnode.messaging.messages import Emitted, StateWritten
from meshnode.messaging.states import EMITS_BURST
from meshnode.messaging.switch import SwitchConfig
from meshnode.model.ids import AgentConn
from meshnode.model.units import unit_id
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.events import EVENT_BYTES_MAX, event_frame
from meshnode.wire.frame import FRAME_BYTES_MAX, Frame, Kind, encode
from tests.fuzz.driver import Mutator
from tests.fuzz.fuzz_state import CORPUS
from tests.real.agents_kit import in_loop
from tests.real.bus_kit import (
    SPEAKERS,
    WAIT_S,
    Room,
    Speaker,
    UnixSpeaker,
    ZmqSpeaker,
    registration,
    say,
)
from tests.real.test_bus import Make
from tests.unit.messaging.town import (
    House,
    Town,
    call_frame,
    call_header,
    call_of,
    cancel_frame,
    chunk_frame,
    grant_frame,
    result_frame,
    result_of,
    state_frame,
)

pytestmark = pytest.mark.real
OWN = [b"own call %07d" % number for number in range(100)]  # as a caller knows them
STREAMS = 60


@pytest.fixture(params=SPEAKERS, ids=["unix", "zmq"])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


class Desk(Room):
    """The bus, and behind it the switch of a node: who registers under a name offers NAME.work."""

    def __init__(self, path: Path, *, zmq: bool) -> None:
        self.house = House(1)
        self.town = Town(self.house)
        super().__init__(path, zmq=zmq)

    def tell(self, event: Told) -> None:
        match event:
            case AgentRegistered(conn, header):
                self.house._last_conn = conn - 1  # the bus counts connections, and the house calls agents as it does
                self.house.agent(f"{header.agent}.work", header.agent)
            case AgentFrames(conn, frames):
                self.town.says(self.house, conn, *frames)
            case AgentGone(conn):
                for name in [name for name, each in self.house.conns.items() if each == conn]:
                    self.town.dies(self.house, name)
        super().tell(event)
        self.deliver()

    def deliver(self) -> None:
        waiting, self.house.to_agents = self.house.to_agents, []
        for conn, frame in waiting:
            self.bus.perform(ToAgent(conn, (frame,)))

    def ask(self, ticket: int, skill: str, *, stream: bool = False, deadline_ms: int = 5_000) -> None:
        self.town.ask(self.house, ticket, call_header(skill, deadline_ms, stream=stream))
        self.deliver()

    def limit(self, calls: int) -> None:
        """A switch of so many calls at once, before anybody called."""
        self.house.switch._admission.bound(SwitchConfig(settle_us=0, calls_max=calls))

    @property
    def counters(self) -> dict[str, int]:
        return {**self.bus.counters.snapshot(), **self.house.switch.counters.snapshot()}

    async def counted(self, name: str, at_least: int = 1) -> None:
        try:
            await self.until(lambda: self.counters.get(name, 0) >= at_least)
        except TimeoutError:
            raise AssertionError(f"{name} is not counted: {self.counters}") from None


@asynccontextmanager
async def desk(directory: Path) -> AsyncGenerator[Desk]:
    made = Desk(directory / "bus.sock", zmq=True)
    try:
        yield made
    finally:
        made.bus.close()


class Agent:
    """A registered process of a test."""

    def __init__(self, speaker: Speaker, conn: AgentConn) -> None:
        self.speaker, self.conn = speaker, conn

    async def hear(self, kind: Kind) -> Frame:
        """The next frame of this kind; pings are answered, as anybody would."""
        async with asyncio.timeout(WAIT_S):
            while True:
                frame = await self.speaker.hear()
                assert frame is not None, "the bus has hung up"
                if frame.kind is Kind.PING:
                    await self.say(Frame(Kind.PONG, stream=frame.stream))
                if frame.kind is kind:
                    return frame

    async def say(self, *frames: Frame) -> None:
        await say(self.speaker, *frames)


@asynccontextmanager
async def agent(make: Make, here: Desk, name: str) -> AsyncGenerator[Agent]:
    speaker = make(here)
    try:
        await say(speaker, registration(name))
        made = Agent(speaker, AgentConn(0))
        await made.hear(Kind.REGISTERED)
        made.conn = here.registered()[-1].conn
        yield made
    finally:
        speaker.hang_up()


@asynccontextmanager
async def pair(make: Make, directory: Path) -> AsyncGenerator[tuple[Desk, Agent, Agent]]:
    """A node with an honest agent and a rogue one. Afterwards the honest one still answers."""
    async with desk(directory) as here, agent(make, here, "honest") as honest, agent(make, here, "rogue") as rogue:
        yield here, honest, rogue
        here.ask(999, "honest.work")
        await honest.say(result_frame(call_of(await honest.hear(Kind.CALL)).call_id, payload=b'"well"'))
        await here.until(lambda: [ended.payload for ended in here.house.ended if ended.ticket == 999] == [b'"well"'])


# Answers


@in_loop
async def test_a_second_answer_to_a_call_is_late(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        here.ask(1, "rogue.work")
        call_id = call_of(await rogue.hear(Kind.CALL)).call_id
        await rogue.say(result_frame(call_id, payload=b"1"), result_frame(call_id, payload=b"2"))
        await here.counted("result-late")
        assert [ended.payload for ended in here.house.ended] == [b"1"]


@in_loop
async def test_an_answer_to_anothers_call_is_foreign_and_changes_nothing(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, honest, rogue):
        here.ask(1, "honest.work", stream=True)
        call_id = call_of(await honest.hear(Kind.CALL)).call_id
        await rogue.say(result_frame(call_id, payload=b'"lies"'), chunk_frame(call_id, 0, b'"lies"'))
        await here.counted("result-foreign")
        await here.counted("chunk-foreign")
        await honest.say(result_frame(call_id, payload=b'"truth"'))
        await here.until(lambda: here.house.ended)
        assert [ended.payload for ended in here.house.ended] == [b'"truth"'] and not here.house.items


@in_loop
async def test_nobody_cancels_or_feeds_the_call_of_another(make: Make, tmp_path: Path):
    """Ids of calls are known per connection: the same bytes from another one mean another call."""
    async with pair(make, tmp_path) as (here, honest, rogue):
        await honest.say(call_frame(OWN[0], "rogue.work", stream=True))
        await rogue.hear(Kind.CALL)
        await rogue.say(cancel_frame(OWN[0]), grant_frame(OWN[0], 1_000), state_frame(b""))
        await here.until(lambda: here.house.told(StateWritten))  # what was said before is done with
        assert here.house.switch.in_flight == 1
        assert not [frame for _, frame in here.house.to_agents if frame.kind is Kind.GRANT]


@in_loop
async def test_a_call_repeated_while_it_runs_runs_once(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, honest, rogue):
        await rogue.say(*[call_frame(OWN[0], "honest.work")] * 50)
        await here.counted("call-repeated", 49)
        await honest.say(result_frame(call_of(await honest.hear(Kind.CALL)).call_id))
        assert result_of(await rogue.hear(Kind.RESULT)).code == ""


@in_loop
async def test_who_it_says_it_is_counts_for_nothing(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (_, honest, rogue):
        await rogue.say(call_frame(OWN[0], "honest.work", caller="agent/honest/n1"))
        assert call_of(await honest.hear(Kind.CALL)).caller == "agent/rogue/n1"


# Streams


@pytest.mark.parametrize(
    ("numbers", "code"),
    [([0, 1, 1], "stream-order"), ([0, 2], "stream-order"), ([1], "stream-order"), (range(17), "stream-overrun")],
    ids=["repeated", "left-out", "not-from-0", "more-than-granted"],
)
@in_loop
async def test_a_stream_out_of_order_or_without_credit_ends_its_call(make: Make, numbers, code: str, tmp_path: Path):  # noqa: ANN001
    async with pair(make, tmp_path) as (here, _, rogue):
        here.ask(1, "rogue.work", stream=True)
        call_id = call_of(await rogue.hear(Kind.CALL)).call_id
        await rogue.say(*(chunk_frame(call_id, number) for number in numbers))
        await here.until(lambda: here.house.ended)
        assert [ended.code for ended in here.house.ended] == [code]
        assert here.counters[f"calls-{code}"] == 1 and len(here.house.items) <= 16
        await rogue.hear(Kind.CANCEL)


@in_loop
async def test_items_nobody_asked_for_are_dropped_and_counted(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        here.ask(1, "rogue.work")
        call_id = call_of(await rogue.hear(Kind.CALL)).call_id
        await rogue.say(*(chunk_frame(call_id, number) for number in range(100)))
        await here.counted("chunk-unasked", 100)
        assert not here.house.items


@in_loop
async def test_a_stream_without_end_ends_at_its_deadline(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        here.ask(1, "rogue.work", stream=True, deadline_ms=1_000)
        call_id = call_of(await rogue.hear(Kind.CALL)).call_id
        for number in range(200):
            here.house.take(here.house.switch.grant(1, number + 16))
            here.deliver()
            await rogue.say(chunk_frame(call_id, number))
            await here.until(lambda n=number: len(here.house.items) == n + 1)
        here.town.run(1_100_000)
        here.deliver()
        assert [ended.code for ended in here.house.ended] == ["timeout"]
        await rogue.hear(Kind.CANCEL)
        await rogue.say(chunk_frame(call_id, 200))
        await here.counted("chunk-late")


@in_loop
async def test_grants_that_shrink_or_are_for_nothing_change_nothing(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, honest, rogue):
        await rogue.say(call_frame(OWN[0], "honest.work", stream=True), grant_frame(OWN[0], 40))
        call_id = call_of(await honest.hear(Kind.CALL)).call_id
        await rogue.say(grant_frame(OWN[0], 3), grant_frame(OWN[1], 99), grant_frame(OWN[0], 50))
        await here.counted("grant-late")
        told = [msgspec.msgpack.decode((await honest.hear(Kind.GRANT)).header)[1] for _ in range(2)]
        assert told == [40, 50]
        await honest.say(*(chunk_frame(call_id, number) for number in range(50)), result_frame(call_id))
        assert result_of(await rogue.hear(Kind.RESULT)).code == ""


@pytest.mark.parametrize("total", [2**53 + 1, 2**63, -1])
@in_loop
async def test_a_grant_that_overflows_is_junk(make: Make, total: int, tmp_path: Path):
    async with pair(make, tmp_path) as (here, honest, rogue):
        await rogue.say(call_frame(OWN[0], "honest.work", stream=True), grant_frame(OWN[0], total))
        await here.counted("agent-grant-number")
        await honest.hear(Kind.CALL)
        assert here.house.switch.in_flight == 1


# Floods


@in_loop
async def test_calls_without_end_of_one_agent_are_answered_as_overloaded(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        here.limit(10)
        await rogue.say(*(call_frame(call_id, "rogue.work") for call_id in OWN))
        codes = [result_of(await rogue.hear(Kind.RESULT)).code for _ in range(len(OWN) - 10)]
        assert set(codes) == {"overloaded"} and here.house.switch.in_flight == 10
        await rogue.say(*map(cancel_frame, OWN))
        await here.until(lambda: not here.house.switch.in_flight)


@in_loop
async def test_states_without_end_of_one_call_end_the_connection(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        here.ask(1, "rogue.work")
        call_id = call_of(await rogue.hear(Kind.CALL)).call_id
        for seq in range(65):
            await rogue.say(state_frame(call_id, seq))
        await here.until(here.gone)
        assert here.counters["bus-held"] == 1
        assert [ended.code for ended in here.house.ended] == ["agent-died"], "its call ends with it"
        assert not here.house.told(StateWritten), "half of what a call changed must not count"


@in_loop
async def test_a_state_that_cannot_be_read_fails_the_call_that_made_it(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        here.ask(1, "rogue.work")
        call_id = call_of(await rogue.hear(Kind.CALL)).call_id
        junk = msgspec.structs.replace(state_frame(call_id), payload=b"\xc1")
        await rogue.say(junk, result_frame(call_id, payload=b"1"))
        await here.until(lambda: here.house.ended)
        assert [ended.code for ended in here.house.ended] == ["state-junk"]
        assert here.counters["agent-junk"] == 1


@in_loop
async def test_an_agent_that_never_reads_is_given_up_with_its_calls(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, honest, rogue):
        sent, item = 0, b"1" * (FRAME_BYTES_MAX // 2)
        await rogue.say(call_frame(OWN[0], "honest.work", deadline_ms=60_000, stream=True), grant_frame(OWN[0], 1_000))
        call_id = call_of(await honest.hear(Kind.CALL)).call_id
        async with asyncio.timeout(WAIT_S):
            while not here.gone():
                await honest.say(chunk_frame(call_id, sent, item))
                sent += 1
                await here.until(lambda n=sent: here.gone() or len(_items(here)) >= n)
        assert here.gone() == [rogue.conn] and here.counters["bus-overflow"] == 1
        assert here.house.switch.in_flight == 0
        await honest.hear(Kind.CANCEL)


def _items(here: Desk) -> list[Frame]:
    return [frame for batch in here.batches() for frame in batch if frame.kind is Kind.CHUNK]


# Events

EVENTS = {
    "event-junk": Frame(Kind.EVENT, header=b"\x91" * 9_000),
    "event-topic": event_frame("topic/a/../b", "", b"1"),
    "event-too-long": event_frame("topic/a", "", b"1" * (EVENT_BYTES_MAX + 1)),
    "event-origin": event_frame("topic/a", "agent/honest/n1", b"1"),
    "subscribe-junk": Frame(Kind.SUBSCRIBE, header=b"\xc1"),
    "subscribe-too-many": Frame(Kind.SUBSCRIBE, header=msgspec.msgpack.encode([["topic/a"] * 65])),
}


@pytest.mark.parametrize("reason", EVENTS)
@in_loop
async def test_events_that_are_none_are_refused_by_name(make: Make, reason: str, tmp_path: Path):
    async with pair(make, tmp_path) as (here, honest, rogue):
        await honest.say(Frame(Kind.SUBSCRIBE, header=msgspec.msgpack.encode([["topic/*"]])))
        await here.until(lambda: here.house.switch.topics.wanted)
        await rogue.say(EVENTS[reason])
        await here.counted(reason)
        assert here.counters.get("event-published", 0) == (reason == "event-origin"), (
            "what it says of itself is not used"
        )


@in_loop
async def test_events_for_the_journal_without_end_are_dropped_and_counted(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        emit = Frame(Kind.EMIT, header=msgspec.msgpack.encode(["rogue.shouts"]), payload=b"1")
        await rogue.say(*[emit] * (EMITS_BURST + 100))
        await here.counted("agent-emit-flood", 100)
        assert len(here.house.told(Emitted)) == EMITS_BURST, "the house's clock stands still"
        here.town.run(1_000_000)
        await rogue.say(emit)
        await here.until(lambda: len(here.house.told(Emitted)) == EMITS_BURST + 1)


# Junk


@in_loop
async def test_half_a_frame_and_the_end_is_a_cut(tmp_path: Path):
    async with pair(UnixSpeaker, tmp_path) as (here, _, rogue):
        await rogue.speaker.say(encode(call_frame(OWN[0], "honest.work"))[:-1])
        rogue.speaker.hang_up()
        await here.until(here.gone)
        assert here.counters["bus-cut"] == 1 and here.house.switch.in_flight == 0


@in_loop
async def test_half_a_frame_in_a_message_is_refused(tmp_path: Path):
    async with pair(ZmqSpeaker, tmp_path) as (here, _, rogue):
        await rogue.speaker.say(encode(call_frame(OWN[0], "honest.work"))[:-1])
        await here.counted("bus-frames")
        assert here.gone() == [rogue.conn] and here.house.switch.in_flight == 0


PREFIX = struct.Struct(">IBBIH")  # length, kind, flags, stream, header
JUNK = {
    "frame-too-long": (FRAME_BYTES_MAX + 1).to_bytes(4),
    "frame-short": b"\0\0\0\x01\0",
    "frame-header-length": PREFIX.pack(8, Kind.CALL, 0, 0, 9),
    "frame-kind": PREFIX.pack(8, 250, 0, 0, 0),
    "bus-kind": encode(Frame(Kind.RESTORE)),
}


@pytest.mark.parametrize("reason", JUNK)
@in_loop
async def test_frames_that_are_none_end_the_connection_by_name(make: Make, reason: str, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        await rogue.speaker.say(JUNK[reason])
        await here.counted(reason)
        assert here.gone() == [rogue.conn] and here.house.switch.in_flight == 0


@in_loop
async def test_a_second_registration_ends_the_connection(make: Make, tmp_path: Path):
    async with pair(make, tmp_path) as (here, _, rogue):
        await rogue.say(registration("honest"))
        await here.counted("bus-kind")
        assert here.gone() == [rogue.conn] and here.house.conns[unit_id("honest", 0)] != rogue.conn


@in_loop
async def test_streams_bred_from_the_corpus_harm_nobody(make: Make, tmp_path: Path):
    """The fuzzer's inputs, through the sockets; a fixed seed, so that a run can be had again."""
    pool = [path.read_bytes()[1:] for path in sorted(CORPUS.iterdir()) if path.name.startswith("stream")]
    mutator = Mutator(pool, 20_26)
    async with pair(make, tmp_path) as (here, _, _):
        for number in range(STREAMS):
            async with agent(make, here, f"stranger-{number}") as stranger:
                gone = len(here.gone())
                await stranger.speaker.say(mutator.breed()[:16_384] + b"\0")
                if make is UnixSpeaker:
                    stranger.speaker.hang_up()
                else:
                    await stranger.speaker.say(b"\0")  # junk at last: its end would not be noticed
                await here.until(lambda n=gone: len(here.gone()) > n)
        assert len(here.bus) == 2
        assert sum(here.bus.counters.snapshot().values()) > STREAMS // 4
