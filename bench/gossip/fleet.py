"""Real daemons in two namespaces, listened to by one harness: what each of them says of the others, and when."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from bench.gossip.identities import admitted
from bench.gossip.namespaces import Namespaces, namespaces
from bench.gossip.told import STATES, Told, asked, follow
from bench.gossip.waiting import until
from meshnode.client.client import Client
from meshnode.host.rundir import discard_run_directory
from meshnode.model.ids import NodeId
from tests.demo.fleet import ROOT, Broken

DAEMON = "bench.gossip.daemon"
PORT = 7007
REGIONS = ("east", "west")
STARTING_MAX = 4  # at once: an interpreter that starts wants a core
READY_S, WHOLE_S, STOP_S = 120.0, 180.0, 30.0
OPEN_FILES = 65_536
SEED = 7


class _Ready(msgspec.Struct):
    """What the daemon says on its pipe."""

    ok: bool
    error: dict[str, object] | None = None


@dataclass(slots=True)
class Node:
    """One daemon. ``watched``: somebody follows the events of its API. ``learned``: when it said that it holds a
    token, by "row" or "load" and token."""

    number: int
    id: NodeId
    directory: Path
    process: asyncio.subprocess.Process | None = None
    frozen: bool = False
    watched: bool = False
    learned: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None and not self.frozen

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


class Fleet:
    """``count`` nodes, every second one in the other namespace and region. Made by ``fleet()``."""

    def __init__(
        self, net: Namespaces, count: int, options: Sequence[str], tasks: asyncio.TaskGroup, daemon: str = DAEMON
    ) -> None:
        """``daemon``: the module that is each node."""
        self.net, self._daemon = net, daemon
        self.luck = random.Random(SEED)
        self.told: list[Told] = []  # to people: a lost region is one thing, and who flaps is told less and less
        self.held: list[Told] = []  # what each node held true of each other one
        self.views: list[dict[int, str]] = [{} for _ in range(count)]
        self.directory = Path(tempfile.mkdtemp(prefix="meshnode-gossip-"))
        directories = [self.directory / f"n{number}" for number in range(count)]
        ids = admitted(directories, [REGIONS[number % 2] for number in range(count)])
        self.nodes = [Node(number, ids[number], directories[number]) for number in range(count)]
        self._numbers = {node.name: node.number for node in self.nodes}
        self._numbers_by_id = {node.id.hex(): node.number for node in self.nodes}
        self._options = options
        self._tasks = tasks
        self._starting = asyncio.Semaphore(STARTING_MAX)

    # -- life and death -----------------------------------------------------------------------------------------------

    async def up(self, nodes: Iterable[Node]) -> None:
        """Start these and listen to them. Nobody tells them of each other."""
        async with asyncio.TaskGroup() as tasks:
            for node in nodes:
                tasks.create_task(self._up(node), name=f"start {node.name}")

    async def _up(self, node: Node) -> None:
        async with self._starting:
            read_fd, write_fd = os.pipe()
            try:
                node.process = await self._launch(node, write_fd)
            finally:
                os.close(write_fd)
            await asyncio.to_thread(self._await_ready, node, read_fd)
        node.watched = False
        self._tasks.create_task(self._hear(node), name=f"ear of {node.name}")

    async def _launch(self, node: Node, ready_fd: int) -> asyncio.subprocess.Process:
        address = self.net.address(node.number)
        daemon = (
            sys.executable, "-m", self._daemon, "--dir", str(node.directory), "--bind", address, "--port",
            str(PORT), "--dial-from", address, "--no-mdns", *self._options, "--ready-fd", str(ready_fd),
        )  # fmt: skip
        with (self.directory / f"{node.name}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *self.net.inside(node.number % 2, *daemon), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, pass_fds=(ready_fd,), start_new_session=True,
            )  # fmt: skip

    def _await_ready(self, node: Node, fd: int) -> None:
        with os.fdopen(fd, "rb") as pipe:
            line = pipe.readline()  # ends with the daemon, too
        ready = msgspec.json.decode(line, type=_Ready) if line else _Ready(ok=False)
        if not ready.ok:
            raise Broken(f"{node.name} did not start: {ready.error or 'it said nothing'}; {self._log(node)}")

    def kill(self, node: Node) -> float:
        """SIGKILL to the daemon; when."""
        at_s = time.monotonic()
        os.kill(node.pid, signal.SIGKILL)
        node.frozen = True  # until it is started again
        return at_s

    async def again(self, node: Node) -> None:
        """Start one that was killed."""
        assert node.process is not None
        await node.process.wait()
        node.frozen = False
        self.views[node.number].clear()
        await self.up([node])

    def freeze(self, node: Node) -> float:
        """SIGSTOP to the daemon and all below it; when."""
        at_s = time.monotonic()
        _send(node.pid, signal.SIGSTOP)
        node.frozen = True
        return at_s

    def thaw(self, node: Node) -> None:
        _send(node.pid, signal.SIGCONT)
        node.frozen = False

    async def stop(self) -> None:
        """End all of it, in order where that goes quickly."""
        left = [node for node in self.nodes if node.process is not None]
        for node in left:
            _send(node.pid, signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                os.kill(node.pid, signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        for node in left:
            assert node.process is not None
            try:
                async with asyncio.timeout(max(0.1, deadline_s - time.monotonic())):
                    await node.process.wait()
            except TimeoutError:
                _send(node.pid, signal.SIGKILL)
                await node.process.wait()

    def clean(self) -> None:
        """Also without an event loop: kill what still runs, remove all files."""
        for node in self.nodes:
            if node.process is not None and node.process.returncode is None:
                _send(node.pid, signal.SIGKILL)
            discard_run_directory(node.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- speaking and hearing -----------------------------------------------------------------------------------------

    def order(self, node: Node, *words: object) -> float:
        """Tell a daemon's mouth; when."""
        assert node.process is not None
        assert node.process.stdin is not None
        at_s = time.monotonic()
        node.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        return at_s

    def meet(self) -> float:
        """Everybody hears of the first node at once, as by mDNS; when."""
        at_s = time.monotonic()
        for node in self.nodes[1:]:
            self.order(node, "meet", self.net.address(0), PORT)
        return at_s

    def client(self, node: Node) -> Client:
        return Client(str(node.directory), timeout_s=10.0)

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes if node.running]

    def whole(self) -> bool:
        """Whether each running node takes each other one for ready."""
        numbers = [node.number for node in self.running]
        return all(self.views[a].get(b) == "ready" for a in numbers for b in numbers if a != b)

    async def be_whole(self, within_s: float = WHOLE_S) -> None:
        """Then the events of all are followed, too. A hundred that join would write ten thousand for watchers that no
        real mesh has at each node, and the harness would read them beside them; none is missed, as they are kept.

        Raises ``Broken``: it did not become whole in time.
        """
        if not await until(self.whole, within_s):
            numbers = [node.number for node in self.running]
            lacking = [f"n{a} of n{b}" for a in numbers for b in numbers if a != b and self.views[a].get(b) != "ready"]
            first = ", ".join(lacking[:5])
            raise Broken(f"not whole after {within_s:g} s: {len(lacking)} pairs unready, e.g. {first}")
        for node in self.running:
            if not node.watched:
                node.watched = True
                stream = await asked(node.directory)
                events = follow(stream, node.number, self._numbers, self.told.append)
                self._tasks.create_task(_until_it_ends(events), name=f"events of {node.name}")

    async def _hear(self, node: Node) -> None:
        assert node.process is not None
        assert node.process.stdout is not None
        async for line in node.process.stdout:
            what, about, token, at = line.decode().split()
            at_s = float(at)
            subject = self._numbers_by_id.get(about)
            if what not in STATES:
                node.learned.setdefault((what, token), at_s)
            elif subject is not None:
                self.held.append(Told(at_s, node.number, subject, what))
                self.views[node.number][subject] = what

    def _log(self, node: Node) -> str:
        return (self.directory / f"{node.name}.log").read_text(errors="replace")[-1000:]


@contextlib.asynccontextmanager
async def fleet(
    count: int,
    options: Sequence[str] = (),
    daemon: str = DAEMON,
    before: Callable[[Fleet], Awaitable[None]] | None = None,
) -> AsyncGenerator[Fleet]:
    """All up, none of them knows another. ``before``: puts what is still missing into their directories."""
    _many_files()
    with namespaces() as net:
        net.house(count)
        async with asyncio.TaskGroup() as tasks:
            made = Fleet(net, count, options, tasks, daemon)
            try:
                if before is not None:
                    await before(made)
                await made.up(made.nodes)
                yield made
                await made.stop()
            finally:
                made.clean()


async def _until_it_ends(stream: Awaitable[None]) -> None:
    """A node that is killed takes its stream along: that is no failure of the harness."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await stream


def _send(pid: int, number: signal.Signals) -> None:
    """To a process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def _many_files() -> None:
    """Three pipes and a stream for each daemon."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
