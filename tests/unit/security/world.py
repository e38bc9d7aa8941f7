"""A mesh in memory for the tests of trust: root, enroller, admin, nodes, TLS over memory BIOs, forgeries."""

import datetime
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.kernel.ports import Member
from meshnode.model.ids import NodeId
from meshnode.security import authority, tls
from meshnode.security.bundle import Bundle, make_bundle, read_bundle, root_fingerprint
from meshnode.security.check_peer import check_peer
from meshnode.security.clock import MeshClock
from meshnode.security.desk import EnrolmentDesk
from meshnode.security.enrolment import make_request
from meshnode.security.identity import Ed25519Verifier, RecordSigner, new_record_key
from meshnode.security.invite import Token, make_token, parse_token
from meshnode.security.members import Members, make_member
from meshnode.security.messages import EnrolmentAsked, PeerIdentity, RefuseEnrolment

MESH = "m7f3a.mesh"
NOW_MS = 1_800_000_000_000  # 2027-01-15
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
NOW = Instant(0, NOW_MS, ClockTrust.SYNCED)
NONCE = bytes(range(32))
SERVER_LEAF = hashlib.sha256(b"the leaf of the enroller").digest()
ROOT_KEY, ROOT = authority.make_root(MESH, NOW_MS)
ENROLLER_KEY, ENROLLER = authority.make_enroller(MESH, "gw", ROOT_KEY, ROOT, NOW_MS)
ADMIN = RecordSigner(new_record_key())
BUNDLE = make_bundle(ROOT_KEY, ROOT, mesh=MESH, version=1, admins=(ADMIN.public_key,))
ROOT_SHA256 = root_fingerprint(ROOT)


def at(wall_ms: int, trust: ClockTrust = ClockTrust.SYNCED) -> Instant:
    return Instant(wall_ms * 1000, wall_ms, trust)


def bundle() -> Bundle:
    return read_bundle(BUNDLE, ROOT_SHA256)


def members(**limits: int) -> Members:
    return Members(bundle(), Ed25519Verifier(), **limits)


def member_record(
    name: str,
    record_key: bytes,
    *,
    admin: RecordSigner = ADMIN,
    mesh: str = MESH,
    roles: tuple[str, ...] = ("member",),
    issued_ms: int = NOW_MS,
    region: str = "eu",
) -> bytes:
    return make_member(
        admin,
        mesh=mesh,
        name=name,
        record_key=record_key,
        roles=roles,
        region=region,
        labels={},
        issued_ms=issued_ms,
    )


def admitted(trust: Members, name: str, roles: tuple[str, ...] = ("member",)) -> Member:
    verdict = trust.admit(member_record(name, RecordSigner(new_record_key()).public_key, roles=roles))
    assert isinstance(verdict, Member), verdict
    return verdict


# -- nodes and TLS ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node with its keys and its chain, as files and as bytes."""

    name: str
    signer: RecordSigner
    chain_pem: bytes
    chain_path: Path
    key_path: Path


def node(
    directory: Path,
    name: str,
    *,
    enroller_key: bytes = ENROLLER_KEY,
    enroller: bytes = ENROLLER,
    mesh: str = MESH,
    wall_ms: int = NOW_MS,
) -> Node:
    signer, tls_key = RecordSigner(new_record_key()), authority.new_tls_key()
    chain = authority.issue_leaf(
        authority.make_csr(tls_key, signer.public_key),
        mesh=mesh,
        name=name,
        record_key=signer.public_key,
        enroller_key_pem=enroller_key,
        enroller_cert_pem=enroller,
        wall_ms=wall_ms,
    )
    return stored(directory, name, signer, chain, tls_key)


def stored(directory: Path, name: str, signer: RecordSigner, chain_pem: bytes, tls_key: bytes) -> Node:
    chain_path = directory / f"{name}-{signer.node.hex()[:8]}.chain"
    key_path = chain_path.with_suffix(".key")
    chain_path.write_bytes(chain_pem)
    key_path.write_bytes(tls_key)
    return Node(name=name, signer=signer, chain_pem=chain_pem, chain_path=chain_path, key_path=key_path)


def server_of(one: Node, root_pem: bytes = ROOT) -> ssl.SSLContext:
    return tls.server_context(one.chain_path, one.key_path, root_pem)


def client_of(one: Node, root_pem: bytes = ROOT) -> ssl.SSLContext:
    return tls.client_context(one.chain_path, one.key_path, root_pem)


