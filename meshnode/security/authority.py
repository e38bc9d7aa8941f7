"""Making keys and certificates: the root, an enroller's intermediate, a node's leaf, and the root's sealed form.

Everything here draws on the system's randomness, so only the host and the daemon call it; machines ask for it by
effect. All X.509 is ECDSA P-256. Who somebody is stands in exactly two places of a leaf: one SPIFFE URI and one
extension with the Ed25519 record key. Roles are not in certificates: they change without a new one.
"""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from meshnode.model.errors import Invalid, LocalError, RemoteError
from meshnode.security.identity import KEY_BYTES
from meshnode.security.names import check_name, node_uri

# The node's record key, 32 raw bytes. An arc under 2.25 is a UUID and needs no registration (ITU-T X.667).
RECORD_KEY_OID = ObjectIdentifier("2.25.269319110532298557973659856167773643442")
ROOT_PATH_LENGTH = 2  # one more than needed today: a cross-signed successor must fit under an old root
CSR_BYTES_MAX = 2048
_ROOT_LIFE = datetime.timedelta(days=20 * 365)
_ENROLLER_LIFE = datetime.timedelta(days=180)
_LEAF_LIFE = datetime.timedelta(days=7)
_ROOT_BACKDATED = datetime.timedelta(days=1)
_ENROLLER_BACKDATED = datetime.timedelta(hours=1)
_LEAF_BACKDATED = datetime.timedelta(minutes=10)  # the skew check_peer tolerates


class EnrollerExpired(LocalError):
    """This node's right to issue certificates has run out. Nothing was issued."""

    code = "enroller-expired"


def make_root(mesh: str, wall_ms: int) -> tuple[bytes, bytes]:
    """A new root of trust: (key PEM, certificate PEM). The key is to be sealed and kept off the machine."""
    check_name(mesh, "mesh")
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{mesh} root")
    at = _moment(wall_ms)
    builder = _ca_builder(name, name, key.public_key(), key.public_key(), ROOT_PATH_LENGTH)
    builder = builder.not_valid_before(at - _ROOT_BACKDATED).not_valid_after(at + _ROOT_LIFE)
    return _key_pem(key), _pem(builder.sign(key, hashes.SHA256()))


def make_enroller(mesh: str, name: str, root_key_pem: bytes, root_cert_pem: bytes, wall_ms: int) -> tuple[bytes, bytes]:
    """The intermediate with which the node ``name`` admits others: (key PEM, certificate PEM).

    Its name constraint binds the URI host, hence the mesh. X.509 cannot bind the path: an enroller can name any
    node, which is why ``Members`` notes a name that turns up with a second key.
    """
    check_name(mesh, "mesh")
    check_name(name)
    root_key, root = _private_key(root_key_pem), x509.load_pem_x509_certificate(root_cert_pem)
    key = ec.generate_private_key(ec.SECP256R1())
    at = _moment(wall_ms)
    builder = _ca_builder(_name(f"{mesh} enroller {name}"), root.subject, key.public_key(), root_key.public_key(), 0)
    only_this_mesh = x509.NameConstraints([x509.UniformResourceIdentifier(mesh)], None)
    builder = builder.add_extension(only_this_mesh, critical=True)
    builder = builder.not_valid_before(at - _ENROLLER_BACKDATED)
    builder = builder.not_valid_after(min(at + _ENROLLER_LIFE, root.not_valid_after_utc))
    return _key_pem(key), _pem(builder.sign(root_key, hashes.SHA256()))


