"""The judge of broken connections finds what it is there to find."""

import pytest

from bench.talk.breaks import Verdict, judge

POSTED = range(1, 8)


@pytest.mark.parametrize(
    ("heard", "verdict"),
    [
        ([1, 2, 3, 4, 5, 6, 7], Verdict(0, 0, 0)),
        ([1, 2, 3, 5, 6], Verdict(2, 0, 0)),
        ([1, 2, 3, 2, 3, 4, 5, 6, 7], Verdict(0, 2, 0)),
        ([1, 3, 2, 4, 5, 6, 7], Verdict(0, 0, 1)),
        ([1, 2, 3, 4, 5, 6, 7, 8], Verdict(0, 0, 1)),
        ([1, 1, 4, 3, 9], Verdict(4, 1, 2)),
        ([], Verdict(7, 0, 0)),
    ],
    ids=["all of them", "lost", "doubled", "out of order", "never posted", "all at once", "nothing"],
)
def test_each_frame_is_heard_once_and_in_order_or_named(heard: list[int], verdict: Verdict):
    assert judge(POSTED, heard) == verdict
