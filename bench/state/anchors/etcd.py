"""Three members of Debian's etcd, each with its own directory, fsync on: a linearizable store, which a CRDT is not.

Its clients are ``etcd_client.py`` in an environment of their own.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from bench.gossip.namespaces import namespaces
from bench.rows import Anchor
from tests.demo.fleet import ROOT, Broken

ENVIRONMENT = ROOT / ".venvs" / "state"
PYTHON = ENVIRONMENT / "bin" / "python"
PACKAGES = ("grpcio==1.70.0", "pycrdt==0.14.13")
STAMP = ENVIRONMENT / "anchors.stamp"
INSTALL_S, UP_S = 600, 30.0
CLIENT_PORT, PEER_PORT = 2300, 2400
MEMBERS = (1, 2, 3)
NAME = "etcd 3.4, 3 members"
LINEARIZABLE = "etcd's put is linearizable, agreed by two of three members; a document is a CRDT's and is not"


class Missing(Exception):
    """The anchor cannot be measured here, for this reason."""


def prepare() -> None:
    """Install what is not there. What fails is told again by whoever asks for it."""
    if shutil.which("etcd") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        # Debian starts a member of its own at once: not the one that is measured.
        install = "apt-get install -y -qq etcd-server etcd-client && (systemctl disable --now etcd || true)"
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["sh", "-c", install], capture_output=True, check=False, env=environment)
    if not STAMP.exists() or STAMP.read_text() != " ".join(PACKAGES):
        print(f"setting up {ENVIRONMENT.relative_to(ROOT)} (once)", file=sys.stderr)
        install_these = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
        try:
            for command in ([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], install_these):
                subprocess.run(command, capture_output=True, timeout=INSTALL_S, check=True)
            STAMP.write_text(" ".join(PACKAGES))
        except (OSError, subprocess.SubprocessError) as error:
            print(f"no anchors from there: {error}", file=sys.stderr)


def script(name: str, *arguments: str, timeout_s: float, inside: Sequence[str] = ()) -> dict[str, Any]:
    """What the last line of an anchor's own script says. ``inside``: a command line that runs it elsewhere.

    Raises ``Missing``.
    """
    if not STAMP.exists():
        raise Missing(f"its environment could not be made ({', '.join(PACKAGES)})")
    command = [*inside, str(PYTHON), str(Path(__file__).with_name(name)), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise Missing(f"not done after {timeout_s:g} s") from error
    except (IndexError, ValueError) as error:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1][:200]
        raise Missing(f"exit {done.returncode}: {said}") from error


class Cluster:
    """``address``: of a member, for its clients. ``inside``: a command line that runs where the member runs."""

    def __init__(self, directory: Path, addresses: dict[int, str], inside: Callable[[int], list[str]]) -> None:
        if shutil.which("etcd") is None:
            raise Missing("no etcd on this machine (Debian: apt install etcd-server etcd-client)")
        self.addresses, self.inside = addresses, inside
        self._processes = [self._start(directory, member) for member in MEMBERS]

    def address(self, member: int) -> str:
        return f"{self.addresses[member]}:{CLIENT_PORT + member}"

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def written(self) -> int:
        """Bytes that the member that has written most has brought to the disk."""
        return max(map(write_bytes, self.pids))

    def up(self) -> None:
        """Wait until it takes a put. Raises ``Missing``."""
        until = time.monotonic() + UP_S
        while time.monotonic() < until:
            with contextlib.suppress(Missing):
                command = [*self.inside(1), "etcdctl", "--endpoints", self.address(1), "put", "up", "1"]
                environment = {**os.environ, "ETCDCTL_API": "3"}
                if subprocess.run(command, capture_output=True, check=False, env=environment).returncode == 0:
                    return
            time.sleep(0.2)
        raise Missing(f"no put within {UP_S:g} s")

    def leader(self) -> int:
        """Raises ``Missing``."""
        for member in MEMBERS:
            command = [*self.inside(member), "etcdctl", "--endpoints", self.address(member), "endpoint", "status"]
            environment = {**os.environ, "ETCDCTL_API": "3"}
            told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment).stdout
            if ", true," in told:
                return member
        raise Missing("it has no leader")

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def _start(self, directory: Path, member: int) -> subprocess.Popen[bytes]:
        peers = ",".join(f"m{at}=http://{where}:{PEER_PORT + at}" for at, where in self.addresses.items())
        here = self.addresses[member]
        client, peer = f"http://{here}:{CLIENT_PORT + member}", f"http://{here}:{PEER_PORT + member}"
        return subprocess.Popen(
            [*self.inside(member), "etcd", "--name", f"m{member}", "--data-dir", str(directory / f"m{member}"),
             "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
             "--initial-advertise-peer-urls", peer, "--initial-cluster", peers, "--initial-cluster-state", "new"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


@contextlib.contextmanager
def on_loopback() -> Generator[Cluster]:
    """Raises ``Missing``."""
    with tempfile.TemporaryDirectory(prefix="meshnode-etcd-") as directory:
        cluster = Cluster(Path(directory), dict.fromkeys(MEMBERS, "127.0.0.1"), lambda _: [])
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.stop()


@contextlib.contextmanager
def apart() -> Generator[tuple[Cluster, Callable[[], None], Callable[[], None]]]:
    """In two network namespaces that can be cut apart: one member in the first, two in the second; cut, mend.

    Raises ``Missing``.
    """
    sides = {1: 0, 2: 1, 3: 1}
    try:
        with tempfile.TemporaryDirectory(prefix="meshnode-etcd-") as directory, namespaces() as ground:
            ground.house(6)
            numbers = {1: 0, 2: 1, 3: 3}  # even numbers live on the first side
            addresses = {member: ground.address(number) for member, number in numbers.items()}
            cluster = Cluster(Path(directory), addresses, lambda member: ground.inside(sides[member]))
            try:
                cluster.up()
                yield cluster, lambda: ground.cut(6), lambda: ground.mend(6)
            finally:
                cluster.stop()
    except Broken as error:
        raise Missing(str(error)) from error


def write_bytes(pid: int) -> int:
    """Pages a process has made dirty, in bytes."""
    for line in Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines():
        if line.startswith("write_bytes"):
            return int(line.split()[1])
    return 0


def missing(why: str) -> Anchor:
    return Anchor(name=NAME, why=why)
