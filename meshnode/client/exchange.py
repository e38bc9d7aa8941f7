"""One exchange of HTTP over a connected socket: as much of it as the API of a node speaks.

The standard library's client brings e-mail and TLS with it, a quarter of what ``meshnode status`` has to do. Asked in
HTTP/1.0, a server ends its answer by closing: nothing has to be decoded.
"""

import socket

LINE_BYTES_MAX = 64 * 1024
HEADERS_MAX = 100


class BrokenAnswer(Exception):
    """What came back is no HTTP, or not all of it."""


class Answer:
    """What the server says: ``status`` is there at once, the body is read as it comes."""

    def __init__(self, door: socket.socket) -> None:
        self._body = door.makefile("rb")
        try:
            self.status = self._status()
            self._length = self._announced()
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """The whole body.

        Raises:
            BrokenAnswer: it ended before its announced end.
        """
        body = self._body.read(self._length)
        if len(body) < self._length:
            raise BrokenAnswer(f"{len(body)} of {self._length} bytes came")
        return body

    def readline(self, limit: int = -1, /) -> bytes:
        """One line of the body; empty at its end."""
        return self._body.readline(limit)

    def close(self) -> None:
        self._body.close()

    def _status(self) -> int:
        words = self._line().split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise BrokenAnswer("no status line")
        return int(words[1])

    def _announced(self) -> int:
        """The length of the body, -1 where it goes on until the server closes."""
        length = -1
        for _ in range(HEADERS_MAX):
            name, _, value = self._line().partition(b":")
            if not name:
                return length
            if name.lower() == b"content-length":
                if not value.strip().isdigit():
                    raise BrokenAnswer("no length")
                length = int(value)
        raise BrokenAnswer("too many headers")

    def _line(self) -> bytes:
        line = self._body.readline(LINE_BYTES_MAX)
        if not line.endswith(b"\n"):
            raise BrokenAnswer("it ended within its head")
        return line.rstrip(b"\r\n")


def ask(door: socket.socket, method: str, path: str, body: bytes | None) -> Answer:
    """Send one request, ``body`` being JSON, and read the answer's head. ``path`` is quoted already.

    Raises:
        BrokenAnswer: the server answered with something else, or nothing.
        OSError: it cannot be reached any more; TimeoutError when it stays silent.
    """
    head = f"{method} {path} HTTP/1.0\r\nHost: meshnode\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    door.sendall(f"{head}\r\n".encode("ascii") + (body or b""))
    return Answer(door)
