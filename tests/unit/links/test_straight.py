"""A lone frame that goes straight, and one that takes the way of many, are not to be told apart."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.kernel.effects import Channel, Effect, Reject, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.links.hello import Total, frame_of
from meshnode.links.hub import Hub, Input
from meshnode.links.link import Link
from meshnode.links.messages import CHANNELS, ControlReceived, FramesReceived, LinkBytes, Post
from meshnode.links.session import Session
from meshnode.links.tunnelwire import TunnelReceived
from meshnode.model.ids import LinkId, NodeId
from meshnode.wire.frame import Flag, Frame, FrameReader, Kind, encode
from meshnode.wire.parts import LONG_BYTES
from tests.unit.links.pipe import Place, World

KINDS = (
    Kind.CALL, Kind.CALL, Kind.RESULT, Kind.RESULT, Kind.CANCEL, Kind.GRANT, Kind.EVENT, Kind.TUNNEL_DATA,
    Kind.TUNNEL_DATA,
)  # fmt: skip
SIZES = (0, 20, 128, 900, 40_000, LONG_BYTES + 1, 300_000)
WAITS_US = (0, 100, 900, 2 * MS, 5 * MS, 30 * MS, SECOND, 4 * SECOND)
LIMITS: dict[str, object] = {"window_bytes": 1_200_000, "log_frames_max": 40}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("post", "post", "post", "post", "both", "many", "long", "send", "patient", "break", "rest")),
        st.integers(0, 1), st.integers(0, 20), st.sampled_from(WAITS_US),
    ),
    min_size=10, max_size=60,
)  # fmt: skip
NOT_STATE = ("_config", "assembly", "_rota", "_reader", "whole", "_codec", "gusts", "due_us")


class StraightHub(Hub):
    """What the node does with what comes alone."""

    straight_in = straight_out = 0

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        if isinstance(event, LinkBytes):
            heard = self.straight.hear(event.link, event.data, now)
            if heard is not None:
                self.straight_in += 1
                return self._heard(heard[0], heard[1], now)
        if isinstance(event, Post) and len(event.frames) == 1:
            written = self.straight.write(event.peer, event.frames[0], now)
            if written is not None:
                self.straight_out += 1
                return [written]
        return super().handle(event, now)

    def _heard(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        """As the stairs of a node have it."""
        if frame.kind is Kind.CONTROL:
            return [*self.flush(now), ControlReceived(peer, CHANNELS[frame.stream], frame.payload)]
        if frame.kind is not Kind.TUNNEL_DATA:
            return [*self.flush(now), FramesReceived(peer, (frame,))]
        passed = self.pass_on(peer, frame, now)
        if passed is not None:
            written = self.straight.write(*passed, now)
            self.straight_out += written is not None
            return [written] if written else [*self.take(Post(passed[0], (passed[1],)), now), *self.flush(now)]
        return [*self.flush(now), TunnelReceived(peer, frame)]


def bounced(peer: NodeId, frame: Frame, now: Instant) -> tuple[NodeId, Frame] | None:
    """A relay between a node and itself: pieces with an odd number go back with an even one, which is nobody's."""
    return (peer, Frame(frame.kind, 0, frame.stream + 1, b"", frame.payload)) if frame.stream % 2 else None


class Wires(World):
    """Keeps what is written."""

    def __init__(self, hub: type[Hub]) -> None:
        self.written: list[tuple[int, LinkId, bytes]] = []
        places = [Place(number, **LIMITS) for number in (1, 2)]
        for number, place in enumerate(places, start=1):
            place.hub = hub(place.config, Random(number))
            place.hub.pass_on = bounced
        super().__init__(*places)
        self.link = self.dial(*places, address="there:7000")[0]
        self.run(50 * MS)

    def _carry(self, link: LinkId, event: LinkBytes) -> None:
        self.written.append((self.now_us, link, event.data))
        super()._carry(link, event)

    def step(self, what: str, who: int, number: int, wait_us: int) -> None:
        one, other = self.places[who], self.places[1 - who]
        size = SIZES[number % len(SIZES)]
        match what:
            case "post" | "both" | "many" | "long":
                count = 5 if what == "many" else 1
                frame = self._frame(KINDS[number % len(KINDS)], size if what == "long" else size % 1000, number)
                self.tell(one, Post(other.node, (frame,) * count))
                if what == "both":
                    self.tell(other, Post(one.node, (frame,)))
            case "send" | "patient":
                self.tell(one, Send(other.node, Channel.GOSSIP, bytes(size % 1000), patient=what == "patient"))
            case "break":
                self.reset(self.link)
                self.run(3 * MS)
                self.link = self.dial(one, other, number + 2, address="there:7000")[0]
            case _:
                pass
        self.run(wait_us)

    def _frame(self, kind: Kind, size: int, number: int) -> Frame:
        if kind is Kind.TUNNEL_DATA:
            return Frame(kind, stream=number, payload=b"\x5a" * size)
        call = b"\x99\xc4\x10" + number.to_bytes(16)
        return Frame(kind, header=b"\x91\xa1t" if kind is Kind.EVENT else call, payload=b"\x5a" * size)

    def state(self) -> list[Any]:
        """All that is remembered of sessions and links, what was told and what was counted."""
        out: list[Any] = [self.written]
        for place in self.places:
            hub = place.hub
            peers = hub._roster._peers.values()  # pyright: ignore[reportPrivateUsage]
            held = [each for peer in peers for each in (peer.session, peer.up) if each is not None]
            out.append([_plain(each) for each in held])
            out.append((place.facts, hub.counters.snapshot()))
        return out


