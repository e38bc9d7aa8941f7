"""Four real daemons on one machine: own processes, directories and source addresses, and a network that can be cut."""

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshnode.cli.main import main
from meshnode.client.client import Client
from meshnode.host.rundir import POINTER, discard_run_directory
from tests.demo.processes import marked
from tests.patience import TELLING, abort, bounded

ROOT = Path(__file__).resolve().parents[2]
READY_S = 60.0
ANSWER_S = 30.0  # of the proxy, which has nothing to wait for
TROUBLE_LINES = 20
GATEWAY_FAULTS = ("skip-event",)  # planted in the gateway, not in the daemons


class Broken(Exception):
    """The demo could not go on; nothing is proved."""


@dataclass(slots=True)
class Node:
    """One daemon of the demo. It dials from 127.0.1.``number`` and is dialled at the proxy's front only."""

    number: int
    name: str
    region: str
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    listen: str = ""
    run: str = ""  # where its sockets are; names its warden and agents as well
    ready: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def address(self) -> str:
        return f"127.0.1.{self.number}"


class Network:
    """The proxy process: who may speak with whom. ``log``: for its errors; it may stay when we end, and must not hold
    the terminal or pipe that we write to."""

    def __init__(self, nodes: int, log: Path | None = None) -> None:
        with (log or Path(os.devnull)).open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "meshnode.cli.demo_proxy", str(nodes)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                start_new_session=True,
            )  # fmt: skip
        self.fronts = {int(node): port for node, port in self._heard()["fronts"].items()}

    def backend(self, node: int, host: str, port: int) -> None:
        self._order({"backend": [node, host, port]})

    def cut(self, pairs: list[tuple[int, int]]) -> None:
        self._order({"cut": pairs})

    def heal(self) -> None:
        self._order({"cut": []})

    def leave_running(self) -> None:
        """The network stays for as long as a daemon does."""
        self._order({"stay": True})

    def sent(self) -> dict[int, int]:
        """Bytes each node has written into its connections so far, TLS included; 0 is whoever has no address yet."""
        return {int(node): count for node, count in self._asked({"count": []})["sent"].items()}

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _order(self, order: object) -> None:
        if self._asked(order) != {"ok": True}:
            raise Broken("the proxy did not obey")

    def _asked(self, order: object) -> Any:  # noqa: ANN401 - JSON
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def _heard(self) -> Any:  # noqa: ANN401 - JSON
        assert self._process.stdout is not None
        with bounded(self._process, "an answer of the proxy", ANSWER_S, Broken):
            line = self._process.stdout.readline()
        if not line:
            raise Broken("the proxy has ended")
        return json.loads(line)


