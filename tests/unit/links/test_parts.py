"""Long frames in parts: whatever breaks, each arrives whole, once, in the order of its call."""

from collections import defaultdict

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.links.messages import FramesReceived
from meshnode.links.session import SHORT_BYTES, Session
from meshnode.messaging.letters import call_frame, chunk_frame, result_frame
from meshnode.model.errors import RemoteError
from meshnode.wire import parts
from meshnode.wire.calls import CallHeader, ResultHeader
from meshnode.wire.frame import FRAME_BYTES_MAX, Frame, Kind, size
from meshnode.wire.parts import (
    ALONE_BYTES,
    OPEN_BYTES_MAX,
    OPEN_MAX,
    PART_BYTES,
    Assembly,
    PartHeader,
    call_of,
    fits,
    part,
)
from meshnode.wire.rota import TURN_BYTES, Rota
from tests.unit.links.pipe import Place
from tests.unit.links.test_hostile import HELLO, Victim

NOW = Instant(SECOND, 0)
WINDOW = 1200 * 1024
HOUSE = Place(1, window_bytes=WINDOW).config
Step = tuple[str, int, int]
STEPS = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 5), st.sampled_from([1, 400, 20_000, 32_768, 40_000, 300_000])),
    st.tuples(st.just("hear"), st.integers(1, 40), st.just(0)),
    st.tuples(st.just("tell"), st.just(0), st.just(0)),
    st.tuples(st.just("break"), st.integers(0, 40), st.just(0)),
)


def call_id(number: int) -> bytes:
    return number.to_bytes(16)


