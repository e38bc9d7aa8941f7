"""The joiner's side of enrolment: from a token to an identity on the disk, or to a clear reason why not.

Two connections to an enroller (see ``security.enrolment_letters``): the first, unverified, only fetches the bundle,
whose root must have the hash in the token; the second trusts that root and nothing else, and carries the request.
"""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from meshnode.host import keystore
from meshnode.host.dialer import DialError, connect
from meshnode.host.enrolment import BodyReader, framed
from meshnode.host.identity import Identity
from meshnode.host.tlslink import Scratch, TlsLink, attach
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.kernel.reasons import Loss
from meshnode.model.errors import LocalError, Offline, RemoteError
from meshnode.security.authority import make_csr, new_tls_key
from meshnode.security.bundle import Bundle, read_bundle
from meshnode.security.check_peer import check_peer
from meshnode.security.clock import MeshClock
from meshnode.security.enrolment import Admission, EnrolmentRefused, make_request, read_answer, read_greeting
from meshnode.security.enrolment_letters import Greeting
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.invite import Token, parse_token
from meshnode.security.tls import ALPN_ENROL, enrolment_client_context, presented_leaf, verified_chain

T = TypeVar("T")

PER_ADDRESS_S = 8.0
# Judged without a clock: a machine that is about to join may have none, and the nonce proves that the answer is fresh.
_TIMELESS = Instant(0, 0, ClockTrust.FLOOR)


class NobodyAdmits(Offline):
    """No address of the token led to an enroller that could be asked. Nothing changed."""

    code = "nobody-admits"


@dataclass(frozen=True, slots=True)
class _Applicant:
    """The keys of the new node: made once, so that asking again after a lost answer is the same request."""

    token: Token
    record_key: bytes
    signer: RecordSigner
    tls_key: bytes
    csr: bytes


async def enrol(token_text: str, directory: Path, *, wall_ms: int, dial_from: str = "") -> Identity:
    """Join the mesh of a token and store the new identity under ``directory``, whole or not at all.

    Raises:
        Invalid: the token is no token. AlreadyAMember, CannotStore: see ``keystore``.
        EnrolmentRefused: an enroller said no; its code is the reason.
        NobodyAdmits: none could be asked; the message says what happened at each address.
    """
    keystore.refuse_second(directory)
    token = parse_token(token_text)
    applicant = _applicant(token)
    admission = await _ask_everybody(applicant, wall_ms, dial_from)
    return keystore.store_admission(
        directory,
        root_sha256=token.root_sha256,
        bundle=admission.bundle,
        member=admission.member,
        chain_pem=admission.chain_pem,
        tls_key=applicant.tls_key,
        record_key=applicant.record_key,
        seeds=tuple(dict.fromkeys((*token.addresses, *admission.peers))),
    )


def _applicant(token: Token) -> _Applicant:
    record_key, tls_key = new_record_key(), new_tls_key()
    signer = RecordSigner(record_key)
    return _Applicant(token, record_key, signer, tls_key, make_csr(tls_key, signer.public_key))


async def _ask_everybody(applicant: _Applicant, wall_ms: int, dial_from: str) -> Admission:
    failures: list[str] = []
    admission = await first_answer(
        applicant.token.addresses, lambda address: _ask(address, applicant, dial_from), failures
    )
    if admission is None:
        raise _nobody(applicant.token, failures, wall_ms)
    return admission


async def first_answer(addresses: Iterable[str], ask: Callable[[str], Awaitable[T]], failures: list[str]) -> T | None:
    """What the first enroller says that can be asked, one address after the other; ``None``: none could.

    What happened at the others is added to ``failures``. Raises ``EnrolmentRefused`` where asking others is of no use.
    """
    for address in addresses:
        try:
            async with asyncio.timeout(PER_ADDRESS_S):
                return await ask(address)
        except EnrolmentRefused as refusal:
            if not refusal.elsewhere:
                raise
            failures.append(f"{address}: {refusal.message}")
        except TimeoutError:
            failures.append(f"{address}: no answer within {PER_ADDRESS_S:g} s")
        except DialError as error:
            failures.append(f"{address}: {error.how.value} ({error.detail})")
        except RemoteError as error:
            failures.append(f"{address}: {error}")
    return None


