"""The demo's gateway: a process of its own beside one node, killed and started again."""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.demo.fleet import ROOT, Broken

READY_S = 20.0
ENDS_S = 8.0


class Address(NamedTuple):
    """Where it serves. ``page``: what a person opens, the token included."""

    url: str
    page: str


class GatewayProcess:
    """``meshnode gateway`` of the node in ``directory``. ``fault``: a planted one, of ``tests/faults/gateway.py``."""

    def __init__(self, directory: Path, fault: str = "") -> None:
        self._directory, self._fault = directory, fault
        self._log = directory.parent / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = Address("", "")
        self.killed_at = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self) -> Address:
        """Returns when it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.address = self._heard(self._process)
        return self.address

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing written that was not."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.killed_at = time.monotonic()

    def stop(self) -> bool:
        """In order; False: it had to be killed."""
        if self._process is None or self._process.poll() is not None:
            return True
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS_S)
            return True
        self.kill()
        return False

    def told(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _command(self) -> list[str]:
        if self._fault:
            return [sys.executable, "-m", "tests.faults.gateway", self._fault, "--dir", str(self._directory)]
        return [sys.executable, "-m", "meshnode.cli", "-C", str(self._directory), "gateway"]

    def _heard(self, process: subprocess.Popen[bytes]) -> Address:
        assert process.stdout is not None
        with process.stdout as pipe:
            readable, _, _ = select.select([pipe], [], [], READY_S)
            line = os.read(pipe.fileno(), 4096).decode() if readable else ""
        word, _, rest = line.partition("  ")
        page = rest.split()[0] if rest.split() else ""
        if word != "ready":
            raise Broken(f"the gateway did not start: {line.strip()}\n{self.told()[-2000:]}")
        return Address(page.partition("/#")[0], page)
