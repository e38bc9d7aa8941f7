"""Soft facts as bytes: what an owner signs, how facts are packed into letters, and their key in the repair."""

from functools import lru_cache
from typing import Annotated

import msgspec

from meshnode.gossip.letters import BATCH_BYTES, Count, Id, SignedFact, SoftBatch, post
from meshnode.kernel.decoding import decoded
from meshnode.kernel.effects import Effect
from meshnode.kernel.fingerprints import bucket_of, stamp_of
from meshnode.model.ids import NodeId

CONTEXT = "soft/v1"
REFRESH_CONTEXT = "soft-refresh/v1"
VALUE_BYTES_MAX = 1024
KEY_CHARS_MAX = 160
OPENED_MAX = 512


class FactBody(msgspec.Struct, frozen=True, array_like=True):
    """What an owner signs. An empty value withdraws the key. ``version`` counts all changes of one boot."""

    node: Id
    boot: Count
    version: Count
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_CHARS_MAX)]
    value: Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]


class RefreshBody(msgspec.Struct, frozen=True, array_like=True):
    """What an owner signs to say that all its facts still hold."""

    node: Id
    boot: Count
    beat: Count


class Fact(msgspec.Struct, frozen=True, gc=False):
    """A fact with all that its bytes say. ``key``, ``version``, ``bucket`` and ``stamp``: of the index."""

    body: FactBody
    signed: bytes
    signature: bytes
    key: bytes
    version: bytes
    bucket: int
    stamp: int


_facts = msgspec.msgpack.Decoder(FactBody)
_refreshes = msgspec.msgpack.Decoder(RefreshBody)
encode_body = msgspec.msgpack.Encoder().encode


def batches(peer: NodeId, facts: list[SignedFact]) -> list[Effect]:
    """Letters of a bounded size."""
    effects: list[Effect] = []
    batch: list[SignedFact] = []
    size = 0
    for fact in facts:
        batch.append(fact)
        size += len(fact.body) + 80
        if size >= BATCH_BYTES:
            effects.append(post(peer, SoftBatch(batch)))
            batch, size = [], 0
    if batch:
        effects.append(post(peer, SoftBatch(batch)))
    return effects


@lru_cache(maxsize=OPENED_MAX)
def opened(signed: bytes, signature: bytes) -> Fact:
    """Read, not checked. The same fact comes over several links: it is read once, and whoever holds it in this process
    holds the same one. Raises ``RemoteError``: it is none."""
    body = decode_fact(signed)
    key, version = body.node + body.key.encode(), body.boot.to_bytes(8) + body.version.to_bytes(8)
    return Fact(body, signed, signature, key, version, bucket_of(key), stamp_of(key, version))


def decode_fact(body: bytes) -> FactBody:
    return decoded(_facts.decode, body, "soft-malformed")


def decode_refresh(body: bytes) -> RefreshBody:
    return decoded(_refreshes.decode, body, "soft-malformed")
