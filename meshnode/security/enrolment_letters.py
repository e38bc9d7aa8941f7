"""What a joiner and an enroller write to each other, and what each refusal means. JSON, at most 16 KiB.

    joiner                                         enroller
      connect, root unknown                 ->
                                            <-       Greeting(nonce, bundle)
      keep the bundle if its root has the hash the token pins; hang up
      connect again, that root verified     ->
                                            <-       Greeting(fresh nonce, bundle)
      Request(invite, CSR, two proofs)      ->
                                            <-       Admitted(chain, member, bundle, peers) | Refused(reason, message)

A member whose certificate ends asks the same way for the next one, however long ago it ended: with what an admin signed
about it in the place of the invite, and one proof, by its record key (``RenewalRequest``).

Both proofs cover (nonce, the enroller's certificate, CSR), so a relay can carry them to no other enroller,
connection or key: one by the token's one-time key (who was invited), one by the new record key (it really holds
that key).
"""

import hashlib
from typing import TypeVar

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.kernel.ports import Signer, Verifier
from meshnode.model.errors import RemoteError
from meshnode.security.identity import RecordSigner
from meshnode.security.invite import Token

BODY_BYTES_MAX = 16 * 1024
NONCE_BYTES_MIN = 16
PEERS_MAX = 32
_INVITED, _HOLDS, _RENEWS = "join-invited", "join-record-key", "renew-record-key"
LetterT = TypeVar("LetterT")


class Greeting(msgspec.Struct, frozen=True, tag="greeting"):
    """The enroller speaks first. ``nonce``: fresh for this connection."""

    nonce: bytes
    bundle: bytes


class Request(msgspec.Struct, frozen=True, tag="join"):
    """``invite_proof`` and ``key_proof``: see the module."""

    invite: bytes
    csr: bytes
    record_key: bytes
    invite_proof: bytes
    key_proof: bytes


class RenewalRequest(msgspec.Struct, frozen=True, tag="renew"):
    """``member``: the asker's admin-signed record; ``csr``: for a new TLS key. Older enrollers call it malformed."""

    member: bytes
    csr: bytes
    record_key: bytes
    key_proof: bytes


class Admitted(msgspec.Struct, frozen=True, tag="admitted"):
    """``chain_pem``: leaf and intermediate; ``peers``: "HOST:PORT" of nodes to link with."""

    chain_pem: bytes
    member: bytes
    bundle: bytes
    peers: list[str]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    reason: str
    message: str


_GREETING = msgspec.json.Decoder(Greeting)
_REQUEST: msgspec.json.Decoder[Request | RenewalRequest] = msgspec.json.Decoder(Request | RenewalRequest)
_REPLY: msgspec.json.Decoder[Admitted | Refused] = msgspec.json.Decoder(Admitted | Refused)


class Meaning(msgspec.Struct, frozen=True):
    """A refusal in words. ``elsewhere``: another enroller may well say yes."""

    message: str
    next_step: str
    elsewhere: bool = False


_NEW_TOKEN = "ask for a new token with `meshnode invite` on a node of the mesh"  # noqa: S105 - words for people
_COPY = "copy the whole token once more, or " + _NEW_TOKEN
_UPGRADE = "check that both machines run the same version of meshnode"

MEANINGS = {
    "too-long": Meaning("the request is longer than 16 KiB", _UPGRADE),
    "malformed": Meaning("the request cannot be read", _UPGRADE),
    "altered": Meaning("the invite is not what an admin signed", _COPY),
    "wrong-mesh": Meaning("the invite is for another mesh", "use an address of the mesh the invite is for"),
    "unknown-admin": Meaning("the invite was signed by a key that is no admin of this mesh", _NEW_TOKEN),
    "expired": Meaning("the invite has expired", _NEW_TOKEN),
    "invite-used": Meaning("the invite has been used, and it admits one machine once", _NEW_TOKEN),
    "duplicate-name": Meaning(
        "a node of that name is already a member with another key",
        "choose another name: `meshnode invite --name NAME`",
    ),
    "duplicate-key": Meaning(
        "this record key is already a member under another name",
        "if the data directory was copied, start the copy with an empty one",
    ),
    "bad-proof": Meaning("the proof does not fit this connection", "join again; if it persists, " + _NEW_TOKEN),
    "bad-csr": Meaning("the certificate request cannot be accepted", _UPGRADE),
    "not-an-enroller": Meaning(
        "this node cannot admit anybody", "use an address of a node that can", elsewhere=True
    ),
    "enroller-expired": Meaning(
        "the certificate with which this node admits others has ended",
        "use an address of another enroller, or renew it with the root on the node that made the mesh",
        elsewhere=True,
    ),
    "journal-failed": Meaning(
        "the enroller could not write down that the invite is used",
        "make room on the disk of the node that refused, then " + _NEW_TOKEN,
    ),
    "desk-full": Meaning("this node has too many open invites", "try again later", elsewhere=True),
    "banned": Meaning(
        "a policy has taken all roles from this node, so nobody renews its certificate",
        "ask an admin: `meshnode get policy NAME`",
    ),
    "of-another-node": Meaning("the member record is about another node", _UPGRADE),
    "root-mismatch": Meaning(
        "whoever answered stands on another root of trust than the token says",
        "check the address; if it is right, somebody is impersonating the mesh",
    ),
    "bad-answer": Meaning("the answer of the enroller cannot be accepted", _UPGRADE, elsewhere=True),
}  # fmt: skip
_UNKNOWN = Meaning("the enroller refused", "look at `meshnode why` on the node that refused")


