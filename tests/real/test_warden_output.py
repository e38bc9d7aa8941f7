"""What agents write, through a real warden: a flood is bounded and harms nobody, every line can be read back."""

from pathlib import Path

import pytest

from meshnode.host.agentlog import FILE_BYTES_MAX
from meshnode.host.logs import read_logs
from tests.real.agents_kit import Fifo, in_loop
from tests.real.warden_kit import hand

pytestmark = pytest.mark.real


@in_loop
async def test_lines_of_both_streams_come_back_in_order(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(
            here.recipe(
                r"""
                import sys
                print("one\n\ntwo")
                sys.stdout.flush()
                sys.stderr.buffer.write(b"\xff three\n")
                print("no end", end="")
                """
            ),
            "words/3",
        )
        await here.exit("words/3")
        lines, more = read_logs(tmp_path / "logs", "words", 0, 10, "north")
        said = [(line.stream, line.text) for line in lines if line.stream == "out"]
        assert said == [("out", "one"), ("out", ""), ("out", "two"), ("out", "no end")]
        assert [line.text for line in lines if line.stream == "err"] == ["\N{REPLACEMENT CHARACTER} three"]
        assert not more and {(line.node, line.unit) for line in lines} == {("north", "words/3")}


@in_loop
async def test_an_agent_that_writes_nothing_has_no_file(tmp_path: Path):
    async with hand(tmp_path) as here:
        here.start(here.recipe("pass"))
        await here.exit()
        assert [path.name for path in (tmp_path / "logs").iterdir()] == ["warden.err"]


FLOOD = """
for n in range(3_000_000):
    if n == 100_000:
        say("well over the budget")
    print("x" * 60)
"""


@in_loop
async def test_a_flood_is_cut_with_its_size_while_the_line_of_another_agent_comes_through(tmp_path: Path, fifo: Fifo):
    async with hand(tmp_path) as here:
        here.start(here.recipe(FLOOD, FIFO=fifo.path, name="flood.py"), "flood/0")
        await fifo.line()
        here.start(here.recipe("print('a quiet word')"), "quiet/0")
        await here.exit("quiet/0")
        lines, _ = read_logs(tmp_path / "logs", "quiet", 0, 10, "north")
        assert [line.text for line in lines] == ["a quiet word"]
        flooded, _ = read_logs(tmp_path / "logs", "flood", 0, 100_000, "north")  # lines come again as the budget grows
        gaps = [line.text for line in flooded if line.stream == "gap"]
        assert gaps and all("bytes dropped: over the budget of 1048576 bytes a minute" in text for text in gaps)
        here.stop("flood/0", grace_us=0)
        await here.exit("flood/0")
        sizes = [path.stat().st_size for path in (tmp_path / "logs").glob("flood-0.log*")]
        assert 500_000 < sum(sizes) <= 2 * FILE_BYTES_MAX and max(sizes) <= FILE_BYTES_MAX


@in_loop
async def test_a_log_that_cannot_be_written_does_not_stop_the_agent(tmp_path: Path):
    async with hand(tmp_path) as here:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "a-0.log").mkdir()
        here.start(here.recipe("import sys; print('x' * 100_000); sys.exit('done')"))
        exited = await here.exit()
        assert (exited.code, exited.tail) == (1, "done\n")
