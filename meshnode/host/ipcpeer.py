"""Who is at the other end of a local socket, as the kernel says."""

import os
import socket
import struct
from pathlib import Path

import msgspec
import zmq

# A longer chain of parents is not followed.
LINEAGE_MAX = 64
_UCRED = struct.Struct("3i")  # pid, uid, gid: see unix(7)


class IpcPeer(msgspec.Struct, frozen=True):
    """``lineage``: the peer's parents, nearest first."""

    pid: int
    uid: int
    lineage: tuple[int, ...]


def peer_of(part: zmq.Frame) -> IpcPeer | None:
    """The sender of the first message of an ``ipc://`` connection; None if it cannot be known, or is gone."""
    known = _by_address(part) or _by_descriptor(part)
    if known is None:
        return None
    pid, uid = known
    lineage = _lineage(pid)
    return None if lineage is None else IpcPeer(pid, uid, lineage)


def _by_address(part: zmq.Frame) -> tuple[int, int] | None:
    """libzmq notes the credentials when it accepts a connection, as ``localhost:UID:GID:PID``, if it was built so."""
    try:
        words = str(part.get("Peer-Address")).rsplit(":", 3)
    except (zmq.ZMQError, KeyError):
        return None
    if len(words) != 4 or not all(word.isdecimal() for word in words[1:]):
        return None
    return int(words[3]), int(words[1])


def _by_descriptor(part: zmq.Frame) -> tuple[int, int] | None:
    """Ask the connection itself; right for a first message, as the connection stands while it is read."""
    try:
        with socket.socket(fileno=os.dup(int(part.get(zmq.SRCFD)))) as connection:
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except (OSError, zmq.ZMQError):
        return None
    pid, uid, _ = _UCRED.unpack(found)
    return pid, uid


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
    except OSError:
        return None
    # The name in brackets is the process's own choice and may hold anything; what follows the last bracket is not.
    return int(stat.rpartition(")")[2].split()[1])
