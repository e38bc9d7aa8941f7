"""What one agent writes, kept within a byte budget: flash wears out, and a loop of prints fills any disk."""

import contextlib
import os
from pathlib import Path

FILE_BYTES_MAX = 1024 * 1024
MINUTE_BYTES_MAX = 1024 * 1024
TAIL_BYTES = 2048


class AgentLog:
    """Two files, ``PATH`` and ``PATH.1``, of at most ``FILE_BYTES_MAX`` each; a gap line says how much was dropped.

    A broken disk must not stop agents: bytes that could not be written count as dropped.
    """

    def __init__(self, path: Path, *, minute_bytes_max: int = MINUTE_BYTES_MAX) -> None:
        self._path = path
        self._minute_bytes_max = minute_bytes_max
        self._fd = -1
        self._size = 0
        self._minute = 0
        self._minute_bytes = 0
        self.dropped_bytes = 0

    def write(self, data: bytes, now_s: float) -> None:
        if int(now_s) // 60 != self._minute:
            self._minute, self._minute_bytes = int(now_s) // 60, 0
        if self._minute_bytes + len(data) > self._minute_bytes_max:
            self.dropped_bytes += len(data)
            return
        if self.dropped_bytes:
            data = b"[meshnode] %d bytes dropped here: over the budget\n" % self.dropped_bytes + data
        self._minute_bytes += len(data)
        try:
            self._append(data[:FILE_BYTES_MAX])
        except OSError:
            self.dropped_bytes += len(data)
        else:
            self.dropped_bytes = 0

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._open()
        if self._size + len(data) > FILE_BYTES_MAX:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._open()
        self._size += os.write(self._fd, data)

    def _open(self) -> None:
        with contextlib.suppress(FileExistsError):
            self._path.parent.mkdir(mode=0o700, parents=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size


class Tail:
    """The last bytes of a stream, for the reason of an exit."""

    def __init__(self) -> None:
        self._bytes = b""

    def add(self, data: bytes) -> None:
        self._bytes = (self._bytes + data)[-TAIL_BYTES:]

    def text(self) -> str:
        return self._bytes.decode(errors="replace")
