"""What time it is here, how far to believe it, and whether the machine slept in between."""

import contextlib
import ctypes
import sys
import time
from pathlib import Path

from meshnode.kernel.instant import ClockTrust, Instant

# Asking the kernel whether its clock is disciplined costs a system call: the answer is kept this long.
TRUST_KEPT_US = 60_000_000
# The two clocks that show a suspend are read one after the other, so their difference trembles.
SUSPENDED_MIN_US = 100_000
# systemd-timesyncd touches this file once the clock has been set from a time server.
TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")
_TIMEX_BYTES = 256  # struct timex is 208 bytes on 64-bit Linux
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


class SystemClock:
    """Instants for machines. The wall clock never shows less than the floor, which goes on ticking by itself.

    So a machine without a battery-backed clock, which boots in 1970, starts from the newest time it has proof of.
    """

    def __init__(self, floor_ms: int = 0) -> None:
        self._floor_ms = floor_ms
        self._floor_set_us = monotonic_us()
        self._synced = False
        self._synced_asked_us: int | None = None
        self._suspended_us = _suspended_us()

    def now(self) -> Instant:
        mono_us, system_ms = monotonic_us(), time.time_ns() // 1_000_000
        floor_ms = self._floor_ms + (mono_us - self._floor_set_us) // 1000
        if self._synced_asked_us is None or mono_us - self._synced_asked_us >= TRUST_KEPT_US:
            self._synced, self._synced_asked_us = clock_is_synchronised(), mono_us
        if system_ms < floor_ms or not self._synced:
            return Instant(mono_us, max(system_ms, floor_ms), ClockTrust.FLOOR)
        return Instant(mono_us, system_ms, ClockTrust.SYNCED)

    def mono_us(self) -> int:
        """Of ``now``, alone."""
        return monotonic_us()

    def raise_floor(self, wall_ms: int) -> None:
        """There is proof (a signed or stored record of ours) that it is at least ``wall_ms``."""
        mono_us = monotonic_us()
        if wall_ms > self._floor_ms + (mono_us - self._floor_set_us) // 1000:
            self._floor_ms, self._floor_set_us = wall_ms, mono_us

    def suspended_us(self) -> int:
        """How long the machine was suspended since the last call; 0 for anything too short to matter."""
        suspended_us = _suspended_us()
        slept_us = suspended_us - self._suspended_us
        if slept_us < SUSPENDED_MIN_US:
            return 0
        self._suspended_us = suspended_us
        return slept_us


def monotonic_us() -> int:
    return time.monotonic_ns() // 1000


def clock_is_synchronised() -> bool:
    """Whether the operating system says that its clock follows a time server."""
    return _kernel_says_synchronised() or TIMESYNC_MARK.exists()


def _kernel_says_synchronised() -> bool:
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or a libc without adjtimex
        asked = ctypes.create_string_buffer(_TIMEX_BYTES)  # all zero: only asks
        state = ctypes.CDLL(None, use_errno=True).adjtimex(asked)
        return isinstance(state, int) and 0 <= state < _TIME_ERROR
    return False


def _suspended_us() -> int:
    """How long this machine has been suspended since it started: only one of Linux's two clocks counts that."""
    if sys.platform != "linux":
        return 0
    return (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()) // 1000
