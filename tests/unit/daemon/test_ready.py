"""The command line hears once how the start ended, whatever became of its pipe."""

import json
import os

import pytest

from meshnode.daemon.ready import Ready
from meshnode.model.errors import Invalid, LocalError

MADE = {"mesh": "m1.mesh", "name": "alpha", "region": "home"}


def piped() -> tuple[Ready, int]:
    read_end, write_end = os.pipe()
    return Ready(write_end), read_end


def everything(read_end: int) -> bytes:
    """All that was written, once the writing end is closed."""
    with os.fdopen(read_end, "rb") as pipe:
        return pipe.read()


def test_success_is_one_line_of_json_and_then_the_end() -> None:
    ready, read_end = piped()
    assert not ready.served
    ready.succeeded(MADE, "apple pear", "127.0.0.1:7070")
    assert ready.served
    told = everything(read_end)
    assert told.endswith(b"\n") and told.count(b"\n") == 1
    assert json.loads(told) == {
        "ok": True, "made": MADE, "recovery_words": "apple pear", "listen": "127.0.0.1:7070",
    }  # fmt: skip


def test_failure_carries_what_the_command_line_shows() -> None:
    ready, read_end = piped()
    ready.failed(Invalid("port is taken", next_step="choose another"))
    assert not ready.served
    assert json.loads(everything(read_end)) == {
        "ok": False,
        "error": {"code": "invalid", "message": "port is taken", "next_step": "choose another", "exit_code": 2},
    }


def test_only_the_first_word_counts() -> None:
    ready, read_end = piped()
    ready.succeeded(None, None, "x:1")
    ready.failed(LocalError("later"))
    assert json.loads(everything(read_end))["ok"] is True


def test_a_reader_that_has_gone_does_not_end_the_daemon() -> None:
    ready, read_end = piped()
    os.close(read_end)
    ready.succeeded(None, None, "x:1")
    assert ready.served


def test_a_descriptor_that_is_none_does_not_end_the_daemon() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.close(write_end)
    ready = Ready(write_end)
    ready.failed(LocalError("no"))
    ready.succeeded(None, None, "x:1")


def test_in_the_foreground_a_person_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    ready = Ready(None)
    ready.succeeded(MADE, "apple pear", "*:7070")
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        "made mesh m1.mesh, this node is alpha",
        "recovery words (shown once, keep them offline): apple pear",
        "ready, listening on *:7070",
    ]


def test_in_the_foreground_an_error_goes_to_standard_error_with_its_next_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Ready(None).failed(Invalid("port is taken", next_step="choose another"))
    Ready(None).failed(LocalError("no idea"))
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.strip() for line in said.err.splitlines()] == [
        "error: port is taken", "-> choose another", "error: no idea",
    ]  # fmt: skip
