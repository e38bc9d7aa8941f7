"""The fast gauges: processor, memory, pressure, load average, network.

Kept descriptors and little parsing. Each answers ``None`` for what this machine does not tell.
"""

from hw.cgroup import Groups, Limit, allowed_cpus, cpu_quota, memory_limit, usable_cpus
from hw.network import counted
from hw.root import KeptFile, Root, as_int

# Share of the last ten seconds in which some task waited for memory, from which on we call it pressure.
PRESSURE_PERCENT = 10.0
# Without PSI (many L4T kernels): memory this full is pressure.
FULL_PERCENT = 95.0
# The kernel counts processor time in hundredths of a second: over less than this a rate is noise.
RATE_AFTER_S = 0.2


class Rate:
    """Units per second between two looks at a counter; a counter that went back (reset, hot-plug) starts anew."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def step(self, count: float | None, at_s: float) -> float | None:
        last = self._last
        if count is None:
            self._last = None
            return None
        if last is None or count < last[0]:
            self._last = (count, at_s)
            return None
        if at_s - last[1] < RATE_AFTER_S:
            return None
        self._last = (count, at_s)
        return (count - last[0]) / (at_s - last[1])


class CpuGauge:
    """Busy share of what we may use of the processors.

    Under a quota the group's own time counts against the quota; otherwise the busy time of the allowed processors.
    """

    def __init__(self, root: Root, groups: Groups, logical: int | None) -> None:
        allowed, quota = allowed_cpus(root), cpu_quota(root, groups)
        self.usable = usable_cpus(logical, allowed, quota)
        some = logical is not None and 0 < len(allowed) < logical
        self._rows = frozenset(f"cpu{n}".encode() for n in allowed) if some else frozenset((b"cpu",))
        self._stat = KeptFile(root.at("proc/stat"), 65_536 if some else 1024)
        capped = quota is not None and self.usable == round(quota.value, 2)
        own = _OwnTime(root, quota) if quota and capped else None
        # Version 1 may bind the accounting elsewhere; then the busy time of the machine has to do.
        self._own = own if own and own.seconds() is not None else None
        self._own_rate, self._last = Rate(), (0, 0)

    def percent(self, at_s: float) -> float | None:
        """Since the call before; ``None`` at the first."""
        if self._own and self.usable:
            rate = self._own_rate.step(self._own.seconds(), at_s)
            return None if rate is None else min(100.0, 100.0 * rate / self.usable)
        before, now = self._last, self._ticks()
        if now[1] - before[1] <= 0:
            return None
        self._last = now
        return None if not before[1] else min(100.0, max(0.0, 100.0 * (now[0] - before[0]) / (now[1] - before[1])))

    def _ticks(self) -> tuple[int, int]:
        """Busy and all ticks of our processors: user nice system idle iowait irq softirq steal (guest is in user)."""
        busy = total = 0
        for line in (self._stat.read() or b"").split(b"\n"):
            name, _, rest = line.partition(b" ")
            if not name.startswith(b"cpu"):
                break
            if name in self._rows:
                ticks = _counts(rest.split()[:8])
                total += sum(ticks)
                busy += sum(ticks) - sum(ticks[3:5])
        return busy, total


class _OwnTime:
    """Processor seconds that the capped control group used so far."""

    def __init__(self, root: Root, quota: Limit) -> None:
        name, self._units_per_s = ("cpu.stat", 1e6) if quota.version == 2 else ("cpuacct.usage", 1e9)
        self._file = KeptFile(root.at(f"{quota.group}/{name}"), 1024)

    def seconds(self) -> float | None:
        words = (self._file.read() or b"").split(None, 2)
        text = words[1] if len(words) > 1 and words[0] == b"usage_usec" else words[0] if words else b""
        count = as_int(text.decode("ascii", "replace"))
        return None if count is None else count / self._units_per_s


class MemoryGauge:
    """The fuller of the machine and our control group: either one stops us."""

    def __init__(self, root: Root, groups: Groups) -> None:
        self._meminfo = KeptFile(root.at("proc/meminfo"), 4096)
        self._limit = limit = memory_limit(root, groups)
        self._pressures = [KeptFile(root.at("proc/pressure/memory"), 256)]
        if limit:
            unified = limit.version == 2
            self._used = KeptFile(root.at(f"{limit.group}/memory.{'current' if unified else 'usage_in_bytes'}"), 64)
            self._stat = KeptFile(root.at(f"{limit.group}/memory.stat"))
            self._cache_name = b"inactive_file " if unified else b"total_inactive_file "
            self._pressures.append(KeptFile(root.at(f"{limit.group}/memory.pressure"), 256))

    def percent(self) -> float | None:
        return max((share for share in (self._machine(), self._group()) if share is not None), default=None)

    def pressure(self, percent: float | None) -> bool:
        """Tasks wait for memory now (pressure stall information); where the kernel lacks it: nearly none is left."""
        waits = [wait for wait in (some_avg10(file.read()) for file in self._pressures) if wait is not None]
        if waits:
            return max(waits) >= PRESSURE_PERCENT
        return percent is not None and percent >= FULL_PERCENT

    def _machine(self) -> float | None:
        raw = self._meminfo.read() or b""
        total, available = field(raw, b"MemTotal:"), field(raw, b"MemAvailable:")
        return None if not total or available is None else 100.0 * max(0.0, 1.0 - available / total)

    def _group(self) -> float | None:
        if self._limit is None:
            return None
        used = self._used.number()
        # Page cache that nobody looked at lately is dropped first when the group runs full: it is not load.
        cache = field(self._stat.read() or b"", self._cache_name) or 0
        return None if used is None else 100.0 * max(0, used - cache) / self._limit.value


class LoadAverage:
    """The run queue over the last minute."""

    def __init__(self, root: Root) -> None:
        self._file = KeptFile(root.at("proc/loadavg"), 128)

    def value(self) -> float | None:
        first = (self._file.read() or b"").partition(b" ")[0]
        try:
            return float(first)
        except ValueError:
            return None


class NetworkGauge:
    """KiB/s received and sent over the interfaces that leave the machine (see ``hw.network.counted``)."""

    def __init__(self, root: Root) -> None:
        self._file = KeptFile(root.at("proc/net/dev"), 65_536)
        self._names = frozenset(name.encode() for name in counted(root))
        self._received, self._sent = Rate(), Rate()

    def rates(self, at_s: float) -> tuple[float | None, float | None]:
        received = sent = 0
        for line in (self._file.read() or b"").split(b"\n"):
            name, colon, rest = line.partition(b":")
            columns = _counts(rest.split())
            if colon and name.strip() in self._names and len(columns) > 8:
                received += columns[0]
                sent += columns[8]
        known = bool(self._names)
        per_s = self._received.step(received if known else None, at_s), self._sent.step(sent if known else None, at_s)
        return _kib(per_s[0]), _kib(per_s[1])


def some_avg10(raw: bytes | None) -> float | None:
    """``some avg10=1.23 ...``: percent of the last ten seconds in which at least one task waited."""
    _, mark, rest = (raw or b"").partition(b"avg10=")
    try:
        return float(rest.partition(b" ")[0]) if mark else None
    except ValueError:
        return None


def field(raw: bytes, name: bytes) -> int | None:
    """The number behind a name at the start of a line."""
    at = 0 if raw.startswith(name) else raw.find(b"\n" + name) + 1
    if at == 0 and not raw.startswith(name):
        return None
    words = raw[at + len(name) :].split(None, 1)
    return as_int(words[0].decode("ascii", "replace")) if words else None


def _counts(words: list[bytes]) -> list[int]:
    return [int(word) for word in words if word.isdigit()]


def _kib(bytes_per_s: float | None) -> float | None:
    return None if bytes_per_s is None else bytes_per_s / 1024
