"""Events are kept in order, in bounds, and with their holes."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.kernel.instant import Instant
from meshnode.kernel.ledger import Gap
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.commands import JournalCursor
from meshnode.node.story import EVENTS_MAX, TEXT_CHARS_MAX, Page, Story

NOW = Instant(0, 1_800_000_000_000)


def texts(story: Story, *subjects: str, limit: int = 50) -> list[str]:
    return [event.text for event in story.about(lambda subject: subject in subjects, NOW, limit)]


def written(count: int, *, first: int = 1) -> tuple[Story, list[Record]]:
    story = Story([])
    story.last_number = first - 1
    records = [story.add("node/a", f"event {first + n}", NOW)[0] for n in range(count)]
    return story, records


def test_events_come_back_oldest_first_and_by_subject() -> None:
    story = Story([])
    for subject, text in (("node/a", "1"), ("node/b", "2"), ("node/a", "3")):
        story.add(subject, text, NOW)
    assert texts(story, "node/a") == ["1", "3"]
    assert texts(story, "node/a", "node/b") == ["1", "2", "3"]
    assert texts(story, "node/c") == []


def test_ages_are_counted_from_the_wall_clock_and_never_negative() -> None:
    story = Story([])
    story.add("node/a", "x", NOW)
    for later_ms, age_s in ((12_340, 12.3), (-5_000, 0.0)):
        (event,) = story.about(lambda _: True, Instant(0, NOW.wall_ms + later_ms))
        assert (event.at_ms, event.age_s) == (NOW.wall_ms, age_s)


def test_a_restart_keeps_the_story_and_goes_on_counting() -> None:
    _, records = written(3)
    story = Story(records)
    assert texts(story, "node/a") == ["event 1", "event 2", "event 3"]
    record, _ = story.add("node/a", "event 4", NOW)
    assert int.from_bytes(record.key) == 4
    assert [number for number, _ in story.since(2, NOW)] == [3, 4]


def test_only_the_newest_events_are_kept_and_the_others_are_counted() -> None:
    story, _ = written(EVENTS_MAX + 7)
    assert story.lost == 7
    kept = story.since(0, NOW)
    assert (len(kept), kept[0][0]) == (EVENTS_MAX, 8)
    first, *rest = texts(story, "node/a", limit=EVENTS_MAX)
    assert first == "7 older events of this node, about anything, are not kept any more"
    assert len(rest) == EVENTS_MAX


def test_a_hole_in_the_journal_is_shown() -> None:
    _, records = written(2, first=40)
    gap = Gap((1).to_bytes(8), (39).to_bytes(8), 39).record()
    story = Story([gap, *records])
    assert story.lost == 39
    assert texts(story, "node/a") == [
        "39 older events of this node, about anything, are not kept any more", "event 40", "event 41",
    ]  # fmt: skip
    assert texts(story, "node/b") == [], "a hole alone is no story"


def test_a_hole_at_the_end_does_not_make_numbers_come_twice() -> None:
    story = Story([Gap((1).to_bytes(8), (39).to_bytes(8), 39).record()])
    record, _ = story.add("node/a", "x", NOW)
    assert int.from_bytes(record.key) == 40


def test_a_long_story_shows_its_end_and_says_so() -> None:
    story, _ = written(60)
    shown = texts(story, "node/a", limit=50)
    assert len(shown) == 51
    assert shown[0].startswith("10 earlier events about it are not shown")
    assert (shown[1], shown[-1]) == ("event 11", "event 60")


def test_texts_are_cut_and_unreadable_records_passed_over() -> None:
    story = Story([])
    record, view = story.add("node/a", "x" * 10_000, NOW)
    assert len(view.text) == TEXT_CHARS_MAX
    not_text = msgspec.msgpack.encode([1, "node/a", "x"]).replace(b"node", b"\xff\xfeoe")
    deep = b"\x91" * 5_000 + b"\x90"
    junk = [
        Record(RecordKind.EVENT, (5).to_bytes(8), b"\xc1"),
        Record(RecordKind.EVENT, (6).to_bytes(8), not_text),
        Record(RecordKind.EVENT, (7).to_bytes(8), msgspec.msgpack.encode([1, "node/a", "x", 1, b""])[:-2] + deep),
        Record(
            RecordKind.EVENT, (8).to_bytes(8), b"\x96" + msgspec.msgpack.encode([1, "node/a", "x", 1, b""])[1:] + deep
        ),
        Record(RecordKind.GAP, b"", b"\xc1"),
        Record(RecordKind.GAP, b"g", msgspec.msgpack.encode(Gap(b"", b"", 1)).replace(b"\x01", deep)),
        Record(RecordKind.BOOT, b"", b"\x01"),
    ]
    assert texts(Story([*junk, record]), "node/a") == [view.text]


@pytest.mark.parametrize("key", [b"", (9).to_bytes(7), (9).to_bytes(9), (1 << 63).to_bytes(8), b"\xff" * 8])
def test_no_record_takes_the_numbers_of_what_comes_after_it(key: bytes) -> None:
    _, (event,) = written(1, first=4)
    for odd in (Record(RecordKind.EVENT, key, event.body), Gap(b"", key, 3).record()):
        story = Story([event, odd])
        record, _ = story.add("node/a", "next", NOW)
        assert int.from_bytes(record.key) == 5 and story.lost == 0
        assert texts(story, "node/a") == ["event 4", "next"]


# -- for readers of the journal ---------------------------------------------------------------------------------------


class Disk:
    """The journal of one node over its boots, and what of it is durable."""

    def __init__(self, life: int = 0) -> None:
        self.life = life
        self.records: list[Record] = []
        self.unsynced: list[Record] = []
        self.story = Story([])
        self.batches = 0
        self.boot_no = 0

    def boot(self, *, run: bytes = b"", boot: int = 0) -> Story:
        """After a power cut: what was not synced is gone."""
        self.boot_no = boot or self.boot_no + 1
        self.unsynced.clear()
        self.story = Story(self.records, boot=self.boot_no, run=run or bytes([self.life, *self.boot_no.to_bytes(7)]))
        return self.story

    def write(self, count: int, *, durable: bool = True) -> None:
        for _ in range(count):
            record, _ = self.story.add("node/a", f"event {self.story.last_number + 1}", NOW)
            self.batches += 1
            self.story.storing(self.batches)
            self.unsynced.append(record)
            if durable:
                self.records += self.unsynced
                self.unsynced.clear()
                self.story.stored(self.batches)


def cursor_behind(page: Page) -> JournalCursor:
    return JournalCursor(page.boot, page.items[-1].number, page.run)


def numbers(page: Page) -> list[int]:
    return [item.number for item in page.items]


def test_a_reader_goes_on_behind_its_cursor_over_boots() -> None:
    disk = Disk()
    disk.boot()
    disk.write(3)
    page = disk.story.page(JournalCursor(), 2)
    assert (numbers(page), page.more, page.anew) == ([1, 2], True, False)
    disk.boot()
    disk.write(2)
    again = disk.story.page(cursor_behind(page), 100)
    assert [(item.number, item.boot) for item in again.items] == [(3, 1), (4, 2), (5, 2)]
    assert (again.boot, again.run, again.anew, again.more) == (2, (2).to_bytes(8).hex(), False, False)
    none = disk.story.page(cursor_behind(again), 100)
    assert (none.items, none.boot, none.run) == ([], again.boot, again.run)


def test_readers_see_an_event_only_when_its_record_is_durable() -> None:
    """A power cut takes back what was not: told before, its number would come twice."""
    disk = Disk()
    disk.boot()
    disk.write(2)
    disk.write(3, durable=False)
    page = disk.story.page(JournalCursor(), 100)
    assert numbers(page) == [1, 2]
    assert not disk.story.has_news(cursor_behind(page))
    disk.boot()
    disk.write(1)
    after = disk.story.page(cursor_behind(page), 100)
    assert ([(item.number, item.boot) for item in after.items], after.anew) == ([(3, 2)], False)


def test_batches_may_end_together_and_what_the_disk_refuses_is_shown_all_the_same() -> None:
    story = Disk().boot()
    for batch_no in (7, 9, 12):
        story.add("node/a", "x", NOW)
        story.storing(batch_no)
    assert not story.stored(6) and story.shown == 0
    assert story.stored(9) and story.shown == 2
    assert not story.stored(10)
    assert story.stored(12) and story.shown == 3


def test_dropped_events_are_seen_as_a_gap() -> None:
    disk = Disk()
    disk.boot()
    disk.write(2)
    cursor = cursor_behind(disk.story.page(JournalCursor(), 2))
    disk.write(EVENTS_MAX + 5)
    page = disk.story.page(cursor, 1)
    assert (numbers(page), disk.story.first, page.anew) == ([8], 8, False)


@pytest.mark.parametrize("count", [1, 4, 5, 50])
def test_a_journal_that_began_anew_is_noticed(count: int) -> None:
    """The disk was lost: the numbers and boots begin again, and may have passed the cursor's."""
    lost = Disk()
    for _ in range(3):
        lost.boot()
        lost.write(2)
    cursor = cursor_behind(lost.story.page(JournalCursor(), 5))
    assert cursor.number == 5
    new = Disk()
    new.boot(run=b"other---")
    new.write(count)
    page = new.story.page(cursor, 100)
    assert page.anew and numbers(page) == list(range(1, count + 1))
    assert new.story.has_news(cursor) and not new.story.is_foreign(cursor_behind(page))


