"""What people are told of a node that comes and goes."""

from collections.abc import Sequence

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


def test_losses_far_apart_and_cuts_without_a_proof_of_death_are_told_each_time() -> None:
    late = WITHIN_US // SECOND + 20
    story = [(5, DOWN), (9, READY), (late, DOWN), (late + 5, READY), (late + 200, UNREACHABLE), (late + 210, READY)]
    assert told(Flaps(), story) == story
    cuts = [(1, UNREACHABLE), (2, READY), (3, UNREACHABLE), (4, READY), (5, UNREACHABLE)]
    assert told(Flaps(), cuts) == cuts


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
