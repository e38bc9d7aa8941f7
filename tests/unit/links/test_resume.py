"""Whatever breaks between two living processes, what was posted arrives exactly once and in order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.kernel.effects import Channel, Reject, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.links.config import HubConfig
from meshnode.links.hello import Hello
from meshnode.links.messages import PeerDown, PeerUp
from meshnode.links.session import ACK_REST_US, Session
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import Frame, Kind
from tests.unit.links.pipe import Place, World

NOW = Instant(SECOND, 0)
HOUSE = Place(1).config
ACTS = st.one_of(
    st.tuples(st.just("post"), st.booleans(), st.integers(1, 5)),
    st.tuples(st.just("big"), st.booleans(), st.sampled_from([30_000, 100_000])),
    st.tuples(st.just("run"), st.booleans(), st.integers(0, 40 * MS)),
    st.tuples(st.just("reset"), st.booleans(), st.just(0)),
    st.tuples(st.just("blacken"), st.booleans(), st.just(0)),
    st.tuples(st.just("dial"), st.booleans(), st.integers(0, 10 * MS)),
    st.tuples(st.just("both dial"), st.booleans(), st.integers(0, 10 * MS)),
)


@settings(max_examples=150, deadline=None)
@given(acts=st.lists(ACTS, max_size=25), seed=st.integers(0, 2**16))
def test_random_breaks_lose_and_double_nothing(acts: list[tuple[str, bool, int]], seed: int) -> None:
    story = _Story(seed)
    for what, side, size in acts:
        story.act(what, side, size)
    story.heal()
    assert story.b.bodies() == story.posted[0], acts
    assert story.a.bodies() == story.posted[1], acts
    assert story.a.hub.counters["frame-lost"] == story.b.hub.counters["frame-lost"] == 0


class _Story:
    def __init__(self, seed: int) -> None:
        self.a, self.b = Place(1), Place(2)
        self.world = World(self.a, self.b, latency_us=3 * MS, jitter_us=5 * MS, seed=seed)
        self.world.dial(self.a, self.b)
        self.world.run(100 * MS)
        self.posted: tuple[list[bytes], list[bytes]] = ([], [])

    def act(self, what: str, side: bool, size: int) -> None:
        near, far = (self.a, self.b) if side else (self.b, self.a)
        match what:
            case "post" | "big":
                log = self.posted[0 if side else 1]
                count, length = (size, 10) if what == "post" else (4, size)
                bodies = [len(log + [b""] * n).to_bytes(4) * (length // 4) for n in range(count)]
                log += bodies
                self.world.post(near, far, *bodies)
            case "run":
                self.world.run(size)
            case "reset" | "blacken":
                links = self.world.open_links()
                if links:
                    link = links[0 if side else -1]
                    self.world.reset(link) if what == "reset" else self.world.blacken(link)
            case "dial":
                self.world.dial(near, far, later_us=size)
            case _:
                self.world.dial(near, far)
                self.world.dial(far, near, later_us=size)

    def heal(self) -> None:
        """As gossip would: dial as long as a side has no link. Ends within a time a session is kept."""
        for _ in range(8):
            for near, far in ((self.a, self.b), (self.b, self.a)):
                if not near.hub.peers():
                    self.world.dial(near, far)
                self.world.run(1 * SECOND)
        self.world.run(12 * SECOND)
        if not self.a.hub.peers():
            self.world.dial(self.a, self.b)
        self.world.run(1 * SECOND)
        assert self.a.hub.peers()
        assert self.b.hub.peers()


@pytest.mark.parametrize("same_dialler", [True, False])
def test_a_lost_welcome_loses_nothing(same_dialler: bool) -> None:
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=10 * MS)
    near, _ = world.dial(a, b)
    world.run(15 * MS)  # HELLO arrived at 10 ms, WELCOME would at 20
    assert b.told(PeerUp)
    world.post(b, a, b"sent after a WELCOME nobody saw")
    world.reset(near)
    world.run(50 * MS)
    assert a.told(PeerUp) == []
    world.dial(a, b) if same_dialler else world.dial(b, a)
    world.run(100 * MS)
    assert a.bodies() == [b"sent after a WELCOME nobody saw"]
    assert b.hub.counters["frame-lost"] == 0


def test_what_still_arrives_over_the_old_link_is_not_taken_twice() -> None:
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=10 * MS)
    near, far = world.dial(a, b)
    world.run(100 * MS)
    world.slow[near] = world.slow[far] = 2 * SECOND
    world.post(b, a, b"slow", b"too")
    world.run(1995 * MS)
    world.dial(a, b)  # HELLO says "nothing received"; then the old link delivers, then WELCOME and all of it again
    world.run(1 * SECOND)
    assert a.bodies() == [b"slow", b"too"]
    assert a.hub.counters["frame-duplicate"] == 2
    world.post(b, a, b"next")
    world.run(1 * SECOND)
    assert a.bodies() == [b"slow", b"too", b"next"]


@pytest.mark.parametrize("welcomed", [True, False])
def test_what_arrives_while_a_hello_is_under_way_is_acknowledged_after_it(welcomed: bool) -> None:
    """Else the peer has forgotten what the HELLO, which it reads later, asks for: its session would end."""
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=10 * MS)
    _, far = world.dial(a, b)
    world.run(100 * MS)
    world.slow[far] = 2 * SECOND
    world.post(b, a, b"slow", b"too")
    world.run(1995 * MS)
    second, _ = world.dial(a, b)
    world.slow[second] = 300 * MS  # HELLO is late, the acknowledgement on the old link would not be
    if not welcomed:
        world.run(100 * MS)
        world.reset(second)
    world.run(2 * SECOND)
    assert a.bodies() == [b"slow", b"too"]
    assert b.told(Reject) == [] and b.hub.counters["resume-range"] == 0
    world.post(b, a, b"next")
    world.run(3 * SECOND)
    assert a.bodies() == [b"slow", b"too", b"next"]
    session = b.hub._roster[a.node].session
    assert session is not None and not session._log, "all of it was acknowledged in the end"


def test_what_hello_grants_is_kept() -> None:
    a, b = Place(1), Place(2)
    world = World(a, b)
    near, _ = world.dial(a, b)
    world.run(50 * MS)
    bodies = [bytes([n]) * 100_000 for n in range(18)]
    world.post(a, b, *bodies[:4])
    world.run(50 * MS)
    world.reset(near)
    world.run(50 * MS)
    world.post(a, b, *bodies[4:])
    world.dial(a, b)  # a whole window comes in one piece, beyond what was granted before the break
    world.run(100 * MS)
    assert b.told(Reject) == []
    assert b.bodies() == bodies


def test_a_session_is_kept_for_its_time_and_then_counted_as_lost() -> None:
    a, b = Place(1), Place(2)
    world = World(a, b)
    near, _ = world.dial(a, b)
    world.run(50 * MS)
    world.reset(near)
    world.run(50 * MS)
    world.post(a, b, b"one", b"two")
    world.run(31 * SECOND)
    assert a.hub.counters["frame-lost"] == 2
    world.dial(a, b)
    world.run(50 * MS)
    assert b.bodies() == []
    assert [type(fact) for fact in a.told(PeerUp, PeerDown)] == [PeerUp, PeerDown, PeerUp]


def test_one_end_forgetting_the_session_starts_a_new_one_for_both() -> None:
    a, b = Place(1), Place(2, session_keep_us=1 * SECOND)
    world = World(a, b)
    near, _ = world.dial(a, b)
    world.run(50 * MS)
    world.post(a, b, b"before")
    world.post(b, a, b"too")
    world.run(50 * MS)
    world.reset(near)
    world.run(50 * MS)
    world.post(a, b, b"waits in vain")
    world.run(2 * SECOND)
    world.dial(a, b)
    world.run(50 * MS)
    world.post(a, b, b"after")
    world.post(b, a, b"back")
    world.run(50 * MS)
    assert b.bodies() == [b"before", b"after"]
    assert a.bodies() == [b"too", b"back"]
    assert a.hub.counters["frame-lost"] == 1


def test_data_frames_are_acknowledged_within_5_ms_and_control_rides_along() -> None:
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=0)
    world.dial(a, b)
    world.run(50 * MS)
    sent = b.writes
    world.post(a, b, b"data")
    world.run(4 * MS)
    assert b.writes == sent
    world.run(1 * MS)
    assert b.writes == sent + 1
    world.send(a, b, b"control")
    world.run(900 * MS)
    assert b.writes == sent + 1, "an ack of control waits for something to ride on"


def session() -> Session:
    place = Place(1)
    return Session(b"sessions", place.config)


def hello(config: HubConfig, *, received: int = 0, window: int = 1 << 20) -> Hello:
    return Hello(
        (1, 1), config.mesh, config.node, config.name, config.region, 1, config.run_id, 1, b"sessions", b"sessions",
        0, received, 0, window,
    )  # fmt: skip


def refused(reason: str, act: object) -> bool:
    assert callable(act)
    try:
        act()
    except RemoteError as error:
        return error.reason == reason
    return False


def test_an_ack_for_what_was_never_sent_is_refused() -> None:
    one = session()
    one.attach(hello(Place(2).config), 1)
    one.offer(Frame(Kind.CALL))
    one.pump(NOW)
    one.acknowledged(1)
    assert refused("ack-ahead", lambda: one.acknowledged(2))


def test_a_resume_beyond_what_was_sent_is_refused() -> None:
    one = session()
    assert refused("resume-range", lambda: one.attach(hello(Place(2).config, received=1), 1))


def test_a_resume_before_what_was_acknowledged_is_refused() -> None:
    one = session()
    one.attach(hello(Place(2).config), 1)
    for _ in range(3):
        one.offer(Frame(Kind.CALL))
    one.pump(NOW)
    one.acknowledged(2)
    assert refused("resume-range", lambda: one.attach(hello(Place(2).config, received=1), 2))
    assert one.attach(hello(Place(2).config, received=2), 2) == [Frame(Kind.CALL)]


def test_data_beyond_the_window_is_refused() -> None:
    one, world = session(), World(Place(1))
    frame = Frame(Kind.CALL, payload=b"x" * 1_100_000)
    assert one.accept(1, frame, world.now)
    assert one.accept(2, frame, world.now), "a frame may overdraw the credit it begins within"
    assert refused("credit-exceeded", lambda: one.accept(3, frame, world.now))


def test_a_frame_that_comes_again_is_acknowledged_again() -> None:
    one, world = session(), World(Place(1))
    assert one.accept(1, Frame(Kind.CALL), world.now)
    assert one.dues(world.now, riding=True)
    assert not one.accept(1, Frame(Kind.CALL), world.now)
    assert not one.dues(world.now, riding=True), "one has just left"
    world.run(ACK_REST_US)
    assert one.dues(world.now, riding=True), "its sender cannot forget it before"


def test_control_is_sent_before_data_that_waits() -> None:
    one = session()
    one.attach(hello(Place(2).config), 1)
    one.offer(Frame(Kind.CALL))
    one.offer(Frame(Kind.CONTROL))
    assert [frame.kind for frame in one.pump(NOW)] == [Kind.CONTROL, Kind.CALL]


def test_a_patient_frame_waits_for_something_to_ride_on_and_not_for_ever() -> None:
    one = session()
    one.attach(hello(Place(2).config), 1)
    patient, urgent = Frame(Kind.CONTROL, payload=b"patient"), Frame(Kind.CONTROL, payload=b"urgent")
    assert one.offer_patiently(patient, NOW)
    assert one.pump(NOW) == []
    due_us = one.deadline()
    assert due_us is not None and due_us == NOW.mono_us + HOUSE.control_ack_us
    assert one.pump(NOW, riding=True) == [patient]
    assert one.deadline() is None
    one.offer_patiently(patient, NOW)
    one.offer(urgent)
    assert one.pump(NOW) == [patient, urgent], "what waited is older"
    one.offer_patiently(patient, NOW)
    assert one.pump(Instant(due_us, 0)) == [patient]
    one.offer_patiently(patient, NOW)
    assert one.abandon() == 5, "four were not acknowledged, and one was not sent"
    assert one.pump(NOW, riding=True) == []


def test_patient_letters_ride_on_pings_and_cost_no_write_of_their_own() -> None:
    a, b = Place(1), Place(2)
    world = World(a, b)
    world.dial(a, b)
    world.run(10 * SECOND)
    before, writes = len(a.bodies()), b.writes
    for number in range(10):
        world.tell(b, Send(a.node, Channel.GOSSIP, bytes([number]), patient=True))
        world.run(HOUSE.control_ack_us)
        assert a.bodies()[before:] == [bytes([n]) for n in range(number + 1)]
    idle = b.writes
    world.run(10 * HOUSE.control_ack_us)
    assert idle - writes <= b.writes - idle + 1, "no more writes than without them"


def test_patient_frames_count_for_the_bound_of_the_queue() -> None:
    one = Session(b"sessions", Place(1).config)
    big = Frame(Kind.CONTROL, payload=b"x" * 1_000_000)
    assert [one.offer_patiently(big, NOW) for _ in range(5)].count(False) >= 1
    assert not one.offer(big)


def test_the_sender_log_is_bounded() -> None:
    one = Session(b"sessions", Place(1, log_frames_max=3).config)
    one.attach(hello(Place(2).config), 1)
    for _ in range(5):
        assert one.offer(Frame(Kind.CONTROL))
    assert len(one.pump(NOW)) == 3
    assert one.pump(NOW) == []
    one.acknowledged(1)
    assert len(one.pump(NOW)) == 1
