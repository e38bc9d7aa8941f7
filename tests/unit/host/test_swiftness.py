"""The loop waits for quick disks only, and for none that made it wait."""

import pytest

from meshnode.host import swiftness
from meshnode.host.swiftness import (
    HANG_REST_FIRST_S,
    HANG_REST_MAX_S,
    HANG_US,
    QUICK_US,
    REST_FIRST_S,
    REST_MAX_S,
    ROW,
    SHOWN,
    SHOWN_US,
    Swiftness,
)


def shown(us: int) -> Swiftness:
    disk = Swiftness()
    for _ in range(SHOWN):
        assert not disk.is_quick(0.0)
        disk.took(us, 0.0, here=False)
    return disk


def test_a_disk_has_to_show_that_it_is_quick() -> None:
    assert shown(SHOWN_US).is_quick(0.0)


def test_a_card_is_never_waited_for() -> None:
    disk = shown(SHOWN_US + 1)
    for _ in range(10_000):
        disk.took(20_000, 0.0, here=False)
        assert not disk.is_quick(1e9)


def test_a_thread_that_waited_for_the_processor_says_nothing_against_the_disk() -> None:
    disk = Swiftness()
    for number in range(SHOWN):
        disk.took(50_000 if number else SHOWN_US, 0.0, here=False)
    assert disk.is_quick(0.0)


def test_each_time_the_loop_had_to_wait_it_keeps_off_for_longer() -> None:
    disk, now_s, rests = shown(100), 0.0, list[float]()
    for _ in range(12):
        disk.took(QUICK_US + 1, now_s, here=True)
        disk.took(100, now_s, here=False)  # the thread's
        began_s = now_s
        while not disk.is_quick(now_s):
            now_s += REST_FIRST_S / 2
        rests.append(now_s - began_s)
    assert rests == sorted(rests)
    assert rests[0] < 2 * REST_FIRST_S
    assert REST_MAX_S <= rests[-1] < REST_MAX_S + REST_FIRST_S


def test_many_quick_ones_in_a_row_make_good_for_a_slow_one() -> None:
    disk = shown(100)
    for at in range(5):
        disk.took(QUICK_US + 1, float(at), here=True)
    for _ in range(ROW):
        disk.took(100, 100.0, here=True)
    disk.took(QUICK_US + 1, 100.0, here=True)
    assert disk.is_quick(100.0 + 2 * REST_FIRST_S)


def waits_of_the_loop(days: float) -> int:
    """How often the loop itself waits for a disk that hangs once a minute and is quick in between."""
    disk, hangs = Swiftness(), 0
    for minute in range(round(days * 1440)):
        for commit in range(ROW + SHOWN):
            now_s = minute * 60.0 + commit * 0.1
            disk.took(100, now_s, here=disk.is_quick(now_s))
        here = disk.is_quick(minute * 60.0 + 59.0)
        hangs += here
        disk.took(5_000_000, minute * 60.0 + 59.0, here=here)
    return hangs


def test_a_disk_that_hangs_again_and_again_holds_the_loop_a_few_times_a_day_however_quick_it_is_between() -> None:
    assert waits_of_the_loop(1.0) <= 8


def test_without_a_memory_of_hangs_it_would_hold_the_loop_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swiftness, "HANG_US", 1 << 60)
    assert waits_of_the_loop(0.1) > 100


def test_a_hang_that_the_thread_met_keeps_the_loop_off_as_well() -> None:
    disk = shown(100)
    disk.took(HANG_US, 0.0, here=False)
    for _ in range(SHOWN):
        disk.took(100, 1.0, here=False)
    assert not disk.is_quick(HANG_REST_FIRST_S - 1.0)
    assert disk.is_quick(HANG_REST_FIRST_S)
    for _ in range(20):
        disk.took(HANG_US, HANG_REST_FIRST_S, here=True)
    for _ in range(SHOWN):
        disk.took(100, HANG_REST_FIRST_S, here=False)
    assert not disk.is_quick(HANG_REST_FIRST_S + HANG_REST_MAX_S - 1.0)
