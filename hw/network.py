"""Network interfaces from sysfs: which leave the machine, how fast they are. Never addresses: those are private."""

import msgspec

from hw.root import Root

INTERFACES_MAX = 8
# Made by container engines and hypervisors for their guests; the daemon's peers are never told about them.
_PRIVATE = ("veth", "docker", "br-", "virbr", "cni", "flannel", "cali", "vnet", "tap", "l4tbr")
_NEVER = ("dummy", "ifb", "sit", "ip6tnl", "tunl", "gre", "erspan", "bonding_masters")
ARPHRD_CAN = 280
# Old kernels write "not known" as -1 without its sign.
SPEED_MAX = 10_000_000


class Interface(msgspec.Struct, frozen=True, omit_defaults=True):
    """``kind``: wired, wifi, cellular, can, bridge, bond, tunnel or virtual."""

    name: str
    kind: str
    up: bool | None = None
    speed_mbps: int | None = None


def interfaces(root: Root) -> tuple[Interface, ...]:
    """Those with hardware first; at most ``INTERFACES_MAX``."""
    names = _public(root)
    names.sort(key=lambda name: not root.exists(f"sys/class/net/{name}/device"))
    return tuple(_interface(root, name) for name in names[:INTERFACES_MAX])


def counted(root: Root) -> tuple[str, ...]:
    """Interfaces whose bytes are this machine's traffic: those with hardware, or in a container the virtual ones.

    Counting a bridge and the card below it would count every byte twice.
    """
    names = _public(root)
    hardware = [name for name in names if root.exists(f"sys/class/net/{name}/device")]
    return tuple(hardware or [name for name in names if _kind(root, name) == "virtual"])


def _public(root: Root) -> list[str]:
    """Without what serves guests of this machine; a USB port in a bridge is a Jetson's cable to a desk computer."""
    names = [name for name in root.names("sys/class/net") if name != "lo" and not name.startswith(_PRIVATE + _NEVER)]
    return [
        name
        for name in names
        if not (name.startswith(("usb", "rndis")) and root.exists(f"sys/class/net/{name}/brport"))
    ]


def _interface(root: Root, name: str) -> Interface:
    at = f"sys/class/net/{name}"
    state = root.text(f"{at}/operstate")
    carrier = root.number(f"{at}/carrier")
    # Some drivers say "unknown" for ever; then the carrier decides, and a closed interface refuses to tell even that.
    up = state == "up" if state in ("up", "down") else None if carrier is None else carrier == 1
    speed = root.number(f"{at}/speed") if up else None
    return Interface(
        name=name, kind=_kind(root, name), up=up, speed_mbps=speed if speed and 0 < speed < SPEED_MAX else None
    )


def _kind(root: Root, name: str) -> str:
    at = f"sys/class/net/{name}"
    type_line = next((line for line in root.lines(f"{at}/uevent") if line.startswith("DEVTYPE=")), "")
    told = {"wlan": "wifi", "wwan": "cellular", "bridge": "bridge", "bond": "bond", "wireguard": "tunnel"}
    if kind := told.get(type_line.removeprefix("DEVTYPE=")):
        return kind
    if root.exists(f"{at}/phy80211") or root.exists(f"{at}/wireless"):
        return "wifi"
    if root.number(f"{at}/type") == ARPHRD_CAN:
        return "can"
    if root.exists(f"{at}/tun_flags"):
        return "tunnel"
    if name.startswith("wwan"):
        return "cellular"
    return "wired" if root.exists(f"{at}/device") else "virtual"
