"""The live load vector on the wire: 13 bytes, so that it may travel often.

    u8 cpu % | u8 memory % | u8 disk % | u8 accelerator % | u8 accelerator memory % | u16 load average x100 |
    i8 hottest sensor C | u16 KiB/s received | u16 KiB/s sent | u8 flags

255 in a percentage and -128 in the temperature mean "not known on this machine".
"""

import struct
from typing import Any

LAYOUT = struct.Struct(">BBBBBHbHHB")
VECTOR_BYTES = LAYOUT.size
UNKNOWN_PERCENT = 255
UNKNOWN_CELSIUS = -128
FLAG_MEMORY_PRESSURE = 1
FLAG_THROTTLED = 2
FLAG_ON_BATTERY = 4

_PERCENTS = ("cpu_percent", "memory_percent", "disk_percent", "accelerator_percent", "accelerator_memory_percent")


def load_view(vector: bytes) -> dict[str, Any]:
    """The vector for people; a vector of another length (another version) shows as nothing."""
    if len(vector) != VECTOR_BYTES:
        return {}
    *percents, load, celsius, received, sent, flags = LAYOUT.unpack(vector)
    view: dict[str, Any] = {
        name: value for name, value in zip(_PERCENTS, percents, strict=True) if value != UNKNOWN_PERCENT
    }
    view["load_average"] = load / 100
    if celsius != UNKNOWN_CELSIUS:
        view["hottest_celsius"] = celsius
    view["received_kib_s"], view["sent_kib_s"] = received, sent
    view["memory_pressure"] = bool(flags & FLAG_MEMORY_PRESSURE)
    view["throttled"] = bool(flags & FLAG_THROTTLED)
    view["on_battery"] = bool(flags & FLAG_ON_BATTERY)
    return view
