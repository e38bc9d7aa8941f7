"""When a node tells its load: what rises at once, what falls by the number of those who hear it."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.messages import Publish
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.node.inputs import LoadSampled
from meshnode.node.loads import EACH_US, PAUSE_MAX_US, Loads


class Node:
    """One room, and what it told: (seconds, vector)."""

    def __init__(self, hearers: int) -> None:
        self.hearers, self.told, self.now_us = hearers, list[tuple[float, bytes]](), 0
        self.room = Loads(lambda: self.hearers, self._publish)

    def _publish(self, said: Publish, now: Instant) -> list[Effect]:
        self.told.append((now.mono_us / SECOND, said.value))
        return []

    def sample(self, at_s: float, vector: bytes, *, falls: bool = False) -> None:
        self.until(at_s)
        self.room.sampled(LoadSampled(vector, falls), Instant(self.now_us, 0))

    def until(self, at_s: float) -> None:
        while (due_us := self.room.deadline()) is not None and due_us <= at_s * SECOND:
            self.now_us = max(self.now_us, due_us)
            self.room.wake(Instant(self.now_us, 0))
        self.now_us = round(at_s * SECOND)


def test_what_rises_is_told_at_once_however_many_hear_it() -> None:
    node = Node(500)
    for second, vector in enumerate((b"low", b"more", b"most")):
        node.sample(second, vector)
    assert node.told == [(0, b"low"), (1, b"more"), (2, b"most")]


def test_what_falls_waits_as_long_as_there_are_hearers_and_the_last_of_it_is_told() -> None:
    node = Node(250)
    node.sample(0, b"high")
    for second in (15, 30, 45, 60):
        node.sample(second, b"%d" % second, falls=True)
        assert node.room.now == b"%d" % second  # this node knows better meanwhile
    node.until(200)
    assert node.told == [(0, b"high"), (EACH_US * 250 / SECOND, b"60")]


def test_a_few_nodes_hear_of_a_fall_at_once_and_thousands_within_the_bound() -> None:
    few, many = Node(12), Node(10_000)
    for node in (few, many):
        node.sample(0, b"high")
        node.sample(15, b"low", falls=True)
        node.until(1000)
    assert few.told[1:] == [(15, b"low")]
    assert many.told[1:] == [(PAUSE_MAX_US / SECOND, b"low")]


def test_a_rise_meanwhile_is_told_and_the_fall_before_it_is_forgotten() -> None:
    node = Node(100)
    node.sample(0, b"high")
    node.sample(20, b"low", falls=True)
    node.sample(25, b"higher")
    node.until(1000)
    assert node.told == [(0, b"high"), (25, b"higher")]


@given(st.integers(1, 2000), st.lists(st.tuples(st.integers(1, 60_000), st.booleans()), max_size=40))
def test_falls_are_never_told_faster_than_their_pace_and_others_end_with_what_is(
    hearers: int, samples: list[tuple[int, bool]]
) -> None:
    node, at_ms = Node(hearers), 0
    for number, (pause_ms, falls) in enumerate(samples):
        at_ms += pause_ms
        node.sample(at_ms / 1000, b"%d" % number, falls=falls)
    node.until(at_ms / 1000 + PAUSE_MAX_US / SECOND)
    assert not samples or node.told[-1][1] == b"%d" % (len(samples) - 1)
    fell = {b"%d" % number for number, (_, falls) in enumerate(samples) if falls}
    pace_s = min(EACH_US * hearers, PAUSE_MAX_US) / SECOND
    for (before_s, _), (after_s, vector) in zip(node.told, node.told[1:], strict=False):
        assert vector not in fell or after_s - before_s >= pace_s - MS / SECOND
