"""Real daemons for the tests beside this file: started, asked and always ended; nothing of them stays behind."""

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import psutil

from meshnode.cli.main import main
from meshnode.client.client import Client
from meshnode.host.rundir import discard_run_directory
from meshnode.model.errors import LocalError
from meshnode.model.views import NodeView
from tests.demo.fleet import Network
from tests.patience import TELLING, TOLD_CHARS, abort, bounded, ends

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("-m", "meshnode.daemon.main")
LOOPBACK = ("--bind", "127.0.0.1", "--no-mdns")
READY_S = 60.0
POLL_S, POLL_S_MAX, POLLS_RARER = 0.01, 0.1, 1.2  # what takes long is looked at less often: looking costs both sides
FoundT = TypeVar("FoundT")
AGENT = """\
from meshnode.sdk import Agent

agent = Agent("echo")


@agent.skill
def say(text: str) -> str:
    return text


agent.run()
"""


class Ended(NamedTuple):
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        assert self.code == 0, f"exit code {self.code}: {self.err}"
        return json.loads(self.out)

    def refused(self, code: int, *words: str) -> str:
        """The message of a refusal: this exit code, these words, a next step, no traceback, nothing on stdout."""
        assert self.code == code, f"exit code {self.code}, not {code}: {self.out}{self.err}"
        assert self.err.startswith("error: "), self.err
        assert "\n -> " in self.err, f"no next step: {self.err}"
        assert "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.err, f"{word!r} is missing: {self.err}"
        return self.err


