"""Agents that do what no agent should, beside one that does its work: each gets a named outcome, the other no harm."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.client.logs import read_logs
from meshnode.model.errors import LocalError, TimedOut
from meshnode.model.views import LogLine
from tests.real.daemon_kit import Daemon, alive, cli, until
from tests.real.mesh_kit import CRASHER, ROGUE, call, run, spread, units, value

pytestmark = pytest.mark.real

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def node(mesh: list[Daemon]) -> Daemon:
    """It runs ``well``, who does no wrong."""
    run(mesh[0], "well", "--on", "alpha")
    return mesh[0]


@pytest.fixture(autouse=True)
def well(node: Daemon) -> Iterator[None]:
    """The neighbour answers during all of it, in the same process, and keeps its state."""
    pid, total = value(node, "well.pid"), value(node, "well.add")
    yield
    assert (value(node, "well.pid"), value(node, "well.add")) == (pid, total + 1)
    (unit,) = units(node, "well").values()
    assert unit.restarts == 0


@pytest.fixture(scope="module", autouse=True)
def stopped(node: Daemon) -> tuple[int, int, int]:
    """One that is deaf, one that has forked and what it forked, all told to stop: their grace passes meanwhile."""
    deaf, forked = rogue(node, "deaf"), rogue(node, "forking")
    child = value(node, "forking.fork_away")
    until(lambda: os.getsid(child) == child, "the child has run away")
    assert value(node, "deaf.deafen") == deaf
    for name in ("deaf", "forking"):
        assert node.ask.stop(name).name == name
    return deaf, forked, child


def rogue(node: Daemon, name: str) -> int:
    """Start one that can do everything wrong; its process."""
    run(node, name, "--on", "alpha", file=ROGUE)
    (unit,) = units(node, name).values()
    assert unit.pid is not None
    return unit.pid


def refusal(node: Daemon, skill: str, **arguments: object) -> LocalError:
    with pytest.raises(LocalError) as refused:
        value(node, skill, **arguments)
    return refused.value


def test_an_agent_that_crashes_at_import_is_in_backoff_with_its_last_words(node: Daemon) -> None:
    ended = cli(node.directory, "run", CRASHER, "--on", "alpha")
    assert ended.code == 1
    assert "agent crasher is backoff: exited with code 1: RuntimeError: broken while it was imported" in ended.err
    assert " -> meshnode logs crasher" in ended.err
    told = cli(node.directory, "logs", "crasher").out
    assert 'raise RuntimeError("broken while it was imported")' in told, told
    assert cli(node.directory, "stop", "crasher").code == 0
    until(lambda: not [unit for unit in node.ask.agents() if unit.name == "crasher"], "it is gone")


def test_a_call_that_hangs_ends_at_its_deadline_while_the_same_agent_answers_others(
    node: Daemon, tmp_path: Path
) -> None:
    rogue(node, "hanging")
    mark = tmp_path / "ended"
    with pytest.raises(TimedOut, match=r"hanging\.hang"):
        call(node, "hanging.hang", {"mark": str(mark)}, deadline_s=0.4)
    until(mark.exists, "it was cancelled")
    assert value(node, "hanging.take", number=1, names=[]) == 1


def test_a_killed_agent_is_started_again_with_its_state_and_says_by_what_it_ended(node: Daemon) -> None:
    pid = rogue(node, "killed")
    value(node, "killed.hoard", key="a", size=10)
    os.kill(pid, signal.SIGKILL)
    until(lambda: [u for u in units(node, "killed").values() if u.pid != pid and u.restarts == 1], "it is back")
    assert until(lambda: value(node, "killed.kept"), "it has its state") == 1
    assert "SIGKILL" in cli(node.directory, "why", "agent/killed").out


def test_a_flood_of_lines_is_cut_with_a_gap_that_tells_how_much(node: Daemon) -> None:
    rogue(node, "flooding")
    value(node, "flooding.flood", bytes_=6 * MIB)
    value(node, "well.write", lines=1, text="heard through the flood")

    def gaps() -> list[str]:
        read = read_logs(node.ask, "flooding", after=1)
        return [line.text for line in read if isinstance(line, LogLine) and line.stream == "gap"]

    until(gaps, "the gap is told")
    assert "bytes" in gaps()[0], gaps()
    logs = sum(file.stat().st_size for file in (node.directory / "logs").glob("flooding*"))
    assert logs <= 3 * MIB, f"{logs} bytes on the disk"
    heard = [line.text for line in read_logs(node.ask, "well") if isinstance(line, LogLine)]
    assert "heard through the flood 0" in heard


def test_a_value_over_one_mebibyte_is_refused_by_name_and_changes_nothing(node: Daemon) -> None:
    rogue(node, "big")
    value(node, "big.hoard", key="a", size=10)
    refused = refusal(node, "big.hoard", key="b", size=MIB, copies=2)
    assert refused.code == "state-value-too-big"
    assert "b 0" in refused.message and str(MIB) in refused.message
    assert value(node, "big.kept") == 1


def test_an_agent_that_fills_its_quota_is_told_what_is_largest_and_keeps_what_it_had(node: Daemon) -> None:
    rogue(node, "full")
    refused = None
    for number in range(24):
        try:
            value(node, "full.hoard", key=f"k{number}", size=MIB - 100)
        except LocalError as error:
            refused = error
            break
    assert refused is not None, "24 MiB were taken"
    assert refused.code in ("quota", "state-full"), refused.code
    kept = value(node, "full.kept")
    assert 8 <= kept <= 16
    value(node, "full.hoard", key="k0", size=10)
    assert spread(node, "full", 1) == ["alpha"]


def test_one_that_ignores_sigterm_and_one_that_forks_away_are_gone_after_their_grace(
    node: Daemon, stopped: tuple[int, int, int]
) -> None:
    deaf, forked, child = stopped
    until(lambda: not alive(forked) and not alive(child), "the child went with its parent")
    until(lambda: not alive(deaf), "it was killed", within_s=10)
    until(lambda: "killed by SIGKILL" in cli(node.directory, "why", "agent/deaf").out, "and that is told")
