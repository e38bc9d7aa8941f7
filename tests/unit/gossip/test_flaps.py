"""What people are told of a node that comes and goes."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.flaps import LASTING_US, STABLE_US, STORIES_MAX, WITHIN_US, Flaps
from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId

A = NodeId(b"a" * 32)
READY, SUSPECT, UNREACHABLE, DOWN = (
    MemberState.READY, MemberState.SUSPECT, MemberState.UNREACHABLE, MemberState.DOWN,
)  # fmt: skip


def told(flaps: Flaps, story: Sequence[tuple[int, MemberState]]) -> list[tuple[int, MemberState]]:
    """What is announced of a story of (second, state)."""
    said: list[tuple[int, MemberState]] = []
    for second, state in story:
        while (due_us := flaps.deadline()) is not None and due_us <= second * SECOND:
            said += [(due_us // SECOND, READY) for _ in flaps.due(due_us)]
        if flaps.tells(A, state, second * SECOND):
            said.append((second, state))
    return said


def test_a_first_loss_and_the_return_from_it_are_told_at_once() -> None:
    story = [(1, SUSPECT), (4, UNREACHABLE), (5, DOWN), (9, READY)]
    assert told(Flaps(), story) == story


def test_a_node_that_goes_down_again_is_called_back_only_after_half_a_minute() -> None:
    story = [(5, DOWN), (9, READY), (20, SUSPECT), (25, DOWN), (30, READY), (40, SUSPECT), (41, READY), (99, SUSPECT)]
    assert told(Flaps(), story) == [(5, DOWN), (9, READY), (20, SUSPECT), (25, DOWN), (71, READY), (99, SUSPECT)]


def test_pulses_are_two_losses_however_many_there_are() -> None:
    story = [(at, state) for begin in range(0, 600, 30) for at, state in ((begin + 5, DOWN), (begin + 15, READY))]
    assert told(Flaps(), story) == [(5, DOWN), (15, READY), (35, DOWN)]


def test_losses_far_apart_are_told_each_time() -> None:
    late = WITHIN_US // SECOND + 20
    story = [(5, DOWN), (9, READY), (late, DOWN), (late + 5, READY), (late + 200, UNREACHABLE), (late + 210, READY)]
    assert told(Flaps(), story) == story


@pytest.mark.parametrize("lost", [UNREACHABLE, DOWN])
def test_of_silences_that_follow_each_other_the_first_is_told_however_far_its_verdict_went(lost: MemberState) -> None:
    flaps = Flaps()
    pulses = [(at, state) for begin in range(0, 600, 30) for at, state in ((begin + 5, lost), (begin + 15, READY))]
    assert [each for each in pulses if flaps.tells(A, each[1], each[0] * SECOND, proven=False)] == pulses[:2]


def test_a_doubt_of_one_that_was_lost_twice_is_told_once_and_half_a_minute_ends_it() -> None:
    flaps = Flaps()
    story = [(3, SUSPECT), (4, UNREACHABLE), (15, READY), (18, SUSPECT), (19, UNREACHABLE), (30, READY), (33, SUSPECT)]
    said = [each for each in story if flaps.tells(A, each[1], each[0] * SECOND, proven=False)]
    assert said == story[:4], "what people know is that it is doubted"
    assert not flaps.tells(A, READY, 40 * SECOND)
    assert flaps.due(40 * SECOND + STABLE_US) == [A]
    assert flaps.tells(A, SUSPECT, 90 * SECOND, proven=False)


def test_that_another_one_hears_who_was_told_lost_is_neither_news_nor_its_return() -> None:
    flaps = Flaps()
    story = [(4, UNREACHABLE), (6, SUSPECT), (8, UNREACHABLE), (9, SUSPECT), (10, UNREACHABLE), (15, READY)]
    said = [each for each in story if flaps.tells(A, each[1], each[0] * SECOND, proven=False)]
    assert said == [(4, UNREACHABLE), (15, READY)]


def test_a_region_that_is_cut_off_is_told_each_time_and_is_no_story_of_its_nodes() -> None:
    flaps = Flaps()
    for at in range(0, 60, 10):
        assert flaps.tells(A, UNREACHABLE, (at + 4) * SECOND, proven=False, apart=True)
        assert flaps.tells(A, READY, (at + 8) * SECOND)
    assert flaps.tells(A, UNREACHABLE, 64 * SECOND, proven=False), "its first loss"


def test_a_death_after_a_flap_is_told_at_once_with_proof_and_after_a_minute_of_silence_without() -> None:
    for lost in (UNREACHABLE, DOWN):
        flaps = Flaps()
        for at in range(0, 60, 15):
            flaps.tells(A, SUSPECT, (at + 3) * SECOND, proven=False)
            flaps.tells(A, lost, (at + 4) * SECOND, proven=False)
            flaps.tells(A, READY, (at + 14) * SECOND)
        assert flaps.tells(A, UNREACHABLE, 61 * SECOND), "it refuses"
        assert flaps.tells(A, DOWN, 62 * SECOND), "it is dead"
        flaps.tells(A, READY, 70 * SECOND)
        assert flaps.due(100 * SECOND) == [A]
        assert not flaps.tells(A, lost, 130 * SECOND, proven=False)
        assert flaps.lasting(130 * SECOND + LASTING_US) == [A]


Change = tuple[int, MemberState, bool]
STEPS = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from([READY, SUSPECT, UNREACHABLE, DOWN]), st.booleans()), max_size=40
)


def changes(steps: Sequence[Change]) -> list[Change]:
    """(second, state, proven), each another state than the one before."""
    at, story, last = 0, list[Change](), READY
    for pause, state, proven in steps:
        at += pause
        if state is not last:
            story.append((at, state, proven))
            last = state
    return story


def last_word(flaps: Flaps, story: Sequence[Change], until_s: int) -> MemberState:
    """What people know in the end."""
    known = held = READY
    for second, state, proven in [*story, (until_s, None, False)]:
        while (due_us := flaps.deadline()) is not None and due_us <= second * SECOND:
            known = held if flaps.due(due_us) or flaps.lasting(due_us) else known
        if state is not None:
            held = state
            known = state if flaps.tells(A, state, second * SECOND, proven=proven) else known
    return known


@given(STEPS, st.sampled_from([READY, UNREACHABLE, DOWN]), st.booleans())
def test_whoever_stays_what_it_is_for_a_minute_is_known_as_that(
    steps: Sequence[Change], last: MemberState, proven: bool
) -> None:
    """However often it came and went before: no death is hidden, and no return."""
    story = changes([*steps, (1, last, proven)])
    end = (story[-1][0] if story else 0) + LASTING_US // SECOND + 1
    flaps = Flaps()
    known = last_word(flaps, story, end)
    assert known is last or (known is DOWN and last is UNREACHABLE), "that who was down is only silent is no news"
    assert flaps.deadline() is None


@given(STEPS)
def test_a_proof_of_death_is_told_at_once(steps: Sequence[Change]) -> None:
    story = changes(steps)
    for number, (second, state, proven) in enumerate(story):
        if state is DOWN and proven:
            assert last_word(Flaps(), story[: number + 1], second) is DOWN


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from([READY, SUSPECT, UNREACHABLE, DOWN])), max_size=40))
def test_whoever_stays_ready_is_called_ready_in_the_end(steps: Sequence[tuple[int, MemberState]]) -> None:
    flaps, at, story, last = Flaps(), 0, list[tuple[int, MemberState]](), READY
    for pause, state in steps:
        at += pause
        if state is not last:
            story.append((at, state))
            last = state
    if last is not READY:
        story.append((at + 1, READY))
    said = told(flaps, story)
    end_us = (at + 2) * SECOND + STABLE_US
    said += [(end_us // SECOND, READY) for _ in flaps.due(end_us)]
    assert not story or said[-1][1] is READY
    assert flaps.deadline() is None


def test_stories_are_bounded() -> None:
    flaps = Flaps()
    for number in range(STORIES_MAX + 5):
        assert flaps.tells(NodeId(number.to_bytes(4) * 8), DOWN, SECOND)
    assert flaps.tells(NodeId(bytes(32)), READY, 2 * SECOND)


def test_silence_that_comes_again_is_told_once_it_lasts_and_a_proof_of_death_at_once() -> None:
    flaps = Flaps()
    assert [flaps.tells(A, state, at * SECOND, proven=False) for at, state in ((5, DOWN), (15, READY))] == [True, True]
    for at in range(20, 80, 15):  # frozen for 15 s again and again
        assert not flaps.tells(A, UNREACHABLE, at * SECOND, proven=False)
        assert not flaps.tells(A, DOWN, (at + 2) * SECOND, proven=False)
        assert not flaps.tells(A, READY, (at + 14) * SECOND)
    assert not flaps.tells(A, DOWN, 100 * SECOND, proven=False)
    assert flaps.deadline() == 100 * SECOND + LASTING_US
    assert flaps.lasting(100 * SECOND + LASTING_US) == [A]
    assert not flaps.tells(A, UNREACHABLE, 161 * SECOND, proven=False), "it was called down already"
    other = Flaps()
    assert [other.tells(A, state, at * SECOND) for at, state in ((5, DOWN), (9, READY), (12, DOWN))] == [True] * 3


def test_that_others_agree_on_a_silence_is_told_once_it_lasts_and_its_end_at_once() -> None:
    flaps, at_us = Flaps(), 5 * SECOND
    assert flaps.tells(A, UNREACHABLE, at_us, proven=False)
    assert not flaps.tells(A, DOWN, at_us + 2 * SECOND, proven=False)
    assert flaps.tells(A, READY, at_us + 15 * SECOND)
    assert flaps.deadline() is None
    other = Flaps()
    assert other.tells(A, UNREACHABLE, at_us, proven=False)
    assert not other.tells(A, DOWN, at_us, proven=False)
    assert other.lasting(at_us + LASTING_US) == [A]
    assert other.tells(A, READY, at_us + 2 * LASTING_US), "one loss, however long, makes nobody shaky"
    dead = Flaps()
    assert [dead.tells(A, state, at_us) for state in (UNREACHABLE, DOWN)] == [True, True], "a proof is told at once"


def test_who_was_away_tells_of_a_silence_when_it_has_read_what_happened_meanwhile() -> None:
    flaps, at_us = Flaps(), 5 * SECOND
    flaps.calm(at_us + 2 * SECOND)
    assert not flaps.tells(A, UNREACHABLE, at_us, proven=False)
    assert flaps.deadline() == at_us + 2 * SECOND
    assert flaps.hushed(at_us + 2 * SECOND) == [A]
    assert flaps.tells(A, UNREACHABLE, at_us + 2 * SECOND, proven=False), "it is silent still"
    assert flaps.tells(A, READY, at_us + 3 * SECOND)
    other = Flaps()
    other.calm(at_us + 2 * SECOND)
    assert not other.tells(A, SUSPECT, at_us, proven=False)
    other.tells(A, READY, at_us + SECOND)
    assert other.deadline() is None, "it has answered meanwhile"
    other.calm(at_us)
    assert other.tells(A, DOWN, at_us + SECOND), "a proof of death does not wait"


def test_a_node_that_is_doubted_while_this_one_is_calm_is_not_called_back() -> None:
    flaps = Flaps()
    for at, state in ((5, DOWN), (9, READY), (20, DOWN), (30, READY)):
        flaps.tells(A, state, at * SECOND)
    flaps.calm(60 * SECOND)
    assert not flaps.tells(A, SUSPECT, 50 * SECOND, proven=False)
    assert flaps.due(61 * SECOND) == []