def _plain(held: Session | Link) -> dict[str, Any]:
    return {name: value for name, value in vars(held).items() if name not in NOT_STATE}


def play(script: list[tuple[str, int, int, int]], hub: type[Hub] = StraightHub) -> Wires:
    ours, plain = Wires(hub), Wires(Hub)
    for step in script:
        for world in (ours, plain):
            world.step(*step)
        assert ours.state() == plain.state(), step
    return ours


@settings(max_examples=150, deadline=None)
@given(script=STEPS)
def test_whatever_two_nodes_say_it_is_the_same_bytes_at_the_same_time_and_the_same_state(
    script: list[tuple[str, int, int, int]],
) -> None:
    play(script)


ALONE = [("post", who, 0, 3 * MS) for who in (0, 1) * 20]


def test_lone_calls_go_straight_at_both_ends_with_the_acknowledgements_they_owe() -> None:
    world = play(ALONE)
    hubs = [place.hub for place in world.places]
    assert [(hub.straight_in, hub.straight_out) for hub in hubs if isinstance(hub, StraightHub)] == [(20, 20)] * 2
    assert [hub.counters["frame-duplicate"] for hub in hubs] == [0, 0]


def test_lone_letters_are_heard_straight_and_those_sent_again_as_many_are() -> None:
    script = [("send", who, 1, 30 * MS) for who in (0, 1) * 20]
    world = play([*script, ("break", 0, 0, 30 * MS), *script])
    hubs = [place.hub for place in world.places]
    assert all(hub.straight_in >= 38 for hub in hubs if isinstance(hub, StraightHub))


@pytest.mark.parametrize("stream", [0, 99])
def test_a_lone_letter_for_a_channel_nobody_has_is_refused_as_any_other(stream: int) -> None:
    ours, plain = Wires(StraightHub), Wires(Hub)
    for world in (ours, plain):
        world.tell(world.places[0], LinkBytes(world.link, encode(Frame(Kind.CONTROL, Flag.SEQUENCED, stream))))
        world.run(SECOND)
    assert ours.state() == plain.state()
    assert ours.places[0].told(Reject)


@pytest.mark.parametrize("number", [7, 8])
def test_a_piece_of_a_tunnel_goes_straight_through_a_relay_and_into_its_end(number: int) -> None:
    """An odd one is passed on (see ``bounced``), and ends where it came from; an even one ends at once."""
    world = play([("post", 0, number, 30 * MS)] * 20)
    passed = 20 * (number % 2)
    hubs = [place.hub for place in world.places]
    assert [hub.straight_in for hub in hubs if isinstance(hub, StraightHub)] == [passed, 20]
    assert [hub.straight_out for hub in hubs if isinstance(hub, StraightHub)] == [20, passed]
    ends = [place.told(TunnelReceived) for place in world.places]
    assert [len(told) for told in ends] == [passed, 20 - passed]


class Forgetful(StraightHub):
    """A planted fault: what it owes for what it heard is not remembered."""

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        effects = super().handle(event, now)
        if effects and isinstance(effects[-1], FramesReceived):
            for link in self._links.values():
                self._alarms.forget(link.id)
        return effects


def test_a_link_that_is_not_woken_for_what_it_owes_is_found_out() -> None:
    with pytest.raises(AssertionError):
        play([*ALONE, ("rest", 0, 0, 30 * MS)], Forgetful)


@pytest.mark.parametrize("total", [0, 3, 1 << 40])
def test_an_acknowledgement_behind_a_frame_that_lies_is_refused_as_any_other(total: int) -> None:
    ours, plain = Wires(StraightHub), Wires(Hub)
    lie = encode(Frame(Kind.CALL, Flag.SEQUENCED, payload=b"x")) + encode(frame_of(Kind.ACK, Total(total)))
    for world in (ours, plain):
        world.tell(world.places[0], LinkBytes(world.link, lie))
        world.run(SECOND)
    assert ours.state() == plain.state()
    assert bool(ours.places[0].told(Reject)) == (total != 0)


@settings(deadline=None)
@given(
    kind=st.integers(0, 60), flags=st.integers(0, 3), header=st.binary(max_size=40), payload=st.binary(max_size=40),
    cut=st.integers(0, 100), more=st.binary(max_size=15), length=st.sampled_from((0, 0, 0, 1, -1, 1 << 21)),
)  # fmt: skip
def test_what_is_cut_whole_is_what_the_reader_would_have_cut_and_else_nothing_is_taken(
    kind: int, flags: int, header: bytes, payload: bytes, cut: int, more: bytes, length: int
) -> None:
    data = bytearray(encode(Frame(Kind.CALL, flags, 7, header, payload)))
    data[4] = kind
    data[:4] = (int.from_bytes(data[:4]) + length).to_bytes(4)
    piece = (bytes(data) + more)[: cut or None]
    reader, plain = FrameReader(), FrameReader()
    alone = reader.whole(piece)
    if alone:
        assert alone == plain.feed(piece) and not plain.pending_bytes
    assert not reader.pending_bytes
    reader.feed(encode(Frame(Kind.CALL, Flag.SEQUENCED))[:3])
    assert not reader.whole(encode(Frame(Kind.CALL))), "the start of another frame lies before it"
