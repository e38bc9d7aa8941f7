"""The blob store of one simulated machine: what was declared kept survives everything but a bit that turns over."""

from collections.abc import Iterable

from meshnode.kernel.blobs import BlobRead, BlobsKept, KeepBlobs, ReadBlob, digest_of
from meshnode.kernel.rng import Random
from meshnode.sim.disk import SimDisk


class SimBlobs:
    """On the same disk as the journal: full and broken ones take nothing."""

    def __init__(self, disk: SimDisk) -> None:
        self.flips = 0
        self.damaged: dict[str, None] = {}  # spoilt and not read since
        self._disk = disk
        self._kept: dict[str, bytes] = {}
        self._loose: dict[int, dict[str, bytes]] = {}  # by write: not synced yet
        self._last_write = 0

    def __len__(self) -> int:
        return len(self._kept)

    def content(self) -> dict[str, bytes]:
        """What somebody who reads the disk finds, spoilt or not."""
        return dict(self._kept)

    # -- what the core asks -------------------------------------------------------------------------------------------

    def write(self, effect: KeepBlobs) -> "Written":
        """They are on their way; ``kept`` brings them to rest."""
        fresh = {digest: blob for blob in effect.blobs if self._kept.get(digest := digest_of(blob)) != blob}
        self._last_write += 1
        try:
            self._disk.take(sum(map(len, fresh.values())))
        except OSError as error:
            return Written(self._last_write, effect, error.strerror or str(error))
        self._loose[self._last_write] = fresh
        return Written(self._last_write, effect, "")

    def kept(self, written: "Written") -> BlobsKept:
        """The sync is over."""
        error = written.error
        if not error and self._disk.breaks:
            error = "the disk does not sync"
        loose = self._loose.pop(written.number, {})
        if not error:
            self._store(loose)
        return BlobsKept(written.effect.batch_no, error, written.effect.room)

    def read(self, effect: ReadBlob) -> BlobRead:
        """What is spoilt is put aside, and is missing from then on."""
        data = self._kept.get(effect.digest)
        if data is None:
            return BlobRead(effect.read_no, effect.digest, error="missing", room=effect.room)
        if digest_of(data) != effect.digest:
            del self._kept[effect.digest]
            self.damaged.pop(effect.digest, None)
            return BlobRead(effect.read_no, effect.digest, error="corrupt", room=effect.room)
        return BlobRead(effect.read_no, effect.digest, data, room=effect.room)

    def drop(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self._kept.pop(digest, None)
            self.damaged.pop(digest, None)

    # -- what the world does ------------------------------------------------------------------------------------------

    def process_killed(self) -> None:
        """The system still writes what a killed process gave it."""
        for loose in self._loose.values():
            self._store(loose)
        self._loose.clear()

    def power_cut(self, rng: Random) -> None:
        """Each file that was not synced is there or not: its name comes last, so never a part of it."""
        for loose in self._loose.values():
            self._store({digest: data for digest, data in loose.items() if rng.random() < 0.5})
        self._loose.clear()

    def flip(self, rng: Random) -> bool:
        """One bit turns over while nobody looks. False: there is nothing to spoil."""
        whole = [digest for digest, data in self._kept.items() if data and digest not in self.damaged]
        if not whole:
            return False
        digest = rng.choice(whole)
        spoilt = bytearray(self._kept[digest])
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
        self._kept[digest] = bytes(spoilt)
        self.damaged[digest] = None
        self.flips += 1
        return True

    def _store(self, fresh: dict[str, bytes]) -> None:
        self._kept.update(fresh)
        for digest in fresh:
            self.damaged.pop(digest, None)


class Written:
    """A batch between its write and its sync. ``error`` "": it was taken so far."""

    def __init__(self, number: int, effect: KeepBlobs, error: str) -> None:
        self.number, self.effect, self.error = number, effect, error
