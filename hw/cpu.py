"""The processors: how many, how many of them are ours to use, what they are called."""

import msgspec
import psutil

from hw.cgroup import Groups, allowed_cpus, cpu_list, cpu_quota, usable_cpus
from hw.root import Root

# /proc/cpuinfo of ARM names cores by implementer and part (Arm's own technical reference manuals); those we may meet.
_ARM_PARTS = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
    (0xC0, 0xAC3): "Ampere-1",
}
# What a model server may want to know before it picks its kernels.
_FEATURES = {
    "avx": "avx", "avx2": "avx2", "avx512f": "avx512f", "avx512_bf16": "avx512bf16", "avx_vnni": "avxvnni",
    "amx_tile": "amx",
    "asimd": "neon", "neon": "neon", "sve": "sve", "sve2": "sve2", "i8mm": "i8mm", "bf16": "bf16", "asimddp": "dotprod",
}  # fmt: skip


class Cpu(msgspec.Struct, frozen=True, omit_defaults=True):
    """``usable`` is what limits leave of ``logical``: 1.5 under a quota of a container."""

    logical: int | None = None
    usable: float | None = None
    model: str | None = None
    max_mhz: int | None = None
    features: tuple[str, ...] = ()


def cpu(root: Root, groups: Groups) -> Cpu:
    """Facts of the processors below ``root``."""
    logical = logical_cpus(root)
    rows = [line.partition(":") for line in root.lines("proc/cpuinfo")]
    info = {name.strip(): value.strip() for name, _, value in reversed(rows)}
    flags = (info.get("flags") or info.get("Features") or "").split()
    return Cpu(
        logical=logical,
        usable=usable_cpus(logical, allowed_cpus(root), cpu_quota(root, groups)),
        model=_model(info, [value.strip() for name, _, value in rows if name.strip() == "CPU part"]),
        max_mhz=_max_mhz(root),
        features=tuple(dict.fromkeys(_FEATURES[flag] for flag in flags if flag in _FEATURES)),
    )


def logical_cpus(root: Root) -> int | None:
    """Processors that are switched on: power modes of small machines switch some off."""
    if root.live and (count := psutil.cpu_count()):
        return count
    online = len(cpu_list(root.text("sys/devices/system/cpu/online") or ""))
    return online or sum(line.startswith("processor") for line in root.lines("proc/cpuinfo")) or None


def _model(info: dict[str, str], parts: list[str]) -> str | None:
    if name := info.get("model name"):
        return " ".join(name.split())
    implementer = _hex(info.get("CPU implementer"))
    names = dict.fromkeys(_ARM_PARTS.get((implementer, _hex(part)), f"ARM part {part}") for part in parts)
    return " + ".join(names) or None


def _max_mhz(root: Root) -> int | None:
    at = "sys/devices/system/cpu"
    khz = [root.number(f"{at}/{name}/cpufreq/cpuinfo_max_freq") for name in root.names(at) if name[3:].isdigit()]
    highest = max((one for one in khz if one), default=None)
    return round(highest / 1000) if highest else None


def _hex(text: str | None) -> int:
    try:
        return int(text or "", 16)
    except ValueError:
        return -1
