"""Three nodes of one machine for ``meshnode demo``: real daemons in a temporary directory, all gone afterwards."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import psutil

from meshnode.cli.daemon_process import Start, start
from meshnode.client.client import Client
from meshnode.daemon.joining import join
from meshnode.host.launch import PR_SET_CHILD_SUBREAPER, prctl
from meshnode.host.rundir import discard_run_directory
from meshnode.model.errors import LocalError, TimedOut

NAMES = ("alpha", "beta", "gamma")
READY_S = 30.0
DOWN_S = 10.0
_POLL_S = 0.02
FoundT = TypeVar("FoundT")


class Broken(LocalError):
    """The demo could not go on. Nothing is left of it."""

    code = "demo-broken"


class Wires:
    """The network between the nodes, in a process of its own."""

    def __init__(self, nodes: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", "meshnode.cli.demo_proxy", str(nodes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.fronts = {int(node): int(port) for node, port in self._heard()["fronts"].items()}

    def backend(self, node: int, host: str, port: int) -> None:
        self._order({"backend": [node, host, port]})

    def cut(self, *pairs: tuple[int, int]) -> None:
        """Only these are cut from now on; without any, nobody is."""
        self._order({"cut": pairs})

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _order(self, order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._heard()

    def _heard(self) -> dict[str, dict[str, int]]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Broken("the network of the demo has ended", next_step="try again")
        return json.loads(line)


class DemoMesh:
    """``clients``: one a node. ``wires``: only where the story cuts."""

    def __init__(self, directory: Path, wires: Wires | None) -> None:
        self._directory, self.wires = directory, wires
        self.clients = {name: Client(str(directory / name), timeout_s=10.0) for name in NAMES}

    def build(self) -> None:
        """Make a mesh of the first node, and let the others join it."""
        self._up("alpha", "--region", "demo")
        for name in NAMES[1:]:
            token = self.clients["alpha"].invite(name, 600, "").token
            join(str(self._directory / name), token, self._address(name) if self.wires else "")
            self._up(name)
        for client in self.clients.values():
            until(lambda client=client: _sees_all(client), "the nodes have not found each other", READY_S)

    def cut_off(self, name: str) -> None:
        """Pull this node's cable."""
        assert self.wires is not None
        here = number(name)
        self.wires.cut(*((here, number(other)) for other in NAMES if other != name))

    def heal(self) -> None:
        assert self.wires is not None
        self.wires.cut()

    def kill(self, name: str) -> None:
        """SIGKILL for the daemon and all it has started at once, as a power cut would end them."""
        daemon = psutil.Process(self._pid(name))
        end([daemon, *daemon.children(recursive=True)])

    def close(self) -> None:
        for client in self.clients.values():
            with contextlib.suppress(LocalError):
                client.down()
        deadline = time.monotonic() + DOWN_S
        for name, client in self.clients.items():
            with contextlib.suppress(LocalError, OSError, ValueError, psutil.Error):
                psutil.Process(self._pid(name)).wait(max(0.1, deadline - time.monotonic()))
            discard_run_directory(client.directory)
        if self.wires is not None:
            self.wires.close()

    def _up(self, name: str, *more: str) -> None:
        directory = self._directory / name
        argv = ["--dir", str(directory), "--name", name, "--no-mdns", *more]
        if self.wires is None:
            argv += ["--bind", "127.0.0.1"]
        else:
            here, front = self._address(name), self.wires.fronts[number(name)]
            argv += ["--bind", here, "--dial-from", here, "--advertise", f"127.0.0.1:{front}"]
        if number(name) > 1:  # it has its name from the invite
            del argv[2:4]
        ready = start(Start(directory=directory, argv=argv, timeout_s=READY_S))
        if self.wires is not None:
            host, _, port = ready.listen.rpartition(":")
            self.wires.backend(number(name), host, int(port))

    def _address(self, name: str) -> str:
        return f"127.0.1.{number(name)}"

    def _pid(self, name: str) -> int:
        return int((self._directory / name / "lock").read_text(encoding="ascii"))


def number(name: str) -> int:
    return NAMES.index(name) + 1


def _sees_all(client: Client) -> bool:
    return [node.state for node in client.nodes()].count("ready") == len(NAMES)


def until(look: Callable[[], FoundT], what: str, within_s: float) -> FoundT:
    """What ``look`` finds, as soon as it is true. A node that cannot answer yet is asked again.

    Raises:
        TimedOut: it was not true in time.
    """
    deadline = time.monotonic() + within_s
    while True:
        last = ""
        try:
            found = look()
            if found:
                return found
        except LocalError as error:
            last = f": {error.message}"
        if time.monotonic() >= deadline:
            raise TimedOut(f"{what} within {within_s:g} s{last}", next_step="is this machine very busy? try again")
        time.sleep(_POLL_S)


def end(processes: list[psutil.Process]) -> None:
    """Kill them, and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=5)


@contextlib.contextmanager
def demo_mesh(*, wires: bool) -> Generator[DemoMesh]:
    """A mesh that is still to be built. Whatever happens, no process, socket or file of it is left."""
    # Whatever loses its parent becomes our child: nothing that was started can get out of sight.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    directory = Path(tempfile.mkdtemp(prefix="meshnode-demo-"))
    mesh: DemoMesh | None = None
    try:
        mesh = DemoMesh(directory, Wires(len(NAMES)) if wires else None)
        yield mesh
    finally:
        try:
            if mesh is not None:
                mesh.close()
        finally:
            end([child for child in me.children(recursive=True) if child.pid not in before])
            prctl(PR_SET_CHILD_SUBREAPER, 0)
            shutil.rmtree(directory, ignore_errors=True)
