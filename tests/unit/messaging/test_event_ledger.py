"""Every event that was published has an end with a name: heard, dropped, unreached, or on the way when a link broke.

A round of a bench once missed 35,584, which are 139 batches of 256: its gate let 64 frames wait for a link that keeps
63, so while the reader was slow each turn published a batch that was dropped whole, and counted by its eight frames.
"""

from dataclasses import dataclass, field

import pytest

from bench.talk.blowing import WAITING_MAX
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Action, Verdict
from meshnode.links.gusts import WINDOW_BYTES, Gusts
from meshnode.links.messages import FramesReceived, PeerUp, Post
from meshnode.messaging import topics
from meshnode.messaging.batches import gathered
from meshnode.messaging.topics import Topics, told
from meshnode.model.ids import NodeId
from meshnode.wire.bus import Spread
from meshnode.wire.events import count_in, events_in
from meshnode.wire.frame import Frame
from tests.unit.links.pipe import Place, World

TOPIC, BATCH, BYTES = "topic/bench", 256, 1024
DOOR = 1


class Surroundings:
    """What topics ask of the rooms around, of a node with real links."""

    def __init__(self, place: Place) -> None:
        self.me, self.name, self.links, self.authority = place.node, place.config.name, place.hub, self

    def name_of(self, node: NodeId) -> str:
        return f"n{node[0]}"

    def may(self, subject: NodeId, action: Action, resource: str) -> Verdict:
        assert subject and action and resource
        return Verdict(allowed=True, reason="")


@dataclass
class Station:
    """A node's links with topics above them."""

    world: World
    place: Place
    counters: Counters = field(default_factory=Counters)
    heard: int = 0
    _seen: int = 0

    def __post_init__(self) -> None:
        around = Surroundings(self.place)
        self.topics = Topics(around, self.counters)  # pyright: ignore[reportArgumentType]

    def publish(self, count: int) -> None:
        self._perform(
            self.topics.publish_all(TOPIC, f"node/{self.place.config.name}", [bytes(BYTES)] * count, self.now)
        )

    @property
    def now(self) -> Instant:
        return self.world.now

    def go_on(self) -> None:
        """What the links told meanwhile, and timers."""
        facts, self._seen = self.place.facts[self._seen :], len(self.place.facts)
        for fact in facts:
            match fact:
                case FramesReceived(peer, frames):
                    for frame in frames:
                        self._perform(self.topics.from_peer(peer, frame))
                case PeerUp(peer):
                    self._perform(self.topics.peer_up(peer))
                case _:
                    pass
        self._perform(self.topics.wake(self.now))

    def _perform(self, effects: list[Effect]) -> None:
        for effect in gathered(effects):
            match effect:
                case Post():
                    self.world.tell(self.place, effect)
                case Spread(doors=doors, frames=frames) if DOOR in doors:
                    self.heard += sum(len(events_in(frame)) for frame in frames)
                case _:
                    pass


@dataclass(frozen=True)
class Ledger:
    """How all that was published ended."""

    published: int
    heard: int
    dropped: int
    unreached: int
    doubtful: int

    @property
    def missed(self) -> int:
        """What has no end at all, if all in doubt were lost."""
        return self.published - self.heard - self.dropped - self.unreached - self.doubtful


def played(*, away_us: int, rounds: int = 400) -> Ledger:
    """A batch each millisecond; half-way the link is reset, and comes back after ``away_us``."""
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=1 * MS)
    talks, listens = Station(world, a), Station(world, b)
    near, _ = world.dial(a, b)
    world.run(100 * MS)
    listens.topics.listen(DOOR, (TOPIC,), world.now)
    talks.topics.learned(b.node, told((TOPIC,)))
    back_us = None
    for number in range(rounds):
        if number == rounds // 2 and away_us:
            world.reset(near)
            back_us = world.now_us + away_us
        if back_us is not None and world.now_us >= back_us:
            world.dial(a, b, dial_no=2)
            back_us = None
        talks.publish(BATCH)
        world.run(1 * MS)
        talks.go_on()
        listens.go_on()
    for _ in range(60):
        world.run(100 * MS)
        talks.go_on()
        listens.go_on()
    return Ledger(
        rounds * BATCH, listens.heard, a.hub.counters["event-dropped"], talks.counters["event-unreached"],
        a.hub.counters["event-in-doubt"],
    )  # fmt: skip


def test_without_a_break_every_event_is_heard_or_counted_as_dropped() -> None:
    told = played(away_us=0)
    assert told.heard + told.dropped == told.published and told.unreached == told.doubtful == 0


@pytest.mark.parametrize("away_us", [30 * MS, 150 * MS, 20 * SECOND])
def test_with_a_break_every_event_has_a_name(away_us: int) -> None:
    told = played(away_us=away_us)
    lost = told.published - told.heard
    assert lost > 0
    assert lost - told.doubtful <= told.dropped + told.unreached <= lost
    assert 0 < told.doubtful * BYTES <= 2 * WINDOW_BYTES


def gated(waiting_max: int) -> Ledger:
    """A reader a tenth of a second away, and a publisher that goes on while no more frames than that wait."""
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=100 * MS)
    talks, listens = Station(world, a), Station(world, b)
    world.dial(a, b)
    world.run(1 * SECOND)
    listens.topics.listen(DOOR, (TOPIC,), world.now)
    talks.topics.learned(b.node, told((TOPIC,)))
    batches = 0
    for _ in range(1000):
        if a.hub.events_waiting(b.node) <= waiting_max:
            talks.publish(BATCH)
            batches += 1
        world.run(1 * MS)
        listens.go_on()
    world.run(2 * SECOND)
    listens.go_on()
    return Ledger(batches * BATCH, listens.heard, a.hub.counters["event-dropped"], 0, 0)


def test_a_gate_above_what_a_link_keeps_costs_whole_batches_and_each_is_counted() -> None:
    """What the bench did; the links count all of it, and the gate it has now loses none."""
    open_gate, shut_gate = gated(64), gated(WAITING_MAX)
    assert open_gate.heard + open_gate.dropped == open_gate.published
    assert open_gate.dropped > 139 * BATCH
    assert shut_gate.dropped == 0 and shut_gate.heard == shut_gate.published > 40 * BATCH


def test_a_link_that_is_gone_costs_whole_batches_that_the_links_do_not_know_of() -> None:
    """Nobody who asks the links alone learns of those."""
    told = played(away_us=20 * SECOND)
    by_the_links_alone = told.published - told.heard - told.dropped - told.doubtful
    assert told.unreached > 139 * BATCH and told.unreached % BATCH == 0
    assert by_the_links_alone >= told.unreached - told.doubtful


def test_events_on_the_way_that_nobody_counts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: of a link that breaks only what waited is counted."""
    monkeypatch.setattr(Gusts, "doubtful", property(lambda _self: 0))
    assert played(away_us=30 * MS).missed > 0


def test_unreached_events_counted_by_their_frames_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(frame: Frame) -> int:
        assert count_in(frame) > 0
        return 1

    monkeypatch.setattr(topics, "count_in", one)
    assert played(away_us=20 * SECOND).missed > 0
