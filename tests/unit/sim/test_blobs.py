"""The blob store of a simulated machine: what was declared kept is there, whole, or named."""

from random import Random

import pytest

from meshnode.kernel.blobs import BlobsKept, DropBlobs, KeepBlobs, ReadBlob, digest_of
from meshnode.sim.blobs import SimBlobs
from meshnode.sim.disk import SimDisk

ONE, TWO = b"one" * 100, b"two" * 100


class Machine:
    def __init__(self) -> None:
        self.disk = SimDisk()
        self.blobs = SimBlobs(self.disk)

    def keep(self, *blobs: bytes) -> BlobsKept:
        return self.blobs.kept(self.blobs.write(KeepBlobs(7, blobs, "room")))

    def read(self, blob: bytes) -> tuple[bytes, str]:
        read = self.blobs.read(ReadBlob(1, digest_of(blob), "room"))
        assert (read.read_no, read.digest, read.room) == (1, digest_of(blob), "room")
        return read.data, read.error


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_what_is_kept_is_read_again(machine: Machine) -> None:
    assert machine.keep(ONE, TWO) == BlobsKept(7, "", "room")
    assert machine.read(ONE) == (ONE, "")
    assert machine.read(TWO) == (TWO, "")


def test_what_nobody_kept_is_missing(machine: Machine) -> None:
    assert machine.read(ONE) == (b"", "missing")


def test_what_was_dropped_is_missing(machine: Machine) -> None:
    machine.keep(ONE, TWO)
    machine.blobs.drop(DropBlobs((digest_of(ONE), digest_of(b"unheard of"))).digests)
    assert machine.read(ONE) == (b"", "missing")
    assert machine.read(TWO) == (TWO, "")


def test_a_killed_process_loses_nothing_it_has_written(machine: Machine) -> None:
    machine.blobs.write(KeepBlobs(1, (ONE,)))
    machine.blobs.process_killed()
    assert machine.read(ONE) == (ONE, "")


def test_a_power_cut_takes_what_was_not_declared_kept_and_nothing_else(machine: Machine) -> None:
    machine.keep(ONE)
    lost: dict[bool, None] = {}
    for seed in range(20):
        blob = b"%d" % seed
        machine.blobs.write(KeepBlobs(seed, (blob,)))
        machine.blobs.power_cut(Random(seed))
        data, error = machine.read(blob)
        assert (data, error) in ((blob, ""), (b"", "missing"))
        lost[bool(error)] = None
        assert machine.read(ONE) == (ONE, "")
    assert len(lost) == 2


def test_a_flipped_bit_is_named_and_never_handed_out(machine: Machine) -> None:
    machine.keep(ONE)
    assert machine.blobs.flip(Random(1))
    assert machine.read(ONE) == (b"", "corrupt")
    assert machine.read(ONE) == (b"", "missing")
    assert not machine.blobs.flip(Random(1))


def test_what_is_kept_again_after_a_flip_is_whole(machine: Machine) -> None:
    machine.keep(ONE)
    machine.blobs.flip(Random(1))
    machine.keep(ONE)
    assert machine.read(ONE) == (ONE, "")


def test_a_full_disk_says_so_and_keeps_nothing(machine: Machine) -> None:
    machine.disk.room_bytes = len(ONE)
    assert machine.keep(ONE, TWO).error == "no space left on device"
    assert machine.read(ONE) == (b"", "missing")
    assert machine.keep(ONE).error == ""


def test_a_disk_that_breaks_before_the_sync_has_kept_nothing(machine: Machine) -> None:
    written = machine.blobs.write(KeepBlobs(3, (ONE,)))
    machine.disk.breaks = True
    assert machine.blobs.kept(written).error == "the disk does not sync"
    assert machine.read(ONE) == (b"", "missing")
