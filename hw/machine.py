"""What the machine is called, what runs on it, and whether we sit in a container."""

import platform

import msgspec

from hw.jetson import soc_of
from hw.root import Root, as_label

# What makers leave in firmware instead of a name.
_NO_NAMES = ("to be filled", "default string", "system product name", "system manufacturer", "not specified", "o.e.m.")
_PORTABLE_CHASSIS = (8, 9, 10, 14, 30, 31, 32)  # SMBIOS, "chassis types": laptops, notebooks, tablets, convertibles
_GUEST_MAKERS = (
    "qemu",
    "vmware",
    "innotek",
    "xen",
    "amazon ec2",
    "google",
    "microsoft corporation virtual",
    "kvm",
    "bochs",
)


class Machine(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind``: jetson, raspberry-pi, virtual, laptop or generic. Serial numbers and host names stay at home."""

    kind: str
    model: str | None = None
    arch: str | None = None
    kernel: str | None = None
    os: str | None = None


def machine(root: Root) -> tuple[Machine, str | None]:
    """And who told its model."""
    tree, dmi = root.label("proc/device-tree/model"), _dmi_model(root)
    source = "machine:device-tree" if tree else "machine:dmi" if dmi else None
    return Machine(
        kind=_kind(root, tree or "", (dmi or "").lower()),
        model=tree or dmi,
        arch=_arch(root),
        kernel=root.label("proc/sys/kernel/osrelease") or (platform.release() if root.live else None),
        os=_os(root),
    ), source


def container(root: Root) -> str:
    """docker, podman, lxc, systemd-nspawn, kubernetes, other, or none as far as one can see from within."""
    if root.exists("run/.containerenv"):
        return "podman"
    if root.exists("var/run/secrets/kubernetes.io") or root.exists("run/secrets/kubernetes.io"):
        return "kubernetes"
    if root.exists(".dockerenv"):
        return "docker"
    if told := root.label("run/systemd/container"):
        return told
    environment = (root.text("proc/1/environ") or "").split("\0")
    if told := next((one.partition("=")[2] for one in environment if one.startswith("container=")), ""):
        return as_label(told) or "other"
    paths = root.text("proc/self/cgroup") or ""
    marks = (("kubepods", "kubernetes"), ("docker", "docker"), ("libpod", "podman"), ("/lxc", "lxc"))
    return next((name for mark, name in marks if mark in paths), "none")


def _kind(root: Root, tree: str, dmi: str) -> str:
    if soc_of(root):
        return "jetson"
    if tree.startswith("Raspberry Pi"):
        return "raspberry-pi"
    rows = root.lines("proc/cpuinfo")
    flags = next((line for line in rows if line.startswith("flags")), "")
    if " hypervisor" in flags or dmi.startswith(_GUEST_MAKERS) or tree.startswith("linux,dummy-virt"):
        return "virtual"
    return "laptop" if root.number("sys/class/dmi/id/chassis_type") in _PORTABLE_CHASSIS else "generic"


def _dmi_model(root: Root) -> str | None:
    at = "sys/class/dmi/id"
    maker, product = root.label(f"{at}/sys_vendor"), root.label(f"{at}/product_name")
    named = [word for word in (maker, product) if word and not word.lower().startswith(_NO_NAMES)]
    if len(named) == 2 and named[1].lower().startswith(named[0].lower()):
        named = named[1:]
    return as_label(" ".join(named))


def _arch(root: Root) -> str | None:
    if root.live:
        return platform.machine() or None
    if told := root.label("proc/sys/kernel/arch"):  # since Linux 6.1
        return told
    text = root.text("proc/cpuinfo") or ""
    if "CPU architecture: 8" in text:
        return "aarch64"
    return "x86_64" if "flags" in text and " lm " in text else None


def _os(root: Root) -> str | None:
    for path in ("etc/os-release", "usr/lib/os-release"):
        for line in root.lines(path):
            name, _, value = line.partition("=")
            if name == "PRETTY_NAME":
                return as_label(value.strip().strip("\"'"))
    return as_label(f"{platform.system()} {platform.release()}") if root.live and not root.exists("proc") else None
