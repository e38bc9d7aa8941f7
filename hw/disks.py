"""File systems on real storage: how large, how full, on what. Network mounts are never touched: they may hang."""

import os
import re

import msgspec

from hw.root import Root

DISKS_MAX = 4
_REAL = ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "vfat", "exfat", "ntfs3", "bcachefs")
_HIDDEN = ("/boot", "/snap/", "/var/lib/docker", "/var/lib/containers", "/etc/", "/run/")
# Free space is told in steps of this share of the disk: a written log line is no news for a mesh.
_STEPS = 100
SECTORS_MAX = 1 << 50


class Disk(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind``: nvme, emmc, sd, ssd, hdd or virtual, of the device below. ``free_bytes`` is rounded down to 1 %."""

    mount: str
    kind: str | None = None
    total_bytes: int | None = None
    free_bytes: int | None = None


def disks(root: Root) -> tuple[tuple[Disk, ...], str | None]:
    """The file system of "/" first; each device once; and who told their sizes."""
    found: dict[str, Disk] = {}
    for device, mount, kind in sorted(_mounts(root), key=lambda row: (row[1] != "/", len(row[1]), row[1])):
        known = mount == "/" or (kind in _REAL and not mount.startswith(_HIDDEN))
        if known and device not in found and len(found) < DISKS_MAX:
            found[device] = _disk(root, device, mount)
    sized = any(disk.total_bytes for disk in found.values())
    return tuple(found.values()), ("disks:statvfs" if root.live else "disks:sysfs") if sized else None


def _disk(root: Root, device: str, mount: str) -> Disk:
    name = device.rpartition("/")[2] if device.startswith("/dev/") else ""
    kind = _kind(root, name) if name else None
    if root.live:
        try:
            told = os.statvfs(mount)
        except OSError:
            return Disk(mount=mount, kind=kind)
        total, free = told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize
        step = max(1, total // _STEPS)
        return Disk(mount=mount, kind=kind, total_bytes=total, free_bytes=free // step * step)
    sectors = root.number(f"sys/class/block/{name}/size") if name else None
    return Disk(mount=mount, kind=kind, total_bytes=sectors * 512 if sectors and sectors < SECTORS_MAX else None)


def _kind(root: Root, name: str) -> str | None:
    if name.startswith("nvme"):
        return "nvme"
    if name.startswith("mmcblk"):
        kind = root.text(f"sys/class/block/{_whole(name)}/device/type")
        return {"MMC": "emmc", "SD": "sd"}.get(kind or "")
    if name.startswith(("vd", "xvd")):
        return "virtual"
    rotational = root.number(f"sys/class/block/{_whole(name)}/queue/rotational")
    return None if rotational is None else "hdd" if rotational else "ssd"


def _whole(name: str) -> str:
    """The disk that a partition is part of: sda1 -> sda, mmcblk0p2 -> mmcblk0."""
    if found := re.fullmatch(r"(.*\d)p\d+", name):
        return found[1]
    return name.rstrip("0123456789") if name.startswith(("sd", "hd")) else name


def _mounts(root: Root) -> list[tuple[str, str, str]]:
    rows = [line.split(" ") for line in root.lines("proc/mounts")]
    return [(row[0], row[1].replace("\\040", " "), row[2]) for row in rows if len(row) >= 3]
