"""What computes beside the processors: GPUs by NVML, by the Tegra and amdgpu drivers, by what /proc tells without any.

Only what a program here could use is listed. A card that is seen and cannot be used (no driver, no device files in this
container) is a warning, so that a person learns why it is missing.
"""

import re

import msgspec

from hw.aside import Aside, within
from hw.jetson import gpu_capability, gpu_load_file, gpu_name, soc_of
from hw.nvml import Nvml, Use
from hw.root import KeptFile, Root, as_label

NVML_LIMIT_S = 10.0
# A measurement of the cards older than this is no longer told.
USE_AGE_S_MAX = 10.0
_NVIDIA, _AMD = 0x10DE, 0x1002
_VERSION = re.compile(r"\s(\d+\.\d+(?:\.\d+)?)\s")


class Accelerator(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind``: cuda or rocm. ``memory_shared``: it is the machine's own memory, not memory beside it."""

    kind: str
    index: int
    name: str | None = None
    memory_bytes: int | None = None
    memory_shared: bool = False
    capability: str | None = None
    driver: str | None = None
    uuid: str | None = None


class Found(msgspec.Struct, frozen=True):
    """Accelerators, who told of them, and what is wrong with others."""

    accelerators: tuple[Accelerator, ...] = ()
    sources: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def accelerators(root: Root, nvml: Nvml | None, memory_bytes: int | None) -> Found:
    """``nvml`` is asked within a limit; ``memory_bytes`` is the machine's, which integrated GPUs share."""
    soc = soc_of(root)
    nvidia = _tegra(root, soc, memory_bytes) if soc else _nvidia(root, nvml)
    amd = _amd(root)
    return Found(
        accelerators=nvidia.accelerators + amd.accelerators,
        sources=nvidia.sources + amd.sources,
        warnings=nvidia.warnings + amd.warnings,
    )


def _has_nvidia_files(root: Root) -> bool:
    """A program here could talk to an NVIDIA driver (WSL has a device of another name)."""
    return root.exists("dev/nvidiactl") or root.exists("dev/dxg")


def _nvml_here(root: Root) -> Nvml | None:
    """Only on the machine itself, and only where it could answer: the library is not small."""
    return Nvml.load() if root.live and _has_nvidia_files(root) else None


def _tegra(root: Root, soc: str, memory_bytes: int | None) -> Found:
    """NVML knows next to nothing about these; what they are follows from the chip."""
    one = Accelerator(
        kind="cuda", index=0, name=gpu_name(soc), memory_bytes=memory_bytes, memory_shared=True,
        capability=gpu_capability(soc), driver=_driver(root),
    )  # fmt: skip
    return Found(accelerators=(one,), sources=("accelerators:device-tree",))


def _nvidia(root: Root, nvml: Nvml | None) -> Found:
    warnings: tuple[str, ...] = ()
    nvml = nvml or _nvml_here(root)
    if nvml:
        told = within(NVML_LIMIT_S, lambda: (nvml.cards(), nvml.driver()), "hw-nvml-probe")
        if told and told[0]:
            driver = told[1] or _driver(root)
            return Found(
                accelerators=tuple(
                    Accelerator(
                        kind="cuda", index=card.index, name=card.name, memory_bytes=card.memory_bytes,
                        capability=card.capability, driver=driver, uuid=card.uuid,
                    )
                    for card in told[0]
                ),
                sources=("accelerators:nvml",),
            )  # fmt: skip
        if told is None:
            warnings = (f"NVML did not answer within {NVML_LIMIT_S:g} s",)
    by_files = _nvidia_by_files(root)
    return Found(accelerators=by_files.accelerators, sources=by_files.sources, warnings=warnings + by_files.warnings)


def _nvidia_by_files(root: Root) -> Found:
    """Name and UUID, no memory: what the driver shows to anyone."""
    slots = root.names("proc/driver/nvidia/gpus")
    if not slots:
        unused = _pci_displays(root, _NVIDIA)
        told = tuple(f"NVIDIA device at {slot} has no driver loaded" for slot in unused[:4])
        return Found(warnings=told)
    if not _has_nvidia_files(root):
        return Found(warnings=(f"{len(slots)} NVIDIA device(s) seen, but /dev/nvidiactl is not here to use them",))
    driver = _driver(root)
    return Found(
        accelerators=tuple(_card_by_file(root, index, slot, driver) for index, slot in enumerate(slots)),
        sources=("accelerators:procfs",),
        warnings=("memory of NVIDIA devices not known: install meshnode[nvidia] to ask NVML",),
    )


def _card_by_file(root: Root, index: int, slot: str, driver: str | None) -> Accelerator:
    rows = [line.partition(":") for line in root.lines(f"proc/driver/nvidia/gpus/{slot}/information")]
    told = {name.strip(): value.strip() for name, _, value in rows}
    uuid = as_label(told.get("GPU UUID"))
    known = uuid if uuid and "?" not in uuid else None  # the driver writes question marks until the card was used
    return Accelerator(kind="cuda", index=index, name=as_label(told.get("Model")), driver=driver, uuid=known)


def _amd(root: Root) -> Found:
    cards = [name for name in root.names("sys/class/drm") if re.fullmatch(r"card\d+", name)]
    cards = [name for name in cards if root.number(f"sys/class/drm/{name}/device/vendor") == _AMD]
    if not cards:
        return Found()
    if not root.exists("dev/kfd"):
        return Found(
            warnings=(f"{len(cards)} AMD display device(s) seen, but /dev/kfd is not here to compute on them",)
        )
    found = [
        Accelerator(
            kind="rocm",
            index=index,
            name=_amd_name(root, f"sys/class/drm/{name}/device"),
            memory_bytes=root.number(f"sys/class/drm/{name}/device/mem_info_vram_total") or None,
            driver=root.label("sys/module/amdgpu/version"),
        )
        for index, name in enumerate(cards)
    ]
    return Found(accelerators=tuple(found), sources=("accelerators:sysfs",))


def _amd_name(root: Root, at: str) -> str:
    return root.label(f"{at}/product_name") or f"AMD {root.label(f'{at}/device') or 'GPU'}"


def _driver(root: Root) -> str | None:
    found = _VERSION.search((root.text("proc/driver/nvidia/version") or "").partition("\n")[0] + " ")
    return found[1] if found else None


def _pci_displays(root: Root, vendor: int) -> list[str]:
    """Display and 3D controllers of a maker (PCI class 03)."""
    at = "sys/bus/pci/devices"
    slots = [slot for slot in root.names(at) if root.number(f"{at}/{slot}/vendor") == vendor]
    return [slot for slot in slots if (root.number(f"{at}/{slot}/class") or 0) >> 16 == 0x03]


class AcceleratorGauge:
    """How busy the accelerators are together, by the driver's files or, aside, by NVML."""

    def __init__(self, root: Root, nvml: Nvml | None) -> None:
        load = gpu_load_file(root) if soc_of(root) else None
        # Tegra counts in tenths of a percent, amdgpu in percent.
        self._files = [(KeptFile(root.at(load), 32), 10.0)] if load else []
        at = "sys/class/drm"
        amd = [f"{at}/{name}/device" for name in root.names(at)] if root.exists("dev/kfd") else []
        amd = [one for one in amd if root.number(f"{one}/gpu_busy_percent") is not None]
        self._files += [(KeptFile(root.at(f"{one}/gpu_busy_percent"), 32), 1.0) for one in amd]
        self._memories = [
            (KeptFile(root.at(f"{one}/mem_info_vram_used"), 32), total)
            for one in amd
            if (total := root.number(f"{one}/mem_info_vram_total"))
        ]
        nvml = None if self._files else nvml or _nvml_here(root)
        self._aside = Aside(nvml.use, "hw-nvml") if nvml else None

    def use(self, at_s: float) -> Use:
        """Never waits."""
        if self._aside:
            return self._aside.latest(at_s, USE_AGE_S_MAX) or Use()
        values = [(file.number(), scale) for file, scale in self._files]
        loads = [min(100.0, max(0.0, value / scale)) for value, scale in values if value is not None]
        used = [(count, total) for file, total in self._memories if (count := file.number()) is not None]
        total = sum(size for _, size in used)
        return Use(
            percent=sum(loads) / len(loads) if loads else None,
            memory_percent=100.0 * sum(count for count, _ in used) / total if total else None,
        )
