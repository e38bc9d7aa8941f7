"""What machine is this: all slow facts in one report, in the order of their worth."""

import os
from pathlib import Path

import msgspec

from hw.cgroup import Groups, groups_of, memory_limit
from hw.cpu import Cpu, cpu
from hw.gauges import field
from hw.network import Interface, interfaces
from hw.root import Root


class Machine(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind``: jetson, raspberry-pi, laptop, virtual or generic."""

    kind: str = "generic"
    model: str | None = None
    arch: str | None = None
    kernel: str | None = None
    os: str | None = None


class Memory(msgspec.Struct, frozen=True, omit_defaults=True):
    """``limit_bytes`` is the smaller of what is there and what the control group allows."""

    total_bytes: int | None = None
    limit_bytes: int | None = None


class HardwareReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """What could be found out; what could not is absent. ``sources`` says who was asked with success."""

    machine: Machine
    cpu: Cpu
    memory: Memory
    psi: bool
    network: tuple[Interface, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self, bytes_max: int) -> bytes:
        """A JSON object of at most ``bytes_max`` bytes: what matters least goes first, the machine's name last."""
        report = self
        for name in ("sources", "warnings", "network"):
            encoded = msgspec.json.encode(report)
            if len(encoded) <= bytes_max:
                return encoded
            report = msgspec.structs.replace(report, **{name: ()})
        return msgspec.json.encode(report)


def probe(root: Path) -> HardwareReport:
    """Ask everything once; may take a while, so call it in a thread."""
    here = Root(root)
    groups = groups_of(here)
    return HardwareReport(
        machine=Machine(arch=os.uname().machine if here.live else None, kernel=here.text("proc/sys/kernel/osrelease")),
        cpu=cpu(here, groups),
        memory=_memory(here, groups),
        psi=here.exists("proc/pressure/cpu"),
        network=interfaces(here),
    )


def _memory(root: Root, groups: Groups) -> Memory:
    kib = field((root.text("proc/meminfo") or "").encode(), b"MemTotal:")
    total = kib * 1024 if kib else None
    limit = memory_limit(root, groups)
    known = [value for value in (total, int(limit.value) if limit else None) if value]
    return Memory(total_bytes=total, limit_bytes=min(known, default=None))