class Pipe:
    """Two TLS ends over memory. ``shake`` runs both handshakes; what either end raised is kept as its failure."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(up, down, server_side=True)
        self.client = client.wrap_bio(down, up)
        self.server_failure: ssl.SSLError | None = None
        self.client_failure: ssl.SSLError | None = None

    def shake(self) -> "Pipe":
        for _ in range(6):
            self.client_failure = self.client_failure or _step(self.client)
            self.server_failure = self.server_failure or _step(self.server)
        if not self.client_failure and self.server_failure:
            self.client_failure = _alert(self.client)
        return self

    @property
    def refused(self) -> str:
        """Why the handshake failed, of whichever end; empty if both are content."""
        return " ".join(str(failure) for failure in (self.server_failure, self.client_failure) if failure)


def _step(end: ssl.SSLObject) -> ssl.SSLError | None:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLError as error:
        return error
    return None


def _alert(end: ssl.SSLObject) -> ssl.SSLError | None:
    """A TLS 1.3 client hears of its refusal only when it reads."""
    try:
        end.read(1)
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLError as error:
        return error
    return None


def judge(
    end: ssl.SSLObject, now: Instant = NOW, clock: MeshClock | None = None, expect: NodeId | None = None
) -> PeerIdentity:
    return check_peer(tls.verified_chain(end), MESH, clock or MeshClock(0), now, expect)


# -- enrolment --------------------------------------------------------------------------------------------------------


def token_text(name: str = "nano-7", **changes: object) -> str:
    wishes: dict[str, object] = {
        "mesh": MESH,
        "name": name,
        "roles": ("member",),
        "region": "eu",
        "addresses": ("192.168.1.20:7447",),
        "root_sha256": ROOT_SHA256,
        "entropy": hashlib.sha384(name.encode()).digest(),
        "now_ms": NOW_MS,
        "ttl_s": 3600,
        **changes,
    }
    admin = wishes.pop("admin", ADMIN)
    return make_token(admin, **wishes)  # type: ignore[arg-type]


def token(name: str = "nano-7", **changes: object) -> Token:
    return parse_token(token_text(name, **changes))


def desk(trust: Members | None = None, restored: Sequence[object] = (), **options: object) -> EnrolmentDesk:
    known = trust if trust is not None else members()
    return EnrolmentDesk(MESH, BUNDLE, ADMIN, known, Ed25519Verifier(), restored, **options)  # type: ignore[arg-type]


@dataclass(kw_only=True)
class Joiner:
    """A machine that wants in: fresh keys, one token."""

    token: Token
    signer: RecordSigner
    tls_key: bytes
    csr: bytes

    @classmethod
    def with_token(cls, given: Token) -> "Joiner":
        signer, tls_key = RecordSigner(new_record_key()), authority.new_tls_key()
        csr = authority.make_csr(tls_key, signer.public_key)
        return cls(token=given, signer=signer, tls_key=tls_key, csr=csr)

    def request(self, nonce: bytes = NONCE, server_leaf: bytes = SERVER_LEAF) -> bytes:
        return make_request(self.token, self.csr, self.signer, nonce, server_leaf)

    def asked(self, request_no: int = 1, nonce: bytes = NONCE, server_leaf: bytes = SERVER_LEAF) -> EnrolmentAsked:
        return EnrolmentAsked(request_no, self.request(nonce, server_leaf), nonce, server_leaf)


def refusal(effects: Sequence[Effect]) -> str:
    """The reason of the one refusal; fails the test if it was something else."""
    assert len(effects) == 1
    (effect,) = effects
    assert isinstance(effect, RefuseEnrolment), effect
    assert effect.message
    return effect.reason


# -- forgeries --------------------------------------------------------------------------------------------------------


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


def chain_of(chain_pem: bytes, root_pem: bytes = ROOT) -> list[bytes]:
    """DER of the chain and the root, as OpenSSL would hand it over."""
    certificates = x509.load_pem_x509_certificates(chain_pem)
    return [one.public_bytes(serialization.Encoding.DER) for one in certificates] + [der(root_pem)]


def forged_leaf(
    *,
    names: Sequence[x509.GeneralName] | None = None,
    ca: bool = False,
    purposes: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    key: ec.EllipticCurvePrivateKey | None = None,
    record_key: bytes | None = bytes(32),
    from_ms: int = NOW_MS,
    until_ms: int = NOW_MS + DAY_MS,
    issuer_pem: bytes = ENROLLER,
    issuer_key_pem: bytes = ENROLLER_KEY,
) -> bytes:
    """A leaf (PEM, with its issuer) that a careless or bribed enroller might sign."""
    issuer = x509.load_pem_x509_certificate(issuer_pem)
    issuer_key = serialization.load_pem_private_key(issuer_key_pem, None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    own = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
    wanted = [x509.UniformResourceIdentifier(f"spiffe://{MESH}/node/boss")] if names is None else list(names)
    usage = x509.KeyUsage(True, False, False, False, False, ca, ca, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]))
        .issuer_name(issuer.subject)
        .public_key(own)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(from_ms))
        .not_valid_after(_moment(until_ms))
        .add_extension(x509.BasicConstraints(ca, None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if wanted:
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), False)
    if record_key is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(authority.RECORD_KEY_OID, record_key), False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + issuer_pem


def _moment(wall_ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(wall_ms // 1000, tz=datetime.UTC)
