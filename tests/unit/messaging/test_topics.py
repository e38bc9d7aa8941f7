"""Topics of one switch: who gets what, who may, and what is dropped by name."""

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Action, Verdict
from meshnode.links.messages import Post
from meshnode.messaging import topics
from meshnode.messaging.batches import gathered
from meshnode.messaging.local import LocalUnits
from meshnode.messaging.messages import ListensTo, Reach
from meshnode.messaging.topics import Topics, decode, told
from meshnode.model.errors import RemoteError
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.wire.bus import Spread
from meshnode.wire.events import (
    EVENT_BYTES_MAX,
    FILTERS_MAX,
    PACK_BYTES_MAX,
    EventHeader,
    SubscribeHeader,
    checked,
    covering,
    encode,
    event_frame,
    events_in,
    is_filter,
    is_topic,
    matches,
    packed,
    read_event,
)
from meshnode.wire.frame import Frame, Kind

ME, PEER, FAR = (NodeId(bytes([number]) * 32) for number in (1, 2, 3))
NAMES = {ME: "n1", PEER: "n2", FAR: "n3"}
CONN = AgentConn(7)
TOPIC = "topic/line/3"


class Around:
    """What the room may ask, as a test sets it."""

    me, name = ME, "n1"

    def __init__(self) -> None:
        self.linked = [PEER]
        self.denied: list[tuple[NodeId, Action]] = []
        self.links = self.authority = self

    def name_of(self, node: NodeId) -> str:
        return NAMES[node]

    def last_heard_us(self, peer: NodeId) -> int | None:
        return 1 if peer in self.linked else None

    def may(self, subject: NodeId, action: Action, resource: str) -> Verdict:
        assert resource == "topic" or resource.startswith("topic/")
        allowed = (subject, action) not in self.denied
        return Verdict(allowed=allowed, reason="ok" if allowed else "no-role")


class Room:
    """The room under test with one agent and a clock."""

    def __init__(self) -> None:
        self.around, self.counters = Around(), Counters()
        self.topics = Topics(self.around, self.counters)  # pyright: ignore[reportArgumentType]
        units = LocalUnits("n1")
        units.up(InstanceId("words/0"), CONN, 0, 1)
        unit = units.of_conn(CONN)
        assert unit is not None
        self.unit, self.now_us = unit, SECOND

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, self.now_us // MS)

    def subscribe(self, *filters: str) -> list[Effect]:
        return self.topics.from_agent(self.unit, subscribe(*filters), self.now)

    def count(self, name: str) -> int:
        return self.counters.snapshot().get(name, 0)


def subscribe(*filters: str) -> Frame:
    return Frame(Kind.SUBSCRIBE, header=encode(SubscribeHeader(filters)))


def from_agent(topic: str = TOPIC, publisher: str = "", payload: bytes = b"1") -> Frame:
    return Frame(Kind.EVENT, header=encode(EventHeader(topic, publisher)), payload=payload)


def posts(effects: Sequence[Effect]) -> dict[NodeId, int]:
    return {effect.peer: len(effect.frames) for effect in gathered(effects) if isinstance(effect, Post)}


def test_names() -> None:
    assert is_topic("topic/a") and is_topic("topic/a.b/C_3") and is_filter("topic/*") and is_filter("topic/a/*")
    for bad in ("", "topic", "topic/", "a/b", "topic//a", "topic/a/", "topic/..", "topic/a/../b", "topic/*", "topic/ä"):
        assert not is_topic(bad), bad
    for bad in ("topic/*/a", "topic/a*", "*", "topic/a/**", "topic/" + "a" * 160, "topic" + "/a" * 17):
        assert not is_filter(bad), bad


@given(st.lists(st.sampled_from(["a", "b", "c", "..."]), min_size=1, max_size=5), st.integers(0, 5), st.booleans())
def test_a_filter_matches_what_it_covers(words: list[str], cut: int, wide: bool) -> None:
    topic = "/".join(["topic", *words])
    wanted = "/".join(["topic", *words][: cut + 1]) + ("/*" if wide else "")
    assert matches(wanted, topic) == (wanted in covering(topic))


def test_an_event_goes_to_each_who_listens_and_once_to_each_node() -> None:
    room = Room()
    assert room.subscribe(TOPIC, "topic/line/*") == [ListensTo(("topic/line/*", TOPIC))]
    room.topics.listen(5, ("topic/*",), room.now)
    room.topics.learned(PEER, told((TOPIC, "topic/line/*")))
    room.topics.learned(FAR, told(("topic/other",)))
    effects = gathered(room.topics.from_agent(room.unit, from_agent(), room.now))
    spread, post = effects
    assert isinstance(spread, Spread) and (spread.conns, spread.doors) == ((CONN,), (5,))
    assert isinstance(post, Post) and post.peer == PEER and post.frames == spread.frames
    assert read_event(spread.frames[0]) == EventHeader(TOPIC, "agent/words/n1")


