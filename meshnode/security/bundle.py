"""The trust bundle: which root certificates a mesh stands on and which keys are admins, signed by the root.

    "mb1" | u16 length | root certificate (DER) | u16 length | signature (ECDSA, DER) | body (msgpack)

A joiner has nothing but the root's fingerprint from its token. The root certificate therefore comes first and its
hash is compared before any parser sees a byte of the rest.
"""

import hashlib
import hmac

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshnode.model.errors import RemoteError
from meshnode.security.identity import KEY_BYTES
from meshnode.security.names import valid_name
from meshnode.security.signed import decode

BUNDLE_BYTES_MAX = 8 * 1024  # with base64 and a chain it still fits into an enrolment answer of 16 KiB
CERTIFICATE_BYTES_MAX = 4096
ROOTS_MAX = 4
ADMINS_MAX = 16
_MAGIC = b"mb1"
_CONTEXT = b"meshnode/bundle/v1\0"


class _Body(msgspec.Struct, frozen=True, array_like=True, tag="bundle"):
    mesh: str
    version: int
    roots: tuple[bytes, ...]
    admins: tuple[bytes, ...]


class Bundle(msgspec.Struct, frozen=True):
    """A bundle whose signature was checked.

    ``roots``: DER certificates, the signing one first; ``admins``: 32-byte Ed25519 keys; ``data``: all as carried.
    """

    mesh: str
    version: int
    roots: tuple[bytes, ...]
    admins: tuple[bytes, ...]
    data: bytes

    @property
    def root_sha256(self) -> bytes:
        return hashlib.sha256(self.roots[0]).digest()

    @property
    def root_pem(self) -> bytes:
        """All roots, as TLS contexts want them."""
        certificates = [x509.load_der_x509_certificate(root) for root in self.roots]
        return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def root_fingerprint(root_cert_pem: bytes) -> bytes:
    """SHA-256 of the certificate: what a token pins."""
    return x509.load_pem_x509_certificate(root_cert_pem).fingerprint(hashes.SHA256())


def make_bundle(
    root_key_pem: bytes,
    root_cert_pem: bytes,
    *,
    mesh: str,
    version: int,
    admins: tuple[bytes, ...],
    more_roots_pem: tuple[bytes, ...] = (),
) -> bytes:
    """Sign a bundle. Draws randomness (ECDSA), so only the host calls it."""
    key = serialization.load_pem_private_key(root_key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    pems = (root_cert_pem, *more_roots_pem)
    roots = tuple(x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER) for pem in pems)
    assert len(roots) <= ROOTS_MAX
    assert 0 < len(admins) <= ADMINS_MAX
    body = msgspec.msgpack.encode(_Body(mesh, version, roots, admins))
    signature = key.sign(_CONTEXT + body, ec.ECDSA(hashes.SHA256()))
    data = _MAGIC + _sized(roots[0]) + _sized(signature) + body
    assert len(data) <= BUNDLE_BYTES_MAX
    return data


def read_bundle(data: bytes, root_sha256: bytes) -> Bundle:
    """Check and open a bundle.

    Raises:
        RemoteError: ``bundle-too-long``, ``bundle-malformed``, ``root-mismatch`` (signed by another root than the one
            expected) or ``bundle-signature``.
    """
    if len(data) > BUNDLE_BYTES_MAX:
        raise RemoteError("bundle-too-long", f"{len(data)} bytes, the limit is {BUNDLE_BYTES_MAX}")
    if not data.startswith(_MAGIC):
        raise RemoteError("bundle-malformed", "no bundle")
    root, rest = _cut(data[len(_MAGIC) :])
    if not hmac.compare_digest(hashlib.sha256(root).digest(), root_sha256):
        raise RemoteError("root-mismatch", "the root certificate is not the one expected")
    signature, body = _cut(rest)
    _check_signature(root, signature, body)
    return _checked(decode(body, _Body, "bundle-malformed"), root, data)


def _check_signature(root: bytes, signature: bytes, body: bytes) -> None:
    key = _load(root).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RemoteError("bundle-malformed", "the root is no elliptic curve key")
    try:
        key.verify(signature, _CONTEXT + body, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise RemoteError("bundle-signature") from error


def _load(root: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(root)
        certificate.public_key()  # raises for curves and algorithms nobody here knows
    except Exception as error:  # parsers raise more than they document; whatever it is, it is a refusal
        raise RemoteError("bundle-malformed", "a root certificate cannot be read") from error
    return certificate


def _checked(body: _Body, root: bytes, data: bytes) -> Bundle:
    fits = (
        valid_name(body.mesh)
        and body.version >= 0
        and 0 < len(body.roots) <= ROOTS_MAX
        and body.roots[0] == root
        and all(len(certificate) <= CERTIFICATE_BYTES_MAX for certificate in body.roots)
        and 0 < len(body.admins) <= ADMINS_MAX
        and all(len(admin) == KEY_BYTES for admin in body.admins)
    )
    if not fits:
        raise RemoteError("bundle-malformed", "a field is out of bounds")
    for certificate in body.roots:
        _load(certificate)
    return Bundle(body.mesh, body.version, body.roots, body.admins, data)


def _sized(part: bytes) -> bytes:
    return len(part).to_bytes(2) + part


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """The first length-prefixed part, and what follows it."""
    end = 2 + int.from_bytes(data[:2])
    if len(data) < max(end, 2):
        raise RemoteError("bundle-malformed", "cut short")
    return data[2:end], data[end:]
