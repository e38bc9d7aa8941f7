"""One contestant: processes that answer an order with figures, and what they took of the machine meanwhile."""

import json
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.gossip.process import cpu_s
from bench.talk import beside
from tests.demo.fleet import Broken

HERE = Path(__file__).parent / "anchors"
READY_S, STOP_S = 30.0, 5.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What a contestant said of an order, and the processor seconds of all its processes."""

    told: dict[str, Any]
    cpu_s: float

    @property
    def cpu_100k_s(self) -> float:
        return self.cpu_s / max(1, self.told["count"]) * 100_000


class Candidate(Protocol):
    """``order`` raises ``Broken`` when there is no answer in time. ``knows``: what it can be ordered to do."""

    name: str
    knows: frozenset[str]

    def order(self, what: dict[str, Any], within_s: float) -> Figures: ...


class Anchor:
    """A server and a client of one anchor, each a script of ``anchors``; kept up for all rounds."""

    knows: frozenset[str] = frozenset(("sequence", "window", "stream"))

    def __init__(self, name: str, script: str, port: int, certificates: Path) -> None:
        self.name = name
        self._processes: list[subprocess.Popen[str]] = []
        self._pids: list[int] = []
        for side in ("server", "client"):
            process = subprocess.Popen(
                [str(beside.PYTHON), str(HERE / script), side, str(port), str(certificates)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            self._processes.append(process)
            told = read_line(process, READY_S)
            self._pids += [told[word] for word in ("pid", "broker") if word in told]

    def order(self, what: dict[str, Any], within_s: float) -> Figures:
        client = self._processes[-1]
        assert client.stdin is not None
        before = sum(map(cpu_s, self._pids))
        client.stdin.write(json.dumps(what) + "\n")
        client.stdin.flush()
        told = read_line(client, within_s)
        return Figures(told, sum(map(cpu_s, self._pids)) - before)

    def close(self) -> None:
        for process in reversed(self._processes):
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


class Limit:
    """The C program: a process an order."""

    name = "C"
    knows = frozenset(("sequence", "stream"))

    def __init__(self, program: Path, certificates: Path) -> None:
        self._program, self._certificates = program, certificates

    def order(self, what: dict[str, Any], within_s: float) -> Figures:
        command = [self._program, self._certificates, what["what"], what["bytes"], what["for_s"]]
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=within_s, check=False
        )
        if done.returncode:
            raise Broken(f"the C program ended with {done.returncode}: {done.stderr.strip()}")
        told = json.loads(done.stdout)
        return Figures(told, told["cpu_s"])


def read_line(process: subprocess.Popen[str], within_s: float) -> dict[str, Any]:
    """The next line of a process, which is JSON. Raises ``Broken``."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], within_s)[0]:
        raise Broken(f"no answer within {within_s:g} s from {process.args!r}")
    line = process.stdout.readline()
    if not line:
        raise Broken(f"it ended with {process.wait()}: {process.args!r}")
    return json.loads(line)
