"""Calls of real agents through the real bus."""

import sys
from pathlib import Path

import msgspec
import pytest

from meshnode.agents.messages import (
    SkillsOffered,
)
from meshnode.kernel.instant import SECOND
from meshnode.model.commands import RunAgent
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import CancelHeader
from meshnode.wire.frame import Frame, Kind
from tests.real.agents_kit import AGENT, ROOT, Fifo, in_loop, node

pytestmark = pytest.mark.real


@in_loop
async def test_a_call_goes_through_the_bus_and_comes_back(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        assert [s.name for s in here.all(SkillsOffered)[0].skills][:2] == ["tested.add", "tested.twice"]
        header, value = await here.call("tested.add", a=2, b=3)
        assert (header.code, value, header.instance) == ("", 5, "tested/north")
        assert (await here.call("tested.add", a=2))[1] == 3, "defaults hold"
        assert (await here.call("tested.twice", a=21))[1] == 42, "a skill may call a skill"


@in_loop
async def test_many_calls_at_once_all_come_back(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        asked = {here.send_call("tested.add", b'{"a": %d, "b": 0}' % n): n for n in range(200)}
        await here.until(lambda: len(here.results) == len(asked))
        assert {here.results[call_id][1]: n for call_id, n in asked.items()} == {b"%d" % n: n for n in range(200)}


@in_loop
async def test_a_large_argument_and_a_large_result_pass(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(
            """
            from meshnode.sdk import Agent
            agent = Agent("tested")
            @agent.skill
            def echo(text: str) -> str:
                return text
            agent.run()
            """
        )
        await here.until(lambda: here.state() == "running")
        text = "x" * 900_000
        header, value = await here.call("tested.echo", text=text)
        assert header.code == "" and value == text


@in_loop
async def test_errors_have_stable_codes_and_words(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.until(lambda: here.state() == "running")
        header, _ = await here.call("tested.add", a="two")
        assert header.code == "invalid" and "$.a" in header.message
        header, _ = await here.call("tested.add", a=1, c=1)
        assert header.code == "invalid" and "`c`" in header.message
        header, _ = await here.call("tested.refuse")
        assert (header.code, header.message) == ("skill:not-found", "there is none")
        header, _ = await here.call("tested.fail")
        assert header.code == "skill-failed" and "ZeroDivisionError: by zero" in header.message
        assert (await here.call("tested.ask_nobody"))[1] == "Unavailable not-found"


@in_loop
async def test_a_hanging_skill_answers_nothing_and_a_cancel_ends_it(tmp_path: Path, fifo: Fifo):
    async with node(tmp_path) as here:
        here.run(AGENT, FIFO=fifo.path)
        await here.until(lambda: here.state() == "running")
        hanging = here.send_call("tested.hang", b"{}")
        assert await fifo.line() == "hanging"
        assert (await here.call("tested.add", a=1))[1] == 2, "others are served meanwhile"
        cancel = Frame(Kind.CANCEL, header=msgspec.msgpack.encode(CancelHeader(hanging, "test")))
        here.bus.perform(ToAgent(here.conn, (cancel,)))
        assert await fifo.line() == "ended"
        overdue = here.send_call("tested.hang", b"{}", deadline_ms=500)
        assert [await fifo.line(), await fifo.line()] == ["hanging", "ended"]
        assert (await here.call("tested.add", a=1))[1] == 2, "whatever it said came before this"
        assert hanging not in here.results and overdue not in here.results


@in_loop
async def test_the_words_example_counts(tmp_path: Path):
    corpus = tmp_path / "texts"
    corpus.mkdir()
    (corpus / "a.md").write_text("One fish, two fish.")
    (corpus / "b.txt").write_text("Red fish")
    async with node(tmp_path, settle_us=60 * SECOND) as here:
        argv = [sys.executable, str(ROOT / "examples" / "words.py")]
        environment = {"PYTHONPATH": str(ROOT), "WORDS_CORPUS": str(corpus)}
        command = RunAgent(name="words", argv=argv, cwd=str(ROOT), environment=environment)
        here.perform(here.room.run(command, here.now()))
        await here.until(lambda: here.state("words") == "running")
        counted = (await here.call("words.count", text="To be or not to be"))[1]
        assert counted["words"] == 6 and counted["unique"] == 4
        assert counted["top"][:2] == [{"word": "be", "times": 2}, {"word": "to", "times": 2}]
        told = (await here.call("words.corpus"))[1]
        assert (told["files"], told["words"], told["top"][0]) == (2, 6, {"word": "fish", "times": 3})
