"""Time as a machine sees it: given from outside, never read."""

import enum

import msgspec


class ClockTrust(enum.IntEnum):
    """How far ``wall_ms`` may be believed."""

    FLOOR = 0  # only known to be not earlier than some signed or stored time
    PEERS = 1  # the median of what peers signed
    SYNCED = 2  # the operating system says it is synchronised


class Instant(msgspec.Struct, frozen=True):
    """One moment.

    ``mono_us``: microseconds on a clock that never jumps; every protocol deadline lives on this axis.
    ``wall_ms``: milliseconds since 1970 as far as known; only written into records and compared with tolerance.
    """

    mono_us: int
    wall_ms: int
    trust: ClockTrust = ClockTrust.SYNCED


MS = 1_000
SECOND = 1_000_000
