"""Hybrid logical clock."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.hlc import AHEAD_MAX_MS, Hlc, wall_ms
from meshnode.kernel.instant import Instant


def at(milliseconds: int) -> Instant:
    return Instant(0, milliseconds)


@given(walls=st.lists(st.integers(0, 2**40), min_size=2, max_size=50))
def test_stamps_increase_whatever_the_wall_clock_does(walls: list[int]) -> None:
    clock = Hlc()
    stamps = [clock.stamp(at(wall)) for wall in walls]
    assert all(earlier < later for earlier, later in itertools.pairwise(stamps))


def test_a_stamp_shows_the_wall_time_it_was_made_at() -> None:
    clock = Hlc()
    assert wall_ms(clock.stamp(at(1_700_000_000_123))) == 1_700_000_000_123
    assert wall_ms(clock.stamp(at(1_700_000_000_123))) == 1_700_000_000_123


def test_ours_come_after_what_was_seen() -> None:
    ahead, behind = Hlc(), Hlc()
    seen = ahead.stamp(at(5_000))
    behind.witness(seen, at(1_000))
    assert behind.stamp(at(1_000)) > seen


def test_one_bad_clock_does_not_drag_the_mesh_along() -> None:
    mad, sane = Hlc(), Hlc()
    sane.witness(mad.stamp(at(1_000 + AHEAD_MAX_MS + 1)), at(1_000))
    assert wall_ms(sane.stamp(at(1_000))) == 1_000
    sane.witness(Hlc().stamp(at(1_000 + AHEAD_MAX_MS)), at(1_000))
    assert wall_ms(sane.stamp(at(1_000))) == 1_000 + AHEAD_MAX_MS


def test_an_old_stamp_moves_nothing_back() -> None:
    clock = Hlc()
    newest = clock.stamp(at(9_000))
    clock.witness(Hlc().stamp(at(10)), at(9_000))
    assert clock.stamp(at(9_000)) == newest + 1


def test_a_clock_goes_on_from_what_was_stored() -> None:
    assert Hlc(last=10**18).stamp(at(0)) == 10**18 + 1
