"""The second connection of a pair: what is long goes by it; whatever breaks, each call hears all its own in order."""

from collections import defaultdict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshnode.kernel.effects import Channel, Dial, Reject, Send
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.reasons import Loss
from meshnode.links.hello import LANE
from meshnode.links.lanes import IDLE_US, LOST_US, STEADY_US, Lanes
from meshnode.links.messages import (
    LANE_DIALS,
    FramesReceived,
    LinkBytes,
    LinkLost,
    LinkOpened,
    LinkRejected,
    PeerDown,
    PeerUp,
    Post,
    Transmit,
)
from meshnode.messaging.letters import chunk_frame, result_frame
from meshnode.model.ids import LinkId
from meshnode.wire.calls import ResultHeader
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from meshnode.wire.parts import FEATURE, call_of
from tests.unit.links.pipe import Place, World, node_id
from tests.unit.links.test_hostile import NOW, THEM, Victim

ADDRESS = "n2:7000"
LONG = 200_000
DIALS_IN_3_S = 6  # 0.1, 0.2, 0.4 s and so on apart
ACTS = st.one_of(
    st.tuples(st.just("post"), st.booleans(), st.integers(0, 3), st.sampled_from([1, 30_000, 33_000, LONG])),
    st.tuples(st.just("run"), st.booleans(), st.integers(0, 40), st.just(0)),
    st.tuples(st.just("reset link"), st.booleans(), st.just(0), st.just(0)),
    st.tuples(st.just("reset lane"), st.booleans(), st.just(0), st.just(0)),
    st.tuples(st.just("blacken lane"), st.booleans(), st.just(0), st.just(0)),
    st.tuples(st.just("dial"), st.booleans(), st.just(0), st.just(0)),
)
Act = tuple[str, bool, int, int]


def item(call: int, number: int, length: int) -> Frame:
    return chunk_frame(call.to_bytes(16), number, number.to_bytes(4) + bytes(length))


class Pair:
    """Two places, a link with an address, and what each was told to say."""

    def __init__(self, *, latency_us: int = 3 * MS, jitter_us: int = 0, seed: int = 0, **settings: object) -> None:
        self.a, self.b = Place(1), Place(2, **settings)
        self.world = World(self.a, self.b, latency_us=latency_us, jitter_us=jitter_us, seed=seed)
        self.said: dict[tuple[Place, int], list[Frame]] = defaultdict(list)
        self.link()

    def link(self, caller: Place | None = None) -> None:
        caller = caller or self.a
        callee = self.b if caller is self.a else self.a
        self.ends = self.world.dial(caller, callee, address=ADDRESS)
        self.world.run(50 * MS)

    def post(self, near: Place, call: int, length: int) -> None:
        far = self.b if near is self.a else self.a
        frames = self.said[near, call]
        frame = item(call, len(frames), length)
        refused = near.hub.counters["post-queue-full"] + near.hub.counters["post-no-link"]
        self.world.tell(near, Post(far.node, (frame,)))
        if near.hub.counters["post-queue-full"] + near.hub.counters["post-no-link"] == refused:
            frames.append(frame)

    def heard(self, far: Place) -> dict[int, list[tuple[bytes, bytes]]]:
        """By call: header and payload of each frame."""
        out: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        for fact in far.told(FramesReceived):
            assert isinstance(fact, FramesReceived)
            for frame in fact.frames:
                out[int.from_bytes(call_of(frame.header))].append((frame.header, frame.payload))
        return out

    def check(self) -> None:
        """Each heard what the other one said: all of it, once, in the order of its call."""
        for near, far in ((self.a, self.b), (self.b, self.a)):
            heard = self.heard(far)
            for call in range(4):
                same = heard[call] == [(frame.header, frame.payload) for frame in self.said[near, call]]
                assert same, call
            assert near.hub.counters["frame-lost"] == 0

    def lane(self, place: Place) -> bool:
        return bool(place.hub._lanes.roster.up)

    def open_lane(self) -> None:
        self.post(self.a, 0, LONG)
        self.world.run(100 * MS)
        assert self.lane(self.a) and self.lane(self.b)

    def act(self, what: str, side: bool, much: int, length: int) -> None:
        near = self.a if side else self.b
        match what:
            case "post":
                self.post(near, much, length)
            case "run":
                self.world.run(much * MS)
            case "dial":
                self.link(near)
            case "reset link":
                self.world.reset(self.ends[0 if side else 1])
            case _ if self.world.lanes:
                end = self.world.lanes[-1][0 if side else 1]
                self.world.reset(end) if what == "reset lane" else self.world.blacken(end)
            case _:
                pass

    def heal(self) -> None:
        """As gossip would: dial as long as a side has no link."""
        for _ in range(12):
            for place in (self.a, self.b):
                if not place.hub.peers():
                    self.link(place)
                self.world.run(1 * SECOND)
        assert self.a.hub.peers() and self.b.hub.peers()
        self.world.run(2 * SECOND)


