"""What an agent sends: in parts and in turns what is long, side by side what belongs together, in order each call."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk import Agent, Ctx
from meshnode.sdk.outgoing import Outgoing
from meshnode.wire.calls import CallHeader, ChunkHeader, RegisterHeader, ResultHeader, encoded_call, encoded_result
from meshnode.wire.frame import Frame, FrameReader, Kind, size
from meshnode.wire.parts import BUS_PART_BYTES, Assembly, call_of, part
from meshnode.wire.state import StateHeader
from tests.unit.sdk.daemon_end import DaemonEnd, at_work, in_loop, pack, unpack

Said = tuple[int, int, int]
SCRIPTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([1, 5_000, BUS_PART_BYTES + 1, 200_000, 700_000])),
    min_size=1, max_size=40,
)  # fmt: skip


def call_id(call: int) -> bytes:
    return call.to_bytes(16)


def said(what: int, call: int, length: int, number: int) -> list[Frame]:
    """Items, an answer, or an answer with what it changed; numbered over all calls."""
    payload = number.to_bytes(4) * (length // 4 + 1)
    result = Frame(Kind.RESULT, header=encoded_result(ResultHeader(call_id(call))), payload=payload)
    if what == 0:
        return [Frame(Kind.STATE, header=pack(StateHeader(call_id(call), number)), payload=payload[:1000]), result]
    if what == 1:
        return [result]
    return [Frame(Kind.CHUNK, header=pack(ChunkHeader(call_id(call), number)), payload=payload)]


def whole(data: bytes, reader: FrameReader, assembly: Assembly) -> list[Frame]:
    frames: list[Frame] = []
    for frame in reader.feed(data):
        made = assembly.take(frame) if frame.kind is Kind.PART else frame
        frames += [made] if made is not None else []
    return frames


@given(script=SCRIPTS, takes=st.lists(st.integers(0, 3), min_size=1, max_size=20), in_parts=st.booleans())
def test_all_of_it_leaves_in_the_order_of_its_call_and_what_belongs_together_side_by_side(
    script: list[Said], takes: list[int], in_parts: bool
) -> None:
    outgoing, reader, assembly = Outgoing(), FrameReader(), Assembly()
    outgoing.in_parts = in_parts
    sent, came = list[list[Frame]](), list[Frame]()
    for number, (what, call, length) in enumerate(script):
        sent.append(said(what, call, length, number))
        outgoing.add(sent[-1])
        for _ in range(takes[number % len(takes)]):
            if outgoing:
                came += whole(b"".join(outgoing.take(100_000)), reader, assembly)
    while outgoing:
        came += whole(b"".join(outgoing.take(100_000)), reader, assembly)
    assert outgoing.waiting_bytes == 0 and not assembly and not reader.pending_bytes
    flat = [frame for frames in sent for frame in frames]
    for call in range(4):
        of_call = [frame for frame in came if call_of(frame.header) == call_id(call)]
        assert of_call == [frame for frame in flat if call_of(frame.header) == call_id(call)]
    for frames in sent:
        at = came.index(frames[0])
        assert came[at : at + len(frames)] == frames
    assert in_parts or came == flat


def test_what_is_short_waits_for_no_more_than_a_part() -> None:
    outgoing = Outgoing()
    outgoing.in_parts = True
    for call in range(3):
        outgoing.add(said(1, call, 1_000_000, call))
    outgoing.take(1)
    (short,) = said(1, 9, 10, 9)
    outgoing.add([short])
    data = b"".join(outgoing.take(100_000))
    assert FrameReader().feed(data)[0] == short
    assert len(data) <= size(short) + BUS_PART_BYTES + 200, "and leaves room for one part beside it"


# A whole agent


def answering() -> Agent:
    agent = Agent("tested")

    @agent.skill
    async def large(size: int) -> str:
        return "x" * size

    @agent.skill
    async def small(text: str) -> str:
        return text

    @agent.skill
    async def change(ctx: Ctx, size: int) -> str:
        ctx.state["at"] = size
        return "y" * size

    return agent


async def order_of(end: DaemonEnd, count: int) -> list[Frame]:
    """Whole frames of answers as they were complete."""
    assembly, came = Assembly(), list[Frame]()
    while len(came) < count:
        frame = await end.next(Kind.PART, Kind.RESULT)
        made = assembly.take(frame) if frame.kind is Kind.PART else frame
        came += [made] if made is not None else []
    return came


@in_loop
async def test_a_small_answer_passes_large_ones_of_the_same_agent():
    async with at_work(answering(), parts=True) as end:
        large = [end.ask("tested.large", b'{"size": 1000000}') for _ in range(8)]
        small = end.ask("tested.small", b'{"text": "first"}')
        came = [unpack(frame.header, type=ResultHeader).call_id for frame in await order_of(end, 9)]
        assert came[0] == small
        assert sorted(came[1:]) == sorted(large)


@in_loop
async def test_an_agent_puts_together_what_its_daemon_sends_in_parts():
    async with at_work(answering(), parts=True) as end:
        payload = msgspec.json.encode({"text": "z" * 100_000})
        asked = CallHeader(call_id(7), "tested.small", 10_000)
        frame = Frame(Kind.CALL, header=encoded_call(asked), payload=payload)
        end.send(part(frame, 1, 0), part(frame, 1, 32 * 1024))
        header, value = await end.call("tested.small", text="between")
        assert header.code == "" and value == "between"
        end.send(part(frame, 1, 64 * 1024), part(frame, 1, 96 * 1024))
        (came,) = await order_of(end, 1)
        assert came.payload == b'"' + b"z" * 100_000 + b'"'


@in_loop
async def test_a_daemon_of_an_earlier_release_gets_whole_frames():
    async with at_work(answering()) as end:
        header, value = await end.call("tested.large", size=500_000)
        assert header.code == "" and value == "x" * 500_000
        assert not end.waiting(Kind.PART)


@in_loop
async def test_what_a_call_changed_leaves_beside_its_answer_among_parts_of_others():
    async with at_work(answering(), parts=True) as end:
        end.ask("tested.large", b'{"size": 1000000}')
        end.ask("tested.change", b'{"size": 100000}')
        await order_of(end, 2)
        kinds = [frame.kind for frames in end.reads for frame in frames if frame.kind is not Kind.REGISTER]
        at = kinds.index(Kind.STATE)
        assert kinds[at + 1] is Kind.RESULT


@in_loop
async def test_an_agent_says_that_it_takes_parts():
    async with at_work(answering(), parts=True) as end:
        first = end.reads[0][0]
        assert unpack(first.header, type=RegisterHeader).parts
