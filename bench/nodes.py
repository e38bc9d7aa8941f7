"""Daemons for the benches: real processes with mutual TLS, that can be killed or stopped with all that belongs to them.

By default they speak directly. With ``cuttable`` every byte goes through the demo's proxy, whose cost is then part of
every figure: for cuts only.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from bench.waiting import until
from meshnode.client.client import Client
from meshnode.model.commands import CallSkill, RunAgent
from meshnode.model.errors import LocalError
from meshnode.model.views import AgentView, CallView
from tests.demo.fleet import ROOT, Broken, Network

SKILLS = ROOT / "bench" / "skills"
READY_S, JOIN_S, STOP_S = 30.0, 60.0, 20.0
FULL_MESH = 7  # nodes (``GossipConfig.full_mesh_max``); in a larger mesh a node keeps links to some others only
LINKS_ENOUGH = 4
LOG_SHOWN = 3000
WARDEN = "meshnode.host.warden"


@dataclass(slots=True)
class Node:
    """One daemon. It listens on and dials from 127.0.1.``number``."""

    number: int
    name: str
    region: str
    directory: Path
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    ready: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def address(self) -> str:
        return f"127.0.1.{self.number}"


class Nodes:
    """A mesh of ``plan``: names with their regions. ``options``: more of the daemon's command line, by name."""

    def __init__(
        self,
        plan: Sequence[tuple[str, str]],
        *,
        cuttable: bool = False,
        options: dict[str, Sequence[str]] | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="meshnode-bench-"))
        self.network = Network(len(plan)) if cuttable else None
        self.all = [
            Node(number, name, region, self.directory / name, (options or {}).get(name, ()))
            for number, (name, region) in enumerate(plan, start=1)
        ]
        self.names = [node.name for node in self.all]
        self.clients = {node.name: Client(str(node.directory), timeout_s=10.0) for node in self.all}

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if isinstance(error, Exception):
            for log in sorted(self.directory.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-LOG_SHOWN:]}", file=sys.stderr)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __getitem__(self, name: str) -> Node:
        return next(node for node in self.all if node.name == name)

    def form(self) -> None:
        """The first node makes the mesh; the others join and start."""
        first = self.all[0]
        self.up(first.name)
        invited = [(node, self.clients[first.name].invite(node.name, 3600, node.region).token) for node in self.all[1:]]
        with ThreadPoolExecutor(len(self.all)) as hands:
            for _ in hands.map(lambda pair: self._join(*pair), invited):
                pass
        self.whole()

    def whole(self, names: Sequence[str] = ()) -> None:
        """Wait until each of these (all) nodes knows each other one, and is linked to it while a mesh is so small."""
        names = names or self.names
        others = len(names) - 1

        def holds(name: str) -> bool:
            ready = sum(node.state == "ready" for node in self.clients[name].nodes())
            linked = self.clients[name].status().peers_connected
            enough = linked == others if len(self.names) <= FULL_MESH else linked >= LINKS_ENOUGH
            return ready == len(names) and enough

        until("the mesh is not whole", lambda: all(map(holds, names)))

    # Life and death

    def up(self, name: str) -> None:
        self.await_ready(name, self.launch(name))

    def launch(self, name: str) -> int:
        """Start the daemon and return the pipe on which it will say that it is ready."""
        node = self[name]
        read_fd, write_fd = os.pipe()
        with (self.directory / f"{name}.log").open("ab") as out:
            node.process = subprocess.Popen(
                [sys.executable, "-m", "meshnode.daemon.main", *self._arguments(node), "--ready-fd", str(write_fd)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(write_fd,),
                start_new_session=True,
            )  # fmt: skip
        os.close(write_fd)
        return read_fd

    def await_ready(self, name: str, fd: int) -> None:
        with os.fdopen(fd, "rb") as pipe:
            readable, _, _ = select.select([pipe], [], [], READY_S)
            line = pipe.readline() if readable else b""
        ready = json.loads(line) if line else {"ok": False, "error": {"message": "it said nothing"}}
        if not ready["ok"]:
            raise Broken(f"{name} did not start: {ready['error']['message']}")
        node = self[name]
        node.ready = ready
        if self.network is not None:
            host, _, port = ready["listen"].rpartition(":")
            self.network.backend(node.number, host, int(port))

    def pids(self, name: str) -> list[int]:
        """The whole node: daemon, warden, agents and what those have started."""
        node = self[name]
        assert node.process is not None
        wardens = [process for process in psutil.process_iter(["cmdline"]) if _is_warden(process, node.directory)]
        roots = [psutil.Process(node.process.pid), *wardens] if node.process.poll() is None else wardens
        found: dict[int, None] = {}
        for root in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.update(dict.fromkeys([root.pid, *(below.pid for below in root.children(recursive=True))]))
        return list(found)

    def signal(self, name: str, number: signal.Signals) -> float:
        """Send it to every process of the node; when that began, on CLOCK_MONOTONIC."""
        pids = self.pids(name)
        began = time.monotonic()
        _send(pids, number)
        return began

    def kill(self, name: str) -> float:
        """SIGKILL to all of it at once, as a power cut would; when that began, on CLOCK_MONOTONIC."""
        began = self.signal(name, signal.SIGKILL)
        process = self[name].process
        assert process is not None
        process.wait()
        return began

    def stop(self) -> None:
        """End all daemons in order, then whatever is left of them."""
        left = [pid for node in self.all if node.process is not None for pid in self.pids(node.name)]
        running = [node.process for node in self.all if node.process is not None and node.process.poll() is None]
        _send(left, signal.SIGCONT)
        for process in running:
            process.send_signal(signal.SIGTERM)
        ends_s = time.monotonic() + STOP_S
        for process in running:
            try:
                process.wait(max(0.1, ends_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _send([pid for node in self.all if node.process is not None for pid in self.pids(node.name)], signal.SIGKILL)
        if self.network is not None:
            self.network.close()

    # Asking

    def run(self, node: str, name: str, file: str, *, on: str = "", tier: str = "process", replicas: int = 1) -> None:
        """Want an agent of ``bench/skills``, under this name."""
        path = SKILLS / file
        self.clients[node].run(
            RunAgent(
                name=name, file=str(path), source=path.read_bytes(), cwd="/", on=on, tier=tier, replicas=replicas,
                environment={"BENCH_AGENT": name, "BENCH_TIER": tier},
            )
        )  # fmt: skip

    def call(
        self,
        node: str,
        skill: str,
        *,
        to: str = "",
        key: str = "",
        within_s: float = 30.0,
        pause_s: float = 0.005,
        **given: object,
    ) -> CallView:
        """Call through a node, again after a refusal, until it is answered.

        Raises:
            LocalError: the last refusal, when ``within_s`` has passed.
        """
        client, ends_s = self.clients[node], time.monotonic() + within_s
        while True:
            left_s = max(0.05, ends_s - time.monotonic())
            try:
                return client.call(
                    CallSkill(skill=skill, arguments=given, to=to, idempotency_key=key, deadline_s=left_s)
                )
            except LocalError:
                if time.monotonic() >= ends_s:
                    raise
                time.sleep(pause_s)

    def agents(self, node: str, name: str) -> list[AgentView]:
        """The units of one agent, as a node knows them."""
        return [view for view in self.clients[node].agents() if view.name == name]

    def running(self, node: str, name: str, replicas: int) -> bool:
        """Whether a node knows exactly so many instances as running, none of them twice."""
        views = self.agents(node, name)
        units = [view.instance for view in views]
        good = all(view.state == "running" for view in views) and len(units) == len(set(units))
        return good and sum(view.slots for view in views) == replicas

    def _join(self, node: Node, token: str) -> None:
        command = [sys.executable, "-m", "meshnode.cli", "-C", str(node.directory), "join", token]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=JOIN_S, check=False)
        if done.returncode != 0:
            raise Broken(f"join of {node.name} ended with {done.returncode}: {done.stderr.strip()}")
        self.up(node.name)

    def _arguments(self, node: Node) -> list[str]:
        named = ["--name", node.name, "--region", node.region] if node.number == 1 else []
        front = ["--advertise", f"127.0.0.1:{self.network.fronts[node.number]}"] if self.network is not None else []
        return [
            "--dir", str(node.directory), "--bind", node.address, "--dial-from", node.address, "--no-mdns",
            *front, *named, *node.options,
        ]  # fmt: skip


def _is_warden(process: psutil.Process, directory: Path) -> bool:
    words: list[str] = process.info["cmdline"] or []
    return WARDEN in words and any(word.startswith(f"{directory}/") for word in words)


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
