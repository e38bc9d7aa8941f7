"""Wires with the manners of TCP."""

import heapq
import itertools
from collections.abc import Callable

import pytest

from meshnode.gossip.messages import DialFailed
from meshnode.kernel import rng
from meshnode.kernel.effects import Dial
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.links.messages import LinkBytes, LinkLost, LinkOpened
from meshnode.model.ids import LinkId, NodeId
from meshnode.sim.network import Cut, Network

DELAY_US = 10 * MS


class Box:
    """A machine that only listens."""

    def __init__(self, wires: "Wires", name: str) -> None:
        self.name = self.node_name = name
        self.node = NodeId(name.encode() * 32)
        self.life = self.kernel = 0
        self.alive = self.powered = True
        self.paused = False
        self.heard: list[tuple[int, object]] = []
        self._wires = wires

    def hear(self, event: object) -> None:
        self.heard.append((self._wires.now_us, event))

    def tell(self, event: object) -> None:
        self.hear(event)

    def kinds(self) -> list[str]:
        return [type(event).__name__ for _, event in self.heard]

    def data(self) -> bytes:
        return b"".join(event.data for _, event in self.heard if isinstance(event, LinkBytes))


class Wires:
    """Time, and two machines on one wire."""

    def __init__(self) -> None:
        self.now_us = 0
        self._numbers = itertools.count()
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self.network = Network(self, rng.fork(b"wires", "test"), lambda a, b: DELAY_US)
        self.network.loss = self.network.jitter = 0.0
        self.a, self.b = Box(self, "a"), Box(self, "b")
        for box in (self.a, self.b):
            self.network.join(box, (box.name, 1))

    def at(self, t_us: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (t_us, next(self._numbers), act))

    def run(self, seconds: float) -> None:
        end_us = self.now_us + round(seconds * SECOND)
        while self._heap and self._heap[0][0] <= end_us:
            self.now_us, _, act = heapq.heappop(self._heap)
            act()
        self.now_us = end_us

    def linked(self) -> LinkId:
        self.network.dial(self.a, Dial(1, "b", 1))
        self.run(0.2)
        (_, opened), *_ = self.a.heard
        assert isinstance(opened, LinkOpened)
        self.a.heard.clear()
        self.b.heard.clear()
        return opened.link

    def both_ways(self) -> Cut:
        return Cut((("a", "b"), ("b", "a")))


@pytest.fixture
def wires() -> Wires:
    return Wires()


def test_a_dial_opens_both_sides_after_the_round_trips_of_tcp_and_tls(wires: Wires) -> None:
    wires.network.dial(wires.a, Dial(7, "b", 1, wires.b.node))
    wires.run(1.0)
    [(at_a, opened_a)], [(at_b, opened_b)] = wires.a.heard, wires.b.heard
    assert isinstance(opened_a, LinkOpened) and isinstance(opened_b, LinkOpened)
    assert (opened_a.peer, opened_a.dial_no, opened_a.inbound) == (wires.b.node, 7, False)
    assert (opened_b.peer, opened_b.dial_no, opened_b.inbound) == (wires.a.node, 0, True)
    assert 4 * DELAY_US <= at_a < at_b <= at_a + DELAY_US


@pytest.mark.parametrize(
    ("prepare", "how"),
    [
        (lambda w: setattr(w.b, "alive", False), DialFailure.REFUSED),
        (lambda w: setattr(w.b, "powered", False), DialFailure.TIMEOUT),
        (lambda w: setattr(w.b, "paused", True), DialFailure.TIMEOUT),
        (lambda w: w.network.cut(w.both_ways()), DialFailure.TIMEOUT),
        (lambda w: w.network.cut(Cut((("b", "a"),))), DialFailure.TIMEOUT),
        (lambda w: w.network.cut(Cut((("a", "b"),), rejects=True)), DialFailure.REFUSED),
        (lambda w: w.network.cut(Cut((("a", "b"), ("b", "a")), unplugged="a")), DialFailure.UNREACHABLE),
    ],
)
def test_a_dial_fails_as_the_way_and_the_other_side_are(
    wires: Wires, prepare: Callable[[Wires], None], how: DialFailure
) -> None:
    prepare(wires)
    wires.network.dial(wires.a, Dial(1, "b", 1))
    wires.run(10.0)
    [(at_us, failed)] = wires.a.heard
    assert isinstance(failed, DialFailed) and failed.how is how
    assert at_us <= 3.2 * SECOND
    assert not wires.b.heard


def test_somebody_else_behind_an_address_is_not_trusted(wires: Wires) -> None:
    wires.network.dial(wires.a, Dial(1, "b", 1, NodeId(b"c" * 32)))
    wires.run(1.0)
    [(_, failed)] = wires.a.heard
    assert isinstance(failed, DialFailed) and failed.how is DialFailure.UNTRUSTED


