"""Facts of an NVIDIA Jetson from plain files: device tree, L4T release, power mode, CUDA. No root, no tools, no jtop.

L4T is the fact; JetPack is a label that NVIDIA gives to some L4T releases, taken from a table that is never complete.
"""

import json
import re

import msgspec

from hw.root import Root, as_int, as_label

_RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>")
_JETPACK = {
    "39.2.2": "7.2.2", "39.2.1": "7.2.1", "39.2.0": "7.2", "38.4.0": "7.1", "38.2.2": "7.0", "38.2.1": "7.0",
    "38.2.0": "7.0", "36.5.2": "6.2.3", "36.5.0": "6.2.2", "36.4.7": "6.2.1", "36.4.4": "6.2.1", "36.4.3": "6.2",
    "36.4.0": "6.1", "36.3.0": "6.0", "35.6.5": "5.1.7", "35.6.1": "5.1.5", "35.4.1": "5.1.2", "35.3.1": "5.1.1",
    "35.1.0": "5.0.2", "32.7.6": "4.6.6", "32.7.1": "4.6.1",
}  # fmt: skip
# CUDA compute capability of the integrated GPU, by system on chip.
_CAPABILITY = {"tegra264": "11.0", "tegra234": "8.7", "tegra194": "7.2", "tegra186": "6.2", "tegra210": "5.3"}
_GPU = {"tegra264": "Thor", "tegra234": "Orin", "tegra194": "Xavier", "tegra186": "TX2", "tegra210": "TX1/Nano"}
# Tenths of a percent, first that answers; where it lies changed with the kernels of L4T 32, 35, 36.
_LOAD_FILES = (
    "sys/devices/platform/gpu.0/load",
    "sys/devices/gpu.0/load",
    "sys/devices/platform/bus@0/17000000.gpu/load",
    "sys/devices/platform/17000000.gpu/load",
)


class Jetson(msgspec.Struct, frozen=True, omit_defaults=True):
    """``power_mode_id`` is what nvpmodel remembers as chosen, ``power_mode`` its name in nvpmodel's configuration."""

    soc: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    power_mode_id: int | None = None
    power_mode: str | None = None
    cuda: str | None = None


def jetson(root: Root) -> Jetson | None:
    """``None`` when this is no Jetson."""
    soc = soc_of(root)
    if soc is None:
        return None
    l4t = _l4t(root)
    mode_id = _mode_id(root)
    modes = {as_int(number): name for number, name in _MODE.findall(root.text("etc/nvpmodel.conf") or "")}
    return Jetson(
        soc=soc,
        l4t=l4t,
        jetpack=_JETPACK.get(l4t or ""),
        power_mode_id=mode_id,
        power_mode=None if mode_id is None else as_label(modes.get(mode_id)),
        cuda=_cuda(root),
    )


def soc_of(root: Root) -> str | None:
    """``tegra234``, from the device tree's list of what this board is compatible with, most special first."""
    for name in (root.text("proc/device-tree/compatible") or "").split("\0"):
        maker, _, chip = name.strip().partition(",")
        if maker == "nvidia" and re.fullmatch(r"tegra\d{3}", chip):
            return chip
    return None


def gpu_name(soc: str) -> str:
    return f"{_GPU.get(soc, soc)} (integrated)"


def gpu_capability(soc: str) -> str | None:
    return _CAPABILITY.get(soc)


def gpu_load_file(root: Root) -> str | None:
    """Where the kernel tells the load of the integrated GPU; Thor's kernel does not."""
    devices = [
        name for name in root.names("sys/class/devfreq") if name.endswith((".gpu", ".gv11b", ".gp10b", ".ga10b"))
    ]
    places = [*_LOAD_FILES, *(f"sys/class/devfreq/{name}/device/load" for name in devices)]
    return next((place for place in places if root.number(place) is not None), None)


def _l4t(root: Root) -> str | None:
    found = _RELEASE.search(root.text("etc/nv_tegra_release") or "")
    if not found:
        return None
    version = f"{found[1]}.{found[2].rstrip('.')}"
    return version if version.count(".") > 1 else f"{version}.0"


def _mode_id(root: Root) -> int | None:
    """nvpmodel keeps ``pmode:0002`` (some releases add more words after it)."""
    found = re.search(r"pmode:(\d+)", root.text("var/lib/nvpmodel/status") or "")
    return as_int(found[1]) if found else None


def _cuda(root: Root) -> str | None:
    try:
        told = json.loads(root.text("usr/local/cuda/version.json") or "{}")
    except ValueError:
        return None
    part = told.get("cuda") if isinstance(told, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] # JSON of anyone
    version = part.get("version") if isinstance(part, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] # JSON of anyone
    return as_label(version) if isinstance(version, str) else None
