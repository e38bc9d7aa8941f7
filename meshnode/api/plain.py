"""Plain requests: all of one in one piece, with one answer. They are read and answered without the application.

A put of a document is some hundred microseconds of work; HTTP in pure Python, a router and a group of tasks around it
were ten times that. What is not plain (streams, bodies in pieces, queries, anything unknown) goes to the application,
as the same bytes.
"""

import logging
from http import HTTPStatus

import msgspec

from meshnode.api.answers import BODY_BYTES_MAX, asked, from_body, from_path, internal, said
from meshnode.api.operations import OPERATIONS, Operation
from meshnode.api.ports import Asker
from meshnode.model.commands import AnyCommand, CallSkill
from meshnode.model.views import AnyView, Failure

log = logging.getLogger(__name__)

_HEADERS_MAX = 32
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_REASONS = {each.value: each.phrase.encode() for each in HTTPStatus}
# Of which a request may have any: they change nothing.
_IDLE = (b"host", b"content-type", b"accept", b"accept-encoding", b"user-agent")


class Plain(msgspec.Struct, frozen=True):
    """One request. ``last``: the connection ends with its answer."""

    operation: Operation
    wanted: AnyCommand | Failure
    last: bool


class _Head(msgspec.Struct, frozen=True):
    method: str
    path: str
    length: int
    last: bool


class PlainDoor:
    """Reads plain requests, and asks the node."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._by_length: dict[tuple[str, int], list[tuple[tuple[str, ...], Operation]]] = {}
        for each in OPERATIONS:
            if ":path" not in each.path:
                pieces = tuple(each.path.split("/"))
                self._by_length.setdefault((each.method, len(pieces)), []).append((pieces, each))

    def read(self, data: bytes) -> Plain | None:
        """``None``: it is for the application."""
        at = data.find(b"\r\n\r\n")
        head = _head(data[:at]) if at > 0 else None
        if head is None or head.length != len(data) - at - 4 or head.length > BODY_BYTES_MAX:
            return None
        found = self._found(head)
        if found is None:
            return None
        operation, in_path = found
        body = data[at + 4 :]
        wanted = from_body(operation, body, in_path) if operation.has_body else from_path(operation, in_path)
        if isinstance(wanted, CallSkill) and wanted.stream:
            return None
        return Plain(operation, wanted, head.last)

    async def answer(self, request: Plain) -> bytes:
        """The answer as it goes out, head and all."""
        status, body = said(request.operation, await self._answered(request.wanted))
        end = b"\r\nconnection: close\r\n\r\n" if request.last else b"\r\n\r\n"
        return b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d%s%s" % (
            status, _REASONS.get(status, b"-"), len(body), end, body,
        )  # fmt: skip

    async def _answered(self, wanted: AnyCommand | Failure) -> AnyView:
        if isinstance(wanted, Failure):
            return wanted
        try:
            return await asked(self._asker, wanted)
        except Exception as error:
            log.exception("a request broke")
            return internal(error)

    def _found(self, head: _Head) -> tuple[Operation, dict[str, str]] | None:
        given = head.path.split("/")
        for pieces, operation in self._by_length.get((head.method, len(given)), ()):
            in_path: dict[str, str] = {}
            for piece, word in zip(pieces, given, strict=True):
                if piece[:1] == "{" and word:
                    in_path[piece[1:-1]] = word
                elif piece != word:
                    break
            else:
                return operation, in_path
        return None


def _head(data: bytes) -> _Head | None:
    """``None``: something in it is not plain."""
    first, *lines = data.split(b"\r\n")
    words = first.split(b" ")
    if len(words) != 3 or words[2] not in _VERSIONS or len(lines) > _HEADERS_MAX or not words[1].isascii():
        return None
    if b"?" in words[1] or b"%" in words[1] or not words[0].isascii():
        return None
    length, last = 0, words[2] == b"HTTP/1.0"
    for line in lines:
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        if name == b"content-length" and value.isdigit() and len(value) < 10:
            length = int(value)
        elif name == b"connection" and value.lower() in (b"close", b"keep-alive"):
            last = value.lower() == b"close"
        elif not colon or name not in _IDLE:
            return None
    return _Head(words[0].decode(), words[1].decode(), length, last)
