"""A member with a valid certificate and a program of its own: what it may send over TLS, and what becomes of it.

Whatever it does ends under a name, is counted, and costs nobody but itself its link.
"""

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import TransportConfig
from meshnode.kernel.effects import Channel
from meshnode.kernel.reasons import Bye, Loss
from meshnode.links.gusts import EVENTS_STREAM, WINDOW_BYTES
from meshnode.links.hello import Goaway, Ping, Total, frame_of
from meshnode.wire.events import event_frame
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, PREFIX_BYTES, Frame, Kind, encode, size
from tests.fuzz.driver import Mutator
from tests.fuzz.fuzz_links import CORPUS, HELLO
from tests.real.agents_kit import in_loop
from tests.real.links_kit import Rogue, Scene, letter, scene

pytestmark = pytest.mark.real

PREFIX = struct.Struct(">IBBIH")
STREAMS = 60
CALL = Frame(Kind.CALL, 1, header=b"\x90", payload=bytes(FRAME_BYTES_MAX - HEADER_BYTES_MAX))


async def ended(stage: Scene, rogue: Rogue, reason: str) -> None:
    """Refused by this name, told to its sender as junk, and nobody else has lost a thing."""
    victim = stage.victim
    await victim.until(lambda: reason in victim.refused(), f"{reason} is told")
    assert victim.hub.counters[reason] == 1
    assert await asyncio.to_thread(rogue.farewell) == Bye.JUNK
    await stage.all_well()


JUNK = {
    "oversized": ((FRAME_BYTES_MAX + 1).to_bytes(4), "frame-too-long"),
    "short": (b"\0\0\0\x01\0", "frame-short"),
    "header-beyond-its-frame": (PREFIX.pack(8, Kind.CALL, 1, 0, 9), "frame-header-length"),
    "kind-unknown": (PREFIX.pack(8, 250, 0, 0, 0), "frame-kind"),
    "flags-unknown": (PREFIX.pack(8, Kind.CALL, 0x83, 0, 0), "frame-flags"),
    "not-sequenced": (encode(Frame(Kind.CALL)), "frame-flags"),
    "of-the-agents-socket": (encode(Frame(Kind.STATE)), "frame-unexpected"),
    "hello-again": (HELLO, "frame-unexpected"),
    "welcome-unasked": (encode(Frame(Kind.WELCOME, header=b"\x90")), "frame-unexpected"),
    "ack-of-what-was-never-sent": (encode(frame_of(Kind.ACK, Total(7))), "ack-ahead"),
    "ack-huge": (encode(Frame(Kind.ACK, header=msgspec.msgpack.encode([2**62]))), "ack-malformed"),
    "credit-that-shrinks": (encode(frame_of(Kind.CREDIT, Total(1))), "credit-backwards"),
    "credit-that-overflows": (encode(Frame(Kind.CREDIT, header=b"\x91\xcf" + b"\xff" * 8)), "credit-malformed"),
    "event-credit-that-shrinks": (encode(frame_of(Kind.CREDIT, Total(1), EVENTS_STREAM)), "event-credit"),
    "event-credit-nobody-may-give": (encode(frame_of(Kind.CREDIT, Total(1 << 40), EVENTS_STREAM)), "event-credit"),
    "event-sequenced": (encode(Frame(Kind.EVENT, 1)), "frame-flags"),
    "ping-nested-deep": (encode(Frame(Kind.PING, header=b"\x91" * 9_000)), "ping-malformed"),
    "goaway-that-is-a-book": (
        encode(Frame(Kind.GOAWAY, header=msgspec.msgpack.encode(["x" * 99]))),
        "goaway-malformed",
    ),
}


