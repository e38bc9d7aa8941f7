"""A neighbour that is doubted has the time of some round trips to answer, and whoever did is not accused."""

from meshnode.gossip.doubts import FLOOR_US
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subjects import Subjects
from meshnode.kernel.instant import MS, SECOND, Instant
from tests.unit.gossip.test_subjects import NODES, Half

PEER = NODES[0]
ASKED_US = 10 * SECOND


def doubted(rtt_us: int) -> Half:
    """A neighbour that is doubted over a way that is thought to be so long."""
    half = Half(Subjects)
    half.wires.trip_us = rtt_us
    half.learn(PEER, (1, 0), None, Instant(ASKED_US, 0))
    half.do(("up", PEER), Instant(ASKED_US, 0))
    half.detector.doubt(PEER, Instant(ASKED_US, 0))
    return half


def test_who_answered_is_not_accused_though_the_way_turned_out_shorter_meanwhile() -> None:
    half = doubted(rtt_us=500 * MS)
    half.do(("heard", PEER), Instant(ASKED_US + 230 * MS, 0))
    half.wires.trip_us = 230 * MS
    half.detector.wake(Instant(ASKED_US + 1_600 * MS, 0))
    assert half.detector.state(PEER) is MemberState.READY and not half.detector.lost(PEER)


def test_who_says_nothing_is_accused_when_its_time_is_over() -> None:
    half = doubted(rtt_us=MS)
    half.detector.wake(Instant(ASKED_US + FLOOR_US - 1, 0))
    assert not half.detector.lost(PEER)
    half.detector.wake(Instant(ASKED_US + FLOOR_US, 0))
    assert half.detector.lost(PEER)
