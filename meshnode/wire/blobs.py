"""Arguments of which some are bytes, as the payload of a CALL that is ``raw``.

    u32 length of the head | head | one argument | the next | ...

The head is a msgpack array: the lengths of those that are bytes, by name and in order, and the JSON of all arguments,
in which each of them is the empty text: what base64 has for no bytes at all, so whatever reads the types of arguments
out of JSON reads these as well. No JSON begins as such a payload does, so whoever does not know of it refuses it by
name, and has not run anything.
"""

import struct
from collections.abc import Mapping
from typing import Annotated

import msgspec

from meshnode.kernel.decoding import decoded
from meshnode.model.errors import RemoteError

LEAST_BYTES = 16 * 1024  # of all that are bytes: fewer are as quick as text
BLOBS_MAX = 256
_HEAD_BYTES_MAX = 2**24  # so that the first byte of a payload is 0
_LENGTH = struct.Struct(">I")

Length = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class _Head(msgspec.Struct, frozen=True, array_like=True):
    lengths: dict[str, Length]
    json: bytes


_decode = msgspec.msgpack.Decoder(_Head).decode
_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode


def packed(arguments: Mapping[str, object]) -> bytes | None:
    """The payload; ``None``: there is not enough in them that is bytes, or they are too many."""
    all_bytes = 0
    for value in arguments.values():
        if type(value) is bytes:
            all_bytes += len(value)
    if all_bytes < LEAST_BYTES:
        return None
    blobs = {name: value for name, value in arguments.items() if type(value) is bytes}
    if len(blobs) > BLOBS_MAX:
        return None
    lengths = {name: len(blob) for name, blob in blobs.items()}
    head = _encode(_Head(lengths, _json({**arguments, **dict.fromkeys(blobs, "")})))
    return b"".join((_LENGTH.pack(len(head)), head, *blobs.values())) if len(head) < _HEAD_BYTES_MAX else None


def unpacked(payload: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The JSON of all arguments, and those that are bytes by name. Raises ``RemoteError``."""
    begin = _LENGTH.size
    at = begin + int.from_bytes(payload[:begin])
    head = decoded(_decode, payload[begin:at], "arguments-junk")
    told = sum(head.lengths.values())
    if at + told != len(payload) or len(head.lengths) > BLOBS_MAX:
        raise RemoteError("arguments-lengths", f"{len(head.lengths)} of {told} bytes in {len(payload)}")
    blobs: dict[str, bytes] = {}
    for name, length in head.lengths.items():
        blobs[name] = payload[at : at + length]
        at += length
    return head.json, blobs
