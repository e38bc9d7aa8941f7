"""Inputs and effects of enrolment and renewal, and the outcome of judging a peer."""

import msgspec

from meshnode.kernel.effects import Effect, Fact
from meshnode.model.ids import NodeId


class PeerIdentity(msgspec.Struct, frozen=True):
    """Who a verified certificate chain speaks for."""

    node: NodeId
    name: str
    record_key: bytes  # 32 raw bytes, Ed25519; node is its SHA-256
    until_ms: int = 0  # when the leaf ends


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
    again: bool = False  # of a member, whose certificate it renews


class RefuseEnrolment(Effect, frozen=True):
    """Answer the joiner with a named refusal and close."""

    request_no: int
    reason: str
    message: str


class RenewLeaf(Effect, frozen=True):
    """Have a certificate made for a new key, by this node itself if it is an enroller, else by whoever answers at one
    of ``addresses``; store it and show it from now on. Answered by ``LeafRenewed`` or ``RenewalFailed``.
    """

    addresses: tuple[tuple[str, int], ...]


class RenewalWanted(msgspec.Struct, frozen=True):
    """A person does not want to wait for half of the certificate's life."""


class LeafRenewed(msgspec.Struct, frozen=True):
    """The new certificate is stored and in use: its hash, and from when until when it holds."""

    sha256: str
    from_ms: int
    until_ms: int


class RenewalFailed(msgspec.Struct, frozen=True):
    """The old certificate is as it was. ``reason``: for people."""

    reason: str


class CertificateChanged(Fact, frozen=True):
    """New links show a new certificate; those that stand still stand on the old one."""