class Fleet:
    """Starts, kills and stops the daemons; leaves no process, port or file behind."""

    def __init__(self, plan: list[tuple[str, str]], fault: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="meshnode demo "))  # a space: paths are quoted everywhere
        self.fault = fault
        self.gateway_fault = fault if fault in GATEWAY_FAULTS else ""
        self.network = Network(len(plan), self.directory / "network.log")
        self.nodes = [
            Node(number, name, region, self.directory / name) for number, (name, region) in enumerate(plan, start=1)
        ]

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def up(self, name: str) -> float:
        """Start one daemon; seconds until it said that it is ready."""
        return self.up_all([name])

    def up_all(self, names: Iterable[str]) -> float:
        """Start daemons at once; seconds until the last of them said that it is ready."""
        began = time.monotonic()
        starting = [(name, self._start(name)) for name in names]
        for name, pipe in starting:
            self._await(name, pipe)
        return time.monotonic() - began

    def _start(self, name: str) -> int:
        """Begin a daemon; the pipe on which it will say that it is ready."""
        node = self[name]
        read_fd, write_fd = os.pipe()
        log = self._log(name)
        with log.open("ab") as out:
            node.process = subprocess.Popen(
                [*self._program(), *self._arguments(node), "--ready-fd", str(write_fd)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(write_fd,),
                start_new_session=True,
            )  # fmt: skip
        os.close(write_fd)
        return read_fd

    def _await(self, name: str, pipe: int) -> None:
        node = self[name]
        node.ready = self._wait_ready(node, pipe, self._log(name))
        host, _, port = node.ready["listen"].rpartition(":")
        node.listen = node.ready["listen"]
        node.run = (node.directory / POINTER).read_text().strip()
        self.network.backend(node.number, host, int(port))

    def kill(self, name: str) -> None:
        """SIGKILL for the daemon alone: its agents live on."""
        process = self[name].process
        assert process is not None
        process.kill()
        process.wait()

    def power_off(self, name: str) -> tuple[float, int]:
        """SIGKILL for everything that runs on this machine at once: daemon, warden, agents. When, and how many."""
        return self.power_off_all([name])

    def power_off_all(self, names: Iterable[str]) -> tuple[float, int]:
        """The same for several machines in one moment."""
        daemons = [process for name in names if (process := self[name].process) is not None]
        others = [pid for name in names for pid in self.processes(name)]
        at = time.monotonic()
        for pid in (*(daemon.pid for daemon in daemons), *others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for daemon in daemons:
            daemon.wait()
        return at, len(daemons) + len(others)

    def processes(self, name: str) -> list[int]:
        """The warden and the agents of a node, wherever they hang in the tree of processes."""
        return marked(self[name].run) if self[name].run else []

    def down(self, name: str) -> None:
        """In order, as ``meshnode down`` does."""
        process = self[name].process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        process.wait(12)

    def client(self, name: str) -> Client:
        return Client(str(self[name].directory), timeout_s=10.0)

    def cli(self, name: str, *arguments: str, check: bool = True, timeout_s: float = 30.0) -> Any:  # noqa: ANN401 - JSON
        """Run the command line against one node and read its JSON."""
        done = self._typed(name, *arguments, "-o", "json", timeout_s=timeout_s)
        if check and done.returncode != 0:
            raise Broken(
                f"meshnode {' '.join(arguments)} on {name} ended with {done.returncode}: {done.stderr.strip()}"
            )
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else done

    def join(self, name: str, token: str) -> None:
        done = self._typed(name, "join", token)
        if done.returncode != 0:
            raise Broken(f"join of {name} ended with {done.returncode}: {done.stderr.strip()}")

    def _typed(self, name: str, *arguments: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """A command as a person types it, in a process of its own. Where only the answer of a planted fault is asked
        for, nobody looks at that process: it is the same command in this one."""
        words = ["-C", str(self[name].directory), *arguments]
        if not self.fault:
            command = [sys.executable, "-m", "meshnode.cli", *words]
            return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def troubles(self) -> list[str]:
        """The last lines of every daemon log that tells of an error."""
        found: list[str] = []
        for node in self.nodes:
            log = self._log(node.name)
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            ended = node.process is not None and node.process.poll() is not None
            if ended or any("Traceback" in line or " ERROR " in line for line in lines):
                status = node.process.poll() if node.process is not None else None
                found += [f"{node.name} (exit {status}): {line}" for line in lines[-TROUBLE_LINES:]]
        return found

    def stop(self) -> list[str]:
        """End everything in order; what had to be killed is named."""
        forced: list[str] = []
        running = [node for node in self.nodes if node.process is not None and node.process.poll() is None]
        for node in running:
            assert node.process is not None
            node.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 12
        for node in running:
            assert node.process is not None
            try:
                node.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                forced.append(node.name)
                abort(node.process)  # its log tells where it stood
                node.process.wait()
        self.network.close()
        forced += self._sweep()
        return forced

    def _sweep(self) -> list[str]:
        """Agents and wardens that outlived their daemon; and the sockets of nodes that were killed for good."""
        left: list[str] = []
        for node in self.nodes:
            for pid in self.processes(node.name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    left.append(f"{pid} of {node.name}")
            if (node.directory / POINTER).exists():
                discard_run_directory(node.directory)
        return left

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _program(self) -> list[str]:
        if self.fault and not self.gateway_fault:
            return [sys.executable, *TELLING, "-m", "tests.faults.daemon", self.fault]
        return [sys.executable, *TELLING, "-m", "meshnode.daemon.main"]

    def _arguments(self, node: Node) -> list[str]:
        return [
            "--dir", str(node.directory), "--bind", node.address, "--dial-from", node.address,
            "--advertise", f"127.0.0.1:{self.network.fronts[node.number]}", "--no-mdns",
            *(["--name", node.name, "--region", node.region] if node.number == 1 else []),
        ]  # fmt: skip

    def _wait_ready(self, node: Node, fd: int, log: Path) -> dict[str, Any]:
        with os.fdopen(fd, "rb") as pipe:
            readable, _, _ = select.select([pipe], [], [], READY_S)
            line = pipe.readline() if readable else b""
        ready = json.loads(line) if line else {"ok": False, "error": {"message": "it said nothing"}}
        if not ready["ok"]:
            tail = log.read_text(errors="replace")[-2000:]
            raise Broken(f"{node.name} did not start: {ready['error']['message']}\n{tail}")
        return ready
