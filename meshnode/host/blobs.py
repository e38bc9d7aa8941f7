"""Big bytes by the hash of their content: written once, whole, and checked at every reading."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from meshnode.host.atomic import replace_file
from meshnode.model.errors import LocalError, NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobMissing(NotFound):
    """No blob of that digest is here."""

    code = "blob-missing"


class BlobCorrupt(LocalError):
    """The bytes on the disk are not those that were stored. They are kept beside, and never handed out."""

    code = "blob-corrupt"


class BlobStore:
    """Files ``ab/cdef...`` named by the SHA-256 of their content, in hexadecimal.

    Every method may raise ``OSError``; a write that fails leaves nothing under the blob's name.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, data: bytes) -> str:
        """Store, durably on return; returns the digest. What is there intact is not written again."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if not (path.exists() and path.read_bytes() == data):
            self._make_room(path.parent)
            replace_file(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        """Raises ``BlobMissing`` or ``BlobCorrupt``."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise BlobMissing(f"blob {digest} is not in {self._directory}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            aside = path.with_name(path.name + ".corrupt")
            path.replace(aside)
            raise BlobCorrupt(
                f"{path}: the content is not what was stored; moved to {aside.name}",
                next_step="fetch the blob from another node that has it",
            )
        return data

    def has(self, digest: str) -> bool:
        return self._path(digest).exists()

    def remove(self, digest: str) -> None:
        """Removing what is not there is harmless."""
        self._path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """All that are here, sorted; half-written and corrupt files left out."""
        for path in sorted(self._directory.glob("??/*")):
            if _DIGEST.fullmatch(path.parent.name + path.name):
                yield path.parent.name + path.name

    def _make_room(self, directory: Path) -> None:
        if directory.exists():
            return
        directory.mkdir(mode=0o700, parents=True)
        for level in (directory.parent, directory.parent.parent):  # the names of new directories have to last as well
            descriptor = os.open(level, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise BlobMissing(f"{digest[:80]!r} is no digest: 64 lower-case hexadecimal digits are")
        return self._directory / digest[:2] / digest[2:]