def test_a_restored_backup_is_noticed_by_the_run_that_wrote_the_event() -> None:
    disk = Disk()
    disk.boot()
    disk.write(2)
    backup = list(disk.records)
    disk.boot()
    disk.write(3)
    cursor = cursor_behind(disk.story.page(JournalCursor(), 100))
    disk.records = backup
    disk.boot(run=b"restored", boot=2)
    assert disk.story.is_foreign(cursor), "the cursor is ahead"
    disk.write(10)
    assert disk.story.page(cursor, 100).anew
    disk.boot(boot=9)
    disk.write(1)
    assert disk.story.page(cursor, 100).anew
    assert not disk.story.is_foreign(JournalCursor(1, 2, (1).to_bytes(8).hex())), (
        "what was before the backup is its own"
    )


def test_an_old_journal_without_runs_is_read_all_the_same() -> None:
    old = [Record(RecordKind.EVENT, n.to_bytes(8), msgspec.msgpack.encode([n, "node/a", f"event {n}"])) for n in (1, 2)]
    story = Story(old, boot=5, run=b"12345678")
    page = story.page(JournalCursor(), 1)
    assert (numbers(page), page.boot, page.run) == ([1], 0, "")
    rest = story.page(cursor_behind(page), 10)
    assert (numbers(rest), rest.anew) == ([2], False)


