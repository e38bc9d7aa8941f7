"""The enroller's side of the enrolment channel: greet, take one request, carry the core's answer back.

One of the two openings for strangers, so everything about it is small: four visitors at once, five seconds, one request
of at most 16 KiB, which nobody here parses. The dialogue stands in ``security.enrolment_letters``.

    u32 length | JSON body     in both directions
"""

import asyncio
import itertools
import logging
import secrets
import socket
import ssl
from collections.abc import Callable

from meshnode.host.credentials import Credentials
from meshnode.host.tlslink import Scratch, TlsLink, attach
from meshnode.kernel.counters import Counters
from meshnode.kernel.reasons import Loss
from meshnode.model.errors import LocalError, RemoteError
from meshnode.security.authority import issue_leaf
from meshnode.security.enrolment import make_answer, make_greeting, make_refusal
from meshnode.security.enrolment_letters import BODY_BYTES_MAX
from meshnode.security.messages import EnrolmentAsked, IssueLeaf, RefuseEnrolment
from meshnode.security.tls import ALPN_ENROL

log = logging.getLogger(__name__)

VISITS_MAX = 4
VISIT_S = 5.0
NONCE_BYTES = 32
LENGTH_BYTES = 4


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_BYTES) + body


class BodyReader:
    """Gathers one body. Raises ``RemoteError`` for a second one, or one over the limit, before it takes it in."""

    def __init__(self, bytes_max: int = BODY_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._gathered = bytearray()

    def feed(self, data: bytes | memoryview) -> bytes | None:
        if len(self._gathered) + len(data) > LENGTH_BYTES + self._bytes_max:
            raise RemoteError("enrol-too-long", f"the limit is {self._bytes_max} bytes")
        self._gathered += data
        if len(self._gathered) < LENGTH_BYTES:
            return None
        length = int.from_bytes(self._gathered[:LENGTH_BYTES])
        if length > self._bytes_max:
            raise RemoteError("enrol-too-long", f"{length} bytes announced, the limit is {self._bytes_max}")
        missing = LENGTH_BYTES + length - len(self._gathered)
        if missing < 0:
            raise RemoteError("enrol-chatter", "bytes after the body")
        return bytes(self._gathered[LENGTH_BYTES:]) if missing == 0 else None


class EnrolmentDoor:
    """Holds the visitors. ``tell`` gets their requests, ``peers`` names nodes ("HOST:PORT") a new one may dial."""

    def __init__(
        self,
        tell: Callable[[EnrolmentAsked], None],
        counters: Counters,
        scratch: Scratch,
        peers: Callable[[], list[str]],
    ) -> None:
        self._tell = tell
        self._counters = counters
        self._scratch = scratch
        self._peers = peers
        self._numbers = itertools.count(1)
        self._visits: dict[int, _Visit] = {}
        self._turns = asyncio.Semaphore(VISITS_MAX)

    async def receive(self, accepted: socket.socket, credentials: Credentials, context: ssl.SSLContext) -> None:
        """Takes the socket over; returns when the visitor has been greeted or is gone. Who comes fifth waits."""
        try:
            await self._turns.acquire()
        except BaseException:
            accepted.close()
            raise
        visit = _Visit(self, next(self._numbers), credentials)
        visit.link = TlsLink(visit, context, self._scratch, server_side=True)
        self._visits[visit.number] = visit
        try:
            await attach(visit.link, accepted)
            await visit.greeted
        except BaseException:
            visit.link.abort()
            raise

    def issue(self, effect: IssueLeaf) -> None:
        """The core said yes: make the certificate and hand everything over."""
        visit = self._visit(effect.request_no)
        if visit is None:
            return
        try:
            visit.answer(self._granted(effect, visit.credentials))
        except (RemoteError, LocalError) as error:
            reason = error.reason if isinstance(error, RemoteError) else error.code
            log.warning("no certificate issued", extra={"node": effect.name, "error": str(error)})
            visit.answer(make_refusal(reason, str(error)))
        else:
            self._counters.add("enrol-renewed" if effect.again else "enrol-admitted")
            log.info("certificate renewed" if effect.again else "node admitted", extra={"node": effect.name})

    def refuse(self, effect: RefuseEnrolment) -> None:
        self._counters.add(f"enrol-refused-{effect.reason}")
        visit = self._visit(effect.request_no)
        if visit is not None:
            visit.answer(make_refusal(effect.reason, effect.message))

    def asked(self, event: EnrolmentAsked) -> None:
        self._counters.add("enrol-asked")
        self._tell(event)

    def left(self, number: int, reason: str) -> None:
        del self._visits[number]
        self._turns.release()
        self._counters.add(reason)

    def close(self) -> None:
        for visit in list(self._visits.values()):
            visit.link.abort()

    def _visit(self, number: int) -> "_Visit | None":
        visit = self._visits.get(number)
        if visit is None:
            self._counters.add("enrol-answer-too-late")
        return visit

    def _granted(self, effect: IssueLeaf, credentials: Credentials) -> bytes:
        enroller = credentials.enroller
        if enroller is None:
            raise RemoteError("not-an-enroller")
        chain = issue_leaf(
            effect.csr,
            mesh=credentials.mesh,
            name=effect.name,
            record_key=effect.record_key,
            enroller_key_pem=enroller.key_pem.reveal(),
            enroller_cert_pem=enroller.certificate_pem,
            wall_ms=credentials.clock.now_ms(credentials.now()),
        )
        return make_answer(chain, effect.member, effect.bundle, self._peers())


class _Visit:
    """One stranger (implements ``TlsUser``)."""

    link: TlsLink

    def __init__(self, door: EnrolmentDoor, number: int, credentials: Credentials) -> None:
        loop = asyncio.get_running_loop()
        self.number = number
        self.credentials = credentials
        self.greeted: asyncio.Future[None] = loop.create_future()
        self._door = door
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._reader = BodyReader()
        self._reason = "enrol-left"
        self._timer = loop.call_later(VISIT_S, self._time_over)

    def answer(self, body: bytes) -> None:
        self.link.write(framed(body))
        self.link.close()

    def handshaken(self, tls: ssl.SSLObject) -> None:
        if tls.selected_alpn_protocol() != ALPN_ENROL:
            raise RemoteError("alpn")
        self.link.write(framed(make_greeting(self._nonce, self.credentials.bundle)))
        self._settle()

    def received(self, data: memoryview) -> None:
        try:
            body = self._reader.feed(data)
        except RemoteError as error:
            self._reason = error.reason
            self.link.abort()
            return
        if body is not None:
            self._door.asked(EnrolmentAsked(self.number, body, self._nonce, self.credentials.leaf_sha256))

    def ended(self, how: Loss, reason: str) -> None:
        self._timer.cancel()
        self._settle()
        self._door.left(self.number, reason if how is Loss.PROTOCOL else self._reason)

    def _time_over(self) -> None:
        self._reason = "enrol-timeout"
        self.link.abort()

    def _settle(self) -> None:
        if not self.greeted.done():
            self.greeted.set_result(None)
