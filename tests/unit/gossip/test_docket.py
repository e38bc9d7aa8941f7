"""Whoever is judged together with others is judged as it would be alone, a little later."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.gossip import council as council_module
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.council import Council
from meshnode.gossip.docket import CROWD, PAUSE_MAX_US, PAUSE_US, Docket
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import Subject
from meshnode.gossip.subjects import Subjects
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import LinkStats
from meshnode.kernel.reasons import Loss
from meshnode.model.ids import NodeId
from tests.unit.gossip.test_subjects import NODES, Half, Step, evidence, nodes

QUIET_US = 90 * SECOND  # all that a word or a time can still change has changed by then
Story = Sequence[tuple[Step, int]]

steps = st.one_of(
    st.tuples(st.just("row"), nodes, st.integers(1, 2), st.integers(0, 3), st.none()),
    st.tuples(st.just("up"), nodes),
    st.tuples(st.just("down"), nodes, st.sampled_from([Loss.RESET, Loss.SILENT])),
    st.tuples(st.just("alert"), nodes, nodes, evidence).filter(lambda step: step[1] != step[2]),
    st.tuples(st.just("alert"), nodes, nodes, evidence).filter(lambda step: step[1] != step[2]),
)


class Forgetful(Docket):
    """A planted fault: the last of those there is news about is not judged."""

    def news(self, now: Instant) -> list[NodeId]:
        return super().news(now)[:-1]


def half(make: Callable[[Subjects], Docket]) -> Half:
    made = Half(Subjects)
    made.detector._docket = make(made.detector._subjects)  # pyright: ignore[reportPrivateUsage]
    return made


def alone(subjects: Subjects) -> Docket:
    return Docket(subjects.doubtful, crowd=1000)


def together(subjects: Subjects) -> Docket:
    return Docket(subjects.doubtful, crowd=0)


def run(played: Half, from_us: int, until_us: int) -> None:
    """Woken whenever it wants to be."""
    now_us = from_us
    while (due_us := played.detector.deadline()) is not None and due_us <= until_us:
        now_us = max(now_us + 1, due_us)
        played.detector.wake(Instant(now_us, 0))


def end(played: Half, story: Story) -> dict[NodeId, tuple[MemberState | None, bool]]:
    """What everybody is when nothing happens any more. Links that stand are heard."""
    now_us = 10 * SECOND
    for node in NODES:
        played.learn(node, (1, 0), None, Instant(now_us, 0))
    for step, pause_ms in (*story, (("vouch", NODES[0]), QUIET_US // MS)):
        played.do(step, Instant(now_us, 0))
        for at_us in range(now_us, now_us + pause_ms * MS, 500 * MS):
            played.wires.heard.update(dict.fromkeys(played.wires.heard, at_us))
            run(played, at_us, min(at_us + 500 * MS, now_us + pause_ms * MS))
        now_us += pause_ms * MS
    return {node: (played.detector.state(node), played.detector.lost(node)) for node in NODES}


@settings(max_examples=150, deadline=None)
@given(story=st.lists(st.tuples(steps, st.sampled_from([0, 7, 50, 700])), max_size=30))
def test_whether_nodes_are_judged_together_or_at_once_makes_no_difference_in_the_end(story: Story) -> None:
    assert end(half(together), story) == end(half(alone), story)


def test_the_comparison_notices_a_docket_that_loses_one() -> None:
    def forgetful(subjects: Subjects) -> Docket:
        return Forgetful(subjects.doubtful, crowd=0)

    story = [(("alert", NODES[0], by, Evidence.REFUSED), 0) for by in NODES[1:3]]
    assert end(half(forgetful), story) != end(half(alone), story)


class Anew(Council):
    """Goes through the whole case of a node again that was called gone, when its time to answer is over."""

    def judge(self, subject: Subject, now: Instant) -> tuple[MemberState, str, int | None]:
        held, subject.state = subject.state, MemberState.READY
        try:
            return super().judge(subject, now)
        finally:
            subject.state = held


class Rash(Council):
    """A planted fault: who was called gone is gone, whatever it may still answer."""

    def judge(self, subject: Subject, now: Instant) -> tuple[MemberState, str, int | None]:
        state, reason, turns_us = super().judge(subject, now)
        return (MemberState.DOWN if subject.awaits_answer else state), reason, turns_us


def moments(council: Callable[[GossipConfig, Subjects, LinkStats], Council], story: Story) -> list[list[object]]:
    """What everybody is after each step, and half a second later."""
    played, now_us = Half(Subjects), 10 * SECOND
    old = played.detector._council  # pyright: ignore[reportPrivateUsage]
    made = council(old._config, old._subjects, old._links)  # pyright: ignore[reportPrivateUsage]
    played.detector._council = made  # pyright: ignore[reportPrivateUsage]
    for node in NODES:
        played.learn(node, (1, 0), None, Instant(now_us, 0))
    told: list[list[object]] = []
    for step, pause_ms in story:
        played.do(step, Instant(now_us, 0))
        for until_us in (now_us + pause_ms * MS, now_us + pause_ms * MS + SECOND // 2):
            run(played, now_us, until_us)
            told.append([(played.detector.state(node), played.detector.lost(node)) for node in NODES])
            now_us = until_us
    return told


@settings(max_examples=60, deadline=None)
@given(story=st.lists(st.tuples(steps, st.sampled_from([0, 7, 50, 700])), max_size=30))
def test_who_was_called_gone_is_judged_by_its_time_alone_as_by_its_whole_case(story: Story) -> None:
    assert moments(Council, story) == moments(Anew, story)


def test_that_comparison_notices_a_council_that_does_not_wait_for_an_answer() -> None:
    story = [(("alert", NODES[0], by, Evidence.REFUSED), 0) for by in NODES[1:3]]
    assert moments(Rash, story) != moments(Council, story)


def crowded(votes: int) -> tuple[Half, Instant]:
    """So many more than ``CROWD`` are doubted, each by so many others."""
    played, now = Half(Subjects), Instant(10 * SECOND, 0)
    crowd = [NodeId(number.to_bytes(4) * 8) for number in range(1, 4 * CROWD)]
    for node in crowd:
        played.learn(node, (1, 0), None, now)
    for node in crowd[: 2 * CROWD]:
        for by in crowd[-votes:]:
            played.do(("alert", node, by, Evidence.REFUSED), now)
    return played, now


def test_of_many_lost_at_once_each_is_judged_a_few_times_however_many_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[NodeId] = []

    def judge(self: Council, subject: Subject, now: Instant) -> tuple[MemberState, str, int | None]:
        judged.append(subject.node)
        return before(self, subject, now)

    before = council_module.Council.judge
    monkeypatch.setattr(council_module.Council, "judge", judge)
    played, now = crowded(votes=12)
    run(played, now.mono_us, now.mono_us + 60 * SECOND)
    states = [played.detector.state(node) for node in dict.fromkeys(judged)]
    assert states.count(MemberState.DOWN) == 2 * CROWD
    assert len(judged) < 8 * len(states), "12 words about each"


def test_the_more_are_doubted_the_rarer_are_the_looks_and_none_is_put_off_for_longer_than_half_a_second() -> None:
    subject = Subject(NODES[0], "", "", 1, 0)
    for doubted, pause_us in ((CROWD, PAUSE_US), (100, 200 * MS), (5_000, PAUSE_MAX_US)):
        docket = Docket(range(doubted))
        assert docket.puts_off(subject, Instant(SECOND, 0)) and docket.deadline() == SECOND, "the first look is at once"
        assert docket.news(Instant(SECOND, 0)) == [NODES[0]]
        assert docket.puts_off(subject, Instant(SECOND + 1, 0)) and docket.deadline() == SECOND + pause_us


def test_nobody_waits_longer_than_a_pause_for_its_judgement() -> None:
    played, now = crowded(votes=2)
    last = played.directory.members()[2 * CROWD - 1]
    assert played.detector.state(last) is MemberState.READY and played.detector.lost(last)
    due_us = played.detector.deadline()
    assert due_us is not None and due_us <= now.mono_us + PAUSE_US
    run(played, now.mono_us, now.mono_us + PAUSE_US)
    assert played.detector.state(last) is not MemberState.READY
