"""What real processes show of themselves: the mark in their environment, or that they have none."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from meshnode.host.launch import MARK, mark_of
from meshnode.host.strays import children, mark_in, sweep

OURS = mark_of("/run/ours", "a/0 1")
SLEEP = "/bin/sleep"


@contextmanager
def sleeper(environment: Mapping[str, str]) -> Iterator[int]:
    with subprocess.Popen([SLEEP, "1000"], env=environment, start_new_session=True) as process:
        try:
            while mark_in(process.pid) is None:
                pass
            yield process.pid
        finally:
            process.kill()


def test_a_process_shows_the_mark_of_its_environment() -> None:
    with sleeper({"A": "1", MARK: OURS, "B": "2"}) as pid:
        assert mark_in(pid) == OURS


@pytest.mark.parametrize("environment", [{"A": "1"}, {}])
def test_one_without_mark_and_one_without_environment_are_not_in_the_middle_of_an_exec(
    environment: dict[str, str],
) -> None:
    with sleeper(environment) as pid:
        assert mark_in(pid) == ""


def test_one_that_has_ended_shows_no_mark_and_is_not_waited_for() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {MARK: OURS})
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert mark_in(pid) == "" and pid in children()
    finally:
        os.waitpid(pid, 0)
    assert mark_in(pid) == ""


# Executes itself again and again: much of its time it shows no environment.
RESTLESS = 'exec "$0" -c "$RESTLESS"'


def test_one_that_is_always_in_some_exec_is_found_by_a_sweep_and_nobody_else_is() -> None:
    mine, others = f"{os.getpid():016x}", f"{os.getpid() + 1:016x}"
    environment = {MARK: f"{mine}.1", "RESTLESS": RESTLESS}
    with (
        subprocess.Popen(["/bin/sh", "-c", RESTLESS], env=environment, start_new_session=True) as restless,
        sleeper({MARK: f"{others}.1"}) as spared,
    ):
        assert sweep(mine, patience_s=20.0) == 1
        assert restless.wait(20.0) == -9
        assert mark_in(spared) == f"{others}.1"


def test_what_the_kernel_shows_of_an_exec_is_what_is_looked_for() -> None:
    """While it executes itself, it shows its mark or nothing; it never seems to be without."""
    environment = {MARK: OURS, "RESTLESS": RESTLESS}
    with subprocess.Popen(["/bin/sh", "-c", RESTLESS], env=environment, start_new_session=True) as restless:
        seen = {mark_in(restless.pid) for _ in range(3000)}
        restless.kill()
    assert seen <= {OURS, None}
    assert OURS in seen
