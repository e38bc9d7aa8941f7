"""Alerts: whose word counts, how often it is given, and what the repair finds when a rumour was lost."""

import itertools
import random
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.gossip import alerts
from meshnode.gossip.alerts import MOMENT_US, Alert, Batch, Outgoing, Raise, Told
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.detector import Detector
from meshnode.gossip.directory import Directory
from meshnode.gossip.docket import CROWD
from meshnode.gossip.letters import AlertRumour, AlertsRumour, Push, decode_rumour, encode
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import Subject
from meshnode.gossip.subjects import Subjects
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Channel
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import NodeId
from tests.unit.gossip.test_subjects import NODES, Half
from tests.unit.gossip.world import Box, Judge, Key, Members, Stats, World, luck, mesh

NOW = Instant(10 * SECOND, 0)


def rumour(subject: Box, observer: Key, signer: Key, incarnation: int = 0) -> bytes:
    body = msgspec.msgpack.encode(Alert(subject.id, subject.boot, incarnation, observer.node, Evidence.REFUSED))
    return encode(Push(encode(AlertRumour(body, signer.sign(alerts.CONTEXT, body)))))


@pytest.mark.parametrize(("reason", "observer", "signer"), [
    ("alert-forged", "n2", "n1"),
    ("alert-unknown-observer", "stranger", "stranger"),
    ("alert-unknown-observer", "n3", "n3"),
])  # fmt: skip
def test_an_alert_that_is_not_its_observers_word_is_refused_and_not_counted(
    reason: str, observer: str, signer: str
) -> None:
    world, boxes = mesh(4)
    letter = rumour(boxes[3], Key(observer), Key(signer))
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, letter))
    assert [reject.reason for reject in boxes[0].rejects] == [reason]
    assert boxes[0].gossip.votes(boxes[3].id) == {}


def test_an_alert_is_counted_and_its_living_subject_refutes_it_for_all() -> None:
    world, boxes = mesh(4)
    letter = rumour(boxes[3], boxes[1].key, boxes[1].key)
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, letter))
    assert boxes[0].gossip.votes(boxes[3].id) == {boxes[1].id: Evidence.REFUSED}
    world.run_for(1.0)
    assert boxes[3].gossip.self_row().incarnation == 1
    assert all(box.gossip.votes(boxes[3].id) == {} for box in boxes)
    assert all(world.state(box, boxes[3]) is MemberState.READY for box in boxes)


def test_an_alert_about_an_incarnation_that_was_never_signed_counts_nothing() -> None:
    world, boxes = mesh(3)
    letter = rumour(boxes[2], boxes[1].key, boxes[1].key, incarnation=7)
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, letter))
    world.run_for(1.0)
    assert boxes[0].gossip.votes(boxes[2].id) == {}
    assert boxes[2].gossip.self_row().incarnation == 0


def test_an_observer_whose_alerts_are_refuted_repeats_them_ever_more_rarely() -> None:
    world = World()
    box = world.box("me")
    config = GossipConfig(node=box.id, name="me", region="r", boot=1, member=b"")
    subjects = Subjects(box.id, Directory(Judge(), Members()))
    detector = Detector(config, Stats(world, box), luck(1), subjects)
    other = Key("other").node

    def row(incarnation: int, seconds: float) -> None:
        subject = Subject(other, "other", "r", 1, incarnation)
        detector.learn(subject, None, Instant(round(seconds * SECOND), 0), alive_now=True)

    row(0, 1.0)
    detector.up(other, 1, Instant(1 * SECOND, 0))
    detector.down(other, Loss.RESET, "", Instant(2 * SECOND, 0))
    told: list[float] = []
    for tenths in range(21, 2000):
        now = Instant(tenths * SECOND // 10, 0)
        detector.dial_failed(other, DialFailure.TIMEOUT, now, proven=True)
        if any(isinstance(effect, Raise) for effect in detector.wake(now)):
            told.append(tenths / 10)
            row(len(told), tenths / 10)  # it lives, and says so
    assert 3 <= len(told) <= 6
    gaps = [b - a for a, b in itertools.pairwise(told)]
    assert gaps[0] >= 10.0
    assert gaps == sorted(gaps)


def test_what_every_rumour_missed_the_periodic_repair_brings() -> None:
    world, boxes = mesh(4)
    row = boxes[1].gossip._parts.me.describe(b'{"gpu":2}', (boxes[1].address,), world.now())
    assert row is not None
    boxes[1].gossip._rolls.hold_own(row)  # kept, and told to nobody
    world.run_for(0.5)
    assert len({box.gossip.directory_root() for box in boxes}) == 2
    took = world.run_until(lambda: len({box.gossip.directory_root() for box in boxes}) == 1, 13.0)
    assert took <= 12.0, "two periods of the slowest pace"


# -- several at once --------------------------------------------------------------------------------------------------


def batch(observer: Key, signer: Key, subjects: list[Box]) -> AlertsRumour:
    told = tuple(Told(box.id, box.boot, 0, Evidence.REFUSED) for box in subjects)
    body = msgspec.msgpack.encode(Batch(observer.node, told))
    return AlertsRumour(body, signer.sign(alerts.BATCH_CONTEXT, body))


@pytest.mark.parametrize(("reason", "observer", "signer"), [
    ("alert-forged", "n2", "n1"),
    ("alert-unknown-observer", "stranger", "stranger"),
    ("alert-unknown-observer", "n3", "n3"),
])  # fmt: skip
def test_a_batch_that_is_not_its_observers_word_is_refused_as_a_whole(reason: str, observer: str, signer: str) -> None:
    world, boxes = mesh(4)
    letter = encode(Push(encode(batch(Key(observer), Key(signer), [boxes[1], boxes[3]]))))
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, letter))
    assert [reject.reason for reject in boxes[0].rejects] == [reason]
    assert boxes[0].gossip.votes(boxes[1].id) == boxes[0].gossip.votes(boxes[3].id) == {}


