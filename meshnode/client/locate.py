"""Where a node's door is: from its data directory to the socket of its local API.

The data directory may lie deeper than a unix socket's path may be long (about 100 bytes), so the daemon keeps its
sockets in a short run directory and writes that directory's path into the file ``run``.
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
        Denied: it is somebody else's directory.
    """
    try:
        run = (directory / POINTER).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        raise no_daemon(directory) from None
    except PermissionError as error:
        raise not_yours(directory) from error
    if not run:
        raise no_daemon(directory)
    return str(Path(run) / SOCKET)


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
