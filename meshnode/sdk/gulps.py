"""How much of what is large passes a socket at once.

A gulp costs a daemon a turn, whatever its size: the system calls, the core, the deadlines of its rooms. So what is
large is read and written by the megabyte, and sockets of this machine hold as much; what is short sees none of it.
"""

import mmap
import socket
from contextlib import suppress

GULP_BYTES = 1024 * 1024
WIDE_BYTES = 128 * 1024  # a write of so much makes its socket wide: the system's own choice is some 200 KiB


def buffer() -> memoryview:
    """Room for a gulp, of which only those pages are in memory that were filled once."""
    return memoryview(mmap.mmap(-1, GULP_BYTES))


def widen(connection: socket.socket, to_bytes: int) -> None:
    """From now on it holds so much that was written and not read, or as much as the system allows."""
    with suppress(OSError):  # it hung up: whoever writes finds out
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, to_bytes // 2)  # Linux makes it twice that
