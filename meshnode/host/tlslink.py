"""TLS over one plain TCP connection: memory BIOs under an ``asyncio.BufferedProtocol``.

Why not asyncio's own TLS: it holds a 256 KiB buffer per connection (ours are shared by all links of the loop, so an
idle link costs some 30 KiB), it hides alerts, and it calls the protocol back only when nobody can refuse any more. Here
``TlsUser.handshaken`` judges the peer before one byte of its data is decrypted.

Invariant: ``TlsUser.ended`` is called exactly once, and nothing is called after it.
"""

import asyncio
import contextlib
import enum
import socket
import ssl
from typing import Protocol, runtime_checkable

from meshnode.kernel.reasons import Loss
from meshnode.model.errors import RemoteError
from meshnode.sdk import gulps

RECORD_BYTES = 16 * 1024  # the most that one TLS record carries
STEP_BYTES = 4 * RECORD_BYTES  # go through a memory BIO at a time, which never gives back the most it ever held
SEND_BYTES = 256 * 1024  # encrypted and given to the socket at a time: the peer works on it while the next is encrypted
LINGER_S = 1.0
UNSENT_BYTES_MAX = 8 * 1024 * 1024

_HANDSHAKE_NAMES = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "tls-no-certificate",
    "CERTIFICATE_VERIFY_FAILED": "tls-untrusted-chain",
    "UNSUPPORTED_PROTOCOL": "tls-version",
    "WRONG_VERSION_NUMBER": "tls-version",
    "NO_APPLICATION_PROTOCOL": "tls-alpn",
    "NO_SHARED_CIPHER": "tls-cipher",
    "NO_SUITABLE_KEY_SHARE": "tls-cipher",
}


class Scratch:
    """Receive buffers of one loop. Filled and emptied within one callback, so that all links can share them.

    They are memoryviews, since asyncio slices what ``get_buffer`` returns and a sliced bytearray would be a copy.
    """

    def __init__(self) -> None:
        self.cipher, self.plain = gulps.buffer(), gulps.buffer()


