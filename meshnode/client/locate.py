"""Where a node's door is: from its data directory to the socket of its local API.

The data directory may lie deeper than a unix socket's path may be long (107 bytes), so the daemon keeps its sockets in
a short run directory, and ``run`` in the data directory leads there: as a link, or as a file with the path.
"""

import os
from pathlib import Path

from meshnode.model.errors import Denied, Offline

POINTER = "run"
SOCKET = "api.sock"


def data_dir(chosen: str | None = None) -> Path:
    """The directory of the node that is meant: ``chosen``, else MESHNODE_DIR, else ~/.meshnode. Absolute."""
    named = chosen or os.environ.get("MESHNODE_DIR") or "~/.meshnode"
    return Path(named).expanduser().absolute()


def socket_of(directory: Path) -> str:
    """The socket of the daemon of ``directory``.

    Raises:
        Offline: no daemon runs there.
        Denied: the directory or the socket is somebody else's.
    """
    pointer = directory / POINTER
    try:
        run = _target(pointer)
        door = run / SOCKET
        # Run directories lie under /tmp, which a reboot empties: what stands there must be of the same owner.
        if door.lstat().st_uid != pointer.lstat().st_uid:
            raise not_yours(directory)
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        raise no_daemon(directory) from None
    except PermissionError as error:
        raise not_yours(directory) from error
    return str(door)


def _target(pointer: Path) -> Path:
    if pointer.is_symlink():
        return pointer.parent / pointer.readlink()
    return pointer.parent / pointer.read_text(encoding="utf-8").strip()


def no_daemon(directory: Path) -> Offline:
    return Offline(f"no daemon runs in {directory}", next_step=up_line(directory))


def went_away(directory: Path) -> Offline:
    return Offline(
        f"the daemon of {directory} went away before its answer was complete; the request may have been carried out",
        next_step=f"meshnode -C {_quoted(directory)} status",
    )


def not_yours(directory: Path) -> Denied:
    return Denied(
        f"the node in {directory} belongs to another user",
        next_step="run this as that user, or choose your own node with -C DIR",
    )


def up_line(directory: Path) -> str:
    """The command that starts the node of ``directory``, fit for a shell."""
    return f"meshnode -C {_quoted(directory)} up"


def _quoted(directory: Path) -> str:
    import shlex

    return shlex.quote(str(directory))