@pytest.mark.parametrize(("data", "reason"), JUNK.values(), ids=JUNK)
@in_loop
async def test_junk_on_a_link_ends_it_by_name(data: bytes, reason: str, tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue = await stage.up()
        await asyncio.to_thread(rogue.say_bytes, encode(letter(b"before")) + data + encode(letter(b"after")))
        await ended(stage, rogue, reason)
        assert stage.victim.downs(stage.member)[-1].how is Loss.PROTOCOL
        assert b"after" not in stage.victim.bodies(stage.member)


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (encode(letter(b"no hello")), "frame-unexpected"),
        (encode(Frame(Kind.HELLO, header=b"\x91" * 12_000)), "hello-malformed"),
        ((PREFIX_BYTES + HEADER_BYTES_MAX + 1).to_bytes(4), "frame-too-long"),
    ],
    ids=["a-letter", "nested-deep", "more-than-a-hello"],
)
@in_loop
async def test_nothing_but_a_hello_opens_a_link(first: bytes, reason: str, tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue = await stage.rogue()
        await asyncio.to_thread(rogue.say_bytes, first)
        await ended(stage, rogue, reason)
        assert not stage.victim.ups(stage.member)


@in_loop
async def test_half_a_frame_is_nothing_and_its_end_is_the_end_of_a_link(tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue, victim = await stage.up(), stage.victim
        await asyncio.to_thread(rogue.say_bytes, encode(letter(b"whole")) + encode(letter(b"half"))[:-1])
        await victim.until(lambda: b"whole" in victim.bodies(stage.member), "the whole one is read")
        rogue.close()
        await victim.until(lambda: victim.downs(stage.member), "its link is lost")
        assert victim.downs(stage.member)[0].how in (Loss.EOF, Loss.RESET)
        assert victim.bodies(stage.member) == [b"whole"] and not victim.refused()
        await stage.all_well()


@in_loop
async def test_who_says_no_hello_is_not_waited_for(tmp_path: Path):
    async with scene(tmp_path, handshake_us=300_000) as stage:
        rogue = await stage.rogue()
        await asyncio.to_thread(rogue.say_bytes, HELLO[:-1])
        await stage.victim.until(lambda: stage.victim.hub.counters["link-silent"], "it is given up")
        assert not stage.victim.ups(stage.member)
        await stage.all_well()


@in_loop
async def test_a_hello_said_again_on_another_connection_opens_nothing(tmp_path: Path):
    """A replay: its sender cannot know of the link that the first one opened."""
    async with scene(tmp_path) as stage:
        first, second = await stage.up(), await stage.rogue()
        await asyncio.to_thread(second.say, frame_of(Kind.HELLO, second.hello()))
        assert await asyncio.to_thread(second.farewell) == Bye.DUPLICATE_LINK
        assert stage.victim.hub.counters[f"refused-{Bye.DUPLICATE_LINK}"] == 1
        await asyncio.to_thread(first.say, letter(b"still here"))
        await stage.victim.until(lambda: b"still here" in stage.victim.bodies(stage.member), "the first link stands")
        await stage.all_well()


LIES = {
    "received-what-was-never-sent": {"received": 9},
    "more-data-than-was-sent": {"data_got": 1 << 40},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@in_loop
async def test_a_resume_that_lies_about_what_came_is_junk(lie: dict[str, int], tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue, victim = await stage.up(), stage.victim
        rogue.close()
        await victim.until(lambda: victim.downs(stage.member), "its link is lost")
        again = await stage.rogue()
        hello = again.hello(session=b"freshfre", hello_no=2, attached=1, **lie)
        await asyncio.to_thread(again.say, frame_of(Kind.HELLO, hello))
        await ended(stage, again, "resume-range")
        assert victim.ups(stage.member) == 1


@in_loop
async def test_data_beyond_the_window_is_junk(tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue, victim = await stage.up(), stage.victim
        with victim.held() as waiting:  # no credit is given meanwhile
            count = victim.hub._config.window_bytes // size(CALL) + 2
            saying = asyncio.to_thread(rogue.say, *[CALL] * count)
            await asyncio.gather(saying, _come(stage, waiting, count * size(CALL)))
        await ended(stage, rogue, "credit-exceeded")


@in_loop
async def test_events_beyond_their_window_are_junk(tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue, victim = await stage.up(), stage.victim
        event = event_frame("topic/a", "node/rowan", bytes(60_000))
        with victim.held() as waiting:
            count = WINDOW_BYTES // size(event) + 2
            await asyncio.gather(
                asyncio.to_thread(rogue.say, *[event] * count), _come(stage, waiting, count * size(event))
            )
        await ended(stage, rogue, "event-credit")


async def _come(stage: Scene, waiting: list, count: int) -> None:
    def come() -> bool:
        return sum(len(event.data) for event in waiting) >= count

    await stage.victim.until(come, "all of it is here")


@in_loop
async def test_who_never_reads_is_cut_off_as_slow(tmp_path: Path):
    """Acks and answers of its own pings pile up at nobody else's cost."""
    transport = TransportConfig(listen=ListenerConfig(host="127.0.0.1"), unsent_bytes_max=256 * 1024)
    async with scene(tmp_path, transport) as stage:
        await stage.up()
        victim = stage.victim
        for _ in range(256):
            victim.send(stage.member, bytes(64 * 1024))
        await victim.until(lambda: victim.downs(stage.member), "its link is ended")
        assert victim.node.counters["link-lost-link-slow"] == 1
        await stage.all_well()


@in_loop
async def test_a_flood_of_pings_is_answered_once_a_turn(tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue = await stage.up()
        await asyncio.to_thread(rogue.say, *[frame_of(Kind.PING, Ping(), number) for number in range(5_000)])
        last = await asyncio.to_thread(rogue.hear, Kind.PONG)
        pongs = 1
        while last.stream != 4_999:
            last, pongs = await asyncio.to_thread(rogue.hear, Kind.PONG), pongs + 1
        assert pongs < 500
        await stage.all_well()


@in_loop
async def test_a_goodbye_for_made_up_reasons_ends_a_link_and_invents_no_counters(tmp_path: Path):
    async with scene(tmp_path) as stage:
        victim = stage.victim
        for number in range(1, 4):
            rogue = await stage.up(hello_no=number, fresh=b"fresh%03d" % number)
            await asyncio.to_thread(rogue.say, frame_of(Kind.GOAWAY, Goaway(f"because {number}")))
            await victim.until(lambda n=number: len(victim.downs(stage.member)) == n, "it is gone")
        assert [down.bye for down in victim.downs(stage.member)] == [f"because {number}" for number in range(1, 4)]
        assert not [name for name in victim.hub.counters.snapshot() if "because" in name]
        await stage.all_well()


@in_loop
async def test_an_unknown_channel_is_refused_and_the_link_stands(tmp_path: Path):
    async with scene(tmp_path) as stage:
        rogue, victim = await stage.up(), stage.victim
        await asyncio.to_thread(rogue.say, letter(b"x", 99), letter(b"y", Channel.STATE))
        await victim.until(lambda: b"y" in victim.bodies(stage.member), "the next letter is read")
        assert victim.refused() == ["channel-unknown"] and not victim.downs(stage.member)


@in_loop
async def test_streams_bred_from_the_corpus_end_by_name_or_change_nothing(tmp_path: Path):
    """The fuzzer's inputs, through TLS and the sockets; a fixed seed, so that a run can be had again."""
    pool = [path.read_bytes() for path in sorted(CORPUS.iterdir()) if path.is_file()]
    mutator, luck = Mutator(pool, 20_26), random.Random(5)
    async with scene(tmp_path) as stage:
        for number in range(1, STREAMS + 1):
            up = luck.random() < 0.7
            rogue = await (stage.up(hello_no=number, fresh=number.to_bytes(8)) if up else stage.rogue())
            await asyncio.to_thread(rogue.say_bytes, mutator.breed()[:16_384])
            rogue.close()
            await _gone(stage)
        await stage.all_well()
        assert len(stage.victim.refused()) > STREAMS // 4


def _gone(stage: Scene) -> Awaitable[None]:
    victim = stage.victim
    none_left: Callable[[], bool] = lambda: stage.member.node not in victim.hub.peers()  # noqa: E731
    return victim.until(none_left, "no link of it is left")
