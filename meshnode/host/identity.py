"""Who this node is: what its identity directory says, checked and at hand."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from meshnode.model.ids import NodeId
from meshnode.security.bundle import Bundle
from meshnode.security.identity import RecordSigner
from meshnode.security.secret import Secret

CHAIN_FILE = "leaf.pem"
TLS_KEY_FILE = "tls.key"


@dataclass(frozen=True, kw_only=True, slots=True)
class Enroller:
    """The right to admit others: an intermediate certificate and its key, both PEM."""

    certificate_pem: bytes
    key_pem: Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """One node of one mesh.

    ``member_record``: admin-signed, says name, roles and region; ``admin``: only where the mesh was made; ``seeds``:
    nodes to dial first.
    """

    directory: Path
    mesh: str
    name: str
    region: str
    roles: tuple[str, ...]
    signer: RecordSigner
    member_record: bytes
    bundle: Bundle
    leaf: x509.Certificate
    admin: RecordSigner | None = None
    enroller: Enroller | None = None
    seeds: tuple[tuple[str, int], ...] = ()

    @property
    def node(self) -> NodeId:
        return self.signer.node

    @property
    def chain_path(self) -> Path:
        """PEM: the leaf, then its issuer."""
        return self.directory / CHAIN_FILE

    @property
    def key_path(self) -> Path:
        return self.directory / TLS_KEY_FILE

    @property
    def leaf_sha256(self) -> bytes:
        return self.leaf.fingerprint(hashes.SHA256())

    @property
    def leaf_der(self) -> bytes:
        return self.leaf.public_bytes(serialization.Encoding.DER)

    @property
    def not_before_ms(self) -> int:
        """When the leaf was made, as its enroller knew it: proof that it is not earlier."""
        return round(self.leaf.not_valid_before_utc.timestamp() * 1000)

    @property
    def expires_ms(self) -> int:
        return round(self.leaf.not_valid_after_utc.timestamp() * 1000)
