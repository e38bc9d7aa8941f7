"""The load vector: what travels often, therefore 13 bytes.

    u8 cpu % | u8 memory % | u8 disk % | u8 accelerator % | u8 accelerator memory % | u16 load average x100 |
    i8 hottest sensor C | u16 KiB/s received | u16 KiB/s sent | u8 flags

255 in a percentage and -128 in the temperature mean "not known on this machine". Load average and network have no such
mark: not known travels as 0. The u16 fields stop at their end (655.35; 64 MiB/s): beyond it they say "very much".
"""

import math
import struct
from dataclasses import dataclass

LAYOUT = struct.Struct(">BBBBBHbHHB")
VECTOR_BYTES = LAYOUT.size
UNKNOWN_PERCENT = 255
UNKNOWN_CELSIUS = -128
FLAG_MEMORY_PRESSURE = 1
FLAG_THROTTLED = 2
FLAG_ON_BATTERY = 4

_U16_MAX = 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadVector:
    """Percentages 0 to 100 of what may be used, degrees Celsius, KiB/s; ``None`` is not known."""

    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None
    accelerator_percent: float | None = None
    accelerator_memory_percent: float | None = None
    load_average: float | None = None
    hottest_celsius: float | None = None
    received_kib_s: float | None = None
    sent_kib_s: float | None = None
    memory_pressure: bool = False
    throttled: bool = False
    on_battery: bool = False

    def pack(self) -> bytes:
        """Exactly ``VECTOR_BYTES`` bytes."""
        return LAYOUT.pack(
            _percent(self.cpu_percent),
            _percent(self.memory_percent),
            _percent(self.disk_percent),
            _percent(self.accelerator_percent),
            _percent(self.accelerator_memory_percent),
            _u16(self.load_average, 100),
            _celsius(self.hottest_celsius),
            _u16(self.received_kib_s, 1),
            _u16(self.sent_kib_s, 1),
            self.flags(),
        )

    def flags(self) -> int:
        return (
            (FLAG_MEMORY_PRESSURE if self.memory_pressure else 0)
            | (FLAG_THROTTLED if self.throttled else 0)
            | (FLAG_ON_BATTERY if self.on_battery else 0)
        )


def _percent(value: float | None) -> int:
    return UNKNOWN_PERCENT if value is None or not math.isfinite(value) else round(min(max(value, 0.0), 100.0))


def _celsius(value: float | None) -> int:
    return UNKNOWN_CELSIUS if value is None or not math.isfinite(value) else round(min(max(value, -127.0), 127.0))


def _u16(value: float | None, scale: int) -> int:
    return 0 if value is None or not math.isfinite(value) else round(min(max(value * scale, 0.0), _U16_MAX))
