"""Events are kept in order, in bounds, and with their holes."""

import msgspec

from meshnode.kernel.instant import Instant
from meshnode.kernel.ledger import Gap
from meshnode.kernel.records import Record, RecordKind
from meshnode.node.story import EVENTS_MAX, TEXT_CHARS_MAX, Story

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
    junk = [
        Record(RecordKind.EVENT, (5).to_bytes(8), b"\xc1"),
        Record(RecordKind.EVENT, (6).to_bytes(8), not_text),
        Record(RecordKind.GAP, b"", b"\xc1"),
        Record(RecordKind.BOOT, b"", b"\x01"),
    ]
    assert texts(Story([*junk, record]), "node/a") == [view.text]
