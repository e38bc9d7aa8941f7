"""Agents of the tests on real daemons: run, called, found, and cut from power together with their daemon."""

import contextlib
import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from meshnode.model.commands import CallSkill
from meshnode.model.views import AgentView, CallView
from tests.real.daemon_kit import Daemon, cli, until

AGENTS = Path(__file__).resolve().parent / "agents"
LEDGER, ROGUE, CRASHER = (str(AGENTS / f"{name}.py") for name in ("ledger", "rogue", "crasher"))


def run(daemon: Daemon, name: str, *options: str, file: str = LEDGER, known: Sequence[Daemon] = ()) -> None:
    """Run an agent under a name of its own, with which its skills begin, until the nodes in ``known`` could call it."""
    ended = cli(daemon.directory, "run", file, "--name", name, "--wait", "15", *options)
    assert ended.code == 0, ended.err
    for other in known:
        until(lambda at=other: offered(at, name), f"{other.directory.name} knows {name}")


def offered(daemon: Daemon, name: str) -> bool:
    """Whether this node would call a skill of the agent now."""
    return any(skill.agent == name and not skill.excluded for skill in daemon.ask.skills(name))


def call(daemon: Daemon, skill: str, arguments: dict[str, Any] | None = None, **more: Any) -> CallView:  # noqa: ANN401
    """``more``: fields of the call."""
    return daemon.ask.call(CallSkill(skill=skill, arguments=arguments or {}, **{"deadline_s": 5.0, **more}))


def value(daemon: Daemon, skill: str, **arguments: Any) -> Any:  # noqa: ANN401 - JSON
    return call(daemon, skill, arguments).result


def units(daemon: Daemon, name: str, state: str = "running") -> dict[str, AgentView]:
    """The units of an agent in a state, as this node knows them. One on two nodes is two."""
    found = [unit for unit in daemon.ask.agents() if unit.name == name and unit.state == state]
    return {f"{unit.instance}@{unit.node}": unit for unit in found}


def homes(daemon: Daemon, name: str) -> list[str]:
    """The nodes that run it, one for each unit."""
    return sorted(unit.node for unit in units(daemon, name).values())


def spread(daemon: Daemon, name: str, count: int, within_s: float = 15.0) -> list[str]:
    """Where the units are, as soon as exactly so many run."""
    until(lambda: len(units(daemon, name)) == count, f"{count} units of {name} run", within_s)
    return homes(daemon, name)


def warden_of(daemon: Daemon) -> int:
    """The process that holds the agents of a node."""
    run_directory = (daemon.directory / "run").read_text().strip()
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if "meshnode.host.warden" in words and run_directory in words:
            return process.info["pid"]
    return 0


def cut_power(daemon: Daemon) -> None:
    """Daemon, warden and agents end at once, and none of them can do anything about it."""
    daemon.signal(signal.SIGSTOP)
    warden = warden_of(daemon)
    if warden:
        with contextlib.suppress(ProcessLookupError):
            os.kill(warden, signal.SIGKILL)
    daemon.kill()


@contextlib.contextmanager
def beside(do: Any, *given: Any, **named: Any) -> Generator[Future[Any]]:  # noqa: ANN401 - any function
    """Something that takes its time, in a thread of its own."""
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit(do, *given, **named)


class Gate:
    """A named pipe that skills wait for: one byte lets one of them through, now or when it comes."""

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = directory / name
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)

    def __enter__(self) -> "Gate":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def open(self) -> None:
        os.write(self._fd, b".")

    @property
    def runs(self) -> int:
        """How often a skill has come to the gate."""
        noted = self.path.with_name(f"{self.path.name}.runs")
        return len(noted.read_text().split()) if noted.exists() else 0