async def _ask(address: str, applicant: _Applicant, dial_from: str) -> Admission:
    token = applicant.token
    async with dialogue(address, enrolment_client_context(None), dial_from) as stranger:
        bundle = _trusted_bundle(await stranger.greeting(), token)
    async with dialogue(address, enrolment_client_context(bundle.root_pem), dial_from) as enroller:
        greeting = await enroller.greeting()
        check_peer(verified_chain(enroller.tls), token.mesh, MeshClock(0), _TIMELESS, None)
        leaf_sha256 = hashlib.sha256(presented_leaf(enroller.tls)).digest()
        request = make_request(token, applicant.csr, applicant.signer, greeting.nonce, leaf_sha256)
        return read_answer(await enroller.exchange(request), token)


def _trusted_bundle(greeting: Greeting, token: Token) -> Bundle:
    """The hash is compared before anything of the bundle is parsed."""
    bundle = read_bundle(greeting.bundle, token.root_sha256)
    if bundle.mesh != token.mesh:
        raise RemoteError("wrong-mesh", f"this is {bundle.mesh}, the token is for {token.mesh}")
    return bundle


def _nobody(token: Token, failures: list[str], wall_ms: int) -> LocalError:
    if not failures:
        return NobodyAdmits(
            "the token names no address to ask", next_step="make a new one with `meshnode invite` on a running node"
        )
    expired = " (by this machine's clock the token has expired, too)" if wall_ms >= token.expires_ms else ""
    return NobodyAdmits(
        f"no node of mesh {token.mesh} could be asked{expired}:\n  " + "\n  ".join(failures),
        next_step="start a node of that mesh, check that its port is reachable from here, then join again",
    )


class Dialogue:
    """One connection to an enroller (implements ``TlsUser``): bodies come and go one at a time."""

    tls: ssl.SSLObject
    link: TlsLink

    def __init__(self) -> None:
        self._body = self._expect()
        self._reader = BodyReader()

    async def greeting(self) -> Greeting:
        return read_greeting(await self._body)

    async def exchange(self, body: bytes) -> bytes:
        """Send one body, take one."""
        self._reader, self._body = BodyReader(), self._expect()
        self.link.write(framed(body))
        return await self._body

    def handshaken(self, tls: ssl.SSLObject) -> None:
        if tls.selected_alpn_protocol() != ALPN_ENROL:
            raise RemoteError("alpn", "whoever answers there admits nobody")
        self.tls = tls

    def received(self, data: memoryview) -> None:
        try:
            body = self._reader.feed(data)
        except RemoteError as error:
            self._fail(error)
            self.link.abort()
            return
        if body is not None and not self._body.done():
            self._body.set_result(body)

    def ended(self, how: Loss, reason: str) -> None:
        self._fail(RemoteError(reason, f"the connection ended ({how.value})"))

    def _expect(self) -> "asyncio.Future[bytes]":
        expected: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        expected.add_done_callback(_seen)
        return expected

    def _fail(self, error: RemoteError) -> None:
        if not self._body.done():
            self._body.set_exception(error)


def _seen(body: "asyncio.Future[bytes]") -> None:
    """A connection may end when nobody waits for a body any more: that is no unhandled error."""
    if not body.cancelled():
        body.exception()


@contextlib.asynccontextmanager
async def dialogue(address: str, context: ssl.SSLContext, dial_from: str) -> AsyncGenerator["Dialogue"]:
    """A connection to whoever admits at "HOST:PORT". Raises ``DialError``, ``RemoteError``."""
    host, _, port = address.rpartition(":")
    connected = await connect(host.strip("[]"), int(port), dial_from)
    talk = Dialogue()
    talk.link = TlsLink(talk, context, Scratch(), server_side=False)
    await attach(talk.link, connected)
    try:
        yield talk
    finally:
        talk.link.abort()
        await asyncio.shield(talk.link.gone)
