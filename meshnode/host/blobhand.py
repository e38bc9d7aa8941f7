"""Performs what the core asks of the blob store, off the loop: a flash disk may take seconds to sync."""

import logging
from collections.abc import Callable

from meshnode.host.blobs import BlobCorrupt, BlobMissing, BlobStore
from meshnode.host.worker import Worker
from meshnode.kernel.blobs import BlobRead, BlobsKept, DropBlobs, KeepBlobs, ReadBlob

log = logging.getLogger(__name__)

JOBS_MAX = 1024
_OVERLOADED = "more waits for the disk than it can take"


class BlobHand:
    """``tell`` hears the answers, in the loop and in the order of the questions."""

    def __init__(self, store: BlobStore, tell: Callable[[BlobsKept | BlobRead], None]) -> None:
        self._store, self._tell = store, tell
        self._worker = Worker("blobs", JOBS_MAX)

    def perform(self, effect: KeepBlobs | ReadBlob | DropBlobs) -> None:
        match effect:
            case KeepBlobs(batch_no, _, room):
                if not self._worker.do(lambda: self._keep(effect), self._tell):
                    self._tell(BlobsKept(batch_no, _OVERLOADED, room))
            case ReadBlob(read_no, digest, room):
                if not self._worker.do(lambda: self._read(effect), self._tell):
                    self._tell(BlobRead(read_no, digest, b"", _OVERLOADED, room))
            case DropBlobs():
                # What is not dropped now is found again by the next clearing up.
                self._worker.do(lambda: self._drop(effect), lambda _: None)

    def close(self) -> None:
        """Blocks for as long as the disk takes for what waits."""
        self._worker.close()

    def _keep(self, effect: KeepBlobs) -> BlobsKept:
        try:
            for blob in effect.blobs:
                self._store.put(blob)
        except OSError as error:
            return BlobsKept(effect.batch_no, _words(error), effect.room)
        return BlobsKept(effect.batch_no, room=effect.room)

    def _read(self, effect: ReadBlob) -> BlobRead:
        data, error = b"", ""
        try:
            data = self._store.get(effect.digest)
        except BlobMissing:
            error = "missing"
        except BlobCorrupt:
            error = "corrupt"
        except OSError as failure:
            error = _words(failure)
        return BlobRead(effect.read_no, effect.digest, data, error, effect.room)

    def _drop(self, effect: DropBlobs) -> None:
        for digest in effect.digests:
            try:
                self._store.remove(digest)
            except (BlobMissing, OSError) as error:
                log.warning("a blob cannot be removed", extra={"digest": digest[:64], "error": str(error)})


def _words(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
