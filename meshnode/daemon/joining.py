"""``meshnode join``: from a token to a member's directory, without a running daemon."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from meshnode.host import keystore
from meshnode.host.disk import LOCK_NAME, DirectoryLock
from meshnode.host.joining import enrol
from meshnode.model.errors import LocalError


@dataclass(frozen=True, slots=True)
class JoinOutcome:
    """What this directory is now."""

    name: str
    mesh: str
    region: str
    peers: tuple[str, ...]


def join(directory: str, token: str, dial_from: str = "") -> JoinOutcome:
    """Make ``directory`` a member of the token's mesh.

    Raises:
        LocalError: it was refused or could not be stored; nothing is left of the attempt.
    """
    path = Path(directory).absolute()
    keystore.refuse_second(path)
    made = not path.exists()
    lock = _lock(path, made=made)
    try:
        wall_ms = time.time_ns() // 1_000_000
        identity = asyncio.run(enrol(token.strip(), path, wall_ms=wall_ms, dial_from=dial_from))
        return JoinOutcome(
            identity.name, identity.mesh, identity.region, tuple(f"{host}:{port}" for host, port in identity.seeds)
        )
    except BaseException:  # Ctrl-C as well
        if made:
            _unmake(path)
        raise
    finally:
        lock.release()


def _lock(path: Path, *, made: bool) -> DirectoryLock:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return DirectoryLock(path)
    except OSError as error:
        if made and path.is_dir():
            _unmake(path)
        raise LocalError(
            f"the data directory {path} cannot be used: {error.strerror or error}",
            next_step="choose a directory you may write to, with some room: meshnode -C DIR join TOKEN",
        ) from error


def _unmake(path: Path) -> None:
    """Remove the directory of an attempt, while it is still locked, unless somebody put something into it."""
    entries = list(path.iterdir())
    if all(entry.name == LOCK_NAME for entry in entries):
        for entry in entries:
            entry.unlink()
        path.rmdir()
