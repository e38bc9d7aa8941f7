"""TLS contexts and the verified chain: the only module of the core that imports ssl.

TLS 1.3 and nothing older, our own roots and no others, no session tickets (a resumed session would skip every
check), no host names (peers are judged by ``check_peer``), and OpenSSL's time check off (see ``clock``).
"""

import ssl
from typing import Protocol

from meshnode.model.errors import RemoteError

ALPN_MESH = "meshnode/1"
ALPN_ENROL = "meshnode-enrol/1"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME; Python has no name for it


class FilePath(Protocol):
    """Whatever names a file, such as ``pathlib.Path``."""

    def __fspath__(self) -> str: ...


class _Certificate(Protocol):
    def public_bytes(self) -> str: ...


class _Chained(Protocol):
    def get_verified_chain(self) -> list[_Certificate] | None: ...


def server_context(chain_pem_path: str | FilePath, key_path: str | FilePath, root_pem: bytes) -> ssl.SSLContext:
    """For inbound links: presents this node's leaf, demands one in return."""
    context = _mutual(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain_pem_path, key_path, root_pem)
    context.num_tickets = 0
    return context


def client_context(chain_pem_path: str | FilePath, key_path: str | FilePath, root_pem: bytes) -> ssl.SSLContext:
    """For outbound links. The handshake ends here before the server has judged us: wait for its WELCOME."""
    return _mutual(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), chain_pem_path, key_path, root_pem)


def enrolment_server_context(chain_pem_path: str | FilePath, key_path: str | FilePath) -> ssl.SSLContext:
    """For joiners, who have no certificate yet: only the server proves who it is."""
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ALPN_ENROL)
    context.verify_mode = ssl.CERT_NONE
    context.num_tickets = 0
    context.load_cert_chain(chain_pem_path, key_path)
    return context


def enrolment_client_context(root_pem: bytes | None) -> ssl.SSLContext:
    """For a joiner. Without a root nothing is verified: fit only for fetching the bundle, whose hash the token has."""
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ALPN_ENROL)
    if root_pem is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=root_pem.decode("ascii"))
    return context


def verified_chain(connection: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The chain OpenSSL verified, leaf first, root last, DER. Public from Python 3.13 only, hence this adapter.

    Raises:
        RemoteError: ``no-chain``: nothing was verified on this connection, as with a resumed session.
    """
    if connection.context.verify_mode is not ssl.CERT_REQUIRED:
        # OpenSSL builds a chain even where a failed verification is ignored; it means nothing.
        raise RemoteError("no-chain", "this connection was not to be verified")
    inner: _Chained | None = getattr(connection, "_sslobj", None)
    chain = inner.get_verified_chain() if inner is not None else None
    if not chain:
        raise RemoteError("no-chain", "this connection has no verified certificate")
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]


def presented_leaf(connection: ssl.SSLObject | ssl.SSLSocket) -> bytes:
    """The other side's certificate (DER) as it came, verified or not."""
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        raise RemoteError("no-chain", "the other side has shown no certificate")
    return leaf


def _mutual(
    context: ssl.SSLContext, chain_pem_path: str | FilePath, key_path: str | FilePath, root_pem: bytes
) -> ssl.SSLContext:
    _strict(context, ALPN_MESH)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=root_pem.decode("ascii"))
    context.load_cert_chain(chain_pem_path, key_path)
    return context


def _strict(context: ssl.SSLContext, alpn: str) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VerifyFlags(_NO_CHECK_TIME)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([alpn])
    return context
