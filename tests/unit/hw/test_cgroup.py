"""The true limits: walked upward, the tightest wins, and what means "no limit" is none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.cgroup import Limit, cpu_list, cpu_quota, groups_of, memory_limit, usable_cpus
from hw.root import Root

V2 = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"


def tree(top: Path, files: dict[str, str]) -> Root:
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    return Root(top)


def test_the_tightest_group_on_the_way_up_wins(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b/c\n", "proc/self/mountinfo": V2,
            "sys/fs/cgroup/a/memory.max": "1000000\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/b/memory.max": "500000\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/a/b/c/memory.max": "max\n", "sys/fs/cgroup/a/b/c/cpu.max": "200000 100000\n",
        },
    )  # fmt: skip
    groups = groups_of(root)
    assert groups.source() == "cgroup-v2"
    assert memory_limit(root, groups) == Limit(500000, "/sys/fs/cgroup/a/b", 2)
    assert cpu_quota(root, groups) == Limit(0.5, "/sys/fs/cgroup/a/b", 2)


def test_a_group_outside_of_the_name_space_is_read_as_the_mounts_root(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/../../other\n", "proc/self/mountinfo": V2, "sys/fs/cgroup/memory.max": "77\n"}
    root = tree(tmp_path, files)
    assert memory_limit(root, groups_of(root)) == Limit(77, "/sys/fs/cgroup", 2)


def test_a_hybrid_host_is_asked_where_each_controller_is_bound(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/job\n1:cpu:/\n0::/\n",
            "proc/self/mountinfo": (
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            ),
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "1048576\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/unified/cgroup.procs": "",
        },
    )
    groups = groups_of(root)
    assert memory_limit(root, groups) == Limit(1048576, "/sys/fs/cgroup/memory/job", 1)
    assert cpu_quota(root, groups) is None
    assert groups.source() == "cgroup-v1"


def test_of_the_hosts_path_only_what_the_mount_shows_is_walked(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/ab/job\n",
            "proc/self/mountinfo": (
                "35 31 0:32 /docker/a /before rw - cgroup cgroup rw,memory\n"
                "36 31 0:32 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                "37 31 0:32 /docker/ab/j /after rw - cgroup cgroup rw,memory\n"
            ),
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4096\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "8192\n",
            "before/b/job/memory.limit_in_bytes": "1\n",
            "before/memory.limit_in_bytes": "2\n",
            "after/memory.limit_in_bytes": "3\n",
        },
    )
    assert memory_limit(root, groups_of(root)) == Limit(4096, "/sys/fs/cgroup/memory/job", 1)


def test_without_control_groups_nothing_is_capped(tmp_path: Path) -> None:
    root = Root(tmp_path)
    groups = groups_of(root)
    assert (groups.source(), memory_limit(root, groups), cpu_quota(root, groups)) == (None, None, None)


@pytest.mark.parametrize(
    ("logical", "allowed", "quota", "usable"),
    [
        (8, (0, 1, 2, 3), None, 4.0),
        (8, (), 1.234, 1.23),
        (2, (0, 1), 16.0, 2.0),
        (None, (), 0.5, 0.5),
        (None, (), None, None),
        (8, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), None, 8.0),
    ],
)
def test_usable_is_the_tightest_of_what_is_known(
    logical: int | None, allowed: tuple[int, ...], quota: float | None, usable: float | None
) -> None:
    assert usable_cpus(logical, allowed, Limit(quota, "", 2) if quota else None) == usable


@given(st.lists(st.integers(0, 500), min_size=1, unique=True).map(sorted))
def test_a_set_of_processors_survives_the_kernels_notation(numbers: list[int]) -> None:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    assert cpu_list(f"\t{text}\n") == tuple(numbers)


@pytest.mark.parametrize("text", ["", "x", "3-1", "-", "1-999999999999", "-5"])
def test_a_broken_set_of_processors_is_empty(text: str) -> None:
    assert cpu_list(text) == ()
