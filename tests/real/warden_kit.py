"""A supervisor with a warden of its own, and nothing else of a node."""

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from meshnode.agents.messages import ProcessesFound, ProcessExited, ProcessStarted, StartProcess, StopProcess
from meshnode.host.blobs import BlobStore
from meshnode.host.launch import MARK, mark_of
from meshnode.host.supervisor import Supervisor, Told
from meshnode.host.wardenwire import WARDEN_SOCKET
from meshnode.model.ids import InstanceId
from meshnode.model.recipe import Recipe
from tests.real.agents_kit import ROOT, WAIT_S

ToldT = TypeVar("ToldT")

# Says in the fifo that it has come so far.
SAY = """
import os
def say(*words):
    with open(os.environ["FIFO"], "w") as fifo:
        print(*words, file=fifo)
"""


class Hand:
    """A supervisor, and everything it told."""

    def __init__(self, directory: Path, **changes: float) -> None:
        self.directory, self.logs, self.run_directory = directory, directory / "logs", directory / "run"
        self.run_directory.mkdir(mode=0o700, exist_ok=True)
        self.blobs = BlobStore(directory / "blobs")
        self.told: list[Told] = []
        self.changed = asyncio.Event()
        self.supervisor = Supervisor(
            self.tell, logs=self.logs, run=self.run_directory, bus="unix:///nowhere", node="north",
            bundles=directory / "bundles", blobs=self.blobs, warm_after_s=None, **changes,
        )  # fmt: skip
        self.supervisor.start()

    def tell(self, event: Told) -> None:
        self.told.append(event)
        self.changed.set()

    def recipe(self, code: str, *argv: str, name: str = "agent.py", **environment: str) -> Recipe:
        """A file with this code."""
        path = self.directory / name
        path.write_text(textwrap.dedent(SAY) + textwrap.dedent(code))
        return Recipe(argv=argv, cwd=str(self.directory), environment=environment, file=str(path))

    def command(self, code: str, **environment: str) -> Recipe:
        """A command line with this code."""
        code = textwrap.dedent(SAY) + textwrap.dedent(code)
        return Recipe(argv=(sys.executable, "-c", code), environment=environment)

    def start(self, recipe: Recipe, instance: str = "a/0", run_no: int = 1) -> None:
        self.supervisor.perform(StartProcess(InstanceId(instance), run_no, recipe, f"ticket-{instance}"))

    def stop(self, instance: str = "a/0", run_no: int = 1, grace_us: int = 30_000_000) -> None:
        self.supervisor.perform(StopProcess(InstanceId(instance), run_no, grace_us))

    def all(self, kind: type[ToldT]) -> list[ToldT]:
        return [event for event in self.told if isinstance(event, kind)]

    async def until(self, so: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not so():
                self.changed.clear()
                await self.changed.wait()

    async def found(self) -> ProcessesFound:
        await self.until(lambda: self.all(ProcessesFound))
        return self.all(ProcessesFound)[0]

    async def pid(self, instance: str = "a/0") -> int:
        def started() -> list[ProcessStarted]:
            return [event for event in self.all(ProcessStarted) if event.instance == instance]

        await self.until(started)
        return started()[-1].pid

    async def exit(self, instance: str = "a/0") -> ProcessExited:
        def ends() -> list[ProcessExited]:
            return [event for event in self.all(ProcessExited) if event.instance == instance]

        await self.until(ends)
        return ends()[-1]

    def warden(self) -> int:
        link = self.supervisor._link
        assert link is not None
        return link.pid


@asynccontextmanager
async def hand(directory: Path, **changes: float) -> AsyncIterator[Hand]:
    made = Hand(directory, **changes)
    try:
        yield made
    finally:
        await made.supervisor.close()


@contextmanager
def warden_by(run: Path, module: str) -> Iterator[None]:
    """A warden of another program in this run directory, to be found by the supervisor that starts next."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(run / WARDEN_SOCKET))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(run), str(run.parent / "logs"), str(listener.fileno()), "60000"],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), MARK: mark_of(str(run))}, start_new_session=True,
            pass_fds=(listener.fileno(),),
        )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        process.wait(WAIT_S)
