"""A short private directory for the sockets of one node.

The path of a unix socket is at most 107 bytes, so sockets cannot lie in the data directory, which may be deep. They lie
in ``$XDG_RUNTIME_DIR/meshnode/HASH`` or ``/tmp/meshnode-UID/HASH``, and the file ``DATA_DIR/run`` says where.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from meshnode.model.errors import LocalError

API_SOCKET = "api.sock"
BUS_SOCKET = "bus.sock"
POINTER = "run"
# sizeof(sockaddr_un.sun_path) less its final zero.
SOCKET_PATH_BYTES_MAX = 107
_LONGEST_NAME_BYTES = 24


class NoRunDirectory(LocalError):
    """No private directory for sockets can be had. Nothing changed."""

    code = "no-run-directory"


def run_directory(data_dir: Path) -> Path:
    """The run directory of the node in ``data_dir``, made if it is not there (0700), and ``data_dir/run`` names it.

    Raises ``NoRunDirectory`` when every candidate is too long, not ours or open to others.
    """
    refusals: list[str] = []
    for base in _candidates():
        path = base / _name_of(data_dir)
        if len(os.fsencode(path)) + _LONGEST_NAME_BYTES > SOCKET_PATH_BYTES_MAX:
            refusals.append(f"{path}: too long for a unix socket")
            continue
        try:
            _make_both(base, path)
        except OSError as error:
            refusals.append(f"{error.filename or path}: {error.strerror or error}")
            continue
        _point(data_dir, path)
        return path
    raise NoRunDirectory(
        "no private directory for sockets: " + "; ".join(refusals),
        next_step="Set XDG_RUNTIME_DIR to a short directory that only you can enter (mode 0700).",
    )


def discard_run_directory(data_dir: Path) -> None:
    """Remove the run directory and the pointer to it; a parent that other nodes use stays."""
    pointer = data_dir / POINTER
    path = Path(_pointed(pointer))
    if path.name != _name_of(data_dir):  # not written by run_directory for this data directory: not ours to remove
        return
    pointer.unlink(missing_ok=True)
    if not path.is_dir():
        return
    for entry in path.iterdir():
        entry.unlink(missing_ok=True)
    path.rmdir()
    with contextlib.suppress(OSError):  # not empty: another node of this user runs
        path.parent.rmdir()


def _candidates() -> Iterator[Path]:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/") and Path(given).is_dir():
        yield Path(given) / "meshnode"
    # Not tempfile.gettempdir(): TMPDIR differs between shells, and both must find the same node.
    yield Path(f"/tmp/meshnode-{os.geteuid()}")  # noqa: S108 - checked by _make_private before use


def _name_of(data_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:12]


def _make_both(base: Path, path: Path) -> None:
    try:
        _make_private(base)
        _make_private(path)
    except FileNotFoundError:  # another node of this user went down between the two steps and tidied up
        _make_private(base)
        _make_private(path)


def _make_private(path: Path) -> None:
    """Make or accept a directory. In /tmp anybody may have put a link or a directory of theirs there first."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "is not a directory", str(path))
    if found.st_uid != os.geteuid():
        raise PermissionError(13, "belongs to another user", str(path))
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(13, "is open to others; expected mode 0700", str(path))


def _point(data_dir: Path, path: Path) -> None:
    pointer = data_dir / POINTER
    if _pointed(pointer) != str(path):
        fresh = data_dir / f".{POINTER}.{os.getpid()}"
        fresh.write_text(f"{path}\n", encoding="utf-8")
        fresh.replace(pointer)


def _pointed(pointer: Path) -> str:
    try:
        return pointer.read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
