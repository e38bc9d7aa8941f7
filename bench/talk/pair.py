"""Two daemons of one mesh, linked, with a driver inside the first: the product's side of calls between daemons."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.gossip.identities import admitted
from bench.gossip.process import cpu_s
from bench.talk.candidate import Figures, read_line
from meshnode.host.rundir import discard_run_directory
from tests.demo.fleet import ROOT, Broken

NAMES = ("here", "there")
READY_S, STOP_S = 60.0, 10.0
LINK_S = 30.0


class Pair:
    """``window`` and ``sequence`` answer as an anchor's client does. Made by ``pair()``."""

    name = "meshnode"
    knows = frozenset(("sequence", "window"))

    def __init__(self, directory: Path) -> None:
        self._directories = [directory / name for name in NAMES]
        self._ids = admitted(self._directories, ["one", "one"])
        self._processes: list[subprocess.Popen[str]] = []

    def up(self) -> None:
        seed: list[str] = []
        for number, at in enumerate(self._directories, start=1):
            address = f"127.0.2.{number}"
            read_fd, write_fd = os.pipe()
            command = [
                sys.executable, "-m", "bench.talk.daemon", "--dir", str(at), "--bind", address, "--dial-from", address,
                "--no-mdns", "--ready-fd", str(write_fd), *seed,
            ]  # fmt: skip
            with (at / "daemon.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen(
                        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                        pass_fds=(write_fd,),
                    )
                )  # fmt: skip
            os.close(write_fd)
            with os.fdopen(read_fd) as ready:
                told = json.loads(ready.readline() or "{}")
            if not told.get("ok"):
                raise Broken(f"the daemon {at.name} did not start: see {at / 'daemon.log'}")
            seed = ["--seed", told["listen"]]

    def order(self, what: dict[str, Any], within_s: float) -> Figures:
        """Give the first daemon an order and wait for its line; the processor time is that of both."""
        first = self._processes[0]
        assert first.stdin is not None
        before = self._cpu_s()
        first.stdin.write(json.dumps({**what, "node": self._ids[1].hex()}) + "\n")
        first.stdin.flush()
        told = read_line(first, within_s)
        return Figures(told, self._cpu_s() - before)

    def _cpu_s(self) -> float:
        return sum(cpu_s(process.pid) for process in self._processes)

    def down(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process, at in zip(self._processes, self._directories, strict=False):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            discard_run_directory(at)


@contextlib.contextmanager
def pair() -> Generator[Pair]:
    directory = Path(tempfile.mkdtemp(prefix="meshnode-talk-"))
    made = Pair(directory)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(directory, ignore_errors=True)
