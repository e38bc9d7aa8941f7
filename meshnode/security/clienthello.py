"""What a client wants to speak, read from the first bytes of a connection: a ClientHello of TLS (RFC 8446 section
4.1.2, RFC 7301), or the preface of a pipe, which two ends of a tunnel have a relay join.

One of the two openings where unauthenticated bytes are parsed, so: at most 4 KiB, every length checked against what is
there, no loop that does not advance, and never an exception. A ClientHello is about 250 bytes, or 1,550 with a
post-quantum key share.
"""

import msgspec

from meshnode.model.errors import RemoteError

PEEK_BYTES_MAX = 4096
PIPE_PREFACE = b"meshpipe"  # no TLS begins like that
PIPE = "pipe"  # what it stands for, beside the protocols of TLS; none of ours is called so
_HANDSHAKE, _CLIENT_HELLO, _ALPN = 22, 1, 16
_RECORD_HEADER, _HANDSHAKE_HEADER = 5, 4
_VERSION_AND_RANDOM = 2 + 32
_PROTOCOLS_MAX = 16


class NeedMore(msgspec.Struct, frozen=True):
    """So far it is the beginning of a ClientHello."""


class Alpn(msgspec.Struct, frozen=True):
    """A whole ClientHello, and the protocols it offers; none if it has no such extension. ``PIPE`` alone: a preface."""

    protocols: list[str]


class NotTls(msgspec.Struct, frozen=True):
    """Whatever it is, it is not for us. ``reason`` is a name to count."""

    reason: str


Peeked = NeedMore | Alpn | NotTls


def alpn_of(data: bytes) -> Peeked:
    """Judge the first bytes of a connection, as many as have come. Bytes after the ClientHello, or the preface, are not
    looked at."""
    if data[:1] == PIPE_PREFACE[:1]:
        whole = data.startswith(PIPE_PREFACE)
        return Alpn([PIPE]) if whole else NeedMore() if PIPE_PREFACE.startswith(data) else NotTls("not-tls")
    try:
        hello = _client_hello(data[:PEEK_BYTES_MAX])
        if hello is None:
            return NotTls("hello-too-long") if len(data) >= PEEK_BYTES_MAX else NeedMore()
        return Alpn(_protocols(hello))
    except RemoteError as refusal:
        return NotTls(refusal.reason)


class _Reader:
    """A cursor that never reads past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise RemoteError("hello-malformed", "a length points past the end")
        self._at += count
        return self._data[self._at - count : self._at]

    def take_all(self) -> bytes:
        return self.take(self.left)

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count))

    def vector(self, length_bytes: int) -> "_Reader":
        return _Reader(self.take(self.number(length_bytes)))


def _client_hello(data: bytes) -> bytes | None:
    """The body of the ClientHello, gathered from the records it may be split over; ``None`` while incomplete."""
    gathered = b""
    at = 0
    while True:
        header = data[at : at + _RECORD_HEADER]
        _check_record(header)
        length = int.from_bytes(header[3:5])
        gathered += data[at + _RECORD_HEADER : at + _RECORD_HEADER + length]
        end = _hello_end(gathered)
        if end is not None and len(gathered) >= end:
            return gathered[_HANDSHAKE_HEADER:end]
        at += _RECORD_HEADER + length
        if at >= len(data):
            return None


def _check_record(header: bytes) -> None:
    """As much of a record header as has come: handshake, version 3.x, a length TLS allows."""
    if (header[:1] and header[0] != _HANDSHAKE) or (header[1:2] and header[1] != 3):
        raise RemoteError("not-tls")
    if len(header) == _RECORD_HEADER and not 0 < int.from_bytes(header[3:5]) <= 1 << 14:
        raise RemoteError("not-tls")


def _hello_end(gathered: bytes) -> int | None:
    if gathered[:1] and gathered[0] != _CLIENT_HELLO:
        raise RemoteError("not-a-client-hello")
    if len(gathered) < _HANDSHAKE_HEADER:
        return None
    end = _HANDSHAKE_HEADER + int.from_bytes(gathered[1:4])
    if end > PEEK_BYTES_MAX:
        raise RemoteError("hello-too-long")
    return end


def _protocols(hello: bytes) -> list[str]:
    reader = _Reader(hello)
    reader.take(_VERSION_AND_RANDOM)
    reader.vector(1)  # session id
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression methods
    if not reader.left:
        return []
    extensions = reader.vector(2)
    if reader.left:
        raise RemoteError("hello-malformed", "bytes after the extensions")
    found: list[str] | None = None
    while extensions.left:
        kind = extensions.number(2)
        body = extensions.vector(2)
        if kind == _ALPN:
            if found is not None:
                raise RemoteError("alpn-twice")
            found = _names(body)
    return found or []


def _names(body: _Reader) -> list[str]:
    listed = body.vector(2)
    if body.left:
        raise RemoteError("alpn-malformed")
    names: list[str] = []
    while listed.left:
        name = listed.vector(1).take_all()
        if not name or not name.isascii() or len(names) >= _PROTOCOLS_MAX:
            raise RemoteError("alpn-malformed")
        names.append(name.decode("ascii"))
    return names
