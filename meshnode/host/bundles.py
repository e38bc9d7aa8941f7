"""Which file an agent is run from: the one it was named with, or the copy of its content that came over the mesh."""

import hashlib
import os
from pathlib import Path

from meshnode.host.atomic import replace_file
from meshnode.host.blobs import BlobCorrupt, BlobMissing, BlobStore
from meshnode.model.errors import LocalError
from meshnode.model.recipe import Recipe

# A machine has few files of agents; what falls out is read again.
_KNOWN_MAX = 256


class NoFile(LocalError):
    """Neither the file nor its content is on this machine. Nothing was started."""

    code = "no-file"


class Bundles:
    """Copies lie at ``DIRECTORY/DIGEST/NAME.py``, read-only, made of blobs when they are first needed.

    Methods may raise ``OSError``.
    """

    def __init__(self, directory: Path, store: BlobStore) -> None:
        self._directory, self._store = directory, store
        # (path, device, inode, size, time of change) -> digest: hundreds of starts read a file once.
        self._known: dict[tuple[str, int, int, int, int], str] = {}

    def file_of(self, recipe: Recipe) -> Path:
        """The file at its own path where that has the content of the bundle, else the bundle. Raises ``NoFile``."""
        path = Path(recipe.file)
        if path.is_file() and os.access(path, os.R_OK) and recipe.bundle in ("", self._digest(path)):
            return path
        if not recipe.bundle:
            raise NoFile(f"{recipe.file} is not on this machine, or may not be read, and no copy of it is carried")
        return self._copy(recipe.bundle, path.name)

    def _copy(self, digest: str, name: str) -> Path:
        path = self._directory / digest / name
        if path.is_file() and self._digest(path) == digest:
            return path
        try:
            content = self._store.get(digest)
        except BlobMissing as error:
            raise NoFile("its file is not on this machine and its bundle has not arrived") from error
        except BlobCorrupt as error:
            raise NoFile(f"its file is not on this machine and its bundle is damaged: {error.message}") from error
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, content)
        path.chmod(0o400)
        return path

    def _digest(self, path: Path) -> str:
        status = path.stat()
        key = (str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        digest = self._known.get(key)
        if digest is None:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if len(self._known) >= _KNOWN_MAX:
                self._known.pop(next(iter(self._known)))
            self._known[key] = digest
        return digest