def test_a_batch_is_counted_passed_on_and_refuted_by_each_that_lives() -> None:
    world, boxes = mesh(4)
    letter = encode(Push(encode(batch(boxes[1].key, boxes[1].key, boxes[2:]))))
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, letter))
    assert [boxes[0].gossip.votes(box.id) for box in boxes[2:]] == [{boxes[1].id: Evidence.REFUSED}] * 2
    world.run_for(1.0)
    assert [box.gossip.self_row().incarnation for box in boxes] == [0, 0, 1, 1]
    assert all(box.gossip.votes(other.id) == {} for box in boxes for other in boxes)


def test_losses_of_one_moment_are_told_together_and_the_first_of_them_at_once() -> None:
    outgoing, lost = Outgoing(), [Raise(NodeId(bytes([n]) * 32), 1, 0, Evidence.REFUSED, ()) for n in range(40)]
    outgoing.add(lost[0], Instant(SECOND, 0))
    assert outgoing.due(Instant(SECOND, 0)) == [lost[0]]
    for each in lost[1:]:
        outgoing.add(each, Instant(SECOND, 0))
        assert outgoing.due(Instant(SECOND + MOMENT_US - 1, 0)) == []
    assert outgoing.deadline() == SECOND + MOMENT_US
    assert outgoing.due(Instant(SECOND + MOMENT_US, 0)) == lost[1:] and outgoing.deadline() is None
    rumours = alerts.signed(lost[1:], Key("n0"))
    assert [len(alerts.read(rumour)) for rumour in rumours] == [32, 7]
    assert all(len(encode(Push(encode(rumour)))) < 16 * 1024 for rumour in rumours)
    assert [type(rumour) for rumour in alerts.signed(lost[:3], Key("n0"))] == [AlertRumour] * 3


def test_where_many_are_lost_the_first_waits_for_the_others_and_two_are_signed_as_one() -> None:
    outgoing, lost = Outgoing(), [Raise(NodeId(bytes([n]) * 32), 1, 0, Evidence.REFUSED, ()) for n in range(2)]
    for number, each in enumerate(lost):
        outgoing.add(each, Instant(SECOND + number, 0), many=True)
        assert outgoing.due(Instant(SECOND + number, 0)) == [] and outgoing.deadline() == SECOND + MOMENT_US
    assert outgoing.due(Instant(SECOND + MOMENT_US, 0)) == lost
    assert [len(alerts.read(rumour)) for rumour in alerts.signed(lost, Key("n0"), many=True)] == [2]
    assert [type(rumour) for rumour in alerts.signed(lost[:1], Key("n0"), many=True)] == [AlertRumour]


def told(votes: int, lost: int) -> list[Raise]:
    """What a node says of its neighbour that refuses a dial, and of which so many others said that it does.

    ``lost``: so many of its neighbours broke off in that moment.
    """
    played, now = Half(Subjects), Instant(10 * SECOND, 0)
    for node in NODES:
        played.learn(node, (1, 0), None, now)
    for node in NODES[:4]:
        played.do(("up", node), now)
    for node in NODES[:lost]:
        played.do(("down", node, Loss.RESET), now)
    for by in NODES[3 : 3 + votes]:
        played.do(("alert", NODES[0], by, Evidence.REFUSED), now)
    made = played.detector.dial_failed(NODES[0], DialFailure.REFUSED, now, proven=True)
    made += played.detector.wake(Instant(now.mono_us + MS, 0))
    return [each for each in made if isinstance(each, Raise) and each.subject == NODES[0]]


