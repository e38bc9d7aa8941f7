"""The clocks of one simulated machine: a steady one that may run fast or slow, and a wall clock that may be wrong.

As on a real machine the steady clock starts at a boot, stands still while the machine is suspended, and the wall clock
never shows less than its floor (see host/clock.py).
"""

from dataclasses import dataclass

from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.sim.trust import EPOCH_MS

_PPM = 1_000_000
BOOTED_US = 5_000_000  # what the steady clock shows when the daemon may first start


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockSpec:
    """``rtc``: a battery keeps the wall clock over a power cut; without one the machine wakes up in 1970."""

    rate_ppm: int = 0
    skew_ms: int = 0
    rtc: bool = True
    synced: bool = True

    def __post_init__(self) -> None:
        if not -10_000 <= self.rate_ppm <= 10_000:
            raise ValueError(f"a clock does not run {self.rate_ppm} ppm off")


class SimClock:
    """Reads world time in microseconds and shows what this machine would believe."""

    def __init__(self, spec: ClockSpec, floor_ms: int) -> None:
        self._spec = spec
        self._synced = spec.synced and spec.rtc
        self._wall_from_us = EPOCH_MS * 1000 + spec.skew_ms * 1000 if spec.rtc else 0  # wall time at world time 0
        self._base_us, self._base_mono_us = 0, BOOTED_US
        self._stands = False
        self._floor_ms, self._floor_mono_us = floor_ms, BOOTED_US
        self._first_floor_ms = floor_ms

    def now(self, world_us: int) -> Instant:
        mono_us = self.mono_us(world_us)
        system_ms = (self._wall_from_us + world_us) // 1000
        floor_ms = self._floor_ms + (mono_us - self._floor_mono_us) // 1000
        if system_ms < floor_ms or not self._synced:
            return Instant(mono_us, max(system_ms, floor_ms), ClockTrust.FLOOR)
        return Instant(mono_us, system_ms, ClockTrust.SYNCED)

    def mono_us(self, world_us: int) -> int:
        if self._stands:
            return self._base_mono_us
        return self._base_mono_us + (world_us - self._base_us) * (_PPM + self._spec.rate_ppm) // _PPM

    def world_us(self, mono_us: int) -> int:
        """The first moment of the world at which the steady clock shows at least ``mono_us``."""
        ahead = max(0, mono_us - self._base_mono_us)
        rate = _PPM + self._spec.rate_ppm
        return self._base_us + -(-ahead * _PPM // rate)

    def raise_floor(self, wall_ms: int, world_us: int) -> None:
        """There is proof that it is at least ``wall_ms``."""
        mono_us = self.mono_us(world_us)
        if wall_ms > self._floor_ms + (mono_us - self._floor_mono_us) // 1000:
            self._floor_ms, self._floor_mono_us = wall_ms, mono_us

    # -- what may happen to it ----------------------------------------------------------------------------------------

    def jump(self, by_ms: int) -> None:
        """Somebody set the wall clock."""
        self._wall_from_us += by_ms * 1000

    def synchronise(self) -> None:
        """A time server was heard: the wall clock is right, and the machine knows it."""
        self._wall_from_us, self._synced = EPOCH_MS * 1000, True

    def suspend(self, world_us: int) -> None:
        self._base_mono_us, self._base_us, self._stands = self.mono_us(world_us), world_us, True

    def resume(self, world_us: int) -> int:
        """How long it was away, which a machine can tell by comparing two clocks."""
        away_us = world_us - self._base_us
        self._base_us, self._stands = world_us, False
        return away_us

    def process_started(self, world_us: int) -> None:
        """Floors are remembered by processes, not by machines."""
        self._floor_ms, self._floor_mono_us = self._first_floor_ms, self.mono_us(world_us)

    def power_on(self, world_us: int) -> None:
        """A cold boot. What the wall clock shows is the battery's business."""
        self._base_us, self._base_mono_us, self._stands = world_us, BOOTED_US, False
        if not self._spec.rtc:
            self.forget(world_us)

    def forget(self, world_us: int) -> None:
        """The wall clock begins again in 1970, as without a battery."""
        self._wall_from_us, self._synced = -world_us, False
