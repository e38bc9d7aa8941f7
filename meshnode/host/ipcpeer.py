"""Who is at the other end of a local socket, as the kernel says."""

import errno
import os
import select
import socket
import struct
from pathlib import Path

import msgspec

# A longer chain of parents is not followed.
LINEAGE_MAX = 64
_UCRED = struct.Struct("3i")  # pid, uid, gid: see unix(7)
_NO_MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_SO_PEERPIDFD = 77  # Linux 6.5: the process itself, not a number that another one may have by now


class IpcPeer(msgspec.Struct, frozen=True):
    """``lineage``: the peer's parents, nearest first. ``pidfd``: readable when it has ended; its owner closes it."""

    pid: int
    uid: int
    lineage: tuple[int, ...]
    pidfd: int


def peer_of(connection: socket.socket) -> IpcPeer | None:
    """The process that made the connection; None if it has ended. Raises ``OSError`` if this process has no means to
    look: no descriptor, no memory.
    """
    try:
        pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return _known(pid, uid, _pidfd_of(connection, pid))
    except OSError as error:
        return _none_if_ended(error)


def peer_by_number(pid: int, uid: int) -> IpcPeer | None:
    """The process that has this number now; None if there is none. Raises like ``peer_of``."""
    try:
        return _known(pid, uid, os.pidfd_open(pid))
    except OSError as error:
        return _none_if_ended(error)


def _none_if_ended(error: OSError) -> None:
    if error.errno in _NO_MEANS:
        raise error


def _pidfd_of(connection: socket.socket, pid: int) -> int:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return os.pidfd_open(pid)  # an older kernel


def _known(pid: int, uid: int, pidfd: int) -> IpcPeer | None:
    """The number was still its own while its lineage was read, if the process runs after that."""
    try:
        lineage = _lineage(pid)
    except OSError:
        os.close(pidfd)
        raise
    if lineage is None or _has_ended(pidfd):
        os.close(pidfd)
        return None
    return IpcPeer(pid, uid, lineage, pidfd)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _lineage(pid: int) -> tuple[int, ...] | None:
    parents: list[int] = []
    for _ in range(LINEAGE_MAX):
        parent = _parent(pid)
        if parent is None:
            return None if not parents else tuple(parents)
        if parent <= 1 or parent == os.getpid():
            break
        parents.append(parent)
        pid = parent
    return tuple(parents)


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return _none_if_ended(error)
    # The name in brackets is the process's own choice and may hold anything; what follows the last bracket is not.
    return int(stat.rpartition(")")[2].split()[1])
