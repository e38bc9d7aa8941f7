"""Children of a warden that were left by somebody: who is killed, who is spared, and how often they are looked at."""

from hypothesis import given
from hypothesis import strategies as st

from meshnode.host.launch import mark_of
from meshnode.host.wardenstrays import HOLD_US, LOOK_AGAIN_US, LOOK_AGAIN_US_MAX, Strays
from meshnode.kernel.instant import SECOND

OURS = mark_of("/run/ours")
LIVES, OVER, OTHERS = mark_of("/run/ours", "a/0 1"), mark_of("/run/ours", "b/0 1"), mark_of("/run/others", "b/0 1")
DAY_US = 24 * 3600 * SECOND
STRAY = 7


def hidden_until(shows_us: int, until_us: int) -> tuple[list[int], int | None]:
    """When a stray was looked at that shows its mark from ``shows_us`` on, and when it was killed."""
    strays, looks, now_us = Strays(OURS), list[int](), 0
    while now_us <= until_us:
        looks.append(now_us)
        if strays.judge({STRAY: OVER if now_us >= shows_us else None}, {LIVES}, now_us):
            return looks, now_us
        due_us = strays.deadline()
        assert due_us is not None, "nobody would look at it again"
        assert due_us > now_us
        now_us = due_us
        assert strays.due(now_us) == [STRAY]
    return looks, None


@given(shows_us=st.integers(1, DAY_US))
def test_a_stray_has_shown_its_mark_for_no_longer_than_it_had_hidden_it_when_it_is_killed(shows_us: int) -> None:
    _, killed_us = hidden_until(shows_us, 2 * DAY_US)
    assert killed_us is not None and killed_us - shows_us <= min(max(shows_us, LOOK_AGAIN_US), LOOK_AGAIN_US_MAX)


def test_one_that_is_stuck_for_a_day_costs_a_look_in_ten_seconds() -> None:
    looks, _ = hidden_until(2 * DAY_US, DAY_US)
    assert len(looks) <= DAY_US // LOOK_AGAIN_US_MAX + 14


def test_the_end_of_a_run_waits_for_who_shows_nothing_but_no_longer_than_a_third_of_a_second() -> None:
    strays = Strays(OURS)
    strays.judge({STRAY: None}, (), 0)
    assert strays.hold(0) and strays.hold(HOLD_US - 1)
    now_us = 0
    while strays.hold(now_us):
        now_us = strays.deadline() or 0
        for pid in strays.due(now_us):
            strays.hides(pid, now_us)
    assert now_us <= SECOND // 3
    assert strays.deadline() is not None, "it is looked at all the same"


def test_looks_for_another_reason_do_not_make_the_pauses_longer() -> None:
    strays = Strays(OURS)
    for now_us in range(100):
        strays.judge({STRAY: None}, (), now_us)
    assert strays.deadline() == 99 + LOOK_AGAIN_US


def test_who_belongs_to_a_run_that_lives_to_nobody_or_to_another_warden_is_spared() -> None:
    shown = {1: LIVES, 2: "", 3: OURS, 4: OTHERS, 5: None, 6: "no mark at all"}
    assert Strays(OURS).judge(shown, {LIVES}, 0) == []
    assert Strays(OURS).judge({**shown, STRAY: OVER}, {LIVES}, 0) == [STRAY]


def test_the_end_of_a_suspect_is_a_reason_to_look_as_its_children_are_the_wardens_then() -> None:
    strays = Strays(OURS)
    strays.judge({1: LIVES, 2: "", 3: OVER, 4: None}, {LIVES}, 0)
    assert [strays.reaped(pid) for pid in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    assert strays.deadline() is None and not strays.hold(0)
    assert not strays.reaped(3), "that number is another process now"
