"""Two daemons of one mesh, linked, with a driver inside the first: the product's side of calls between daemons."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.gossip.identities import admitted
from bench.gossip.process import cpu_s
from bench.talk.candidate import Figures, read_line
from bench.talk.started import end, give, started
from meshnode.host.engine import Engine

NAMES = ("here", "there")
NAMES_BY: dict[Engine, str] = {"asyncio": "meshnode", "uvloop": "meshnode on uvloop"}
NETS: dict[Engine, int] = {"asyncio": 2, "uvloop": 3}
LINK_S = 30.0


class Pair:
    """``window`` and ``sequence`` answer as an anchor's client does. Made by ``pair()``."""

    knows: frozenset[str] = frozenset(("sequence", "window"))

    def __init__(self, directory: Path, loop: Engine) -> None:
        self.name = NAMES_BY[loop]
        self._loop: Engine = loop
        self._directories = [directory / name for name in NAMES]
        self._ids = admitted(self._directories, ["one", "one"])
        self._processes: list[subprocess.Popen[str]] = []

    def up(self) -> None:
        seed: list[str] = []
        for number, at in enumerate(self._directories, start=1):
            address = f"127.0.{NETS[self._loop]}.{number}"
            process, listen = started("bench.talk.daemon", at, address, "--loop", self._loop, *seed)
            self._processes.append(process)
            seed = ["--seed", listen]

    def order(self, what: dict[str, Any], within_s: float) -> Figures:
        """Give the first daemon an order and wait for its line; the processor time is that of both."""
        first = self._processes[0]
        before = self._cpu_s()
        give(first, {**what, "node": self._ids[1].hex()})
        told = read_line(first, within_s)
        return Figures(told, self._cpu_s() - before)

    def _cpu_s(self) -> float:
        return sum(cpu_s(process.pid) for process in self._processes)

    def down(self) -> None:
        end(self._processes, self._directories)


@contextlib.contextmanager
def pair(loop: Engine = "asyncio") -> Generator[Pair]:
    directory = Path(tempfile.mkdtemp(prefix="meshnode-talk-"))
    made = Pair(directory, loop)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(directory, ignore_errors=True)