def meaning(reason: str) -> Meaning:
    return MEANINGS.get(reason, _UNKNOWN)


def transcript(nonce: bytes, server_leaf_sha256: bytes, csr: bytes) -> bytes:
    """What both proofs sign. The parts are hashed first, so that no two transcripts share their bytes."""
    parts = (nonce, server_leaf_sha256, csr)
    return b"".join(hashlib.sha256(part).digest() for part in parts)


def proofs_hold(request: Request, one_time_key: bytes, statement: bytes, verifier: Verifier) -> bool:
    """Whether the sender was invited and holds the record key it names."""
    invited = verifier.verify(one_time_key, _INVITED, statement, request.invite_proof)
    return invited and verifier.verify(request.record_key, _HOLDS, statement, request.key_proof)


def renewal_holds(request: RenewalRequest, statement: bytes, verifier: Verifier) -> bool:
    """Whether the sender holds the record key it names."""
    return verifier.verify(request.record_key, _RENEWS, statement, request.key_proof)


def make_greeting(nonce: bytes, bundle: bytes) -> bytes:
    assert len(nonce) >= NONCE_BYTES_MIN
    return msgspec.json.encode(Greeting(nonce, bundle))


def read_greeting(body: bytes) -> Greeting:
    """Raises ``RemoteError`` (``too-long``, ``malformed``)."""
    greeting = _read(body, _GREETING)
    if not NONCE_BYTES_MIN <= len(greeting.nonce) <= 64:
        raise RemoteError("malformed", f"a nonce of {len(greeting.nonce)} bytes")
    return greeting


def make_request(token: Token, csr: bytes, record: Signer, nonce: bytes, server_leaf_sha256: bytes) -> bytes:
    """Ask to be admitted. ``record`` holds the new record key, ``csr`` names its public half."""
    statement = transcript(nonce, server_leaf_sha256, csr)
    one_time = RecordSigner(token.seed.reveal())
    return msgspec.json.encode(
        Request(
            token.invite,
            csr,
            record.public_key,
            one_time.sign(_INVITED, statement),
            record.sign(_HOLDS, statement),
        )
    )


def make_renewal_request(member: bytes, csr: bytes, record: Signer, nonce: bytes, server_leaf_sha256: bytes) -> bytes:
    """Ask for the next certificate of the member ``record`` signs for."""
    proof = record.sign(_RENEWS, transcript(nonce, server_leaf_sha256, csr))
    return msgspec.json.encode(RenewalRequest(member, csr, record.public_key, proof))


def make_answer(chain_pem: bytes, member: bytes, bundle: bytes, peers: list[str]) -> bytes:
    body = msgspec.json.encode(Admitted(chain_pem, member, bundle, peers[:PEERS_MAX]))
    assert len(body) <= BODY_BYTES_MAX
    return body


def make_refusal(reason: str, message: str) -> bytes:
    return msgspec.json.encode(Refused(reason, message[:500]))


def read_request(body: bytes) -> Request | RenewalRequest:
    """Raises ``RemoteError`` (``too-long``, ``malformed``)."""
    return _read(body, _REQUEST)


def read_reply(body: bytes) -> Admitted | Refused:
    """Raises ``RemoteError`` (``too-long``, ``malformed``)."""
    return _read(body, _REPLY)


def _read(body: bytes, decoder: msgspec.json.Decoder[LetterT]) -> LetterT:
    if len(body) > BODY_BYTES_MAX:
        raise RemoteError("too-long", f"{len(body)} bytes, the limit is {BODY_BYTES_MAX}")
    return decoded(decoder.decode, body, "malformed")