def test_a_page_keeps_to_its_bytes_and_always_gets_on() -> None:
    disk = Disk()
    disk.boot()
    for _ in range(20):
        disk.story.add("node/a", "\x01" * TEXT_CHARS_MAX, NOW)
    disk.story.storing(1)
    disk.story.stored(1)
    page = disk.story.page(JournalCursor(), 100, bytes_max=10_000)
    assert 1 < len(page.items) < 20 and page.more
    assert len(msgspec.json.encode(page.items)) <= 10_000 + 1
    assert len(disk.story.page(JournalCursor(), 100, bytes_max=1).items) == 1


Event = tuple[int, int, int]  # life of the journal, boot, number


class Reading:
    """One reader of a journal that loses what was not synced, and now and then all."""

    def __init__(self, boot: Callable[[Disk], Story], limit: int) -> None:
        self.start, self.limit = boot, limit
        self.disk, self.cursor = Disk(), JournalCursor()
        self.lives: list[list[Event]] = [[]]  # what was durable
        self.seen: list[Event | None] = []  # None: the reader was told that the journal begins anew
        self.boot()

    def boot(self) -> None:
        self.start(self.disk)

    def lose(self) -> None:
        self.disk = Disk(self.disk.life + 1)
        self.lives.append([])
        self.boot()

    def write(self) -> None:
        self.disk.write(1)
        boots = [msgspec.msgpack.decode(record.body)[3] for record in self.disk.records]
        self.lives[-1] = [(self.disk.life, boot, number) for number, boot in enumerate(boots, start=1)]

    def unsynced(self) -> None:
        self.disk.write(1, durable=False)

    def read(self) -> None:
        page = self.disk.story.page(self.cursor, self.limit)
        self.seen += [None] if page.anew else []
        self.seen += [(self.disk.life, item.boot, item.number) for item in page.items]
        self.cursor = cursor_behind(page) if page.items else self.cursor

    def faults(self) -> list[str]:
        told = [[event for event in self.seen if event and event[0] == life] for life in range(len(self.lives))]
        found = [f"{seen} of {kept}" for seen, kept in zip(told, self.lives, strict=True) if seen != kept[: len(seen)]]
        found += [] if told[-1] == self.lives[-1] else [f"{told[-1]} is not all of {self.lives[-1]}"]
        lives = len({event[0] for event in self.seen if event})
        return found + ([] if self.seen.count(None) == lives - 1 else [f"{self.seen.count(None)} times anew"])


def faults_of(acts: list[str], limit: int, boot: Callable[[Disk], Story]) -> list[str]:
    reading = Reading(boot, limit)
    for act in (*acts, "write", *["read"] * (len(acts) + 3)):
        getattr(reading, act)()
    return reading.faults()


ACTS = st.lists(st.sampled_from(("write", "unsynced", "boot", "read", "lose")), max_size=60)


@settings(max_examples=500)
@given(acts=ACTS, limit=st.integers(1, 7))
def test_a_reader_gets_every_durable_event_once_and_notices_every_loss(acts: list[str], limit: int) -> None:
    assert faults_of(acts, limit, Disk.boot) == []


class Hasty(Story):
    """Shows events before they are durable."""

    def storing(self, batch_no: int) -> None:
        super().storing(batch_no)
        self.shown = self.last_number


class Trusting(Story):
    """Takes every cursor for one of its own."""

    def is_foreign(self, cursor: JournalCursor) -> bool:
        return False


@pytest.mark.parametrize(
    ("bad", "acts"),
    [(Hasty, ["write", "unsynced", "read", "boot"]), (Trusting, ["write", "write", "read", "read", "lose"])],
)
def test_a_story_that_does_not_hold_to_it_is_noticed(bad: type[Story], acts: list[str]) -> None:
    def boot(disk: Disk) -> Story:
        disk.boot()
        disk.story = bad(disk.records, boot=disk.boot_no, run=bytes([disk.life, *disk.boot_no.to_bytes(7)]))
        return disk.story

    assert faults_of(acts, 5, Disk.boot) == []
    assert faults_of(acts, 5, boot) != []
