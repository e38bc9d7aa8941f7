"""What the tests themselves wait with: a process that hangs is told of and ended, a stream without news is given up."""

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.house.syntax import every, place, sources, tree
from tests.patience import TELLING, Coming, bounded, ends

RUN = ("subprocess.run", "subprocess.call", "subprocess.check_call", "subprocess.check_output")
HANGS = """
import sys, time
print("so far", file=sys.stderr, flush=True)
print("begun", flush=True)
def in_the_middle_of_something():
    while True:
        time.sleep(1000)
in_the_middle_of_something()
"""


def hanging() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *TELLING, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_line_that_never_comes_is_a_failure_with_what_was_said_and_where_it_hangs() -> None:
    with hanging() as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        with (
            pytest.raises(AssertionError, match=r"(?s)a second line; .*so far.*in_the_middle_of_something"),
            bounded(process, "a second line", within_s=0.2),
        ):
            assert process.stdout.readline() == "the second\n"
    assert process.returncode != 0


def test_what_comes_in_time_is_no_failure_and_a_failure_of_the_block_stays_its_own() -> None:
    with hanging() as process:
        assert process.stdout is not None
        with bounded(process, "a line"):
            assert process.stdout.readline() == "begun\n"
        with pytest.raises(ValueError, match="of the block"), bounded(process, "nothing"):
            raise ValueError("of the block")
        assert process.poll() is None, "it goes on"
        process.kill()


def test_a_process_that_does_not_end_is_ended_and_has_told_where_it_stands() -> None:
    with hanging() as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        with pytest.raises(AssertionError, match=r"did not end within 0\.2 s: a sleeper"):
            ends(process, "a sleeper", within_s=0.2)
        assert process.stderr is not None and "in_the_middle_of_something" in process.stderr.read()


def test_a_stream_on_which_nothing_comes_is_given_up_and_its_end_is_told() -> None:
    goes_on = threading.Event()

    def stream() -> Iterator[int]:
        yield 1
        goes_on.wait(20)

    coming = Coming(stream(), "numbers")
    assert coming.next() == 1
    with pytest.raises(AssertionError, match=r"nothing came within 0\.05 s: numbers"):
        coming.next(0.05)
    assert not coming.has_come
    goes_on.set()
    with pytest.raises(EOFError, match="numbers"):
        coming.next()


def boundless(source: str) -> list[ast.Call]:
    """Commands that are waited for as long as they like."""
    runs = (call for call in every(ast.Call, tree(source)) if ast.unparse(call.func) in RUN)
    return [call for call in runs if "timeout" not in {given.arg for given in call.keywords}]


def test_no_test_waits_for_a_command_without_a_bound() -> None:
    found = {path: boundless(path.read_text()) for path in sources("tests", holding="subprocess.")}
    assert sum(map(len, found.values())) == 0, [place(path, call) for path, calls in found.items() for call in calls]


def test_a_wait_without_a_bound_is_noticed() -> None:
    assert [call.lineno for call in boundless("run(x)\nsubprocess.run(x, timeout=5)\nsubprocess.run(x)\n")] == [3]
