"""Clocks, disks and journals of simulated machines."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from meshnode.kernel import rng
from meshnode.kernel.instant import SECOND, ClockTrust
from meshnode.kernel.journal import Header, recover
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId
from meshnode.node.inputs import Stored, StoreFailed
from meshnode.sim.clocks import BOOTED_US, ClockSpec, SimClock
from meshnode.sim.disk import SECTOR_BYTES, SimDisk
from meshnode.sim.journal import SimJournal
from meshnode.sim.trust import EPOCH_MS, ISSUED_MS

HEADER = Header(NodeId(b"n" * 32), b"saltsalt")


# -- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ppm", [-200, 0, 1, 200])
def test_a_deadline_is_reached_at_the_first_moment_that_shows_it(ppm: int) -> None:
    clock = SimClock(ClockSpec(rate_ppm=ppm), ISSUED_MS)
    for mono_us in range(BOOTED_US, BOOTED_US + 1_000_000, 99_991):
        at_us = clock.world_us(mono_us)
        assert clock.mono_us(at_us) >= mono_us
        assert at_us == 0 or clock.mono_us(at_us - 1) < mono_us


def test_a_fast_clock_gains() -> None:
    clock = SimClock(ClockSpec(rate_ppm=200), ISSUED_MS)
    assert clock.mono_us(1_000 * SECOND) - BOOTED_US == 1_000 * SECOND + 200 * 1_000


def test_a_suspended_machine_finds_the_wall_ahead_and_its_own_time_where_it_was() -> None:
    clock = SimClock(ClockSpec(), ISSUED_MS)
    before = clock.now(10 * SECOND)
    clock.suspend(10 * SECOND)
    assert clock.now(50 * SECOND).mono_us == before.mono_us
    assert clock.resume(70 * SECOND) == 60 * SECOND
    after = clock.now(71 * SECOND)
    assert after.mono_us == before.mono_us + SECOND
    assert after.wall_ms == before.wall_ms + 61_000


def test_a_board_without_a_battery_shows_its_floor_until_a_time_server_is_heard() -> None:
    clock = SimClock(ClockSpec(rtc=False), ISSUED_MS)
    clock.power_on(100 * SECOND)
    clock.process_started(100 * SECOND)
    now = clock.now(101 * SECOND)
    assert now.trust is ClockTrust.FLOOR
    assert now.wall_ms == ISSUED_MS + 1_000
    clock.raise_floor(ISSUED_MS + 5_000, 101 * SECOND)
    assert clock.now(102 * SECOND).wall_ms == ISSUED_MS + 6_000
    clock.synchronise()
    assert clock.now(103 * SECOND).wall_ms == EPOCH_MS + 103_000
    assert clock.now(103 * SECOND).trust is ClockTrust.SYNCED


# -- disks ------------------------------------------------------------------------------------------------------------


def test_a_power_cut_keeps_what_was_synced_and_any_sectors_of_the_rest() -> None:
    outcomes: dict[bytes, None] = {}
    loose = bytes(range(1, 256)) * 8
    for number in range(60):
        disk = SimDisk()
        disk.append(b"kept")
        disk.sync()
        disk.append(loose)
        disk.power_cut(rng.fork(b"cut", str(number)))
        found = disk.read()
        assert found.startswith(b"kept") and len(found) <= 4 + len(loose)
        edges = [4, *range(SECTOR_BYTES, len(found), SECTOR_BYTES), len(found)]
        for start, end in pairwise(edges):
            piece = found[start:end]
            assert piece in (loose[start - 4 : end - 4], bytes(end - start))
        outcomes[found] = None
    assert len(outcomes) > 20  # lost, torn and out of order: all of it happens


def test_a_flipped_bit_is_one_bit_behind_the_header() -> None:
    disk = SimDisk()
    disk.replace(HEADER.encode() + b"content")
    before = disk.read()
    at = disk.flip(rng.fork(b"flip", ""))
    after = disk.read()
    assert at is not None and before[:at] == after[:at] and before[at + 1 :] == after[at + 1 :]
    assert (before[at] ^ after[at]).bit_count() == 1
    assert recover(after).header == HEADER


# -- journals ---------------------------------------------------------------------------------------------------------


class Bench:
    """A journal on a disk that takes a millisecond, and what it told."""

    def __init__(self) -> None:
        self.disk = SimDisk()
        self.told: list[Stored | StoreFailed] = []
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._now_us = 0
        self.journal = SimJournal(self.disk, HEADER, self, self.told.append)

    def commit_us(self) -> int:
        return 1_000

    def after(self, wait_us: int, act: Callable[[], None]) -> None:
        self._waiting.append((self._now_us + wait_us, act))

    def run(self, for_us: int) -> None:
        end_us = self._now_us + for_us
        while due := [each for each in self._waiting if each[0] <= end_us]:
            self._waiting.remove(due[0])
            self._now_us = due[0][0]
            due[0][1]()
        self._now_us = end_us


def event(number: int) -> Record:
    return Record(RecordKind.EVENT, number.to_bytes(8), b"body %d" % number)


def stored_numbers(disk: SimDisk) -> list[int]:
    return [int.from_bytes(record.key) for record in recover(disk.durable).records]


def test_nothing_is_said_before_it_is_durable() -> None:
    bench = Bench()
    bench.journal.append(1, [event(1)])
    bench.run(900)
    assert not bench.told and stored_numbers(bench.disk) == []
    bench.run(200)
    assert bench.told == [Stored(1)] and stored_numbers(bench.disk) == [1]


def test_what_waits_for_a_commit_goes_with_the_next_one_as_a_whole() -> None:
    bench = Bench()
    for number in range(1, 6):
        bench.journal.append(number, [event(number)])
    bench.run(1_000)
    assert bench.told == [Stored(1)]
    bench.run(1_000)
    assert bench.told == [Stored(number) for number in range(1, 6)]
    assert bench.journal.commits == 2


def test_a_disk_that_fails_is_answered_for_and_tried_again() -> None:
    bench = Bench()
    bench.disk.breaks = True
    for number in (1, 2, 3):
        bench.journal.append(number, [event(number)])
    bench.run(5_000)
    assert [type(told) for told in bench.told] == [StoreFailed] * 3
    assert bench.journal.failed
    bench.disk.breaks = False
    bench.run(3 * SECOND)
    assert not bench.journal.failed
    bench.journal.append(4, [event(4)])
    bench.run(2_000)
    assert bench.told[-1] == Stored(4)
    assert stored_numbers(bench.disk) == [4]


def test_a_journal_full_of_old_values_is_rewritten() -> None:
    bench = Bench()
    body = bytes(1000)
    for number in range(1, 700):
        bench.journal.append(number, [Record(RecordKind.DIRECTORY, b"k", body + number.to_bytes(2))])
        bench.run(1_100)
    assert bench.journal.file_bytes < 300_000 < 700 * 1000
    [record] = recover(bench.disk.durable).records[-1:]
    assert record.body == body + (699).to_bytes(2)
