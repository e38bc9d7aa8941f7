"""The daemon's start: arguments, identity, lock; then the house is built and lives until it is told to go."""

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

from meshnode.daemon import logs
from meshnode.daemon import settings as kept
from meshnode.daemon.ready import Ready
from meshnode.daemon.wiring import AS_BUILT, JOURNAL, Adapt, House
from meshnode.host import engine, keystore
from meshnode.host.disk import DirectoryLock
from meshnode.host.identity import Identity
from meshnode.model.errors import Invalid, LocalError
from meshnode.security.names import valid_name, valid_region


def run(argv: list[str], adapt: Adapt = AS_BUILT) -> int:
    """Run one daemon in this process until it is told to stop. Returns the exit code."""
    given = _parser().parse_args(argv)
    logs.to_stderr(verbose=given.verbose)
    logs.stacks_to_stderr()
    ready = Ready(given.ready_fd)
    try:
        _check_interpreter()
        with _told_to_stop():
            return _run(given, ready, adapt)
    except LocalError as error:
        ready.failed(error)
        return error.exit_code


def _run(given: argparse.Namespace, ready: Ready, adapt: Adapt) -> int:
    directory = Path(given.dir).absolute()
    lock = _lock(directory)
    try:
        settings = kept.load(directory).merged(
            bind=given.bind, port=given.port, advertise=given.advertise and tuple(given.advertise),
            seeds=given.seed and tuple(given.seed), dial_from=given.dial_from, mdns=given.mdns, profile=given.profile,
            bus=given.bus, listen=given.listen, loop=given.loop, **{name: getattr(given, name) for name in kept.RELAY},
        )  # fmt: skip
        for text in (*settings.advertise, *settings.seeds):
            kept.address(text)
        make_loop = engine.maker(settings.loop)
        journal = directory / JOURNAL
        makes_mesh = not keystore.exists(directory)
        new = [keystore.identity_directory(directory), *([] if journal.exists() else [journal])]
        try:
            identity, words = _identity(directory, given)
            house = House(directory, identity, settings, ready, adapt)
            with asyncio.Runner(loop_factory=make_loop) as runner:
                return runner.run(house.live(made=words is not None, recovery_words=words))
        finally:
            if makes_mesh and not ready.served:
                _unmake(new)
    finally:
        lock.release()


@contextlib.contextmanager
def _told_to_stop() -> Generator[None]:
    """Until the loop obeys signals itself, SIGTERM unwinds the stack, so that what was begun is tidied up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _unmake(new: list[Path]) -> None:
    """Nobody has seen the recovery words: a mesh without them must not stay behind, nor its journal in the way."""
    for path in new:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lock(directory: Path) -> DirectoryLock:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DirectoryLock(directory)
    except OSError as error:
        raise LocalError(
            f"the data directory {directory} cannot be used: {error.strerror or error}",
            next_step="choose a directory you may write to: meshnode -C DIR up",
        ) from error


def _identity(directory: Path, given: argparse.Namespace) -> tuple[Identity, str | None]:
    """What is there, or a new mesh of one; the recovery words only when just made."""
    if keystore.exists(directory):
        identity = keystore.load(directory)
        if given.name and given.name != identity.name:
            raise Invalid(
                f"this directory belongs to node {identity.name}, not {given.name}",
                next_step="leave --name out, or choose another directory",
            )
        return identity, None
    if given.region and not valid_region(given.region):
        raise Invalid(
            f"{given.region!r} cannot name a region", next_step="use one word of letters, digits, '-', '_' and '.'"
        )
    name = given.name or _own_name()
    wall_ms = time.time_ns() // 1_000_000
    return keystore.create_mesh(directory, name=name, region=given.region or "home", wall_ms=wall_ms)


def _own_name() -> str:
    """This machine's host name, as far as it may be a node name."""
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return name if valid_name(name) else "node-1"


def _check_interpreter() -> None:
    if not (3, 11) <= sys.version_info[:2] < (3, 13):
        raise Invalid(
            f"meshnode needs Python 3.11 or 3.12, this is {sys.version.split()[0]}",
            next_step="start it with one of them; the document engine has no build for others",
        )
    if not __debug__:
        raise Invalid(
            "python -O removes the assertions that keep a broken node from going on", next_step="start it without -O"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="meshnode-daemon", description="one node of a mesh")
    parser.add_argument("--dir", required=True)
    parser.add_argument("--name")
    parser.add_argument("--region")
    parser.add_argument("--bind")
    parser.add_argument("--port", type=int)
    parser.add_argument("--advertise", action="append")
    parser.add_argument("--seed", action="append")
    parser.add_argument("--dial-from")
    parser.add_argument("--bus", choices=("unix", "zmq"))
    parser.add_argument("--profile", choices=("edge", "default", "relay"))
    parser.add_argument("--no-listen", dest="listen", action="store_false", default=None)
    parser.add_argument("--listen", action="store_true", default=None)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"))
    for name in kept.RELAY:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--no-mdns", dest="mdns", action="store_false", default=None)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--verbose", action="store_true")
    return parser


if __name__ == "__main__":
    status = run(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
