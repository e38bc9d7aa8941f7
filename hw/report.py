"""What machine is this: all slow facts in one report. What could not be found out is absent: never 0, never guessed."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from hw.accelerators import Accelerator, accelerators
from hw.cgroup import Groups, groups_of, memory_limit
from hw.cpu import Cpu, cpu
from hw.disks import Disk, disks
from hw.gauges import field
from hw.jetson import Jetson, jetson
from hw.machine import Machine, container, machine
from hw.network import Interface, interfaces
from hw.nvml import Nvml
from hw.root import Root

# An exbibyte: what claims more is broken, and JSON numbers end at 2^64.
KIB_MAX = 1 << 50


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """``limit_bytes`` is the smaller of what is there and what the control group allows."""

    total_bytes: int | None = None
    limit_bytes: int | None = None


class HardwareReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """``psi``: the kernel tells how long tasks wait. ``sources``: who told what, as ``fact:source``."""

    machine: Machine
    cpu: Cpu
    memory: Memory
    psi: bool
    container: str
    disks: tuple[Disk, ...] = ()
    network: tuple[Interface, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    jetson: Jetson | None = None
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self, bytes_max: int) -> bytes:
        """A JSON object of at most ``bytes_max`` bytes: what matters least is left out until it fits."""
        report, encoded = self, msgspec.json.encode(self)
        for leaner in _LEANER:
            if len(encoded) <= bytes_max:
                return encoded
            report = leaner(report)
            encoded = msgspec.json.encode(report)
        return encoded if len(encoded) <= bytes_max else b"{}"


def probe(root: Path, nvml: Nvml | None = None) -> HardwareReport:
    """Ask everything once. Takes tens of milliseconds, and up to ten seconds beside a sick GPU: call it in a thread.

    ``root`` other than "/" is a recorded tree: then only files are asked, and NVML only if given.
    """
    here = Root(root)
    groups = groups_of(here)
    named, named_by = machine(here)
    memory, memory_by = _memory(here, groups)
    storage, storage_by = disks(here)
    cards = accelerators(here, nvml, memory.total_bytes)
    cores = cpu(here, groups)
    cores_by = ("cpu:psutil" if here.live else "cpu:sysfs") if cores.logical else None
    told = (named_by, cores_by, memory_by, storage_by, *cards.sources)
    limits = groups.source()
    return HardwareReport(
        machine=named,
        cpu=cores,
        memory=memory,
        psi=here.exists("proc/pressure/cpu"),
        container=container(here),
        disks=storage,
        network=interfaces(here),
        accelerators=cards.accelerators,
        jetson=jetson(here),
        sources=tuple(source for source in (*told, f"limits:{limits}" if limits else None) if source),
        warnings=cards.warnings,
    )


def _memory(root: Root, groups: Groups) -> tuple[Memory, str | None]:
    kib = field((root.text("proc/meminfo") or "").encode(), b"MemTotal:")
    total, source = (kib * 1024, "memory:procfs") if kib and kib < KIB_MAX else (None, None)
    if total is None and root.live:
        total, source = psutil.virtual_memory().total, "memory:psutil"
    limit = memory_limit(root, groups)
    known = [value for value in (total, int(limit.value) if limit else None) if value]
    return Memory(total_bytes=total, limit_bytes=min(known, default=None)), source


def _without(*names: str) -> Callable[[HardwareReport], HardwareReport]:
    return lambda report: msgspec.structs.replace(report, **dict.fromkeys(names, ()))


def _without_uuids(report: HardwareReport) -> HardwareReport:
    plain = tuple(msgspec.structs.replace(one, uuid=None, driver=None) for one in report.accelerators)
    return msgspec.structs.replace(report, accelerators=plain)


def _without_features(report: HardwareReport) -> HardwareReport:
    return msgspec.structs.replace(report, cpu=msgspec.structs.replace(report.cpu, features=()))


def _firsts(report: HardwareReport) -> HardwareReport:
    return msgspec.structs.replace(report, disks=report.disks[:1], network=report.network[:2])


# In this order, each on top of the ones before. Accelerators are kept the longest: placement asks for them.
_LEANER = (
    _without("sources"),
    _without_features,
    _firsts,
    _without("warnings"),
    _without("network"),
    _without_uuids,
    _without("disks"),
    _without("accelerators"),
)
