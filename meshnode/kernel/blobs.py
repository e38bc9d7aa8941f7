"""Big bytes by the SHA-256 of their content: what the core asks of the host's store, and what it hears back."""

import hashlib

import msgspec

from meshnode.kernel.effects import Effect


def digest_of(data: bytes) -> str:
    """64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class KeepBlobs(Effect, frozen=True):
    """Store these, durably. Answered by ``BlobsKept`` with the same number and ``room``: who asked."""

    batch_no: int
    blobs: tuple[bytes, ...]
    room: str = ""


class ReadBlob(Effect, frozen=True):
    """Answered by ``BlobRead`` with the same number and ``room``."""

    read_no: int
    digest: str
    room: str = ""


class DropBlobs(Effect, frozen=True):
    """Nobody here needs them any more. Not answered; what is not there is passed over."""

    digests: tuple[str, ...]


class BlobsKept(msgspec.Struct, frozen=True):
    """``error`` "": all of the batch are durable. Else none can be relied on."""

    batch_no: int
    error: str = ""
    room: str = ""


class BlobRead(msgspec.Struct, frozen=True):
    """``error`` "": ``data`` has been checked against the digest. Else "missing", "corrupt" or the disk's own words."""

    read_no: int
    digest: str
    data: bytes = b""
    error: str = ""
    room: str = ""
