"""A private PostgreSQL server from Debian's package, in a temporary directory, reached by a unix socket only.

It never touches a server that already runs here. ``needs_postgres`` skips by name where the package is not installed.
"""

import asyncio
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

USER = "meshnode"
_START_S = 30.0
_PR_SET_PDEATHSIG = 1
# What differs from Debian's defaults; everything that decides about durability is as shipped (fsync, full_page_writes
# and synchronous_commit are on).
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "log_min_messages": "warning",
    "log_statement": "none",
    "timezone": "UTC",
}


def programs() -> Path | None:
    """Where the newest installed server's programs are; they are not on PATH in Debian."""
    found = [
        path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb") if path.parent.parent.name.isdigit()
    ]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    other = shutil.which("initdb")
    return Path(other).resolve().parent if other else None


def _unprivileged() -> str | None:
    """The server refuses to run as root: then it gets the account of Debian's package, or nobody's."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


needs_postgres = pytest.mark.skipif(
    programs() is None, reason="needs a PostgreSQL server on this machine (Debian: apt install postgresql)"
)


class Server:
    """One server process with its data directory. ``url(DATABASE)`` is what a store is given."""

    def __init__(self, root: Path, settings: dict[str, str] | None = None) -> None:
        self.root, self._settings = root, SETTINGS | (settings or {})
        self._bin, self._user = programs(), _unprivileged()
        assert self._bin is not None, "PostgreSQL is not installed"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = root / "server.log"

    def url(self, database: str = "postgres", *, user: str = USER) -> str:
        return f"postgresql://{user}@/{database}?host={self.root}"

    def create(self) -> None:
        if self._user is not None:
            shutil.chown(self.root, self._user)
        done = subprocess.run(
            [self._bin / "initdb", "-D", self.root / "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C",
             "--no-sync", "--no-instructions"],
            user=self._user, cwd=self.root, capture_output=True, text=True, timeout=_START_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"initdb: {done.stderr}"

    def start(self) -> None:
        assert self._process is None
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.root / "data", "-k", self.root, *options],
                user=self._user, cwd=self.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=_end_with_the_tests,  # noqa: PLW1509 - it makes one system call
            )  # fmt: skip
        self._wait_until_ready()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends sessions and writes a checkpoint; SIGQUIT is a crash, from which the next start recovers."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_START_S)
            self._process = None

    def sql(self, statement: str, database: str = "postgres") -> str:
        """The answer of psql, unaligned."""
        done = subprocess.run(
            [self._bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)],
            input=statement, capture_output=True, text=True, timeout=_START_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def written_bytes(self) -> int:
        """What the server and all its processes wrote to files since they started; those that ended are counted by the
        postmaster, which waits for them.

        The kernel's other count, ``write_bytes``, is of page cache that became dirty: where that is kept in large
        folios (Linux 6, ext4), a write of 8 KiB counts as up to 2 MiB.
        """
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        total = 0
        for process in (postmaster, *postmaster.children()):
            try:
                lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):  # a worker that has ended meanwhile
                continue
            fields = dict(line.split(": ") for line in lines)
            total += int(fields["wchar"])
        return total

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            assert self._process.poll() is None, f"the server ended: {self.log()[-2000:]}"
            ready = subprocess.run(
                [self._bin / "pg_isready", "-q", "-h", self.root, "-U", USER, "-d", "postgres"],
                timeout=_START_S,
                check=False,
            )
            if ready.returncode == 0:
                return
            time.sleep(0.02)
        raise AssertionError(f"the server is not ready after {_START_S} s: {self.log()[-2000:]}")


def _end_with_the_tests() -> None:
    """Runs in the child: a server whose test run was killed ends too. It ends with the thread that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


@contextmanager
def server(settings: dict[str, str] | None = None) -> Iterator[Server]:
    """A running server that is gone, with its files, behind the block."""
    root = Path(tempfile.mkdtemp(prefix="meshnode-pg-"))
    made = Server(root, settings)
    try:
        made.create()
        made.start()
        yield made
    finally:
        made.stop(signal.SIGQUIT)
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def database(on: Server, name: str) -> Iterator[str]:
    """An empty database and its address."""
    on.sql(f'CREATE DATABASE "{name}" TEMPLATE template0 STRATEGY wal_log')
    try:
        yield on.url(name)
    finally:
        on.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def main() -> None:
    """A server to look at: prints its address and waits for Ctrl-C."""
    with server() as running:
        print(running.url())
        try:
            asyncio.run(asyncio.Event().wait())
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
