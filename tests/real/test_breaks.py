"""Connections that break under load lose nothing and double nothing; ends that forget their sessions are found out."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from bench.talk.breaks import Breaking
from bench.talk.ends import hub_config, serving

pytestmark = pytest.mark.real
BREAKS, LONG = 10, 40_000


def test_what_is_under_way_when_a_connection_breaks_arrives_once_and_in_order(tmp_path: Path):
    broken = asyncio.run(some_breaks(Breaking(tmp_path)))
    assert [verdict.wrong for verdict in broken.verdicts()] == [0, 0]
    assert broken.counted("frame-resent"), "no break hit anything that was under way"
    assert len(broken.stalls_s) == BREAKS


def test_what_is_long_goes_by_a_lane_that_breaks_and_arrives_once_and_in_order(tmp_path: Path):
    broken = asyncio.run(some_breaks(Breaking(tmp_path, frame_bytes=LONG)))
    assert [verdict.wrong for verdict in broken.verdicts()] == [0, 0]
    assert broken.counted("lane-dialled") > 1, "no lane broke"
    assert broken.counted("frame-resent") and not broken.counted("lane-lost")


def test_ends_that_keep_no_session_over_a_break_are_caught_losing_frames(tmp_path: Path):
    forgetful = Breaking(tmp_path, lambda identity: replace(hub_config(identity), session_keep_us=1))
    assert sum(verdict.lost for verdict in asyncio.run(some_breaks(forgetful)).verdicts()) > 0


async def some_breaks(broken: Breaking) -> Breaking:
    async with serving(broken.ends):
        await broken.first()
        await broken.under_load(BREAKS)
        broken.end()
    return broken
