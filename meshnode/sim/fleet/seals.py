"""Who the nodes of a fleet are: seals in the place of signatures, and one book of members for all.

A seal is a hash keyed with the public key. It costs a microsecond where Ed25519 costs a hundred, is as long, and fails
as a signature does over any other bytes; anybody could make one. So nothing that forges is ever played in this tier.
"""

import hashlib
from hmac import compare_digest

from meshnode.kernel.ports import Member
from meshnode.model.ids import NodeId


class Seal:
    """A node's key; the ``Signer`` port."""

    __slots__ = ("node", "public_key")

    def __init__(self, seed: bytes, name: str) -> None:
        self.public_key = hashlib.sha256(b"seal\0" + seed + b"\0" + name.encode()).digest()
        self.node = NodeId(hashlib.sha256(self.public_key).digest())

    def sign(self, context: str, body: bytes) -> bytes:
        return _seal(self.public_key, context, body)


class SealVerifier:
    """The ``Verifier`` port of all nodes."""

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        return compare_digest(_seal(public_key, context, body), signature)


class Book:
    """All members; the ``Trust`` port of all nodes."""

    def __init__(self) -> None:
        self._members: dict[NodeId, Member] = {}
        self._records: dict[bytes, Member] = {}

    def enter(self, seal: Seal, name: str, region: str, roles: tuple[str, ...] = ("member",)) -> bytes:
        """Admit a node. Returns its record, as long as a real one."""
        record = b"\0".join((seal.public_key, name.encode(), region.encode()))
        record += _seal(seal.public_key, "member", record) + bytes(120)
        self._records[record] = self._members[seal.node] = Member(
            seal.node, name, seal.public_key, roles, region, {}, record
        )
        return record

    def admit(self, record: bytes) -> Member | str:
        return self._records.get(record, "forged")

    def member(self, node: NodeId) -> Member | None:
        return self._members.get(node)


def _seal(public_key: bytes, context: str, body: bytes) -> bytes:
    return hashlib.blake2b(context.encode() + b"\0" + body, digest_size=64, key=public_key).digest()