def new_tls_key() -> bytes:
    """A new P-256 key for a leaf, PEM. It never leaves the node."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def make_csr(tls_key_pem: bytes, record_public_key: bytes) -> bytes:
    """A signing request (DER) for this TLS key, naming only the record key: the issuer decides on everything else."""
    assert len(record_public_key) == KEY_BYTES
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name("node"))
    builder = builder.add_extension(x509.UnrecognizedExtension(RECORD_KEY_OID, record_public_key), critical=False)
    return builder.sign(_private_key(tls_key_pem), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def check_csr(csr_der: bytes, record_key: bytes) -> ec.EllipticCurvePublicKey:
    """The TLS key a signing request is for. Pure, so the desk asks before an invite is spent.

    Raises:
        RemoteError: ``bad-csr``: unreadable, not P-256, not signed by its own key, or naming another record key.
    """
    if len(csr_der) > CSR_BYTES_MAX:
        raise RemoteError("bad-csr", f"{len(csr_der)} bytes, the limit is {CSR_BYTES_MAX}")
    try:
        csr = x509.load_der_x509_csr(csr_der)
        key = csr.public_key()
        signed = csr.is_signature_valid
        extension = csr.extensions.get_extension_for_oid(RECORD_KEY_OID).value
    except Exception as error:  # parsers raise more than they document; whatever it is, it is a refusal
        raise RemoteError("bad-csr", type(error).__name__) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RemoteError("bad-csr", "the key is not P-256")
    if not signed:
        raise RemoteError("bad-csr", "not signed by its own key")
    if not isinstance(extension, x509.UnrecognizedExtension) or extension.value != record_key:
        raise RemoteError("bad-csr", "it names another record key")
    return key


def issue_leaf(
    csr_der: bytes,
    *,
    mesh: str,
    name: str,
    record_key: bytes,
    enroller_key_pem: bytes,
    enroller_cert_pem: bytes,
    wall_ms: int,
) -> bytes:
    """Sign a leaf for ``name`` and return its chain (leaf and intermediate, PEM). No name is taken from the CSR.

    Raises:
        RemoteError: ``bad-csr``.
        EnrollerExpired: the intermediate is past its end.
    """
    check_name(name)
    public_key = check_csr(csr_der, record_key)
    enroller_key = _private_key(enroller_key_pem)
    enroller = x509.load_pem_x509_certificate(enroller_cert_pem)
    at = _moment(wall_ms)
    if at >= enroller.not_valid_after_utc:
        raise EnrollerExpired(
            f"the enroller certificate of this node ended on {enroller.not_valid_after_utc:%Y-%m-%d}",
            next_step="renew it with the root on the node that made the mesh",
        )
    builder = _leaf_builder(public_key, enroller, enroller_key.public_key(), node_uri(mesh, name), record_key)
    builder = builder.subject_name(_name(name)).not_valid_before(at - _LEAF_BACKDATED)
    builder = builder.not_valid_after(min(at + _LEAF_LIFE, enroller.not_valid_after_utc))
    return _pem(builder.sign(enroller_key, hashes.SHA256())) + _pem(enroller)


def recovery_words(entropy16: bytes) -> str:
    """128 bits as eight pronounceable words of five letters (proquints, Wilkerson 2009): to be written on paper."""
    assert len(entropy16) == 16
    return "-".join(_proquint(int.from_bytes(entropy16[at : at + 2])) for at in range(0, 16, 2))


def seal_root(key_pem: bytes, words: str) -> bytes:
    """The root key as encrypted PKCS#8 PEM. ``openssl pkey`` opens it too, with the words in their printed form."""
    password = _normal(words)
    encryption = serialization.BestAvailableEncryption(password)
    key = _private_key(key_pem)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def open_root(sealed: bytes, words: str) -> bytes:
    """The root key PEM again.

    Raises:
        Invalid: other words, or no sealed root.
    """
    try:
        key = serialization.load_pem_private_key(sealed, _normal(words))
    except (ValueError, TypeError) as error:
        raise Invalid(
            "the recovery words do not open this root key",
            next_step="check them against what was printed when the mesh was made: eight words of five letters",
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid("this file holds no root key")
    return _key_pem(key)


def _ca_builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    path_length: int,
) -> x509.CertificateBuilder:
    builder = _builder(key, issuer, issuer_key).subject_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(_usage(signs_certificates=True), critical=True)


def _leaf_builder(
    key: ec.EllipticCurvePublicKey,
    enroller: x509.Certificate,
    enroller_key: ec.EllipticCurvePublicKey,
    uri: str,
    record_key: bytes,
) -> x509.CertificateBuilder:
    both_sides = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    identity = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    builder = _builder(key, enroller.subject, enroller_key)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(both_sides, critical=False)
    builder = builder.add_extension(identity, critical=True)
    return builder.add_extension(x509.UnrecognizedExtension(RECORD_KEY_OID, record_key), critical=False)


def _builder(
    key: ec.EllipticCurvePublicKey, issuer: x509.Name, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().public_key(key).issuer_name(issuer)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _moment(wall_ms: int) -> datetime.datetime:
    """Whole seconds: certificates hold no finer time."""
    return datetime.datetime.fromtimestamp(wall_ms // 1000, tz=datetime.UTC)


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _proquint(number: int) -> str:
    consonants, vowels = "bdfghjklmnprstvz", "aiou"
    return (
        consonants[number >> 12]
        + vowels[number >> 10 & 3]
        + consonants[number >> 6 & 15]
        + vowels[number >> 4 & 3]
        + consonants[number & 15]
    )


def _normal(words: str) -> bytes:
    """As printed, however it was typed: lower case, one hyphen between words."""
    return "-".join(words.lower().replace("-", " ").split()).encode()
