"""The record key of a node: an Ed25519 key that signs what the node says, and whose hash is who the node is."""

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meshnode.model.ids import NodeId

KEY_BYTES = 32
SIGNATURE_BYTES = 64
# Reading a key costs a sixth of a verification, keeping it half a KiB: as many as a large region has nodes.
KEYS_MAX = 1024
_public_key = lru_cache(KEYS_MAX)(Ed25519PublicKey.from_public_bytes)


def node_id(public_key: bytes) -> NodeId:
    """Who holds this record key: the SHA-256 of its 32 raw bytes."""
    return NodeId(hashlib.sha256(public_key).digest())


def new_record_key() -> bytes:
    """32 private bytes drawn from the system; for the host and the daemon, never for a machine."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


class RecordSigner:
    """Signs with one record key; implements ``kernel.ports.Signer``. Equal input gives equal signatures."""

    def __init__(self, private_key: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self._public_key = self._key.public_key().public_bytes_raw()
        self._node = node_id(self._public_key)

    @property
    def node(self) -> NodeId:
        return self._node

    @property
    def public_key(self) -> bytes:
        return self._public_key

    def sign(self, context: str, body: bytes) -> bytes:
        return self._key.sign(_statement(context, body))

    def __repr__(self) -> str:
        return f"RecordSigner({self._node.hex()[:12]})"


class Ed25519Verifier:
    """Judges signatures; implements ``kernel.ports.Verifier``.

    Gossip delivers the same record from several neighbours, so the last ``cache_max`` good verdicts are remembered. Bad
    ones are not: a flood of junk would push the good ones out.
    """

    def __init__(self, cache_max: int = 4096) -> None:
        self._good: dict[bytes, None] = {}
        self._cache_max = cache_max

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
            return False
        statement = _statement(context, body)
        question = hashlib.sha256(public_key + signature + statement).digest()
        if question in self._good:
            return True
        if not _is_signed(public_key, signature, statement):
            return False
        if len(self._good) >= self._cache_max:
            del self._good[next(iter(self._good))]
        self._good[question] = None
        return True


def _is_signed(public_key: bytes, signature: bytes, statement: bytes) -> bool:
    try:
        _public_key(public_key).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def _statement(context: str, body: bytes) -> bytes:
    """What is signed. The context ends at a NUL, so a signature for one kind of thing never fits another."""
    assert "\0" not in context
    return b"meshnode/" + context.encode() + b"/v1\0" + body
