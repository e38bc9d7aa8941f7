"""The drivers that benches of talk put into daemons take their orders: nothing else runs them but a bench."""

import pytest

from bench.talk.bytes_in_calls import Way, measured
from bench.talk.events import OneWay, crowd
from bench.talk.pair import pair

pytestmark = pytest.mark.real
FOR_S, WITHIN_S = 0.05, 30.0


def test_calls_between_daemons_are_asked_one_after_another_and_many_at_once() -> None:
    with pair() as between:
        for what in ({"what": "sequence"}, {"what": "window", "at_once": 8}):
            told = between.order({**what, "bytes": 128, "for_s": FOR_S}, WITHIN_S).told
            assert told["count"] > 0 and not told["failed"], what


def test_events_between_daemons_are_published_and_all_heard() -> None:
    with crowd("here", "there") as two:
        told = OneWay(two).order({"what": "stream", "bytes": 1024, "for_s": FOR_S}, WITHIN_S).told
    assert told["count"] > 0


def test_bytes_in_calls_go_both_ways_as_they_are_and_in_base64() -> None:
    ways = [Way(kind, 20_000, text) for kind in ("argument", "result") for text in (True, False)]
    took = measured(1, FOR_S, ways)
    assert [way for way, each in took.items() if [told.mb_s > 0 for told in each] != [True]] == []
