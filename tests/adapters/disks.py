"""The disks that tests/adapters/test_disks.py holds to one contract. Add yours to ``RIGS``."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from meshnode.host.disk import FileDisk
from meshnode.kernel.journal import Disk
from meshnode.kernel.rng import fork
from meshnode.sim.disk import SimDisk


class Rig(Protocol):
    """One disk under test, and the bad luck that can befall it."""

    def boot(self) -> Disk:
        """The disk as a process finds it that starts now; one that used it before was killed."""
        ...

    def full_after(self, spare_bytes: int) -> AbstractContextManager[None]:
        """Within, the journal's file may grow by ``spare_bytes`` and not by one more."""
        ...

    def scribble(self, data: bytes) -> None:
        """What a write leaves that was interrupted: ``data`` behind the content, never synced."""
        ...


class FileRig:
    """A FileDisk in a directory of its own; a limit on file sizes plays the full disk, short writes included."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "journal"

    def boot(self) -> Disk:
        return FileDisk(self._path)

    @contextmanager
    def full_after(self, spare_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._path.stat().st_size + spare_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def scribble(self, data: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(data)


class SimRig:
    """The simulator's disk; every boot follows a power cut with luck of its own."""

    def __init__(self, directory: Path) -> None:
        self._disk = SimDisk()
        self._luck = fork(b"rig", directory.name)

    def boot(self) -> Disk:
        self._disk.power_cut(self._luck)
        return self._disk

    @contextmanager
    def full_after(self, spare_bytes: int) -> Iterator[None]:
        self._disk.room_bytes = spare_bytes
        try:
            yield
        finally:
            self._disk.room_bytes = None

    def scribble(self, data: bytes) -> None:
        self._disk.scribble(data)


RIGS: list[Callable[[Path], Rig]] = [FileRig, SimRig]
