"""The clock of a machine that may have booted in 1970."""

import time

import pytest

from meshnode.host import clock as module
from meshnode.host.clock import SystemClock
from meshnode.kernel.instant import ClockTrust

DAY_MS = 24 * 3600 * 1000
FUTURE_MS = time.time_ns() // 1_000_000 + 1000 * DAY_MS


def test_a_disciplined_clock_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "clock_is_synchronised", lambda: True)
    now = SystemClock(floor_ms=1).now()
    assert now.trust is ClockTrust.SYNCED
    assert abs(now.wall_ms - time.time_ns() // 1_000_000) < 1000


def test_an_undisciplined_clock_is_only_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "clock_is_synchronised", lambda: False)
    now = SystemClock().now()
    assert now.trust is ClockTrust.FLOOR
    assert abs(now.wall_ms - time.time_ns() // 1_000_000) < 1000


def test_a_clock_behind_its_floor_shows_the_floor_and_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "clock_is_synchronised", lambda: True)
    now = SystemClock(floor_ms=FUTURE_MS).now()
    assert now.trust is ClockTrust.FLOOR
    assert FUTURE_MS <= now.wall_ms < FUTURE_MS + 1000


def test_the_floor_ticks_and_only_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    at_us = 5_000_000
    monkeypatch.setattr(module, "monotonic_us", lambda: at_us)
    clock = SystemClock(floor_ms=FUTURE_MS)
    at_us += 3_000_000
    assert clock.now().wall_ms == FUTURE_MS + 3000
    clock.raise_floor(FUTURE_MS + 1000)
    assert clock.now().wall_ms == FUTURE_MS + 3000
    clock.raise_floor(FUTURE_MS + 10_000)
    at_us += 1_000_000
    assert clock.now().wall_ms == FUTURE_MS + 11_000


def test_the_kernel_is_asked_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    at_us, asked = 0, []
    monkeypatch.setattr(module, "monotonic_us", lambda: at_us)
    monkeypatch.setattr(module, "clock_is_synchronised", lambda: bool(asked.append(1)) or True)
    clock = SystemClock()
    for _ in range(100):
        clock.now()
    assert len(asked) == 1
    at_us += module.TRUST_KEPT_US
    clock.now()
    assert len(asked) == 2


def test_a_suspend_is_told_once_and_trembling_clocks_never(monkeypatch: pytest.MonkeyPatch) -> None:
    suspended_us = 1000
    monkeypatch.setattr(module, "_suspended_us", lambda: suspended_us)
    clock = SystemClock()
    suspended_us += 50
    assert clock.suspended_us() == 0
    suspended_us += 7_000_000
    assert clock.suspended_us() == 7_000_050
    assert clock.suspended_us() == 0


def test_time_on_this_machine_moves_on() -> None:
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert second.mono_us >= first.mono_us
    assert isinstance(module.clock_is_synchronised(), bool)
    assert clock.suspended_us() == 0
