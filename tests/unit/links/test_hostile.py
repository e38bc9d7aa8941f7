"""What a peer that passed TLS may send and never gets away with."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.effects import Channel, Effect, Reject, Send
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import LinkStats
from meshnode.kernel.reasons import Bye, Loss
from meshnode.links.config import HubConfig
from meshnode.links.hello import Goaway, Hello, Ping, Pong, Total, body_of, frame_of
from meshnode.links.hub import Hub
from meshnode.links.messages import (
    CloseLink,
    ControlReceived,
    LinkBytes,
    LinkLost,
    LinkOpened,
    PeerDown,
    PeerUp,
    Transmit,
)
from meshnode.model.ids import LinkId, MeshId, NodeName, Region
from meshnode.wire.frame import FRAME_BYTES_MAX, Flag, Frame, FrameReader, Kind, encode, size
from tests.unit.links.pipe import node_id

LINK = LinkId(1)
NOW = Instant(5_000_000, 1_700_000_000_000)
THEM = node_id(9)
CONFIG = HubConfig(
    mesh=MeshId("home"), node=node_id(1), name=NodeName("n1"), region=Region("lab"), boot=1, run_id=b"runrunru"
)
HELLO = Hello((1, 1), "home", THEM, "n9", "lab", 1, b"theirrun", 1, b"", b"freshfre", 0, 0, 0, 1 << 20)


class Victim:
    """A hub with one link, inbound (awaiting HELLO, or up) or outbound (awaiting WELCOME)."""

    def __init__(self, *, inbound: bool = True, up: bool = False) -> None:
        self.hub = Hub(CONFIG, Random(1))
        self.effects = self.hub.handle(LinkOpened(LINK, THEM, "n9", inbound, 0 if inbound else 7), NOW)
        if up:
            self.receive(frame_of(Kind.HELLO, HELLO))
            assert self.told(PeerUp)
            self.effects.clear()

    def receive(self, *frames: Frame) -> list[Effect]:
        return self.receive_bytes(b"".join(encode(frame) for frame in frames))

    def receive_bytes(self, data: bytes) -> list[Effect]:
        new = self.hub.handle(LinkBytes(LINK, data), NOW)
        self.effects += new
        return new

    def told(self, kind: type[Effect]) -> list[Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def goodbye(self) -> str:
        """The reason of the GOAWAY the peer got, if the link was closed with one."""
        if CloseLink(LINK, abort=False) not in self.effects:
            return ""
        reader, reason = FrameReader(), ""
        for effect in self.effects:
            for frame in reader.feed(effect.data) if isinstance(effect, Transmit) else ():
                if frame.kind is Kind.GOAWAY:
                    reason = body_of(frame, Goaway).reason
        return reason


def test_the_hub_answers_the_questions_of_other_rooms() -> None:
    stats: LinkStats = Victim(up=True).hub
    assert list(stats.peers()) == [THEM]
    assert stats.last_heard_us(THEM) == NOW.mono_us
    assert stats.rtt_us(THEM) is None


@pytest.mark.parametrize(
    ("change", "bye"),
    [
        ({"mesh": "elsewhere"}, Bye.WRONG_MESH),
        ({"versions": (2, 3)}, Bye.VERSION),
        ({"versions": (1, 0)}, Bye.VERSION),
        ({"node": node_id(8)}, Bye.UNTRUSTED),
        ({"name": "somebody"}, Bye.UNTRUSTED),
    ],
)
def test_a_hello_that_cannot_be_true_is_refused_by_name(change: dict[str, object], bye: Bye) -> None:
    victim = Victim()
    victim.receive(frame_of(Kind.HELLO, msgspec.structs.replace(HELLO, **change)))
    assert victim.goodbye() == bye
    assert victim.hub.counters[f"refused-{bye}"] == 1
    assert victim.told(PeerUp) == []


def test_versions_that_overlap_are_accepted() -> None:
    victim = Victim()
    victim.receive(frame_of(Kind.HELLO, msgspec.structs.replace(HELLO, versions=(1, 9))))
    assert victim.told(PeerUp)


def test_fields_of_a_later_version_are_ignored() -> None:
    fields = [*msgspec.structs.astuple(HELLO), "a field of the future"]
    victim = Victim()
    victim.receive(Frame(Kind.HELLO, header=msgspec.msgpack.encode(fields)))
    assert victim.told(PeerUp)


JUNK_WHILE_UP = [
    (frame_of(Kind.HELLO, HELLO), "frame-unexpected"),
    (frame_of(Kind.WELCOME, HELLO), "frame-unexpected"),
    (Frame(Kind.REGISTER), "frame-unexpected"),
    (Frame(Kind.CONTROL, 0, Channel.GOSSIP), "frame-flags"),
    (Frame(Kind.CALL), "frame-flags"),
    (Frame(Kind.CALL, 3), "frame-flags"),
    (frame_of(Kind.ACK, Total(1)), "ack-ahead"),
    (Frame(Kind.ACK, header=b"\x91\xff"), "ack-malformed"),
    (Frame(Kind.ACK, header=b""), "ack-malformed"),
    (Frame(Kind.CREDIT, header=b"\xc1"), "credit-malformed"),
    (Frame(Kind.CREDIT, header=msgspec.msgpack.encode([2**62])), "credit-malformed"),
    (Frame(Kind.CREDIT, header=msgspec.msgpack.encode([-1])), "credit-malformed"),
    (frame_of(Kind.CREDIT, Total((1 << 20) - 1)), "credit-backwards"),
    (Frame(Kind.PING, header=b"\x91\xa1x"), "ping-malformed"),
    (Frame(Kind.PONG, header=b"\x90"), "pong-malformed"),
    (Frame(Kind.GOAWAY, header=msgspec.msgpack.encode(["x" * 65])), "goaway-malformed"),
]


@pytest.mark.parametrize(("frame", "reason"), JUNK_WHILE_UP)
def test_junk_on_a_link_that_is_up_is_named_counted_and_ends_it(frame: Frame, reason: str) -> None:
    victim = Victim(up=True)
    victim.receive(frame)
    (reject,) = victim.told(Reject)
    assert isinstance(reject, Reject)
    assert (reject.peer, reject.reason) == (THEM, reason)
    assert victim.hub.counters[reason] == 1
    assert victim.goodbye() == Bye.JUNK
    assert victim.told(PeerDown) == [PeerDown(THEM, Loss.PROTOCOL, "")]


@pytest.mark.parametrize("kind", [Kind.PING, Kind.CONTROL, Kind.CALL, Kind.WELCOME, Kind.ACK])
def test_nothing_but_hello_opens_an_inbound_link(kind: Kind) -> None:
    victim = Victim()
    victim.receive(Frame(kind, Flag.SEQUENCED, header=b"\x90"))
    assert victim.goodbye() == Bye.JUNK
    assert victim.hub.counters["frame-unexpected"] == 1


def test_before_hello_no_large_frame_is_buffered() -> None:
    victim = Victim()
    victim.receive_bytes((FRAME_BYTES_MAX - 1).to_bytes(4))
    assert victim.hub.counters["frame-too-long"] == 1
    assert victim.goodbye() == Bye.JUNK
    up = Victim(up=True)
    assert up.receive_bytes((FRAME_BYTES_MAX - 1).to_bytes(4)) == []


def test_a_session_invented_by_the_acceptor_is_junk() -> None:
    victim = Victim(inbound=False)
    victim.receive(frame_of(Kind.WELCOME, msgspec.structs.replace(HELLO, session=b"invented")))
    assert victim.hub.counters["welcome-session"] == 1
    assert victim.goodbye() == Bye.JUNK


def test_a_resume_of_frames_never_sent_is_junk() -> None:
    victim = Victim(up=True)
    second = LinkId(2)
    victim.effects += victim.hub.handle(LinkLost(LINK, Loss.RESET), NOW)
    victim.hub.handle(LinkOpened(second, THEM, "n9", inbound=True), NOW)
    lie = msgspec.structs.replace(HELLO, session=b"freshfre", hello_no=2, attached=1, received=10)
    effects = victim.hub.handle(LinkBytes(second, encode(frame_of(Kind.HELLO, lie))), NOW)
    assert CloseLink(second, abort=False) in effects
    assert victim.hub.counters["resume-range"] == 1


def test_a_resume_with_more_data_than_was_sent_is_junk() -> None:
    """Whoever could claim it would grant itself the difference."""
    victim = Victim(up=True)
    second = LinkId(2)
    victim.effects += victim.hub.handle(LinkLost(LINK, Loss.RESET), NOW)
    victim.hub.handle(LinkOpened(second, THEM, "n9", inbound=True), NOW)
    lie = msgspec.structs.replace(HELLO, session=b"freshfre", hello_no=2, attached=1, data_got=1)
    effects = victim.hub.handle(LinkBytes(second, encode(frame_of(Kind.HELLO, lie))), NOW)
    assert CloseLink(second, abort=False) in effects
    assert victim.hub.counters["resume-range"] == 1


def test_an_acknowledgement_taken_back_is_junk() -> None:
    victim = Victim(up=True)
    victim.hub.handle(Send(THEM, Channel.GOSSIP, b"one"), NOW)
    victim.receive(frame_of(Kind.ACK, Total(1)), frame_of(Kind.ACK, Total(1)))
    assert victim.told(Reject) == [], "said twice is no lie"
    victim.receive(frame_of(Kind.ACK, Total(0)))
    assert victim.hub.counters["ack-backwards"] == 1
    assert victim.goodbye() == Bye.JUNK


def test_data_beyond_the_window_is_junk() -> None:
    victim = Victim(up=True)
    frame = Frame(Kind.CALL, 1, header=b"\x90", payload=bytes(1 << 20))
    for _ in range(CONFIG.window_bytes // size(frame) + 2):  # in one turn: nothing is granted meanwhile
        victim.effects += victim.hub.take(LinkBytes(LINK, encode(frame)), NOW)
    victim.effects += victim.hub.flush(NOW)
    assert victim.hub.counters["credit-exceeded"] == 1
    assert victim.goodbye() == Bye.JUNK


def test_who_never_acknowledges_fills_its_own_queue_and_nothing_else() -> None:
    victim = Victim(up=True)
    for _ in range(CONFIG.log_frames_max + 10):
        victim.hub.handle(Send(THEM, Channel.GOSSIP, bytes(4096)), NOW)
    assert victim.hub.counters["send-queue-full"] > 0
    session = victim.hub._roster[THEM].session
    assert session is not None
    waiting = session._log_bytes + session._control_bytes
    assert waiting <= CONFIG.log_bytes_max + CONFIG.queue_bytes_max + FRAME_BYTES_MAX


def test_an_unknown_channel_is_refused_and_the_link_lives() -> None:
    victim = Victim(up=True)
    victim.receive(Frame(Kind.CONTROL, 1, 99, payload=b"x"), Frame(Kind.CONTROL, 1, Channel.STATE, payload=b"y"))
    assert victim.told(Reject) == [Reject(THEM, "channel-unknown", "99")]
    assert victim.told(ControlReceived) == [ControlReceived(THEM, Channel.STATE, b"y")]
    assert victim.goodbye() == ""


def test_a_flood_of_pings_gets_one_answer_a_turn() -> None:
    victim = Victim(up=True)
    (answer,) = victim.receive(*[frame_of(Kind.PING, Ping(), n) for n in range(1000)])
    assert isinstance(answer, Transmit)
    assert [frame.stream for frame in FrameReader().feed(answer.data)] == [999]


def test_a_pong_to_no_ping_changes_nothing() -> None:
    victim = Victim(up=True)
    victim.receive(frame_of(Kind.PONG, Pong(1), 5))
    stats = victim.hub.stats(THEM)
    assert stats is not None
    assert (stats.rtt_us, stats.ahead_ms) == (None, None)


def test_nothing_is_read_after_our_goodbye() -> None:
    victim = Victim(up=True)
    victim.receive(Frame(Kind.CALL), Frame(Kind.CONTROL, 1, Channel.STATE, payload=b"y"))
    victim.effects.clear()
    assert victim.receive(Frame(Kind.CONTROL, 1, Channel.STATE, payload=b"y")) == []


def test_a_peer_that_never_closes_after_our_goodbye_is_aborted() -> None:
    victim = Victim(up=True)
    victim.receive(Frame(Kind.CALL))
    due = victim.hub.deadline()
    assert due is not None
    assert due <= NOW.mono_us + CONFIG.linger_us
    assert CloseLink(LINK, abort=True) in victim.hub.wake(Instant(NOW.mono_us + CONFIG.linger_us, 0))


def test_bytes_of_an_unknown_link_are_ignored() -> None:
    hub = Hub(CONFIG, Random(1))
    assert hub.handle(LinkBytes(LinkId(77), b"\xff" * 100), NOW) == []
    assert hub.handle(LinkLost(LinkId(77), Loss.RESET), NOW) == []


ANY_FRAME = st.builds(
    Frame,
    kind=st.sampled_from(list(Kind)),
    flags=st.sampled_from([0, 1, 1, 2]),
    stream=st.integers(0, 5),
    header=st.one_of(
        st.binary(max_size=8),
        st.builds(lambda n: msgspec.msgpack.encode([n]), st.integers(0, 20)),
        st.just(msgspec.msgpack.encode(HELLO)),
    ),
    payload=st.binary(max_size=8),
)


@given(
    phase=st.sampled_from([(True, False), (True, True), (False, False)]),
    pieces=st.lists(st.one_of(ANY_FRAME.map(encode), st.binary(max_size=20)), max_size=8),
)
def test_no_bytes_of_a_peer_raise_or_leave_a_deadline_behind(phase: tuple[bool, bool], pieces: list[bytes]) -> None:
    victim = Victim(inbound=phase[0], up=phase[1])
    for piece in pieces:
        victim.receive_bytes(piece)
    victim.hub.handle(LinkLost(LINK, Loss.RESET), NOW)
    end = Instant(NOW.mono_us + CONFIG.session_keep_us, 0)
    victim.hub.wake(end)
    assert victim.hub.deadline() is None
    assert victim.hub.peers() == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"node": b"short"},
        {"run_id": b"short"},
        {"member": bytes(9000)},
        {"idle_ping_us": 0},
        {"acceptor_patience": 0.5},
        {"silent_us": 1_000_000},
        {"window_bytes": 1000},
    ],
)
def test_a_configuration_out_of_range_is_refused(wrong: dict[str, object]) -> None:
    fields = {"mesh": "m", "node": node_id(1), "name": "n", "region": "r", "boot": 1, "run_id": bytes(8)} | wrong
    with pytest.raises(ValueError, match=r"must|member"):
        HubConfig(**fields)  # pyright: ignore[reportArgumentType]
