"""A question for lines is answered off the loop, with the number it came with, whatever the disk says."""

import asyncio
from pathlib import Path

import pytest

from meshnode.host import logreader
from meshnode.host.agentlog import AgentLog, log_path
from meshnode.host.logreader import LogReader
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import Instant
from meshnode.model.views import Failure, LogsView
from meshnode.node.effects import FetchLogs
from meshnode.node.inputs import LogsFetched


async def answers(directory: Path, *effects: FetchLogs) -> list[LogsFetched]:
    told: list[LogsFetched] = []
    enough = asyncio.Event()

    def tell(answer: LogsFetched) -> None:
        told.append(answer)
        if len(told) == len(effects):
            enough.set()

    reader = LogReader(directory, "north", tell)
    try:
        for effect in effects:
            reader.perform(effect)
        async with asyncio.timeout(30):
            await enough.wait()
    finally:
        reader.close()
    return told


def test_lines_come_in_pages_with_the_number_of_the_question(tmp_path: Path):
    log = AgentLog(log_path(tmp_path, "words/0"), Hlc())
    log.write("out", b"one\ntwo\nthree\n", Instant(0, 1_700_000_000_000))
    log.close(Instant(0, 1_700_000_000_000))
    first, newest = asyncio.run(answers(tmp_path, FetchLogs(7, "words", 1, 2), FetchLogs(8, "", 0, 1)))
    assert isinstance(first.view, LogsView) and isinstance(newest.view, LogsView)
    assert (first.ask_no, [line.text for line in first.view.items], first.view.more) == (7, ["one", "two"], True)
    assert (newest.ask_no, [line.text for line in newest.view.items], newest.view.more) == (8, ["three"], False)
    assert {(line.node, line.unit, line.at_ms) for line in first.view.items} == {
        ("north", "words/0", 1_700_000_000_000)
    }


def test_a_disk_that_refuses_is_told_with_the_place(tmp_path: Path):
    (tmp_path / "logs").write_text("a file where the folder should be")
    (answer,) = asyncio.run(answers(tmp_path / "logs", FetchLogs(1, "", 0, 10)))
    assert isinstance(answer.view, Failure)
    assert "Not a directory" in answer.view.message and str(tmp_path / "logs") in answer.view.message


def test_too_many_questions_at_once_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logreader, "JOBS_MAX", 1)
    told = asyncio.run(answers(tmp_path, FetchLogs(1, "", 0, 10), FetchLogs(2, "", 0, 10)))
    refused = {answer.ask_no: answer.view for answer in told}[2]
    assert isinstance(refused, Failure) and refused.code == "busy"
