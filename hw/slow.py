"""The slow gauges: disk, temperature, battery, throttling. Looked at every few seconds, shown until the next look."""

import os

from hw.root import KeptFile, Root

# Firmware and drivers fill in fixed or absurd values for sensors that are off or not there (-256 C on Jetson).
CELSIUS_MIN, CELSIUS_MAX = -40.0, 127.0
SENSORS_MAX = 32
# Zones that never measure: the PMIC of older Jetsons always says 50 or 100.
_NO_SENSORS = ("PMIC", "INT3400", "thermal-fan-est")
# Processor sensors outside the thermal framework; others (disks) wake a device for every reading.
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
# Cooling by slowing down, in the kernel's names; fans cool without harm.
_SLOWING = ("thermal-cpufreq", "cpufreq-", "thermal-devfreq", "devfreq-", "Processor")
_X86_COUNTS = "sys/devices/system/cpu/cpu0/thermal_throttle"


class SlowGauge:
    """``None`` and ``False`` until the first look."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._sensors = _sensors(root)
        self._slowing = _slowing(root)
        self._counts, self._counted = _counters(root), -1
        self._firmware = _pi_firmware(root)
        self.disk_percent: float | None = None
        self.celsius: float | None = None
        self.throttled = False
        self.on_battery = False

    def look(self) -> None:
        self.disk_percent = self._disk()
        heats = [heat / 1000 for sensor in self._sensors if (heat := sensor.number()) is not None]
        self.celsius = max((heat for heat in heats if CELSIUS_MIN <= heat <= CELSIUS_MAX), default=None)
        self.throttled = self._throttled()
        self.on_battery = on_battery(self._root)

    def _disk(self) -> float | None:
        """Of the file system that holds the root; a recorded tree lies on a disk that is not its own."""
        if not self._root.live:
            return None
        try:
            found = os.statvfs(self._root.path)
        except OSError:
            return None
        # As df counts: what is kept back for root is neither used nor free.
        used = found.f_blocks - found.f_bfree
        return 100.0 * used / (used + found.f_bavail) if used + found.f_bavail else None

    def _throttled(self) -> bool:
        counted, before = sum(file.number() or 0 for file in self._counts), self._counted
        self._counted = counted
        return (
            any((file.number() or 0) > 0 for file in self._slowing)
            or any(_held_back(file.read()) for file in self._firmware)
            or 0 <= before < counted
        )


def on_battery(root: Root) -> bool:
    """A battery of the machine itself (not of a mouse) is being used up, and no supply is plugged in."""
    at = "sys/class/power_supply"
    draining = False
    for name in root.names(at):
        kind = root.text(f"{at}/{name}/type")
        if kind == "Battery" and root.text(f"{at}/{name}/scope") != "Device":
            draining = draining or root.text(f"{at}/{name}/status") == "Discharging"
        elif kind and kind != "Battery" and root.number(f"{at}/{name}/online") == 1:
            return False
    return draining


def _sensors(root: Root) -> list[KeptFile]:
    at, hwmon = "sys/class/thermal", "sys/class/hwmon"
    zones = [name for name in root.names(at) if name.startswith("thermal_zone")]
    zones = [name for name in zones if not (root.text(f"{at}/{name}/type") or "").startswith(_NO_SENSORS)]
    files = [f"{at}/{name}/temp" for name in zones]
    for chip in root.names(hwmon):
        if root.text(f"{hwmon}/{chip}/name") in _CPU_CHIPS:
            inputs = [
                name for name in root.names(f"{hwmon}/{chip}") if name.startswith("temp") and name.endswith("_input")
            ]
            files += [f"{hwmon}/{chip}/{name}" for name in inputs]
    return [KeptFile(root.at(file), 32) for file in files[:SENSORS_MAX]]


def _slowing(root: Root) -> list[KeptFile]:
    """Files that are above 0 while something is slowed down, or a Raspberry Pi's supply is too weak."""
    at, found = "sys/class/thermal", list[KeptFile]()
    for name in root.names(at):
        kind = root.text(f"{at}/{name}/type") or ""
        if name.startswith("cooling_device") and (kind.startswith(_SLOWING) or kind.endswith("-throttle-alert")):
            found.append(KeptFile(root.at(f"{at}/{name}/cur_state"), 32))
    for chip in root.names("sys/class/hwmon"):
        if root.text(f"sys/class/hwmon/{chip}/name") == "rpi_volt":
            found.append(KeptFile(root.at(f"sys/class/hwmon/{chip}/in0_lcrit_alarm"), 32))
    return found[: 2 * SENSORS_MAX]


def _pi_firmware(root: Root) -> list[KeptFile]:
    """Where a Raspberry Pi kernel shows what the firmware holds back: below ``soc``, on newer ones with an address."""
    at = "sys/devices/platform"
    socs = [name for name in root.names(at) if name.startswith("soc")]
    places = [f"{at}/{soc}/{soc}:firmware" for soc in socs] + [f"{at}/{soc}" for soc in socs]
    return [
        KeptFile(root.at(f"{place}/get_throttled"), 32) for place in places if root.exists(f"{place}/get_throttled")
    ]


def _held_back(raw: bytes | None) -> bool:
    """Hex without a mark. Bits 0 to 3: low voltage, capped, throttled, soft heat limit, now; the high ones: ever."""
    try:
        return bool(int(raw or b"0", 16) & 0xF)
    except ValueError:
        return False


def _counters(root: Root) -> list[KeptFile]:
    """Events that only count up: heat on x86, over-current and low voltage on Orin and Thor (``soctherm_oc``)."""
    files = [f"{_X86_COUNTS}/{name}" for name in ("core_throttle_count", "package_throttle_count")]
    hwmon = "sys/class/hwmon"
    for chip in root.names(hwmon):
        if root.text(f"{hwmon}/{chip}/name") == "soctherm_oc":
            files += [f"{hwmon}/{chip}/{name}" for name in root.names(f"{hwmon}/{chip}") if name.endswith("_event_cnt")]
    return [KeptFile(root.at(file), 32) for file in files if root.exists(file)]