@runtime_checkable
class _Stream(Protocol):
    """What is used of a transport; uvloop's are no ``asyncio.Transport``."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def abort(self) -> None: ...
    def get_write_buffer_size(self) -> int: ...


class TlsUser(Protocol):
    """Who uses a link. None of these may block."""

    def handshaken(self, tls: ssl.SSLObject) -> None:
        """The handshake is complete. Raise ``RemoteError`` to refuse the peer before anything of it is read."""
        ...

    def received(self, data: memoryview) -> None:
        """Decrypted bytes; the view dies with the call."""
        ...

    def ended(self, how: Loss, reason: str) -> None:
        """It is over. ``reason`` is a name to count; before ``handshaken`` it says why there was no link."""
        ...


async def attach(link: "TlsLink", connected: socket.socket) -> None:
    """Put a connected socket, of either side, under ``link``, which owns it from here on."""
    try:
        # asyncio only does this for sockets made with an explicit protocol number; without it, small frames wait 40 ms.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, connected)
    except BaseException:
        connected.close()
        raise


class _Phase(enum.Enum):
    NEW = enum.auto()
    SHAKING = enum.auto()
    OPEN = enum.auto()
    OVER = enum.auto()  # told so; the socket may still deliver our last bytes


class TlsLink(asyncio.BufferedProtocol):
    """One TLS connection, either side. Give it to ``create_connection`` or ``connect_accepted_socket`` without ssl."""

    def __init__(
        self,
        user: TlsUser,
        context: ssl.SSLContext,
        scratch: Scratch,
        *,
        server_side: bool,
        unsent_bytes_max: int = UNSENT_BYTES_MAX,
    ) -> None:
        self._user = user
        self._scratch = scratch
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)
        self._unsent_bytes_max = unsent_bytes_max
        self._transport: _Stream | None = None
        self._phase = _Phase.NEW
        self._lingering: asyncio.TimerHandle | None = None
        self._gone = asyncio.get_running_loop().create_future()

    @property
    def gone(self) -> asyncio.Future[None]:
        """Done when the socket is closed, which may be a while after ``ended``. Shield it when you await it."""
        return self._gone

    def write(self, data: bytes) -> None:
        """Encrypt and send. Ends the link instead if more waits in memory than a slow peer is allowed."""
        if self._phase is not _Phase.OPEN or self._transport is None:
            return
        if len(data) <= SEND_BYTES:
            self._transport.write(self._encrypt(data))
        else:
            with memoryview(data) as view:
                for start in range(0, len(data), SEND_BYTES):
                    self._transport.write(self._encrypt(view[start : start + SEND_BYTES]))
        if self._transport.get_write_buffer_size() > self._unsent_bytes_max:
            self._abort(Loss.CLOSED, "link-slow")

    def close(self) -> None:
        """End in order: what was written is delivered, then the peer is told. At most ``LINGER_S``."""
        if self._phase is not _Phase.OPEN:
            self.abort()
            return
        assert self._transport is not None
        with contextlib.suppress(ssl.SSLError):  # it wants the peer's answer, for which nobody waits
            self._tls.unwrap()
        self._flush()
        self._end(Loss.CLOSED, "closed")
        # Closing now would reset the connection if the peer has sent something unread, and lose our last bytes.
        try:
            self._transport.write_eof()
        except OSError:  # reset meanwhile, and asyncio has not noticed yet
            self._transport.abort()
        else:
            self._lingering = asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    def abort(self) -> None:
        """End now: drop what is unsent, read nothing more."""
        self._abort(Loss.CLOSED, "aborted")

    # -- asyncio.BufferedProtocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, _Stream)
        self._transport = transport
        if self._phase is _Phase.OVER:
            transport.abort()
            return
        self._phase = _Phase.SHAKING
        self._shake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._scratch.cipher

    def buffer_updated(self, nbytes: int) -> None:
        filled, ending = 0, None
        for start in range(0, nbytes, STEP_BYTES):
            if self._phase is _Phase.OVER or ending is not None:
                break
            self._incoming.write(self._scratch.cipher[start : min(nbytes, start + STEP_BYTES)])
            if self._phase is _Phase.SHAKING:
                self._shake()
            if self._phase is _Phase.OPEN:
                filled, ending = self._decrypt(filled)
        self._deliver(filled)
        self._flush()  # a key update wants an answer
        if ending is not None:
            self._abort(*ending)

    def eof_received(self) -> None:
        """The peer sends no more. Without TLS's own goodbye before it, its process is gone: that is no order."""
        self._end(Loss.RESET, "handshake-eof" if self._phase is _Phase.SHAKING else "eof-without-goodbye")

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, TimeoutError):
            self._end(Loss.SILENT, "tcp-timeout")
        else:
            self._end(Loss.RESET, "handshake-reset" if self._phase is _Phase.SHAKING else "reset")
        if self._lingering is not None:
            self._lingering.cancel()
        if not self._gone.done():
            self._gone.set_result(None)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert that tells the peer
            self._abort(Loss.PROTOCOL, _handshake_name(error))
            return
        self._phase = _Phase.OPEN
        try:
            self._user.handshaken(self._tls)
        except RemoteError as error:
            self._abort(Loss.PROTOCOL, error.reason)
        else:
            self._flush()

    def _decrypt(self, filled: int) -> tuple[int, tuple[Loss, str] | None]:
        """Everything that is complete, behind the ``filled`` bytes there already; also how the link ended, if so."""
        plain = self._scratch.plain
        while self._phase is _Phase.OPEN:
            if len(plain) - filled < RECORD_BYTES:
                self._deliver(filled)
                filled = 0
            try:
                got = self._tls.read(len(plain) - filled, plain[filled:])
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                return filled, _read_failure(error)
            if not got:
                return filled, (Loss.EOF, "eof")
            filled += int(got)
            if not self._incoming.pending and not self._tls.pending():
                break  # asking once more would only raise
        return filled, None

    def _deliver(self, filled: int) -> None:
        if filled and self._phase is _Phase.OPEN:
            self._user.received(self._scratch.plain[:filled])

    def _encrypt(self, data: bytes | memoryview) -> bytes:
        if len(data) <= STEP_BYTES:
            self._tls.write(data)
            return self._outgoing.read()
        pieces: list[bytes] = []
        view = memoryview(data)
        for start in range(0, len(data), STEP_BYTES):
            self._tls.write(view[start : start + STEP_BYTES])
            pieces.append(self._outgoing.read())
        return b"".join(pieces)

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())

    def _abort(self, how: Loss, reason: str) -> None:
        self._end(how, reason)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, how: Loss, reason: str) -> None:
        if self._phase is not _Phase.OVER:
            self._phase = _Phase.OVER
            self._user.ended(how, reason)


def _handshake_name(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    return "tls-alert" if "ALERT" in reason else _HANDSHAKE_NAMES.get(reason, "tls-handshake")


def _read_failure(error: ssl.SSLError) -> tuple[Loss, str]:
    """An alert after the handshake is how a TLS 1.3 server refuses our certificate; anything else is junk."""
    if "ALERT" in (error.reason or ""):
        return Loss.RESET, "tls-alert"
    return Loss.PROTOCOL, "tls-record"
