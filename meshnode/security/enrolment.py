"""Joining a mesh, as its doors: the joiner's reading of the answer, and the names of all that belongs to enrolment.

The dialogue stands in ``enrolment_letters``, the enroller's side in ``desk``.
"""

import itertools

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.model.errors import LocalError, RemoteError
from meshnode.security.bundle import Bundle, read_bundle
from meshnode.security.check_peer import check_peer
from meshnode.security.clock import MeshClock
from meshnode.security.desk import EnrolmentDesk
from meshnode.security.enrolment_letters import (
    MEANINGS,
    Admitted,
    Greeting,
    Refused,
    make_answer,
    make_greeting,
    make_refusal,
    make_renewal_request,
    make_request,
    meaning,
    read_greeting,
    read_reply,
)
from meshnode.security.identity import Ed25519Verifier
from meshnode.security.invite import Token
from meshnode.security.members import Members
from meshnode.security.names import generated_name

__all__ = [
    "Admission",
    "EnrolmentDesk",
    "EnrolmentRefused",
    "Greeting",
    "generated_name",
    "make_answer",
    "make_greeting",
    "make_refusal",
    "make_renewal_request",
    "make_request",
    "read_answer",
    "read_greeting",
    "read_renewed",
]

# Judged without a clock: a machine that is about to join may have none, and TLS has already said who answers.
_TIMELESS = Instant(0, 0, ClockTrust.FLOOR)


class EnrolmentRefused(LocalError):
    """The machine was not admitted. ``code`` is the reason's name; ``elsewhere``: another enroller may say yes."""

    code = "enrolment-refused"
    exit_code = 4

    def __init__(self, reason: str, message: str = "") -> None:
        known = meaning(reason)
        super().__init__(message or known.message, next_step=known.next_step)
        self.code = reason
        self.elsewhere = known.elsewhere


class Admission(msgspec.Struct, frozen=True):
    """What a new node was given, checked: leaf and intermediate (PEM), member record, bundle, peers to link with."""

    chain_pem: bytes
    member: bytes
    bundle: bytes
    peers: list[str]


def read_answer(body: bytes, token: Token) -> Admission:
    """Check what the enroller answered.

    Raises:
        EnrolmentRefused: with the refusal's name as ``code`` and what to do next.
    """
    return _read(body, token.root_sha256, token.mesh, token.name)


def read_renewed(body: bytes, bundle: Bundle, name: str) -> Admission:
    """Check what an enroller answered to the member ``name``. Raises as ``read_answer`` does."""
    return _read(body, bundle.root_sha256, bundle.mesh, name)


def _read(body: bytes, root_sha256: bytes, mesh: str, name: str) -> Admission:
    try:
        answer = read_reply(body)
    except RemoteError as error:
        raise EnrolmentRefused("bad-answer") from error
    if isinstance(answer, Refused):
        raise _told(answer)
    try:
        _check_admission(answer, root_sha256, mesh, name)
    except RemoteError as error:
        reason = error.reason if error.reason in {"root-mismatch", "wrong-mesh"} else "bad-answer"
        raise EnrolmentRefused(reason, f"{meaning(reason).message} ({error})") from error
    return Admission(answer.chain_pem, answer.member, answer.bundle, answer.peers)


def _told(answer: Refused) -> EnrolmentRefused:
    """A reason this version does not know stays in the message: codes are ours, and stable."""
    reason, message = _plain(answer.reason, 64), _plain(answer.message, 500)
    if reason in MEANINGS:
        return EnrolmentRefused(reason, message)
    return EnrolmentRefused(EnrolmentRefused.code, f"the enroller refused: {message} ({reason})")


def _check_admission(answer: Admitted, root_sha256: bytes, mesh: str, name: str) -> None:
    bundle = read_bundle(answer.bundle, root_sha256)
    if bundle.mesh != mesh:
        raise RemoteError("wrong-mesh", bundle.mesh)
    member = Members(bundle, Ed25519Verifier(cache_max=1)).admit(answer.member)
    if isinstance(member, str):
        raise RemoteError(member, "the member record")
    if member.name != name:
        raise RemoteError("name", f"the member record is for {member.name}")
    peer = check_peer(_chain_to_root(answer.chain_pem, bundle), bundle.mesh, MeshClock(0), _TIMELESS, member.node)
    if peer.name != name:
        raise RemoteError("name", f"the certificate is for {peer.name}")


def _chain_to_root(chain_pem: bytes, bundle: Bundle) -> list[bytes]:
    """DER of leaf, intermediate and root, each signed by the next."""
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
        chain.append(x509.load_der_x509_certificate(bundle.roots[0]))
        for issued, issuer in itertools.pairwise(chain):
            issued.verify_directly_issued_by(issuer)
        return [certificate.public_bytes(serialization.Encoding.DER) for certificate in chain]
    except Exception as error:  # parsers raise more than they document; whatever it is, it is a refusal
        raise RemoteError("certificate-malformed", type(error).__name__) from error


def _plain(text: str, characters_max: int) -> str:
    """Words of another machine for a person's terminal: no control characters, no flood."""
    return "".join(character for character in text[:characters_max] if character.isprintable())