def test_where_many_are_lost_nobody_repeats_what_two_others_have_proved() -> None:
    assert [len(told(votes, lost=3)) for votes in (0, 1, 2)] == [1, 1, 0]
    assert [len(told(votes, lost=2)) for votes in (0, 1, 2)] == [1, 1, 1], "of few all their observers speak"


class Crowd(Half):
    """A node that doubts many, and passes on each word that is news to it."""

    def __init__(self) -> None:
        super().__init__(Subjects)
        for number in range(CROWD):
            doubted = NodeId((1 + number).to_bytes(4) * 8)
            self.learn(doubted, (1, 0), None, NOW)
            self.do(("alert", doubted, NODES[0], Evidence.SILENT), NOW)
        self.learn(NODES[0], (1, 0), None, NOW)
        self.heard: list[NodeId] = []

    def passes_on(self, observer: NodeId) -> bool:
        news = observer not in self.heard
        self.heard += [observer] if news else []
        return news and self.detector.voted(Alert(NODES[0], 1, 0, observer, Evidence.REFUSED), NOW) is not None


class Miser(Crowd):
    """A planted fault: one word about somebody is enough for it."""

    def passes_on(self, observer: NodeId) -> bool:
        return super().passes_on(observer) and len(self.heard) == 1


def unheard(
    make: Callable[[], Crowd], parents: Sequence[int], speakers: Sequence[int], draw: random.Random
) -> list[int]:
    """Of those linked as a tree (``parents`` of all but the first) the ones that do not know of two, itself among them,
    who say that one is gone; each speaks at any time, and each letter takes its own."""
    halves = [make() for _ in range(len(parents) + 1)]
    names = [NodeId((1000 + number).to_bytes(4) * 8) for number in range(len(halves))]
    near: list[list[int]] = [[] for _ in halves]
    for child, parent in enumerate(parents, start=1):
        near[child].append(parent)
        near[parent].append(child)
    letters = [(peer, at, names[at]) for at in speakers for peer in near[at]]
    while letters:
        to, source, observer = letters.pop(draw.randrange(len(letters)))
        if halves[to].passes_on(observer):
            letters += [(peer, to, observer) for peer in near[to] if peer != source]
    return [me for me, half in enumerate(halves) if len(half.heard) + (me in speakers) < 2]


trees = st.integers(1, 7).flatmap(lambda size: st.tuples(*(st.integers(0, child) for child in range(size))))


@settings(max_examples=60, deadline=None)
@given(parents=trees, speakers=st.lists(st.integers(0, 7), min_size=2, unique=True), seed=st.integers(0, 2**32))
def test_where_nobody_passes_on_what_two_have_proved_all_hear_two(
    parents: tuple[int, ...], speakers: list[int], seed: int
) -> None:
    there = [at for at in speakers if at <= len(parents)]
    assert len(there) < 2 or unheard(Crowd, parents, there, luck(seed)) == []


def test_not_all_hear_two_where_one_word_is_enough_to_be_silent() -> None:
    assert unheard(Miser, [0, 1, 2], [0, 1], luck(1)) != []


def test_of_few_that_are_lost_every_word_is_passed_on() -> None:
    half = Half(Subjects)
    half.learn(NODES[0], (1, 0), None, NOW)
    words = [Alert(NODES[0], 1, 0, by, Evidence.REFUSED) for by in NODES[1:5]]
    assert None not in [half.detector.voted(each, NOW) for each in words]


def test_what_two_others_proved_while_it_waited_to_be_told_is_not_told() -> None:
    world, boxes = mesh(7)
    for box in boxes[3:]:
        world.kill(box)
    gossip, dead = boxes[0].gossip, boxes[6].id
    waiting = gossip._rolls._alerts._waiting
    world.run_until(lambda: dead in waiting, 1.0)
    assert dead in waiting
    for other in boxes[1:3]:
        world.tell(boxes[0], ControlReceived(other.id, Channel.GOSSIP, rumour(boxes[6], other.key, other.key)))
    world.run_for(1.0)
    known = [decode_rumour(each) for each in gossip._parts.broadcast._cache.values()]
    words = [word for each in known if isinstance(each, AlertRumour | AlertsRumour) for word in alerts.read(each)]
    mine = [word.subject for word in words if word.observer == boxes[0].id]
    assert boxes[5].id in mine and dead not in mine


def test_many_that_die_at_once_are_down_for_all_survivors_within_a_second() -> None:
    world, boxes = mesh(7)
    for box in boxes[2:]:
        world.kill(box)
    world.run_until(lambda: all(world.state(a, b) is MemberState.DOWN for a in boxes[:2] for b in boxes[2:]), 1.0)
