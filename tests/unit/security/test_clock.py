"""The floor under the clock."""

from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.security.clock import RELEASED_MS, MeshClock


def test_time_never_runs_below_the_floor() -> None:
    clock = MeshClock(1000)
    assert clock.now_ms(Instant(0, 0)) == 1000
    assert clock.now_ms(Instant(0, 2000)) == 2000


def test_the_floor_only_rises() -> None:
    clock = MeshClock(1000)
    clock.prove(500)
    assert clock.floor_ms == 1000
    clock.prove(1500)
    assert clock.floor_ms == 1500


def test_time_is_trusted_when_somebody_vouches_and_it_is_above_the_floor() -> None:
    clock = MeshClock(1000)
    assert clock.trusted(Instant(0, 1000, ClockTrust.SYNCED))
    assert clock.trusted(Instant(0, 1000, ClockTrust.PEERS))
    assert not clock.trusted(Instant(0, 1000, ClockTrust.FLOOR))
    assert not clock.trusted(Instant(0, 999, ClockTrust.SYNCED))


def test_the_release_is_a_date_and_not_a_mistyped_number() -> None:
    assert 1_700_000_000_000 < RELEASED_MS < 2_000_000_000_000
