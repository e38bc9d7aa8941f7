"""Whoever was shed comes back as late as it is told, within its deadline, and not for ever."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.patience import TRIES_MAX, WAIT_MS_MAX, wait_s


def test_nothing_said_means_no_next_try() -> None:
    assert wait_s(0, 1, 10.0, 0.5) is None
    assert wait_s(-5, 1, 10.0, 0.5) is None


def test_the_wait_is_what_was_said_and_up_to_half_more() -> None:
    assert wait_s(200, 1, 10.0, 0.0) == 0.2
    assert wait_s(200, 1, 10.0, 0.5) == 0.25


def test_each_try_waits_twice_as_long_up_to_the_most_that_is_believed() -> None:
    waits = [wait_s(300, tries, 10.0, 0.0) for tries in range(1, 6)]
    assert waits == [0.3, 0.6, 1.2, 2.0, 2.0]


def test_a_wait_past_the_deadline_is_none() -> None:
    assert wait_s(200, 1, 0.2, 0.0) is None
    assert wait_s(200, 1, -1.0, 0.0) is None
    assert wait_s(200, 1, float("nan"), 0.0) is None


def test_it_ends_after_so_many_tries_however_long_the_deadline() -> None:
    assert wait_s(1, TRIES_MAX - 1, 1e9, 0.0) is not None
    assert wait_s(1, TRIES_MAX, 1e9, 0.0) is None


@given(said=st.integers(), tries=st.integers(1, 100), left_s=st.floats(), luck=st.floats(0, 1, exclude_max=True))
def test_whatever_is_said_the_wait_is_bounded(said: int, tries: int, left_s: float, luck: float) -> None:
    wait = wait_s(said, tries, left_s, luck)
    assert wait is None or (0 < wait <= WAIT_MS_MAX / 1000 * 1.5 and wait < left_s)