def test_bytes_arrive_in_order_whatever_gets_lost(wires: Wires) -> None:
    link = wires.linked()
    wires.network.loss = 0.5
    sent = [bytes([number]) for number in range(100)]
    for data in sent:
        wires.network.transmit(wires.a, link, data)
        wires.run(0.003)
    wires.run(60.0)
    assert wires.b.data() == b"".join(sent)
    assert wires.network.counts.late > 0


def test_a_silent_cut_is_silent_and_what_fell_into_it_arrives_after_it(wires: Wires) -> None:
    link = wires.linked()
    cut = wires.both_ways()
    wires.network.cut(cut)
    wires.network.transmit(wires.a, link, b"one ")
    wires.run(20.0)
    wires.network.transmit(wires.a, link, b"two")
    wires.run(1.0)
    assert not wires.a.heard and not wires.b.heard
    wires.network.heal(cut)
    wires.run(60.0)
    assert wires.b.data() == b"one two"
    assert wires.b.kinds() == ["LinkBytes", "LinkBytes"]


def test_a_one_way_cut_lets_the_other_way_through(wires: Wires) -> None:
    link = wires.linked()
    wires.network.cut(Cut((("a", "b"),)))
    wires.network.transmit(wires.a, link, b"lost")
    wires.network.transmit(wires.b, LinkId(1), b"heard")
    wires.run(30.0)
    assert wires.a.data() == b"heard"
    assert not wires.b.heard


def test_a_reset_is_heard_on_both_sides_at_once(wires: Wires) -> None:
    link = wires.linked()
    wires.network.reset([("a", "b")])
    wires.network.transmit(wires.a, link, b"too late")
    wires.run(1.0)
    assert [event for _, event in wires.a.heard] == [LinkLost(link, Loss.RESET)]
    assert wires.b.kinds() == ["LinkLost"]


def test_a_killed_process_resets_its_connections(wires: Wires) -> None:
    link = wires.linked()
    wires.network.process_died(wires.b)
    wires.b.alive = False
    wires.run(1.0)
    assert [event for _, event in wires.a.heard] == [LinkLost(link, Loss.RESET)]


def test_a_machine_without_power_is_silent_until_it_is_back_and_knows_nothing(wires: Wires) -> None:
    link = wires.linked()
    wires.b.powered = False
    wires.network.process_died(wires.b)
    wires.b.alive = False
    wires.network.transmit(wires.a, link, b"anybody?")
    wires.run(30.0)
    assert not wires.a.heard
    wires.b.powered, wires.b.kernel, wires.b.life, wires.b.alive = True, 1, 1, True
    wires.run(60.0)
    assert [event for _, event in wires.a.heard] == [LinkLost(link, Loss.RESET)]
    assert not wires.b.heard


def test_closing_in_order_delivers_what_was_sent_before(wires: Wires) -> None:
    link = wires.linked()
    wires.network.transmit(wires.a, link, b"goodbye")
    wires.network.close(wires.a, link, abort=False)
    wires.run(1.0)
    assert [event for _, event in wires.a.heard] == [LinkLost(link, Loss.CLOSED)]
    assert [event for _, event in wires.b.heard] == [LinkBytes(LinkId(1), b"goodbye"), LinkLost(LinkId(1), Loss.EOF)]


def test_an_aborted_link_takes_no_more_and_resets_the_peer(wires: Wires) -> None:
    link = wires.linked()
    wires.network.close(wires.a, link, abort=True)
    wires.network.transmit(wires.a, link, b"no")
    wires.run(1.0)
    assert [event for _, event in wires.b.heard] == [LinkLost(LinkId(1), Loss.RESET)]


def test_a_reset_lost_in_a_cut_leaves_a_half_open_link_that_the_next_byte_ends(wires: Wires) -> None:
    link = wires.linked()
    cut = wires.both_ways()
    wires.network.cut(cut)
    wires.network.close(wires.a, link, abort=True)
    wires.run(5.0)
    wires.network.heal(cut)
    wires.run(5.0)
    assert not wires.b.heard
    wires.network.transmit(wires.b, LinkId(1), b"still there?")
    wires.run(1.0)
    assert [event for _, event in wires.b.heard] == [LinkLost(LinkId(1), Loss.RESET)]


def test_overlapping_cuts_end_one_by_one(wires: Wires) -> None:
    first, second = wires.both_ways(), wires.both_ways()
    wires.network.cut(first)
    wires.network.cut(second)
    wires.network.heal(first)
    wires.network.heal(first)
    assert not wires.network.passes("a", "b")
    wires.network.heal(second)
    assert wires.network.passes("a", "b")
