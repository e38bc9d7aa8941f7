"""What every disk of the journal must do, the real one and the simulated one alike."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from meshnode.kernel.journal import Disk, Header, Quarantined
from meshnode.kernel.ledger import start
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId
from tests.adapters.disks import RIGS, Rig

HEADER = Header(NodeId(b"n" * 32), b"saltsalt")


@pytest.fixture(params=RIGS, ids=lambda rig: rig.__name__)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    return request.param(tmp_path)


def event(number: int) -> Record:
    return Record(RecordKind.EVENT, number.to_bytes(8), b"body of %d" % number)


def numbers(records: Sequence[Record]) -> list[int]:
    return [int.from_bytes(record.key) for record in records]


def drop(_: Sequence[Quarantined]) -> None:
    """The side file is no business of a disk."""


def written(disk: Disk, data: bytes) -> None:
    disk.append(data)
    disk.sync()


def test_a_new_disk_is_empty(rig: Rig) -> None:
    assert rig.boot().read() == b""


def test_appends_come_back_in_order(rig: Rig) -> None:
    disk = rig.boot()
    disk.append(b"one ")
    disk.append(b"two ")
    disk.sync()
    assert disk.read() == b"one two "


def test_what_was_synced_survives_a_kill(rig: Rig) -> None:
    written(rig.boot(), b"kept")
    assert rig.boot().read() == b"kept"


def test_what_was_not_synced_is_there_in_part_or_not_at_all(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"kept ")
    disk.append(b"perhaps")
    found = rig.boot().read()
    assert found.startswith(b"kept ")
    assert len(found) <= len(b"kept perhaps")


def test_a_replacement_is_whole_and_survives_a_kill(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"old and long")
    disk.replace(b"new")
    assert disk.read() == b"new"
    assert rig.boot().read() == b"new"


def test_appends_after_a_replacement_stand_behind_it(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"old")
    disk.replace(b"new ")
    written(disk, b"more")
    assert disk.read() == rig.boot().read() == b"new more"


def test_truncating_forgets_the_rest_for_good(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"keep and forget")
    disk.truncate(4)
    written(disk, b"!")
    assert disk.read() == rig.boot().read() == b"keep!"


def test_a_full_disk_leaves_nothing_half_written(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"kept")
    with rig.full_after(5), pytest.raises(OSError, match=r".+"):
        written(disk, b"too much for it")
    assert disk.read() == b"kept"
    assert rig.boot().read() == b"kept"


def test_a_disk_goes_on_when_there_is_space_again(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"kept ")
    with rig.full_after(5), pytest.raises(OSError, match=r".+"):
        written(disk, b"too much for it")
    written(disk, b"and more")
    assert disk.read() == rig.boot().read() == b"kept and more"


def test_a_replacement_that_does_not_fit_leaves_the_old_content(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"old")
    with rig.full_after(5), pytest.raises(OSError, match=r".+"):
        disk.replace(b"much too much for it")
    assert disk.read() == rig.boot().read() == b"old"
    written(disk, b" and appended")
    assert rig.boot().read() == b"old and appended"


def test_a_full_disk_can_still_be_truncated(rig: Rig) -> None:
    disk = rig.boot()
    written(disk, b"kept and torn")
    with rig.full_after(0):
        disk.truncate(4)
    assert rig.boot().read() == b"kept"


def test_a_journal_restarts_with_all_that_was_acknowledged(rig: Rig) -> None:
    disk = rig.boot()
    ledger = start(disk, HEADER, drop).ledger
    for number in range(20):
        written(disk, ledger.add([event(number)]))
    assert numbers(start(rig.boot(), HEADER, drop).records) == list(range(20))


def test_an_interrupted_append_does_not_keep_a_journal_from_starting(rig: Rig) -> None:
    disk = rig.boot()
    ledger = start(disk, HEADER, drop).ledger
    written(disk, ledger.add([event(1)]))
    whole = ledger.add([event(2)])
    rig.scribble(whole[:-3])
    disk = rig.boot()
    again = start(disk, HEADER, drop)
    assert again.recovered.torn
    assert numbers(again.records) == [1]
    written(disk, again.ledger.add([event(3)]))
    found = start(rig.boot(), HEADER, drop)
    assert numbers(found.records) == [1, 3]
    assert not found.recovered.torn
