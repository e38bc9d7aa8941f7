"""The one judgement of a peer's certificate chain. No byte of a peer is read before it has passed.

OpenSSL has verified signatures, path lengths, key usage and the name constraint before; its time check is off,
because a machine that woke up in 1970 would refuse everybody. What is judged here: whose certificate it is, and
when.
"""

import datetime
import functools
import hmac

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshnode.kernel.instant import Instant
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from meshnode.security.authority import RECORD_KEY_OID
from meshnode.security.bundle import CERTIFICATE_BYTES_MAX
from meshnode.security.clock import MeshClock
from meshnode.security.identity import KEY_BYTES, node_id
from meshnode.security.messages import PeerIdentity
from meshnode.security.names import node_uri, valid_name

CHAIN_MAX = 5  # leaf, intermediate, a cross-signed root in between, the root; and one to spare
ISSUERS_MAX = 64  # whose dates are remembered
SKEW_MS = 10 * 60 * 1000


def check_peer(
    chain_der: list[bytes], mesh: str, clock: MeshClock, now: Instant, expect: NodeId | None
) -> PeerIdentity:
    """Who the chain speaks for.

    Args:
        chain_der: as OpenSSL verified it, leaf first, root last (``tls.verified_chain``).
        expect: the node that was dialled; ``None`` or empty when it is not known.

    Raises:
        RemoteError: ``chain-size``, ``serial``, ``ca-as-leaf``, ``leaf-usage``, ``san``, ``trust-domain``, ``name``,
            ``record-key``, ``not-yet-valid``, ``expired``, ``unexpected-peer`` or ``certificate-malformed``.
    """
    try:
        return _judge(chain_der, mesh, clock, now, expect)
    except RemoteError:
        raise
    except Exception as error:  # parsers raise more than they document; whatever it is, it is a refusal
        raise RemoteError("certificate-malformed", type(error).__name__) from error


def _judge(chain_der: list[bytes], mesh: str, clock: MeshClock, now: Instant, expect: NodeId | None) -> PeerIdentity:
    if not 2 <= len(chain_der) <= CHAIN_MAX or any(len(der) > CERTIFICATE_BYTES_MAX for der in chain_der):
        raise RemoteError("chain-size", f"{len(chain_der)} certificates")
    if any(_serial_sign(der) < 0 for der in chain_der):
        raise RemoteError("serial", "negative")
    leaf = x509.load_der_x509_certificate(chain_der[0])
    issuers = [_life_of_issuer(der) for der in chain_der[1:]]
    _check_is_leaf(leaf)
    name = _name_of(leaf, mesh)
    record_key = _record_key_of(leaf)
    for life in (_life_of(leaf), *issuers):
        _check_dates(life, clock, now)
    node = node_id(record_key)
    if expect and not hmac.compare_digest(node, expect):
        raise RemoteError("unexpected-peer", f"{name} is {node.hex()[:12]}, {expect.hex()[:12]} was dialled")
    return PeerIdentity(node, name, record_key, _ms(leaf.not_valid_after_utc))


def _check_is_leaf(leaf: x509.Certificate) -> None:
    if leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise RemoteError("ca-as-leaf")
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    both_sides = ExtendedKeyUsageOID.SERVER_AUTH in purposes and ExtendedKeyUsageOID.CLIENT_AUTH in purposes
    key = leaf.public_key()
    is_p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not usage.digital_signature or usage.key_cert_sign or not both_sides or not is_p256:
        raise RemoteError("leaf-usage")


def _name_of(leaf: x509.Certificate, mesh: str) -> str:
    names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise RemoteError("san", f"{len(names)} names")
    uri = names[0].value
    prefix = node_uri(mesh, "")
    if not uri.startswith(prefix):
        raise RemoteError("trust-domain", uri[:128])
    name = uri[len(prefix) :]
    if not valid_name(name):
        raise RemoteError("name", name[:128])
    return name


def _record_key_of(leaf: x509.Certificate) -> bytes:
    extension = leaf.extensions.get_extension_for_oid(RECORD_KEY_OID).value
    if not isinstance(extension, x509.UnrecognizedExtension) or len(extension.value) != KEY_BYTES:
        raise RemoteError("record-key")
    return extension.value


def _check_dates(life: tuple[datetime.datetime, datetime.datetime], clock: MeshClock, now: Instant) -> None:
    first, last = life
    at_ms = clock.now_ms(now)
    if at_ms + SKEW_MS < _ms(first) and clock.trusted(now):
        raise RemoteError("not-yet-valid", f"{first:%Y-%m-%dT%H:%M:%SZ}")
    if at_ms - SKEW_MS > _ms(last):
        raise RemoteError("expired", f"{last:%Y-%m-%dT%H:%M:%SZ}")


def _life_of(certificate: x509.Certificate) -> tuple[datetime.datetime, datetime.datetime]:
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


@functools.lru_cache(maxsize=ISSUERS_MAX)
def _life_of_issuer(der: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """Of one that many peers show: few have signed for all. What OpenSSL has not verified never comes here."""
    return _life_of(x509.load_der_x509_certificate(der))


def has_ended(until_ms: int, clock: MeshClock, now: Instant) -> bool:
    """Whether a certificate that was good once has run out since."""
    return clock.now_ms(now) - SKEW_MS > until_ms


def _ms(moment: datetime.datetime) -> int:
    return round(moment.timestamp() * 1000)


def _serial_sign(der: bytes) -> int:
    """-1 for a negative serial number, which the parser only warns about: read before it does.

    Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version, serial INTEGER, ...
    """
    at = _content(der, 0, 0x30)
    at = _content(der, at, 0x30)
    if der[at] == 0xA0:
        at += 2 + der[at + 1]
    first = der[_content(der, at, 0x02)]
    return -1 if first & 0x80 else 1


def _content(der: bytes, at: int, tag: int) -> int:
    """Where the content of the element at ``at`` begins."""
    if der[at] != tag:
        raise RemoteError("certificate-malformed", f"tag {der[at]:#x}")
    length = der[at + 1]
    return at + 2 + (length & 0x7F if length & 0x80 else 0)
