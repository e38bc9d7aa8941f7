"""A statement with the signature of who made it: the envelope of invites and member records.

The signature covers ``body`` as it is carried; nobody decodes and encodes it again to check it. The envelope itself has
exactly one encoding, so a record cannot be given a second face without breaking it.
"""

from typing import TypeVar

import msgspec

from meshnode.kernel.decoding import JUNK, refusal
from meshnode.kernel.ports import Signer, Verifier
from meshnode.model.errors import RemoteError

BodyT = TypeVar("BodyT")


class Signed(msgspec.Struct, frozen=True, array_like=True, tag="signed"):
    """``by``: the 32 raw bytes of an Ed25519 key; ``signature``: 64 bytes over (context, ``body``)."""

    by: bytes
    body: bytes
    signature: bytes


def seal(signer: Signer, context: str, body: bytes) -> bytes:
    return msgspec.msgpack.encode(Signed(signer.public_key, body, signer.sign(context, body)))


def read_signed(data: bytes, bytes_max: int) -> Signed:
    """Take the envelope apart. Whether ``by`` may speak, and the signature, are judged after."""
    if len(data) > bytes_max:
        raise RemoteError("signed-too-long", f"{len(data)} bytes, the limit is {bytes_max}")
    signed = decode(data, Signed, "signed-malformed")
    if msgspec.msgpack.encode(signed) != data:
        raise RemoteError("signed-malformed", "not in its one encoding")
    return signed


def check_signature(signed: Signed, context: str, verifier: Verifier) -> None:
    if not verifier.verify(signed.by, context, signed.body, signed.signature):
        raise RemoteError("bad-signature", context)


def decode(data: bytes, kind: type[BodyT], reason: str) -> BodyT:
    """msgpack into ``kind``; everything the decoder can raise on junk becomes ``RemoteError(reason)``."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except JUNK as error:
        raise refusal(reason, error) from error
