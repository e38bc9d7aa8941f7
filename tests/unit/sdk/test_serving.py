"""Calls over a real socket: each is answered once, commits with its answer, or changes nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from meshnode.sdk import Agent, Ctx, SkillError
from meshnode.sdk.serving import CALLS_MAX
from meshnode.sdk.streams import INITIAL_GRANT
from meshnode.wire.frame import Kind
from meshnode.wire.state import VALUE_BYTES_MAX, Change, Op, RestoredCell
from tests.unit.sdk.daemon_end import DaemonEnd, at_work, in_loop


class Gate:
    """Where a skill waits until the test lets it go on."""

    def __init__(self) -> None:
        self.here = asyncio.Event()
        self.go = asyncio.Event()
        self.entered = self.left = 0

    async def pass_(self) -> None:
        self.entered += 1
        self.here.set()
        try:
            await self.go.wait()
        finally:
            self.left += 1


def made(gate: Gate) -> Agent:
    agent = Agent("tested")
    with_calls(agent, gate)
    with_mistakes(agent)
    with_streams(agent, gate)
    return agent


def with_calls(agent: Agent, gate: Gate) -> None:
    @agent.skill
    def add(a: int, b: int = 1) -> int:
        return a + b

    @agent.skill
    async def count(ctx: Ctx, by: int = 1) -> int:
        ctx.state.counter("hits").add(by)
        ctx.state["last"] = {"by": by}
        return ctx.state.counter("hits").value

    @agent.skill
    def count_in_a_thread(ctx: Ctx) -> str:
        ctx.state["thread"] = True
        return threading.current_thread().name

    @agent.skill
    async def gated(ctx: Ctx) -> str:
        ctx.state["gated"] = True
        await gate.pass_()
        return "through"

    @agent.skill
    async def stubborn(ctx: Ctx) -> str:
        ctx.state["stubborn"] = True
        try:
            await gate.pass_()
        except asyncio.CancelledError:
            return "I answer all the same"
        return "through"

    @agent.skill(concurrent=True)
    async def beside(ctx: Ctx) -> str:
        await gate.pass_()
        ctx.state.counter("beside").add(1)
        return "through"

    @agent.skill(timeout_s=0.01)
    async def limited() -> None:
        await gate.pass_()


def with_mistakes(agent: Agent) -> None:
    @agent.skill
    async def wrong(ctx: Ctx, value: object) -> dict[str, int]:
        ctx.state["wrong"] = True
        return value  # type: ignore[return-value]

    @agent.skill
    async def fails(ctx: Ctx) -> None:
        ctx.state["fails"] = True
        raise ZeroDivisionError("by zero")

    @agent.skill
    async def refuses() -> None:
        raise SkillError("not-found", "there is none")

    @agent.skill
    async def stores(ctx: Ctx, chars: int) -> int:
        ctx.state["small"] = 1
        ctx.state["big"] = "x" * chars
        return chars


def with_streams(agent: Agent, gate: Gate) -> None:
    @agent.skill
    async def numbers(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    @agent.skill
    def numbers_in_a_thread(ctx: Ctx, n: int) -> Iterator[int]:
        ctx.state["n"] = n
        yield from range(n)

    @agent.skill
    async def breaks(ctx: Ctx) -> AsyncIterator[int]:
        ctx.state["breaks"] = True
        yield 1
        yield 2
        raise SkillError("broken", "in the middle")

    @agent.skill
    async def yields_wrong() -> AsyncIterator[int]:
        yield 1
        yield "two"  # type: ignore[misc]

    @agent.skill
    async def endless() -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                gate.entered += 1
                yield number
                number += 1
        finally:
            gate.left += 1

    @agent.skill
    async def wide() -> AsyncIterator[str]:
        for _ in range(3):
            yield "x" * 500_000


async def nothing_changed(end: DaemonEnd) -> None:
    await end.ping()
    assert not end.waiting(Kind.STATE)


@in_loop
async def test_a_call_that_changed_the_state_sends_it_and_its_result_in_one_message():
    async with at_work(made(Gate())) as end:
        call_id = end.ask("tested.count", b'{"by": 3}')
        await end.until(lambda: end.waiting(Kind.RESULT))
        assert [frame.kind for frame in end.reads[-1]] == [Kind.STATE, Kind.RESULT]
        header, changes = await end.state()
        assert (header.call_id, header.seq, header.idempotency_key) == (call_id, 1, "")
        assert changes == [Change("last", Op.SET, b'{"by":3}'), Change("hits", Op.ADD, amount=3)]
        result, value = await end.result()
        assert (result.call_id, result.code, result.instance, value) == (call_id, "", "tested/0", 3)


@in_loop
async def test_a_call_that_changed_nothing_sends_no_state():
    async with at_work(made(Gate())) as end:
        assert (await end.call("tested.add", a=1))[1] == 2
        await nothing_changed(end)


@in_loop
async def test_plain_functions_run_in_threads_and_keep_state_too():
    async with at_work(made(Gate())) as end:
        assert str((await end.call("tested.count_in_a_thread"))[1]).startswith("skill")
        assert (await end.state())[1] == [Change("thread", Op.SET, b"true")]


@in_loop
async def test_calls_with_a_context_take_turns_in_their_order_and_others_do_not_wait():
    gate = Gate()
    async with at_work(made(gate)) as end:
        first = end.ask("tested.gated")
        await gate.here.wait()
        second = end.ask("tested.count")
        assert (await end.call("tested.add", a=1))[1] == 2, "no context, no waiting"
        gate.go.set()
        assert [(await end.result())[0].call_id for _ in range(2)] == [first, second]


@in_loop
async def test_concurrent_skills_do_not_take_turns():
    gate = Gate()
    async with at_work(made(gate)) as end:
        end.ask("tested.beside")
        end.ask("tested.beside")
        await gate.here.wait()
        await end.ping()
        assert gate.entered == 2
        gate.go.set()
        await end.result()
        await end.result()
        assert [(await end.state())[1][0].amount for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("skill", ["gated", "stubborn"])
@in_loop
async def test_a_cancelled_call_answers_nothing_and_changes_nothing(skill: str):
    gate = Gate()
    async with at_work(made(gate)) as end:
        call_id = end.ask(f"tested.{skill}")
        await gate.here.wait()
        end.cancel(call_id)
        await nothing_changed(end)
        header, value = await end.call("tested.count")
        assert (header.code, value) == ("", 1) and not end.waiting(Kind.RESULT), "the turn was handed on"
        assert [change.key for change in (await end.state())[1]] == ["last", "hits"]


@in_loop
async def test_a_call_over_its_deadline_is_withdrawn_and_changes_nothing():
    gate = Gate()
    async with at_work(made(gate)) as end:
        end.ask("tested.gated", deadline_ms=20)
        assert (await end.call("tested.count"))[1] == 1
        assert gate.left == 1 and not end.waiting(Kind.RESULT)


@in_loop
async def test_a_deadline_that_passed_on_the_way_is_named_and_nothing_runs():
    gate = Gate()
    async with at_work(made(gate)) as end:
        for deadline_ms in (0, -5):
            end.ask("tested.gated", deadline_ms=deadline_ms)
            header, _ = await end.result()
            assert header.code == "timeout" and "did not run" in header.message
        assert gate.entered == 0


@in_loop
async def test_a_skills_own_limit_is_answered():
    async with at_work(made(Gate())) as end:
        header, _ = await end.call("tested.limited")
        assert header.code == "timeout" and "limit of 0.01 s" in header.message


@pytest.mark.parametrize("value", [1, {"a": "x"}, None, {"a": 1.5}])
@in_loop
async def test_a_result_that_its_schema_forbids_is_a_bad_result_and_changes_nothing(value: object):
    async with at_work(made(Gate())) as end:
        header, _ = await end.call("tested.wrong", value=value)
        assert header.code == "bad-result" and "tested.wrong returned what its schema forbids" in header.message
        await nothing_changed(end)
        assert (await end.call("tested.wrong", value={"a": 1}))[1] == {"a": 1}


@in_loop
async def test_a_skill_that_raises_is_named_and_changes_nothing(capsys: pytest.CaptureFixture[str]):
    async with at_work(made(Gate())) as end:
        header, _ = await end.call("tested.fails")
        assert (header.code, header.message) == ("skill-failed", "tested.fails raised ZeroDivisionError: by zero")
        await nothing_changed(end)
        assert (await end.call("tested.refuses"))[0].code == "skill:not-found"
    assert "ZeroDivisionError" in capsys.readouterr().err


@in_loop
async def test_a_wrong_argument_is_refused_with_the_path_to_its_field():
    async with at_work(made(Gate())) as end:
        header, _ = await end.call("tested.add", a="one")
        assert header.code == "invalid" and "$.a" in header.message
        header, _ = await end.call("tested.count", ctx=1)
        assert header.code == "invalid" and "unknown field `ctx`" in header.message


@in_loop
async def test_a_value_over_the_limit_fails_the_whole_call():
    async with at_work(made(Gate())) as end:
        header, _ = await end.call("tested.stores", chars=VALUE_BYTES_MAX)
        assert header.code == "state-value-too-big" and "big" in header.message
        await nothing_changed(end)
        header, _ = await end.call("tested.stores", chars=VALUE_BYTES_MAX - 2)
        assert header.code == ""
        assert [change.key for change in (await end.state())[1]] == ["small", "big"]


@in_loop
async def test_a_flood_of_calls_is_answered_beyond_the_bound():
    gate = Gate()
    async with at_work(made(gate)) as end:
        for _ in range(CALLS_MAX + 3):
            end.ask("tested.beside")
        for _ in range(3):
            assert (await end.result())[0].code == "overloaded"
        gate.go.set()
        for _ in range(CALLS_MAX):
            assert (await end.result())[0].code == ""


@in_loop
async def test_calls_that_were_withdrawn_before_they_began_take_no_room():
    gate = Gate()
    async with at_work(made(gate)) as end:
        for _ in range(3 * CALLS_MAX):
            end.cancel(end.ask("tested.beside"))
        assert (await end.call("tested.count"))[0].code == ""
        assert gate.left == gate.entered and not end.waiting(Kind.RESULT)


@pytest.mark.parametrize(("skill", "slot", "code"), [("nothing", -1, "not-found"), ("add", 1, "not-found")])
@in_loop
async def test_what_is_not_here_is_not_found(skill: str, slot: int, code: str):
    async with at_work(made(Gate())) as end:
        end.ask(f"tested.{skill}", slot=slot)
        assert (await end.result())[0].code == code


@in_loop
async def test_a_call_that_comes_twice_runs_once():
    gate = Gate()
    async with at_work(made(gate)) as end:
        call_id = end.ask("tested.gated")
        await gate.here.wait()
        end.ask("tested.gated", call_id=call_id)
        await end.ping()
        gate.go.set()
        await end.result()
        assert (await end.call("tested.count"))[1] == 1
        assert gate.entered == 1 and not end.waiting(Kind.RESULT)


# Idempotency keys


@in_loop
async def test_a_keyed_call_sends_a_state_even_if_it_changed_nothing_and_a_failed_one_does_not():
    async with at_work(made(Gate())) as end:
        end.ask("tested.add", b'{"a": 1}', idempotency_key="k")
        assert (await end.state())[0].idempotency_key == "k"
        assert (await end.result())[1] == 2
        end.ask("tested.fails", idempotency_key="f")
        assert (await end.result())[0].code == "skill-failed"
        await nothing_changed(end)


@in_loop
async def test_a_repeated_key_gets_the_same_answer_once_it_is_kept_and_runs_once():
    gate = Gate()
    async with at_work(made(gate)) as end:
        first = end.ask("tested.gated", idempotency_key="k")
        await gate.here.wait()
        second = end.ask("tested.gated", idempotency_key="k")
        gate.go.set()
        assert (await end.result())[0].call_id == first
        third = end.ask("tested.gated", idempotency_key="k")
        await end.ping()
        assert not end.waiting(Kind.RESULT), "not kept yet: nobody may hear of it"
        header, _ = await end.state()
        end.kept(header.seq, version=7)
        for call_id in (second, third):
            result, value = await end.result()
            assert (result.call_id, result.version, result.replayed, value) == (call_id, 7, True, "through")
        await nothing_changed(end)
        assert gate.entered == 1


@in_loop
async def test_a_repeat_that_comes_together_with_the_word_that_the_first_is_kept_does_not_run():
    gate = Gate()
    async with at_work(made(gate)) as end:
        end.ask("tested.gated", idempotency_key="k")
        await gate.here.wait()
        gate.go.set()
        await end.result()
        header, _ = await end.state()
        second = end.ask("tested.gated", idempotency_key="k")  # the daemon wrote both within one turn of its loop
        end.kept(header.seq, version=7)
        result, value = await end.result()
        assert (result.call_id, result.version, result.replayed, value) == (second, 7, True, "through")
        assert gate.entered == 1


@in_loop
async def test_a_repeat_shares_the_failure_of_the_first_and_a_later_one_runs_anew():
    async with at_work(made(Gate())) as end:
        for _ in range(2):
            end.ask("tested.fails", idempotency_key="k")
            assert (await end.result())[0].code == "skill-failed"


@in_loop
async def test_when_the_first_of_a_key_is_withdrawn_its_repeat_runs():
    gate = Gate()
    async with at_work(made(gate)) as end:
        first = end.ask("tested.gated", idempotency_key="k")
        await gate.here.wait()
        second = end.ask("tested.gated", idempotency_key="k")
        end.cancel(first)
        await end.ping()
        gate.go.set()
        assert (await end.result())[0].call_id == second
        assert gate.entered == 2


@in_loop
async def test_one_key_for_two_skills_is_refused():
    gate = Gate()
    async with at_work(made(gate)) as end:
        end.ask("tested.gated", idempotency_key="k")
        await gate.here.wait()
        end.ask("tested.count", idempotency_key="k")
        header, _ = await end.result()
        assert header.code == "invalid" and "was used for tested.gated" in header.message
        gate.go.set()
        await end.result()


# Streams


@pytest.mark.parametrize("skill", ["numbers", "numbers_in_a_thread"])
@in_loop
async def test_items_come_numbered_then_the_end(skill: str):
    async with at_work(made(Gate())) as end:
        call_id = end.ask(f"tested.{skill}", b'{"n": 3}', stream=True)
        assert [(await end.next(Kind.CHUNK)).payload for _ in range(3)] == [b"0", b"1", b"2"]
        header, value = await end.result()
        assert (header.call_id, header.code, value) == (call_id, "", None)


@in_loop
async def test_without_a_stream_the_items_are_a_list_and_the_state_is_kept_with_it():
    async with at_work(made(Gate())) as end:
        assert (await end.call("tested.numbers_in_a_thread", n=3))[1] == [0, 1, 2]
        assert (await end.state())[1] == [Change("n", Op.SET, b"3")]
        assert (await end.call("tested.wide"))[0].code == "result-too-long"


@in_loop
async def test_an_unread_stream_stops_its_generator_and_a_grant_goes_on():
    gate = Gate()
    async with at_work(made(gate)) as end:
        call_id = end.ask("tested.endless", stream=True)
        await end.until(lambda: len(end.waiting(Kind.CHUNK)) == INITIAL_GRANT)
        await end.ping()
        assert gate.entered == INITIAL_GRANT + 1 and len(end.waiting(Kind.CHUNK)) == INITIAL_GRANT
        end.grant(call_id, INITIAL_GRANT + 2)
        await end.until(lambda: len(end.waiting(Kind.CHUNK)) == INITIAL_GRANT + 2)
        end.cancel(call_id)
        assert (await end.call("tested.add", a=1))[1] == 2
        assert gate.left == 1, "the generator was closed"


@in_loop
async def test_a_stream_that_raises_midway_ends_with_its_code_after_its_items_and_changes_nothing():
    async with at_work(made(Gate())) as end:
        end.ask("tested.breaks", stream=True)
        header, _ = await end.result()
        assert (header.code, header.message) == ("skill:broken", "in the middle")
        assert [frame.payload for frame in end.waiting(Kind.CHUNK)] == [b"1", b"2"]
        await nothing_changed(end)
        end.ask("tested.yields_wrong", stream=True)
        header, _ = await end.result()
        assert header.code == "bad-result" and "yielded what its schema forbids" in header.message


@in_loop
async def test_a_stream_takes_no_idempotency_key():
    async with at_work(made(Gate())) as end:
        end.ask("tested.numbers", b'{"n": 1}', stream=True, idempotency_key="k")
        assert (await end.result())[0].code == "invalid"


# What was restored


@in_loop
async def test_restored_cells_are_read_by_calls():
    cells = (RestoredCell("hits", b"41", counter=True), RestoredCell("last", msgspec.json.encode({"by": 9})))
    async with at_work(made(Gate()), *cells) as end:
        assert (await end.call("tested.count"))[1] == 42
