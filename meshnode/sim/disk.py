"""The journal's disk of one simulated machine: what is written may be lost until it is synced, and sometimes worse.

Bad luck comes from outside, by ``power_cut``, ``flip``, ``room_bytes`` and ``breaks``; on its own this disk is perfect.
"""

import errno

from meshnode.kernel.journal import HEADER_BYTES
from meshnode.kernel.rng import Random

SECTOR_BYTES = 512


class SimDisk:
    """Implements ``kernel.journal.Disk``.

    ``room_bytes``: how much it may still grow, ``None`` for any amount; ``breaks``: every write and sync fails.
    """

    def __init__(self) -> None:
        self.room_bytes: int | None = None
        self.breaks = False
        self.flips = self.refusals = 0
        self.interrupted = 0  # power cuts that found something unsynced
        self._kept = b""  # what a power cut leaves for sure
        self._loose = bytearray()  # appended since

    # -- Disk ---------------------------------------------------------------------------------------------------------

    def read(self) -> bytes:
        return self._kept + bytes(self._loose)

    def append(self, data: bytes) -> None:
        try:
            self._must_fit(len(data))
        except OSError:
            self._loose.clear()
            raise
        self._loose += data

    def sync(self) -> None:
        if self.breaks:
            self._loose.clear()
            raise OSError(errno.EIO, "the disk does not sync")
        self._kept += bytes(self._loose)
        self._loose.clear()

    def replace(self, data: bytes) -> None:
        self._must_fit(len(data) - len(self._kept))
        self._kept = data
        self._loose.clear()

    def truncate(self, length: int) -> None:
        if self.breaks:
            raise OSError(errno.EIO, "the disk does not take writes")
        self._kept = self.read()[:length]
        self._loose.clear()

    def take(self, growth: int) -> None:
        """Room for other files on the same disk. Raises ``OSError``."""
        self._must_fit(growth)

    def _must_fit(self, growth: int) -> None:
        if self.breaks:
            self.refusals += 1
            raise OSError(errno.EIO, "the disk does not take writes")
        if self.room_bytes is None:
            return
        if growth > self.room_bytes:
            self.refusals += 1
            raise OSError(errno.ENOSPC, "no space left on device")
        self.room_bytes -= max(0, growth)

    # -- what the world does to it ------------------------------------------------------------------------------------

    @property
    def durable(self) -> bytes:
        """What a power cut now would leave at least."""
        return self._kept

    def process_killed(self) -> None:
        """The system still writes what a killed process gave it."""
        self._kept = self.read()
        self._loose.clear()

    def power_cut(self, rng: Random) -> None:
        """Each sector of what was not synced is there or not, in no order; missing ones read as zeros or not at all."""
        loose = bytes(self._loose)
        self._loose.clear()
        if not loose:
            return
        start = len(self._kept)
        found = bytearray(loose)
        for at, end in _sectors(start, start + len(loose)):
            if rng.random() < 0.5:
                found[at - start : end - start] = bytes(end - at)
        cut = rng.randrange(len(found) + 1) if rng.random() < 0.7 else len(found)
        self._kept += bytes(found[:cut])
        self.interrupted += 1

    def flip(self, rng: Random) -> int | None:
        """One bit behind the header turns over while nobody looks. Where, or ``None`` if there is nothing to spoil."""
        if len(self._kept) <= HEADER_BYTES:
            return None
        at = rng.randrange(HEADER_BYTES, len(self._kept))
        spoilt = bytearray(self._kept)
        spoilt[at] ^= 1 << rng.randrange(8)
        self._kept = bytes(spoilt)
        self.flips += 1
        return at

    def scribble(self, data: bytes) -> None:
        """What an interrupted write leaves: ``data`` behind the content."""
        self._kept += data


def _sectors(start: int, end: int) -> list[tuple[int, int]]:
    """The pieces of [start, end) that lie in one sector each."""
    pieces: list[tuple[int, int]] = []
    at = start
    while at < end:
        stop = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        pieces.append((at, stop))
        at = stop
    return pieces