def said(call: int, number: int, length: int) -> Frame:
    return chunk_frame(call_id(call), number, ((number + 1).to_bytes(4) * (length // 4 + 2))[: length + 4])


class Way:
    """One direction between two sessions: what one says, what is on its way, what the other has heard."""

    def __init__(self, features: tuple[str, ...] = (parts.FEATURE,)) -> None:
        self.ours, self.theirs = Session(b"sessions", HOUSE), Session(b"sessions", HOUSE)
        self.features = features
        self.wire: list[Frame] = []
        self.heard: list[Frame] = []
        self.pieces = 0
        self.count = self.attached = 0
        self.connect()

    def connect(self) -> None:
        """The other end says where it stands; what it has not heard is said again."""
        self.attached += 1
        standing = self.theirs.standing()
        told = msgspec.structs.replace(
            HELLO, features=self.features, received=standing[1], data_got=standing[2], window=HOUSE.window_bytes
        )
        self.count = self.theirs.received
        self.wire = self.ours.attach(told, self.attached)

    def say(self, frame: Frame) -> bool:
        return self.ours.offer(frame)

    def flow(self) -> None:
        self.wire += self.ours.pump(NOW)

    def hear(self, count: int) -> None:
        for frame in self.wire[:count]:
            self.count += 1
            self.pieces += frame.kind is Kind.PART
            if self.theirs.accept(self.count, frame, NOW):
                whole = self.theirs.assembly.take(frame) if frame.kind is Kind.PART else frame
                self.heard += [whole] if whole is not None else []
        self.wire = self.wire[count:]

    def tell(self) -> None:
        """Acknowledgement and credit."""
        for frame in self.theirs.dues(NOW, riding=True):
            total = msgspec.msgpack.decode(frame.header)[0]
            (self.ours.acknowledged if frame.kind is Kind.ACK else self.ours.credited)(total)

    def settle(self) -> None:
        for _ in range(10_000):
            self.flow()
            if not self.wire:
                return
            self.hear(len(self.wire))
            self.tell()
        raise AssertionError("what was said does not come to an end")


def play(steps: list[Step]) -> Way:
    """Raises ``AssertionError`` unless all that was said is heard, once, in the order of its call."""
    way, spoken, numbers = Way(), defaultdict[bytes, list[Frame]](list), defaultdict[int, int](int)
    for what, much, length in steps:
        match what:
            case "say":
                frame = said(much, numbers[much], length)
                if way.say(frame):
                    numbers[much] += 1
                    spoken[call_id(much)].append(frame)
            case "hear":
                way.flow()
                way.hear(much)
            case "tell":
                way.tell()
            case _:
                way.hear(much)
                way.connect()
    way.settle()
    heard = defaultdict[bytes, list[Frame]](list)
    for frame in way.heard:
        heard[call_of(frame.header)].append(frame)
    differ = [call.hex() for call in {**spoken, **heard} if heard[call] != spoken[call]]
    assert not differ, "a whole difference would be megabytes"
    assert not way.theirs.assembly and not way.ours._rota and not way.ours._queue_bytes
    return way


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=60))
@example([("say", 1, 1), ("say", 1, 300_000), ("say", 1, 1), ("hear", 3, 0), ("break", 2, 0), ("say", 2, 40_000)])
def test_whatever_breaks_each_frame_arrives_whole_once_and_in_the_order_of_its_call(steps: list[Step]) -> None:
    play(steps)


def test_a_short_frame_that_passes_a_long_one_of_its_call_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: whatever is short goes at once."""
    add = Rota.add

    def hasty(self: Rota, frame: Frame, after: int) -> bool:
        return fits(frame) and add(self, frame, after)

    monkeypatch.setattr(Rota, "add", hasty)
    with pytest.raises(AssertionError):
        play([("say", 1, 300_000), ("say", 1, 1)])


def test_a_long_frame_that_passes_a_short_one_of_its_call_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: a line does not wait for what is older."""
    add = Rota.add

    def hasty(self: Rota, frame: Frame, after: int) -> bool:
        return add(self, frame, min(after, 0))

    monkeypatch.setattr(Rota, "add", hasty)
    with pytest.raises(AssertionError):
        play([*[("say", 2, 20_000)] * 10, ("say", 1, 1), ("say", 1, PART_BYTES - 4)])


def test_a_part_that_is_cut_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(frame: Frame, number: int, at: int, part_bytes: int) -> Frame:
        cut = part(frame, number, at, part_bytes)
        return msgspec.structs.replace(cut, payload=bytes(len(cut.payload))) if at else cut

    monkeypatch.setattr(parts, "part", careless)
    with pytest.raises(AssertionError):
        play([("say", 1, 300_000)])


def test_what_was_acknowledged_is_not_sent_again() -> None:
    way = Way()
    way.say(said(1, 0, 1_000_000))
    way.flow()
    before = len(way.wire)
    assert before == -(-1_000_004 // ALONE_BYTES)
    way.hear(5)
    way.tell()
    way.connect()
    assert len(way.wire) == before - 5
    way.settle()
    assert [len(frame.payload) for frame in way.heard] == [1_000_004]


def test_calls_with_much_to_say_take_turns() -> None:
    rota = Rota()
    for call in range(3):
        for number in range(4):
            frame = said(call, number, 500_000 + call)
            assert rota.add(frame)
    sent: dict[int, int] = dict.fromkeys(range(1, 100), 0)
    order: list[int] = []
    for _ in range(30):
        piece = rota.next()
        assert piece is not None
        sent[piece[0].stream] += piece[1]
        order.append(piece[0].stream)
    busy = [count for count in sent.values() if count]
    assert len(busy) == 3 and max(busy) - min(busy) <= TURN_BYTES + PART_BYTES
    assert order[:6] == [1, 1, 2, 2, 3, 3]


@given(st.integers(PART_BYTES - 100, 2 * ALONE_BYTES), st.booleans())
def test_a_frame_of_which_one_part_would_be_all_leaves_as_it_is_and_others_in_parts(many: int, alone: bool) -> None:
    rota, frame = Rota(), said(1, 0, many)
    if not rota.add(frame):
        assert size(frame) <= PART_BYTES
        return
    if not alone:
        assert rota.add(said(2, 0, 3 * PART_BYTES))
    piece = rota.next()
    assert piece is not None
    if len(frame.payload) <= (ALONE_BYTES if alone else PART_BYTES):
        assert piece == (frame, size(frame), frame, call_id(1)) and len(rota) == (0 if alone else 1)
    else:
        assert piece[0].kind is Kind.PART and piece[2] is None


def test_what_is_short_passes_between_the_parts_of_what_is_long() -> None:
    way = Way()
    for number in range(3):
        way.say(said(1, number, 1_000_000))
    way.flow()
    way.hear(len(way.wire))
    way.say(said(2, 0, 10))
    way.tell()
    way.flow()
    assert call_of(way.wire[0].header) == call_id(2)


def test_a_flood_of_short_frames_leaves_room_for_what_is_long() -> None:
    way = Way()
    way.say(said(1, 0, 300_000))
    for number in range(40):
        way.say(said(2, number, 16_000))
    way.flow()
    first = next(at for at, frame in enumerate(way.wire) if frame.kind is Kind.PART)
    assert sum(map(size, way.wire[:first])) <= SHORT_BYTES + 17_000


def test_a_peer_of_an_earlier_release_gets_whole_frames() -> None:
    way = Way(features=())
    for number in range(3):
        assert way.say(said(1, number, 300_000))
    way.settle()
    assert way.pieces == 0 and len(way.heard) == 3


def test_a_sender_keeps_to_what_the_receiver_holds() -> None:
    rota, assembly = Rota(), Assembly()
    for call in range(2 * OPEN_MAX):
        frame = said(call, 0, 33_000 + call * 8_000 % 1_000_000)
        assert rota.add(frame)
    whole = 0
    while rota:
        piece = rota.next()
        assert piece is not None, "something may always leave"
        whole += assembly.take(piece[0]) is not None
        assert len(assembly) <= OPEN_MAX
    assert whole == 2 * OPEN_MAX and not assembly._bytes


@given(call=st.binary(min_size=16, max_size=16), stream=st.booleans())
def test_a_frame_is_known_by_its_call_whatever_its_kind(call: bytes, stream: bool) -> None:
    assert call_of(call_frame(CallHeader(call, "a.b", 10, stream=stream), b"").header) == call
    assert call_of(result_frame(ResultHeader(call), b"").header) == call
    assert call_of(chunk_frame(call, 7, b"").header) == call
    assert call_of(msgspec.msgpack.encode([call, *range(20)])) == call
    assert call_of(b"") == call_of(b"\x90") == call_of(call) == b""


def test_a_header_without_room_for_more_is_sent_whole() -> None:
    frame = Frame(Kind.CALL, header=bytes(parts.HEADER_BYTES_MAX), payload=bytes(100_000))
    assert not fits(frame) and not fits(Frame(Kind.TUNNEL_DATA, payload=bytes(100_000)))
    way = Way()
    assert way.say(frame)
    way.settle()
    assert way.heard == [frame] and way.pieces == 0


def first(total: int, *, kind: int = Kind.RESULT, header: bytes = b"", length: int = PART_BYTES) -> Frame:
    return _part(PartHeader(0, total, kind, 0, header), length)


def _part(told: object, length: int, number: int = 1) -> Frame:
    return Frame(Kind.PART, 1, number, msgspec.msgpack.encode(told), bytes(length))


WHOLE = 100_000
HOSTILE = {
    "part-malformed": [Frame(Kind.PART, 1, 1, b"\xc1")],
    "part-unknown": [_part(PartHeader(PART_BYTES), PART_BYTES)],
    "part-again": [first(WHOLE), first(WHOLE)],
    "part-order": [first(WHOLE), _part(PartHeader(PART_BYTES - 1), PART_BYTES)],  # it overlaps
    "part-kind": [first(WHOLE, kind=Kind.CONTROL)],
    "part-total": [first(FRAME_BYTES_MAX)],
    "part-overrun": [first(PART_BYTES - 1)],
    "part-short": [first(WHOLE, length=100)],
    "part-many": [
        _part(PartHeader(0, WHOLE, Kind.CALL), parts.PART_BYTES_MIN, number) for number in range(OPEN_MAX + 1)
    ],
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_what_is_wrong_with_a_part_ends_the_link_by_name(reason: str) -> None:
    victim = Victim(up=True)
    victim.receive(*HOSTILE[reason])
    (reject,) = victim.told(Reject)
    assert isinstance(reject, Reject) and reject.reason == reason
    assert victim.hub.counters[reason] == 1 and victim.goodbye()


@pytest.mark.parametrize(
    "frame",
    [
        first(0), first(WHOLE, header=bytes(parts.HEADER_BYTES_MAX + 1), length=10), first(WHOLE, kind=0),
        _part([-1], 5), _part([2**40], 5), _part(PartHeader(0, 2**32 - 1, Kind.CALL), 5),
        _part(PartHeader(WHOLE + 1), PART_BYTES),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(frame: Frame) -> None:
    with pytest.raises(RemoteError, match="part-"):
        Assembly().take(frame)


def test_frames_that_are_never_finished_are_held_within_the_bound_and_end_with_the_session() -> None:
    assembly, refused = Assembly(), 0
    for number in range(1000):
        try:
            assembly.take(_part(PartHeader(0, 1_000_000, Kind.CHUNK), PART_BYTES, number))
        except RemoteError as error:
            refused += error.reason == "part-many"
    assert len(assembly) == OPEN_BYTES_MAX // 1_000_000 and refused == 1000 - len(assembly)
    session = Session(b"sessions", HOUSE)
    session.assembly = assembly
    session.abandon()
    assert not session.assembly


def test_a_frame_in_parts_for_a_call_nobody_knows_is_passed_on_as_any_other() -> None:
    """What it means is for the switch to say, which counts it."""
    victim = Victim(up=True)
    frame = result_frame(ResultHeader(call_id(9)), b'"' + bytes(50_000) + b'"')
    victim.receive(*[msgspec.structs.replace(part(frame, 1, at), flags=1) for at in (0, PART_BYTES)])
    (received,) = victim.told(FramesReceived)
    assert isinstance(received, FramesReceived)
    assert received.frames == (msgspec.structs.replace(frame, flags=1),)


def test_hello_tells_that_parts_are_put_together() -> None:
    assert parts.FEATURE in HOUSE.features