def test_events_of_one_turn_leave_in_one_piece_and_in_order() -> None:
    room = Room()
    room.subscribe("topic/line/*")
    room.topics.learned(PEER, told((TOPIC,)))
    payloads = [str(number).encode() for number in range(50)]
    effects = [e for p in payloads for e in room.topics.from_agent(room.unit, from_agent(payload=p), room.now)]
    for effect in gathered(effects):
        assert isinstance(effect, Post | Spread)
        (frame,) = effect.frames
        assert events_in(frame) == payloads and read_event(frame).publisher == "agent/words/n1"


@given(
    st.lists(st.tuples(st.sampled_from(["topic/a", "topic/b"]), st.binary(max_size=20_000)), min_size=1, max_size=40)
)
def test_packing_keeps_every_event_its_topic_and_its_order(events: list[tuple[str, bytes]]) -> None:
    frames = packed([event_frame(topic, "node/n1", payload) for topic, payload in events])
    assert [(read_event(frame).topic, each) for frame in frames for each in events_in(frame)] == events
    assert all(len(frame.payload) <= max(PACK_BYTES_MAX, len(events_in(frame)[0])) for frame in frames)


@pytest.mark.parametrize("lengths", [[1], [1, 1, 2], [4, -1], [0] * 300 + [3], ["x"]])
def test_events_that_do_not_fill_their_frame_are_junk(lengths: list[object]) -> None:
    with pytest.raises(RemoteError, match="event-junk"):
        read_event(Frame(Kind.EVENT, header=encode([TOPIC, "node/n2", lengths]), payload=b"123"))


def test_who_published_is_what_the_daemon_knows() -> None:
    room = Room()
    room.subscribe("topic/*")
    (spread,) = room.topics.from_agent(room.unit, from_agent(publisher="node/boss"), room.now)
    assert isinstance(spread, Spread) and read_event(spread.frames[0]).publisher == "agent/words/n1"
    assert room.count("event-origin") == 1


@pytest.mark.parametrize("publisher", ["", "node/n1", "agent/words/n1", "agent//n2", "agent/a/b/n2", "boss", "node/"])
def test_a_peer_that_lies_about_the_publisher_is_refused(publisher: str) -> None:
    room = Room()
    room.subscribe("topic/*")
    with pytest.raises(RemoteError, match="event-origin"):
        room.topics.from_peer(PEER, event_frame(TOPIC, publisher, b"1"))


def test_an_event_of_a_peer_goes_no_further() -> None:
    room = Room()
    room.topics.learned(FAR, told(("topic/*",)))
    room.around.linked.append(FAR)
    assert room.topics.from_peer(PEER, event_frame(TOPIC, "agent/a/n2", b"1")) == []
    assert room.count("event-unwanted") == 1
    room.subscribe(TOPIC)
    (spread,) = room.topics.from_peer(PEER, event_frame(TOPIC, "node/n2", b"1"))
    assert isinstance(spread, Spread)


def test_the_policy_is_asked_on_both_sides() -> None:
    room = Room()
    room.topics.learned(PEER, told((TOPIC,)))
    room.around.denied = [(ME, Action.PUBLISH), (PEER, Action.PUBLISH), (FAR, Action.SUBSCRIBE), (ME, Action.SUBSCRIBE)]
    with pytest.raises(RemoteError, match="event-denied"):
        room.topics.publish(TOPIC, "node/n1", b"1", room.now)
    assert room.topics.from_peer(PEER, event_frame(TOPIC, "node/n2", b"1")) == []
    room.topics.learned(FAR, told((TOPIC,)))
    assert room.topics.listening(FAR) == ()
    assert room.subscribe(TOPIC) == [] and room.count("subscribe-denied") == 1 and room.topics.wanted == ()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (from_agent("topic/a/../b"), "event-topic"),
        (from_agent("words"), "event-topic"),
        (from_agent(payload=b'"' + b"x" * EVENT_BYTES_MAX), "event-too-long"),
        (Frame(Kind.EVENT, header=b"\xc1"), "event-junk"),
        (Frame(Kind.EVENT, header=msgspec.msgpack.encode([TOPIC, "x" * 300])), "event-junk"),
        (Frame(Kind.SUBSCRIBE, header=b"\xc1"), "subscribe-junk"),
        (subscribe("topic/*/a"), "event-topic"),
        (subscribe(*(f"topic/{number}" for number in range(FILTERS_MAX + 1))), "subscribe-too-many"),
    ],
)
def test_junk_of_an_agent_is_counted_by_name(frame: Frame, reason: str) -> None:
    room = Room()
    assert room.topics.from_agent(room.unit, frame, room.now) == [] and room.count(reason) == 1


def test_what_a_node_listens_to_is_told_at_most_ten_times_a_second() -> None:
    room = Room()
    assert room.subscribe("topic/a") == [ListensTo(("topic/a",))]
    told_of = 0
    for number in range(100):
        told_of += len(room.subscribe(f"topic/a{number}"))
    assert told_of == 0 and room.topics.deadline() == room.now_us + topics.PAUSE_US
    room.now_us += topics.PAUSE_US
    assert room.topics.wake(room.now) == [ListensTo(("topic/a99",))] and room.topics.deadline() is None
    room.now_us += topics.PAUSE_US
    assert room.topics.gone(CONN, room.now) == [ListensTo(())]


