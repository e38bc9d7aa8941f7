"""Calls of real agents through the real bus."""

from pathlib import Path

import msgspec
import pytest

from meshnode.agents.messages import SkillsOffered
from meshnode.kernel.instant import SECOND
from meshnode.sdk.streams import INITIAL_GRANT
from meshnode.wire import state
from meshnode.wire.bus import AgentFrames
from meshnode.wire.calls import CancelHeader
from meshnode.wire.frame import Kind
from tests.real.agents_kit import AGENT, ROOT, Fifo, in_loop, node

pytestmark = pytest.mark.real

both = pytest.mark.parametrize("zmq", [False, True], ids=["unix", "zmq"])


@both
@in_loop
async def test_a_call_goes_through_the_bus_and_comes_back(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
        here.run(AGENT)
        await here.running()
        assert [s.name for s in here.all(SkillsOffered)[0].skills][:2] == ["tested.add", "tested.twice"]
        header, value = await here.call("tested.add", a=2, b=3)
        assert (header.code, value, header.instance) == ("", 5, "tested/0")
        assert (await here.call("tested.add", a=2))[1] == 3, "defaults hold"
        assert (await here.call("tested.twice", a=21))[1] == 42, "a skill may call a skill"


@both
@in_loop
async def test_many_calls_at_once_all_come_back(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
        here.run(AGENT)
        await here.running()
        asked = {here.send_call("tested.add", b'{"a": %d, "b": 0}' % n): n for n in range(200)}
        await here.until(lambda: len(here.results) == len(asked))
        assert {here.results[call_id][1]: n for call_id, n in asked.items()} == {b"%d" % n: n for n in range(200)}


@both
@in_loop
async def test_a_large_argument_and_a_large_result_pass(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
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
        await here.running()
        text = "x" * 900_000
        header, value = await here.call("tested.echo", text=text)
        assert header.code == "" and value == text


@in_loop
async def test_errors_have_stable_codes_and_words(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.running()
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
        await here.running()
        hanging = here.send_call("tested.hang", b"{}")
        assert await fifo.line() == "hanging"
        assert (await here.call("tested.add", a=1))[1] == 2, "others are served meanwhile"
        here.send(here.conn, Kind.CANCEL, CancelHeader(hanging, "test"))
        assert await fifo.line() == "ended"
        overdue = here.send_call("tested.hang", b"{}", deadline_ms=500)
        assert [await fifo.line(), await fifo.line()] == ["hanging", "ended"]
        assert (await here.call("tested.add", a=1))[1] == 2, "whatever it said came before this"
        assert hanging not in here.results and overdue not in here.results


@both
@in_loop
async def test_a_change_and_the_answer_of_its_call_arrive_together(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
        here.run(AGENT)
        await here.running()
        calls = [here.send_call("tested.count", b'{"by": 2}', idempotency_key=f"key {n}") for n in range(100)]
        await here.until(lambda: len(here.results) == len(calls))
        assert max(msgspec.json.decode(payload) for _, payload in here.results.values()) == 200
        for event in here.all(AgentFrames):
            for n, frame in enumerate(event.frames):
                if frame.kind is Kind.STATE:
                    assert event.frames[n + 1].kind is Kind.RESULT
        assert {header.idempotency_key for header, _ in here.changes} == {f"key {n}" for n in range(100)}
        assert state.Change("n", state.Op.ADD, amount=2) in here.changes[0][1]


@in_loop
async def test_a_call_that_fails_changes_nothing(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(
            """
            from meshnode.sdk import Agent, Ctx, SkillError
            agent = Agent("tested")
            @agent.skill
            def half(ctx: Ctx) -> None:
                ctx.state["half"] = True
                raise SkillError("stopped", "midway")
            agent.run()
            """
        )
        await here.running()
        header, _ = await here.call("tested.half")
        assert header.code == "skill:stopped" and not here.changes


@in_loop
async def test_a_process_begins_with_the_state_it_is_given(tmp_path: Path):
    async with node(tmp_path) as here:
        here.cells = (state.RestoredCell("n", b"41", counter=True), state.RestoredCell("last", b"7"))
        here.run(AGENT)
        await here.running()
        assert (await here.call("tested.count"))[1] == 42


@both
@in_loop
async def test_a_stream_gives_as_many_items_as_were_asked_for(zmq: bool, tmp_path: Path):
    async with node(tmp_path, zmq=zmq) as here:
        here.run(AGENT)
        await here.running()
        call_id = here.send_call("tested.numbers", b'{"n": 40}', stream=True)
        await here.until(lambda: here.items[call_id])
        assert (await here.call("tested.add", a=1))[1] == 2, "it waits to be asked for more, and holds up nobody"
        assert len(here.items[call_id]) == INITIAL_GRANT
        here.grant(call_id, 30)
        await here.until(lambda: len(here.items[call_id]) == 30)
        here.grant(call_id, 100)
        header, _ = await here.ended(call_id)
        assert header.code == "" and here.items[call_id] == [b"%d" % n for n in range(40)]
        assert (await here.call("tested.numbers", n=3))[1] == [0, 1, 2], "without a stream they are a list"


@in_loop
async def test_an_event_of_an_agent_goes_up(tmp_path: Path):
    async with node(tmp_path) as here:
        here.run(AGENT)
        await here.running()
        await here.call("tested.tell", what="news")
        assert here.emitted == [("tested.told", b'{"what":"news"}')]


@in_loop
async def test_the_words_example_counts(tmp_path: Path):
    corpus = tmp_path / "texts"
    corpus.mkdir()
    (corpus / "a.md").write_text("One fish, two fish.")
    (corpus / "b.txt").write_text("Red fish")
    async with node(tmp_path, settle_us=60 * SECOND) as here:
        here.run_file(ROOT / "examples" / "words.py", "words", PYTHONPATH=str(ROOT), WORDS_CORPUS=str(corpus))
        await here.running("words")
        counted = (await here.call("words.count", text="To be or not to be"))[1]
        assert counted["words"] == 6 and counted["unique"] == 4
        assert counted["top"][:2] == [{"word": "be", "times": 2}, {"word": "to", "times": 2}]
        told = (await here.call("words.corpus"))[1]
        assert (told["files"], told["words"], told["top"][0]) == (2, 6, {"word": "fish", "times": 3})
