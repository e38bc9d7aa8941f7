"""Inputs and effects of the enrolment desk, and the outcome of judging a peer."""

import msgspec

from meshnode.kernel.effects import Effect
from meshnode.model.ids import NodeId


class PeerIdentity(msgspec.Struct, frozen=True):
    """Who a verified certificate chain speaks for."""

    node: NodeId
    name: str
    record_key: bytes  # 32 raw bytes, Ed25519; node is its SHA-256


class EnrolmentAsked(msgspec.Struct, frozen=True):
    """A joiner sent its request on a server-authenticated connection.

    ``nonce``: what the host sent to it; ``server_leaf_sha256``: of the certificate it saw. The proofs cover both.
    """

    request_no: int
    body: bytes
    nonce: bytes
    server_leaf_sha256: bytes


class IssueLeaf(Effect, frozen=True):
    """Sign a leaf for this CSR and answer the joiner with it, ``member`` (admin-signed) and ``bundle`` (root-signed).

    Signing draws on the system's randomness, so the host does it.
    """

    request_no: int
    csr: bytes  # DER
    name: str
    record_key: bytes
    member: bytes
    bundle: bytes


class RefuseEnrolment(Effect, frozen=True):
    """Answer the joiner with a named refusal and close."""

    request_no: int
    reason: str
    message: str