def play(acts: list[Act], seed: int) -> Pair:
    pair = Pair(jitter_us=5 * MS, seed=seed)
    for act in acts:
        pair.act(*act)
    pair.heal()
    pair.check()
    return pair


@settings(max_examples=150, deadline=None)
@given(acts=st.lists(ACTS, max_size=25), seed=st.integers(0, 2**16))
@example([("post", True, 1, 1), ("post", True, 1, LONG), ("run", True, 40, 0), ("post", True, 1, 1)] * 3, 1)
def test_breaks_of_link_and_lane_lose_and_double_nothing(acts: list[Act], seed: int) -> None:
    play(acts, seed)


def test_a_call_that_changes_its_way_with_something_under_way_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: what is short goes by the link, whatever of its call is under way by the lane."""
    chosen = Lanes.chosen

    def hasty(self: Lanes, main, frame, now):  # noqa: ANN001, ANN202 - the machine's own
        session = chosen(self, main, frame, now)
        return session if len(frame.payload) > 40_000 else main.session

    monkeypatch.setattr(Lanes, "chosen", hasty)
    pair = Pair()
    pair.open_lane()
    pair.world.slow[pair.world.lanes[0][0]] = 20 * MS
    pair.post(pair.a, 1, LONG)
    pair.post(pair.a, 1, 1)
    pair.world.run(1 * SECOND)
    with pytest.raises(AssertionError):
        pair.check()


@pytest.mark.parametrize("dialler", [True, False])
def test_the_first_long_frame_opens_a_lane_and_goes_by_the_link(dialler: bool) -> None:
    pair = Pair()
    near = pair.a if dialler else pair.b
    pair.post(near, 1, LONG)
    pair.world.run(100 * MS)
    pair.check()
    assert len(pair.world.lanes) == 1 and pair.lane(pair.a) and pair.lane(pair.b)
    before = pair.a.hub._lanes.roster[pair.b.node].session
    assert before is not None and before.moved == (1, 0)
    pair.post(near, 2, LONG)
    pair.world.run(100 * MS)
    pair.check()
    assert max(before.moved) > 1, "this one went by the lane"
    assert len(pair.a.told(PeerUp)) == len(pair.b.told(PeerUp)) == 1


@pytest.mark.parametrize("features", [(FEATURE, LANE), (FEATURE,), ()])
def test_a_score_of_the_largest_answers_at_once_find_room(features: tuple[str, ...]) -> None:
    pair = Pair(features=features)
    for call in range(20):
        pair.post(pair.a, call, 1_000_000)
        pair.post(pair.b, call, 1_000_000)
    pair.world.tell(pair.a, Send(pair.b.node, Channel.GOSSIP, b"letter"))
    pair.world.run(5 * SECOND)
    pair.check()
    assert len(pair.said) == 40 and all(pair.said.values()) and b"letter" in pair.b.bodies()


def test_a_stream_that_never_pauses_changes_over_to_the_lane_in_order() -> None:
    pair = Pair()
    for _ in range(100):
        pair.post(pair.a, 1, 40_000)
        pair.post(pair.a, 1, 10)
        pair.world.run(1 * MS)
    lane = pair.a.hub._lanes.roster[pair.b.node].session
    assert lane is not None and lane.moved[0] > 50
    pair.world.run(1 * SECOND)
    pair.check()
    assert pair.a.hub._lanes._states[pair.b.node].crossing_bytes == 0


def test_a_stream_stays_on_the_lane_and_does_not_wait_to_change_over_again() -> None:
    pair = Pair()
    pair.open_lane()
    pair.post(pair.a, 1, LONG)
    pair.world.run(1 * SECOND)
    lanes = pair.a.hub._lanes
    lane = lanes.roster[pair.b.node].session
    assert lane is not None and lane.is_empty
    before = lane.moved[0]
    pair.post(pair.a, 1, 10)
    pair.post(pair.a, 1, LONG)
    state = lanes._states[pair.b.node]
    assert not state.crossing and lane.moved[0] > before + 1, "both went at once, by the lane"
    pair.world.tell(pair.a, Post(pair.b.node, (result_frame(ResultHeader((1).to_bytes(16)), b"null"),)))
    assert not state.streams, "its end was said"
    pair.post(pair.a, 2, LONG)
    assert list(state.streams) == [(2).to_bytes(16)]
    pair.world.run(2 * IDLE_US + SECOND)
    assert not state.streams, "nothing has gone by the lane for a while"
    pair.post(pair.a, 2, 10)
    pair.world.run(1 * SECOND)
    assert pair.heard(pair.b)[2] == [(frame.header, frame.payload) for frame in pair.said[pair.a, 2]]


@pytest.mark.parametrize("acknowledged_just_now", [False, True])
def test_what_changes_over_waits_for_a_round_trip_and_not_until_the_peer_has_leisure(
    *, acknowledged_just_now: bool
) -> None:
    latency_us = 1 * MS
    pair = Pair(latency_us=latency_us)
    pair.open_lane()
    pair.world.run(1 * SECOND)
    if acknowledged_just_now:
        pair.post(pair.a, 2, 10)
        pair.world.run(latency_us)
        pair.post(pair.b, 3, 10)
    pair.post(pair.a, 1, 10)
    pair.post(pair.a, 1, LONG)
    pair.post(pair.a, 1, LONG)
    assert pair.a.hub._lanes._states[pair.b.node].crossing
    link = pair.a.hub._roster.up[pair.b.node]
    assert link.unanswered == 0, "once, however much waits"
    pair.world.run(3 * latency_us)
    assert len(pair.heard(pair.b)[1]) == 3
    pair.check()


def test_the_ping_stands_behind_what_is_to_be_acknowledged_however_that_is_cut_on_its_way() -> None:
    pair = Pair()
    pair.open_lane()
    pair.world.run(1 * SECOND)
    told = pair.world.tell(pair.a, Post(pair.b.node, (item(1, 0, 30_000), item(1, 1, LONG))))
    (written,) = (effect.data for effect in told if isinstance(effect, Transmit))
    assert [frame.kind for frame in FrameReader().feed(written)][:2] == [Kind.CHUNK, Kind.PING]


def test_what_changes_over_while_both_break_is_neither_lost_nor_passed() -> None:
    pair = Pair()
    pair.open_lane()
    pair.world.slow[pair.ends[1]] = 500 * MS  # acknowledgements of what went by the link
    pair.post(pair.a, 1, 10)
    for _ in range(5):
        pair.post(pair.a, 1, LONG)
    assert pair.a.hub._lanes._states[pair.b.node].crossing
    pair.world.reset(pair.world.lanes[0][0])
    pair.world.reset(pair.ends[0])
    pair.world.run(100 * MS)
    pair.link()
    pair.world.run(1 * SECOND)
    pair.check()
    assert not pair.a.hub._lanes._states[pair.b.node].crossing


def test_what_is_short_opens_none() -> None:
    pair = Pair()
    for _ in range(50):
        pair.post(pair.a, 1, 30_000)
    pair.world.run(1 * SECOND)
    pair.check()
    assert pair.world.lanes == []


def test_control_and_short_calls_pass_a_lane_that_is_full() -> None:
    pair = Pair()
    pair.open_lane()
    pair.world.slow[pair.world.lanes[0][0]] = 2 * SECOND
    for _ in range(3):
        pair.post(pair.a, 1, 900_000)
    pair.post(pair.a, 2, 10)
    pair.world.tell(pair.a, Send(pair.b.node, Channel.GOSSIP, b"letter"))
    pair.world.run(10 * MS)
    assert len(pair.heard(pair.b)[2]) == 1 and not pair.heard(pair.b)[1]
    assert b"letter" in pair.b.bodies()
    pair.world.run(8 * SECOND)
    pair.check()


def test_a_lane_at_rest_is_closed_and_opened_again() -> None:
    pair = Pair()
    pair.open_lane()
    pair.world.run(3 * IDLE_US)
    assert not pair.lane(pair.a) and not pair.lane(pair.b) and pair.a.hub.peers() == (pair.b.node,)
    assert pair.a.hub.counters["lane-idle"] == 1
    pair.post(pair.b, 1, LONG)
    pair.world.run(200 * MS)
    assert pair.lane(pair.a)
    pair.check()
    assert pair.a.told(PeerDown) == pair.b.told(PeerDown) == []


def test_a_lane_that_breaks_in_the_middle_of_a_frame_goes_on_where_it_was() -> None:
    pair = Pair()
    pair.open_lane()
    for _ in range(3):
        pair.post(pair.a, 1, 1_000_000)
    pair.world.run(7 * MS)  # a window is there and acknowledged, the rest is on its way
    pair.world.reset(pair.world.lanes[0][0])
    pair.world.run(2 * SECOND)
    pair.check()
    assert len(pair.world.lanes) == 2 and pair.a.told(PeerDown) == []
    assert 0 < pair.a.hub.counters["frame-resent"] < 70


def test_a_lane_that_stood_a_while_is_dialled_again_at_once() -> None:
    pair = Pair()
    pair.open_lane()
    for _ in range(5):
        pair.world.run(STEADY_US)
        pair.post(pair.a, 1, LONG)
        pair.world.reset(pair.world.lanes[-1][0])
        pair.world.run(50 * MS)
        pair.check()
    assert len(pair.world.lanes) == 6


def test_a_lane_that_breaks_at_once_again_and_again_is_dialled_ever_more_rarely() -> None:
    pair = Pair()
    pair.open_lane()
    for _ in range(300):
        pair.post(pair.a, 1, 40_000)
        if pair.lane(pair.a) and pair.lane(pair.b):
            pair.world.reset(pair.world.lanes[-1][0])
        pair.world.run(10 * MS)
    assert 3 <= len(pair.world.lanes) <= 1 + DIALS_IN_3_S
    pair.world.run(3 * SECOND)
    pair.check()


def test_with_the_link_goes_the_lane_and_both_resume() -> None:
    pair = Pair()
    pair.open_lane()
    pair.post(pair.a, 1, 900_000)
    pair.post(pair.a, 2, 10)
    pair.world.reset(pair.ends[0])
    pair.world.run(100 * MS)
    assert not pair.lane(pair.a) and not pair.lane(pair.b)
    pair.link()
    pair.world.run(1 * SECOND)
    pair.check()


def test_a_lane_that_cannot_be_had_leaves_all_to_the_link() -> None:
    pair = Pair()
    pair.world.refuses = True
    for _ in range(5):
        pair.post(pair.a, 1, LONG)
        pair.post(pair.b, 1, LONG)
        pair.world.run(500 * MS)
    pair.check()
    assert not pair.lane(pair.a) and 1 <= pair.a.hub.counters["lane-failed"] <= 6


def test_a_lane_that_does_not_come_back_ends_the_link_so_that_what_was_lost_is_told() -> None:
    pair = Pair()
    pair.open_lane()
    pair.world.refuses = True
    pair.world.blacken(pair.world.lanes[0][0])
    pair.post(pair.a, 1, LONG)
    pair.post(pair.a, 0, LONG)
    pair.world.run(LOST_US + 3 * SECOND)
    assert [type(fact) for fact in pair.a.told(PeerUp, PeerDown)] == [PeerUp, PeerDown]
    assert pair.a.hub.counters["lane-lost"] == 1
    pair.said.clear()
    pair.a.facts.clear()
    pair.b.facts.clear()
    pair.a.hub.counters.add("frame-lost", -pair.a.hub.counters["frame-lost"])
    pair.link()
    pair.post(pair.a, 1, LONG)
    pair.world.run(2 * SECOND)
    assert [len(payload) for _, payload in pair.heard(pair.b)[1]] == [LONG + 4]


def test_an_earlier_release_has_one_connection() -> None:
    pair = Pair(features=(FEATURE,))
    for near in (pair.a, pair.b):
        pair.post(near, 1, LONG)
    pair.world.run(1 * SECOND)
    pair.check()
    assert pair.world.lanes == [] and LANE in pair.a.config.features


def test_a_link_through_a_relay_has_one_connection() -> None:
    victim = Victim(inbound=False)
    victim.hub.handle(LinkLost(LinkId(1), Loss.RESET), NOW)
    place = Place(1)
    link = LinkOpened(LinkId(5), THEM, "n9", False, 1, "relay/n3:1", node_id(3))
    place.hub.handle(link, NOW)
    other = Place(2)
    world = World(place, other)
    near, _ = world.dial(place, other, address=ADDRESS)
    world.run(50 * MS)
    place.hub._roster[other.node].up.relay = node_id(3)  # pyright: ignore[reportOptionalMemberAccess]
    world.tell(place, Post(other.node, (item(1, 0, LONG),)))
    world.run(1 * SECOND)
    assert world.lanes == [] and len(other.told(FramesReceived)) == 1 and near


def test_a_lane_beside_no_link_is_refused() -> None:
    pair = Pair()
    pair.open_lane()
    hello = pair.a.hub._lanes.handshake
    pair.world.kill(pair.b)
    pair.world.run(1 * SECOND)
    stranger = Place(2, run=2)
    pair.world.places.append(stranger)
    near, _ = pair.world.dial(pair.a, stranger, LANE_DIALS + 77, address=ADDRESS)
    pair.world.run(1 * SECOND)
    assert hello is pair.a.hub._lanes.handshake and near
    assert stranger.hub.counters["lane-alone"] == 1 and stranger.told(PeerUp, FramesReceived) == []
    assert not pair.lane(pair.a) and pair.a.told(LinkRejected) == []


def test_who_asks_for_lanes_without_end_gets_ever_fewer_dials() -> None:
    pair = Pair()
    pair.world.refuses = True
    far = pair.ends[1]
    for _ in range(300):
        pair.world._carry(far, LinkBytes(pair.ends[0], encode(Frame(Kind.LANE))))
        pair.world.run(10 * MS)
    assert 3 <= pair.a.hub.counters["lane-dialled"] <= DIALS_IN_3_S
    assert pair.a.told(Reject, PeerDown) == []


@pytest.mark.parametrize("frame", [Frame(Kind.CONTROL, 1, Channel.GOSSIP), Frame(Kind.LANE), Frame(Kind.EVENT)])
def test_what_is_not_for_a_lane_ends_it_and_its_link(frame: Frame) -> None:
    pair = Pair()
    pair.open_lane()
    near, far = pair.world.lanes[0]
    pair.world._carry(near, LinkBytes(far, encode(frame)))
    pair.world.run(100 * MS)
    (reject,) = pair.b.told(Reject)
    assert isinstance(reject, Reject) and reject.reason == "frame-unexpected"
    assert not pair.lane(pair.b) and pair.b.hub.peers() == () and len(pair.b.told(PeerDown)) == 1


def test_a_dial_that_nobody_answers_for_is_given_up() -> None:
    place = Place(1)
    other = Place(2)
    world = World(place, other)
    world.dial(place, other, address=ADDRESS)
    world.run(50 * MS)
    (dial,) = [e for e in place.hub.handle(Post(other.node, (item(1, 0, LONG),)), world.now) if isinstance(e, Dial)]
    assert dial.dial_no > LANE_DIALS and (dial.host, dial.port, dial.expect) == ("n2", 7000, other.node)
    world.run(60 * SECOND)
    assert place.hub.counters["lane-failed"] == 1 and not place.hub._lanes._states
