"""Calls that an agent makes, and streams that it reads, over a real socket."""

import msgspec

from meshnode.model.patience import TRIES_MAX
from meshnode.sdk import Agent, CallFailed, Ctx
from meshnode.sdk.streams import INITIAL_GRANT, WINDOW_BYTES, WINDOW_MAX
from meshnode.wire.calls import CancelHeader, GrantHeader
from meshnode.wire.frame import Kind
from tests.unit.sdk.daemon_end import at_work, in_loop, unpack
from tests.unit.sdk.test_life import counting


@in_loop
async def test_a_call_of_its_own_says_all_about_itself_and_gets_its_answer():
    agent = counting()

    @agent.skill
    async def ask(ctx: Ctx) -> object:
        return await ctx.call("other.skill", {"key": 1}, session="s", key="k", b=2)

    async with at_work(agent) as end:
        end.ask("tested.ask", deadline_ms=5000)
        frame = await end.next(Kind.CALL)
        end.frames.append(frame)
        header = await end.asked()
        assert (header.skill, header.session, header.idempotency_key) == ("other.skill", "s", "k")
        assert 0 < header.deadline_ms <= 5000, "never longer than its own caller waits"
        assert msgspec.json.decode(frame.payload) == {"key": 1, "b": 2}
        end.answer(header.call_id, b'{"x": 1}')
        assert (await end.result())[1] == {"x": 1}


@in_loop
async def test_calls_with_a_key_or_a_session_say_so_also_where_plain_ones_went_before():
    agent = counting()

    @agent.skill
    async def ask() -> None:
        for more in ({}, {"key": "k"}, {"session": "s"}, {"batch": True}, {"as_bytes": True}, {}):
            await agent.call("other.skill", **more)

    async with at_work(agent) as end:
        end.ask("tested.ask")
        said: list[tuple[object, ...]] = []
        for _ in range(6):
            header = await end.asked()
            said.append((header.idempotency_key, header.session, header.batch, header.as_bytes))
            end.answer(header.call_id, b'""')
        plain, with_key, in_session = ("", "", False, False), ("k", "", False, False), ("", "s", False, False)
        assert said == [plain, with_key, in_session, ("", "", True, False), ("", "", False, True), plain]
        await end.result()


@in_loop
async def test_a_plain_function_calls_without_await():
    agent = counting()

    @agent.skill
    def ask(ctx: Ctx) -> object:
        ctx.emit("asked", {"n": 1})
        return ctx.call("other.skill")

    async with at_work(agent) as end:
        end.ask("tested.ask")
        end.answer((await end.asked()).call_id, b"5")
        assert (await end.result())[1] == 5
        assert (await end.next(Kind.EMIT)).payload == b'{"n":1}'


@in_loop
async def test_a_stream_is_read_with_grants_and_its_failure_comes_after_its_items():
    agent = counting()

    @agent.skill
    async def read() -> list[object]:
        items: list[object] = []
        try:
            async for item in agent.stream("other.items", n=1):
                items += [item]
        except CallFailed as error:
            items.append(error.code)
        return items

    async with at_work(agent) as end:
        end.ask("tested.read")
        header = await end.asked()
        assert header.stream
        for number in range(10):
            end.item(header.call_id, number, b"%d" % number)
        grants = [unpack((await end.next(Kind.GRANT)).header, type=GrantHeader) for _ in range(2)]
        assert grants[0] == GrantHeader(header.call_id, INITIAL_GRANT, WINDOW_BYTES), "told with the call"
        assert grants[1] == GrantHeader(header.call_id, 8 + WINDOW_MAX, 8 + WINDOW_BYTES)
        end.answer(header.call_id, b"", "skill:broken")
        assert (await end.result())[1] == [*range(10), "broken"]


@in_loop
async def test_a_stream_left_early_is_cancelled_and_one_out_of_order_is_broken():
    agent = counting()

    @agent.skill
    async def first() -> object:
        stream = agent.stream("other.items")
        try:
            return await anext(stream)
        finally:
            await stream.aclose()  # type: ignore[attr-defined]

    @agent.skill
    async def failing() -> str:
        try:
            async for _ in agent.stream("other.items"):
                pass
        except CallFailed as error:
            return error.code
        return ""

    async with at_work(agent) as end:
        end.ask("tested.first")
        header = await end.asked()
        end.item(header.call_id, 0, b"7")
        assert (await end.result())[1] == 7
        assert unpack((await end.next(Kind.CANCEL)).header, type=CancelHeader).call_id == header.call_id
        end.ask("tested.failing")
        end.item((await end.asked()).call_id, 1, b"7")
        assert (await end.result())[1] == "stream-broken"


# Actors


def asking() -> Agent:
    """It tells what it got, or why it got nothing."""
    agent = counting()

    @agent.skill
    async def ask(ctx: Ctx, deadline_s: float = 10.0) -> object:
        try:
            return await ctx.call("other.skill", deadline_s=deadline_s, key="k", batch=True)
        except CallFailed as error:
            return [type(error).__name__, error.code, error.retry_after_ms]

    return agent


@in_loop
async def test_a_call_that_is_shed_is_made_again_until_there_is_room():
    async with at_work(asking()) as end:
        end.ask("tested.ask", deadline_ms=60_000)
        ids: list[bytes] = []
        for _ in range(3):
            header = await end.asked()
            assert (header.idempotency_key, header.batch) == ("k", True)
            assert 0 < header.deadline_ms <= 10_000
            ids.append(header.call_id)
            end.shed(header.call_id, 1)
        end.answer((await end.asked()).call_id, b'"at last"')
        assert (await end.result())[1] == "at last"
        assert len(set(ids)) == 3, "each try is a call of its own"


@in_loop
async def test_a_call_that_is_shed_again_and_again_fails_with_the_last_word():
    async with at_work(asking()) as end:
        end.ask("tested.ask", deadline_ms=60_000)
        for _ in range(TRIES_MAX):
            end.shed((await end.asked()).call_id, 1)
        assert (await end.result())[1] == ["Unavailable", "overloaded", 1]
        await end.ping()
        assert not end.waiting(Kind.CALL)


@in_loop
async def test_a_wait_that_is_longer_than_the_deadline_is_not_begun():
    async with at_work(asking()) as end:
        end.ask("tested.ask", b'{"deadline_s": 0.9}', deadline_ms=60_000)
        end.shed((await end.asked()).call_id, 1_000)
        assert (await end.result())[1] == ["Unavailable", "overloaded", 1_000]


@in_loop
async def test_only_a_call_that_was_shed_is_made_again_and_only_if_a_wait_was_named():
    async with at_work(asking()) as end:
        for code, wait_ms in (("unavailable", 1), ("agent-died", 1), ("overloaded", 0)):
            end.ask("tested.ask")
            end.shed((await end.asked()).call_id, wait_ms, code)
            assert (await end.result())[1] == ["Unavailable", code, wait_ms]