def cli(directory: Path, *words: str) -> Ended:
    """One command of the command line, in this process; not ``up``, whose daemon would become our child."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["-C", str(directory), *words])
    return Ended(code, out.getvalue(), err.getvalue())


def shell(
    directory: Path, *words: str, python: tuple[str, ...] = (), timeout_s: float = 40.0, **environment: str
) -> Ended:
    """One command as a person types it: a process of its own."""
    done = subprocess.run(
        [sys.executable, *python, "-m", "meshnode.cli", "-C", str(directory), *words],
        cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=timeout_s, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def typed(directory: Path, *words: str) -> Generator[subprocess.Popen[str]]:
    """A command that runs on, as a person typed it; killed at the end if it still runs. All that is done with it has a
    bound: a line that never comes is a failure."""
    command = [sys.executable, *TELLING, "-m", "meshnode.cli", "-C", str(directory), *words]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        bounded(process, f"what was to be seen of meshnode {' '.join(words)}"),
    ):
        try:
            yield process
        finally:
            process.kill()


def until(look: Callable[[], FoundT], what: str, within_s: float = 30.0) -> FoundT:
    """What ``look`` finds, as soon as it is true. A node that cannot answer yet is looked at again."""
    deadline = time.monotonic() + within_s
    last, poll_s = "", POLL_S
    while True:
        try:
            found = look()
        except LocalError as error:
            last = f"; last: {error.message}"
        else:
            if found:
                return found
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}{last}"
        select.select([], [], [], poll_s)
        poll_s = min(POLL_S_MAX, poll_s * POLLS_RARER)


def state_of(directory: Path, name: str) -> NodeView:
    """How the node of ``directory`` sees the one named ``name``."""
    return client(directory).node(name)


def client(directory: Path) -> Client:
    return Client(str(directory), timeout_s=20.0)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below, with its bytes: to show that a refusal changed nothing."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


class Daemon:
    """One process of one node, begun; whoever asks for ``ready`` waits for it."""

    def __init__(self, directory: Path, *arguments: str, program: tuple[str, ...] = PRODUCT) -> None:
        self.directory = directory
        self._log = directory.parent / f"{directory.name}.log"
        read_fd, write_fd = os.pipe()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *TELLING, *program, "--dir", str(directory), *arguments, "--ready-fd", str(write_fd)],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write_fd,),
                start_new_session=True,
            )  # fmt: skip
        os.close(write_fd)
        self._pipe = os.fdopen(read_fd, "rb")

    @cached_property
    def ready(self) -> dict[str, Any]:
        """What it told when it could serve, or why it cannot."""
        with self._pipe as pipe:
            readable, _, _ = select.select([pipe], [], [], READY_S)
            if not readable:
                abort(self.process)
            line = pipe.readline() if readable else b""
        return json.loads(line) if line else {"ok": False, "error": {"message": self.log()}}

    @property
    def ask(self) -> Client:
        return client(self.directory)

    @property
    def listen(self) -> str:
        return self.ready["listen"]

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait(30.0)

    def ends(self, within_s: float = 30.0) -> int:
        """Its exit code. One that goes on tells where its threads stand."""
        try:
            return ends(self.process, self.directory.name, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-TOLD_CHARS:]}") from None

    def forget(self) -> None:
        """Nobody will ask any more whether it is ready."""
        self._pipe.close()


class Daemons:
    """All daemons of one test below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[Daemon] = []

    def __enter__(self) -> "Daemons":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for daemon in self._started:
            daemon.forget()
            if daemon.process.poll() is None:
                daemon.kill()
        for pid in holders(self.directory):  # those that `meshnode up` started
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pointer in self.directory.rglob("run"):  # what a kill leaves in the place of the sockets
            if pointer.is_file():
                discard_run_directory(pointer.parent)

    def start(self, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        """Start a node; an empty directory becomes a mesh of one whose node has this name."""
        return self.served(self.launch(name, *arguments, program=program))

    def try_start(self, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        """Start it, whether it comes up or refuses."""
        daemon = self._launched(name, *arguments, program=program)
        assert "ok" in daemon.ready
        return daemon

    def launch(self, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        """Start a node without waiting until it serves."""
        return self._launched(name, *LOOPBACK, *arguments, program=program)

    def served(self, daemon: Daemon) -> Daemon:
        """The same, once it serves."""
        assert daemon.ready["ok"], f"{daemon.ready}\n{daemon.log()[-2000:]}"
        return daemon

    def _launched(self, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        directory = self.directory / name
        founder = () if (directory / "identity").exists() else ("--name", name)
        daemon = Daemon(directory, *founder, *arguments, program=program)
        self._started.append(daemon)
        return daemon

    def join(self, host: Daemon, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        """Invite, join and start another node."""
        return self.served(self.launch_join(host, name, *arguments, program=program))

    def launch_join(self, host: Daemon, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        """The same without waiting until it serves: several start at once."""
        directory = self.directory / name
        joined = cli(directory, "join", host.ask.invite(name).token)
        assert joined.code == 0, joined.err
        return self.launch(name, *arguments, program=program)

    def mesh(self, *names: str) -> list[Daemon]:
        """As many nodes as names, all linked with each other."""
        founder = self.start(names[0])
        joined = [self.launch_join(founder, name) for name in names[1:]]
        nodes = [founder, *map(self.served, joined)]
        for node in nodes:
            until(lambda at=node: _all_linked(at, len(names)), f"{node.directory.name} sees all {len(names)} linked")
        return nodes


def _all_linked(daemon: Daemon, nodes: int) -> bool:
    views = daemon.ask.nodes()
    return len(views) == nodes and all(v.state == "ready" and (v.self_node or v.rtt_ms is not None) for v in views)


def run_echo(daemon: Daemon) -> None:
    """Run an agent with one skill, ``echo.say``, on this node and no other."""
    file = daemon.directory.parent / "echo.py"
    file.write_text(AGENT)
    ran = cli(daemon.directory, "run", str(file), "--on", daemon.directory.name)
    assert ran.code == 0, ran.err


def holders(directory: Path) -> Iterator[int]:
    """The processes that say of themselves that they work in a data directory below ``directory``."""
    for lock in directory.rglob("lock"):
        with contextlib.suppress(ValueError, OSError, psutil.NoSuchProcess):
            pid = int(lock.read_text())
            if any(str(directory) in word for word in psutil.Process(pid).cmdline()):
                yield pid


class Cuttable(Daemons):
    """Daemons that reach each other only through the demo's proxy, which can go silent like a pulled cable."""

    def __init__(self, directory: Path, *names: str) -> None:
        super().__init__(directory)
        self._numbers = {name: number for number, name in enumerate(names, start=1)}
        self._network = Network(len(names))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self._network.close()

    def launch(self, name: str, *arguments: str, program: tuple[str, ...] = PRODUCT) -> Daemon:
        number = self._numbers[name]
        address = f"127.0.1.{number}"
        front = f"127.0.0.1:{self._network.fronts[number]}"
        return self._launched(
            name, "--bind", address, "--dial-from", address, "--advertise", front, "--no-mdns", *arguments,
            program=program,
        )  # fmt: skip

    def served(self, daemon: Daemon) -> Daemon:
        super().served(daemon)
        host, _, port = daemon.listen.rpartition(":")
        self._network.backend(self._numbers[daemon.directory.name], host, int(port))
        return daemon

    def cut(self, *pairs: tuple[str, str]) -> None:
        """These pairs, and no others, hear nothing of each other any more."""
        self._network.cut([(self._numbers[one], self._numbers[other]) for one, other in pairs])

    def heal(self) -> None:
        self._network.heal()