def test_a_node_without_a_link_is_dialled_and_gets_what_waited() -> None:
    room = Room()
    room.topics.learned(FAR, told((TOPIC,)))
    effects = [e for _ in range(3) for e in room.topics.publish(TOPIC, "node/n1", b"1", room.now)]
    assert effects == [Reach(FAR)]
    (post,) = room.topics.peer_up(FAR)
    assert isinstance(post, Post) and post.peer == FAR and len(post.frames) == 3
    assert room.topics.peer_up(FAR) == [] and room.topics.deadline() is None


def test_a_node_that_cannot_be_reached_costs_one_dial_in_ten_seconds() -> None:
    room = Room()
    room.topics.learned(FAR, told((TOPIC,)))
    assert room.topics.publish(TOPIC, "node/n1", b"1", room.now) == [Reach(FAR)]
    room.now_us += topics.REACH_US
    assert room.topics.wake(room.now) == [] and room.count("event-unreached") == 1
    assert room.topics.publish(TOPIC, "node/n1", b"1", room.now) == [] and room.count("event-unreached") == 2
    room.now_us += topics.REST_US
    assert room.topics.publish(TOPIC, "node/n1", b"1", room.now) == [Reach(FAR)]


def test_what_waits_for_a_link_is_bounded() -> None:
    room = Room()
    room.topics.learned(FAR, told((TOPIC,)))
    payload = b'"' + b"x" * (EVENT_BYTES_MAX - 2) + b'"'
    fit = topics.PENDING_BYTES_MAX // EVENT_BYTES_MAX
    for _ in range(fit + 10):
        room.topics.publish(TOPIC, "node/n1", payload, room.now)
    (post,) = room.topics.peer_up(FAR)
    assert isinstance(post, Post) and fit - 2 <= len(post.frames) <= fit
    assert room.count("event-unreached") == fit + 10 - len(post.frames)


def test_a_fact_that_says_nothing_readable_counts_as_silence() -> None:
    room = Room()
    room.topics.learned(PEER, told((TOPIC,)))
    for junk in (b"\xc1", encode(["x"]), encode(["topic/a"] * (FILTERS_MAX + 1)), encode(3)):
        room.topics.learned(PEER, junk)
        assert room.topics.listening(PEER) == ()
    assert room.count("topics-junk") == 4
    assert posts(room.topics.publish(TOPIC, "node/n1", b"1", room.now)) == {}


WORDS = st.sampled_from(["a", "b", "robots", "x" * 30])


def _filter(words: list[str], wide: bool) -> str:
    return "/".join(["topic", *words]) + ("/*" if wide else "")


FILTERS = st.lists(st.builds(_filter, st.lists(WORDS, min_size=1, max_size=4), st.booleans()), max_size=120)


@given(FILTERS, st.sampled_from([40, 200, 1000]), st.lists(WORDS, min_size=1, max_size=4))
def test_a_fact_that_is_too_long_becomes_coarser_and_never_loses_a_topic(
    filters: list[str], bytes_max: int, words: list[str]
) -> None:
    value = told(tuple(filters), bytes_max)
    assert len(value) <= bytes_max
    names = decode(value) if value else ()
    assert names is not None and len(names) <= FILTERS_MAX and bool(names) == bool(filters)
    topic = "/".join(["topic", *words])
    if any(matches(each, topic) for each in filters):
        assert any(matches(each, topic) for each in names)


def test_the_fact_of_a_thousand_topics() -> None:
    many = tuple(f"topic/robots/r{number}/pose" for number in range(1000))
    assert decode(told(many)) == ("topic/robots/*",)
    assert decode(told((*many, "topic/alarm"))) == ("topic/alarm", "topic/robots/*")
    assert decode(told(tuple(f"topic/t{number}" for number in range(1000)))) == ("topic/*",)


def test_so_many_listen_and_no_more() -> None:
    room = Room()
    for door in range(topics.LISTENERS_MAX):
        room.topics.listen(door, (TOPIC,), room.now)
    with pytest.raises(RemoteError, match="subscribe-full"):
        room.topics.listen(topics.LISTENERS_MAX, (TOPIC,), room.now)
    room.topics.listen(0, (), room.now)
    room.topics.listen(topics.LISTENERS_MAX, (TOPIC,), room.now)


def test_listeners_of_a_topic_in_the_order_in_which_they_came() -> None:
    listeners: topics.Listeners[int] = topics.Listeners()
    for key, wanted in enumerate(itertools.islice(itertools.cycle(["topic/a/b", "topic/a/*", "topic/c"]), 9)):
        listeners.set(key, checked((wanted,)))
    assert listeners.of("topic/a/b") == (0, 3, 6, 1, 4, 7)
    for key in range(9):
        listeners.set(key, ())
    assert not len(listeners) and not list(listeners.filters) and listeners.of("topic/a/b") == ()
