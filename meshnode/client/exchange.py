"""One exchange of HTTP over a connected socket: as much of it as the API of a node speaks.

The standard library's client brings e-mail and TLS with it, a quarter of what ``meshnode status`` has to do. Of whole
answers the length is known, and their connection can be used again; a stream is asked for in HTTP/1.0: a server ends it
by closing, and nothing has to be decoded.
"""

import socket
from typing import NamedTuple

LINE_BYTES_MAX = 64 * 1024
HEADERS_MAX = 100
_PIECE_BYTES = 64 * 1024


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


class Whole(NamedTuple):
    """A whole answer. ``goes_on``: its connection may be used again."""

    status: int
    body: bytes
    goes_on: bool


def ask(door: socket.socket, method: str, path: str, body: bytes | None) -> Answer:
    """Send one request, ``body`` being JSON, and read the answer's head. ``path`` is quoted already.

    Raises:
        BrokenAnswer: the server answered with something else, or nothing.
        OSError: it cannot be reached any more; TimeoutError when it stays silent.
    """
    door.sendall(_request(method, path, body, b"HTTP/1.0"))
    return Answer(door)


def ask_whole(door: socket.socket, method: str, path: str, body: bytes | None) -> Whole:
    """The same for an answer that comes in one piece, over a connection that may serve for more. Raises as ``ask``."""
    door.sendall(_request(method, path, body, b"HTTP/1.1"))
    data = door.recv(_PIECE_BYTES)
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = door.recv(_PIECE_BYTES)
        if not piece or len(data) > LINE_BYTES_MAX:
            raise BrokenAnswer("it ended within its head")
        data += piece
    status, length, goes_on = _head(data[:end])
    pieces, came = [data[end + 4 :]], len(data) - end - 4
    while length < 0 or came < length:
        piece = door.recv(_PIECE_BYTES)
        if not piece and length >= 0:
            raise BrokenAnswer(f"{came} of {length} bytes came")
        if not piece:
            break
        pieces.append(piece)
        came += len(piece)
    return Whole(status, b"".join(pieces), goes_on and came == length)


def _request(method: str, path: str, body: bytes | None, version: bytes) -> bytes:
    head = b"%s %s %s\r\nHost: meshnode\r\n" % (method.encode("ascii"), path.encode("ascii"), version)
    if body is None:
        return head + b"\r\n"
    return b"%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def _head(data: bytes) -> tuple[int, int, bool]:
    """Status, length of the body (-1: until the server closes), and whether the connection goes on."""
    first, *lines = data.split(b"\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit() or len(lines) > HEADERS_MAX:
        raise BrokenAnswer("no status line, or too many headers")
    length, goes_on = -1, words[0] == b"HTTP/1.1"
    for line in lines:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        if name == b"content-length":
            if not value.isdigit():
                raise BrokenAnswer("no length")
            length = int(value)
        elif name == b"connection" and value.lower() == b"close":
            goes_on = False
        elif name == b"transfer-encoding":
            raise BrokenAnswer("an answer in chunks")
    return int(words[1]), length, goes_on
