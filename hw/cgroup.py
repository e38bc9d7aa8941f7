"""The true limits of this process: control groups of both versions, and the processors it may run on.

A limit holds for a group and all below it, so the groups are walked upward and the tightest wins (kernel documentation,
``cgroup-v2`` and ``cgroup-v1``). Hybrid hosts mount both; each controller is looked for where it is bound.
"""

from dataclasses import dataclass

from hw.root import Root, as_int

DEPTH_MAX = 32
CPUS_MAX = 8192


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Directories below the root that hold this process's limits, the own group first; empty when there are none."""

    unified: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    cpuacct: tuple[str, ...] = ()

    def source(self) -> str | None:
        """``cgroup-v2``, ``cgroup-v1``, or ``None`` without either."""
        if self.cpu or self.memory:
            return "cgroup-v1"
        return "cgroup-v2" if self.unified else None


@dataclass(frozen=True)
class _Mount:
    kind: str
    point: str
    inside: str
    controllers: tuple[str, ...]


def groups_of(root: Root) -> Groups:
    """Where the limits of this process stand."""
    mounts = _mounts(root)
    unified: tuple[str, ...] = ()
    version1: dict[str, tuple[str, ...]] = {}
    for line in root.lines("proc/self/cgroup"):
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        # Engines mount a hierarchy more than once; the mount that shows our own group is the one to read.
        for mount in sorted(mounts, key=lambda one: not _shows(one, path)):
            if not controllers and mount.kind == "cgroup2":
                unified = unified or _upward(root, mount, path)
            for name in controllers.split(","):
                if mount.kind == "cgroup" and name in mount.controllers:
                    version1.setdefault(name, _upward(root, mount, path))
    return Groups(
        unified=unified,
        cpu=version1.get("cpu", ()),
        memory=version1.get("memory", ()),
        cpuacct=version1.get("cpuacct", ()),
    )


@dataclass(frozen=True)
class Limit:
    """A cap, the group that has it (its use is shared by all below it), and the version of its files."""

    value: float
    group: str
    version: int


def cpu_quota(root: Root, groups: Groups) -> Limit | None:
    """Processors' worth of time per time, or ``None`` when nothing caps it."""
    found: list[Limit] = []
    for group in groups.unified:
        quota, _, period = (root.text(f"{group}/cpu.max") or "").partition(" ")
        found += _ratio(as_int(quota), as_int(period), group, 2)
    for group in groups.cpu:
        quota, period = root.number(f"{group}/cpu.cfs_quota_us"), root.number(f"{group}/cpu.cfs_period_us")
        found += _ratio(quota, period, group, 1)
    return min(found, key=_value, default=None)


def memory_limit(root: Root, groups: Groups) -> Limit | None:
    """Bytes this process and its siblings may use, or ``None`` when nothing caps it."""
    found = [(root.number(f"{group}/memory.max"), group, 2) for group in groups.unified]
    found += [(root.number(f"{group}/memory.limit_in_bytes"), group, 1) for group in groups.memory]
    # Version 1 writes "no limit" as the largest page-aligned number, which is no number to ``Root``.
    limits = [Limit(value, group, version) for value, group, version in found if value and value > 0]
    return min(limits, key=_value, default=None)


def allowed_cpus(root: Root) -> tuple[int, ...]:
    """Numbers of the processors this process may run on; empty when the kernel does not say."""
    for line in root.lines("proc/self/status"):
        if line.startswith("Cpus_allowed_list:"):
            return cpu_list(line.partition(":")[2])
    return ()


def usable_cpus(logical: int | None, allowed: tuple[int, ...], quota: Limit | None) -> float | None:
    """The tightest of what is there, what we may run on and the quota; ``None`` when none of them is known."""
    known = [float(count) for count in (logical, len(allowed)) if count]
    return round(min([*known, quota.value] if quota else known), 2) if known or quota else None


def cpu_list(text: str) -> tuple[int, ...]:
    """``0-2,5`` -> (0, 1, 2, 5): the kernel's notation for sets of processors."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        low, high = as_int(first), as_int(last or first)
        if low is not None and high is not None and 0 <= low <= high < CPUS_MAX - len(found):
            found.extend(range(low, high + 1))
    return tuple(found)


def _ratio(quota: int | None, period: int | None, group: str, version: int) -> list[Limit]:
    """Nothing for "max" and for -1, which both say that there is no quota."""
    return [Limit(quota / period, group, version)] if quota and period and quota > 0 and period > 0 else []


def _value(limit: Limit) -> float:
    return limit.value


def _mounts(root: Root) -> list[_Mount]:
    found: list[_Mount] = []
    for line in root.lines("proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        where, what = left.split(" "), right.split(" ")
        if len(where) >= 5 and len(what) >= 3 and what[0] in ("cgroup", "cgroup2"):
            found.append(_Mount(what[0], where[4], where[3], tuple(what[2].split(","))))
    return found


def _shows(mount: _Mount, path: str) -> bool:
    return f"{path}/".startswith(f"{mount.inside.rstrip('/')}/")


def _upward(root: Root, mount: _Mount, path: str) -> tuple[str, ...]:
    """The group's directory and all above it, as far as the mount shows them.

    A container without its own cgroup name space is told the host's path, of which the mount shows only the end.
    """
    inside = path.removeprefix(mount.inside) if _shows(mount, path) else path
    names = [name for name in inside.split("/") if name and name != ".."][:DEPTH_MAX]
    found = ["/".join([mount.point, *names[:depth]]) for depth in range(len(names), -1, -1)]
    return tuple(group for group in found if root.exists(group))
