"""Registration, restoring, merging, background work, and daemons that come and go, over a real socket."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

import msgspec
import pytest

from meshnode.sdk import Agent, Ctx, Restored, Unavailable, threads
from meshnode.sdk.connection import Ended
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import VALUE_BYTES_MAX, Change, MergedCell, Op, RestoredCell
from tests.unit.sdk.daemon_end import House, at_work, house, in_loop


def counting() -> Agent:
    agent = Agent("tested")

    @agent.skill
    async def count(ctx: Ctx) -> int:
        ctx.state.counter("hits").add(1)
        return ctx.state.counter("hits").value

    @agent.skill
    async def state(ctx: Ctx) -> dict[str, object]:
        return dict(ctx.state)

    @agent.skill
    async def alive() -> bool:
        return True

    return agent


async def ended(here: House) -> str:
    """How it ended."""
    assert here.ended is not None
    with pytest.raises(Ended) as error:
        await asyncio.wait_for(here.ended, 20)
    return str(error.value)


# Registration


@in_loop
async def test_it_registers_with_its_ticket_its_skills_and_its_merge_functions():
    agent = counting()
    agent.merge("orders")(lambda base, mine, theirs: mine)
    agent.merge(lambda base, mine, theirs: theirs)
    async with house(agent) as here:
        end = await here.daemon()
        here.start()
        frame = await end.next(Kind.REGISTER)
        assert [skill["name"] for skill in msgspec.json.decode(frame.payload)] == list(agent.skills)
        end.frames.append(frame)
        header = await end.registration()
        assert (header.agent, header.instance, header.ticket) == ("tested", "tested/0", "ticket")
        assert (header.hooks, header.resume, header.merge_no) == (["orders", "*"], False, 0)


@in_loop
async def test_a_refused_agent_says_why_it_ends():
    async with house(counting()) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome(refusal="wrong-ticket")
        assert await ended(here) == "the daemon refused this agent: wrong-ticket: because"


@in_loop
async def test_without_a_daemon_at_the_start_it_ends_at_once():
    async with house(counting()) as here:
        here.start()
        assert "the daemon is gone" in await ended(here)


@in_loop
async def test_a_daemon_that_talks_nonsense_is_left():
    async with house(counting(), orphan_s=0.0) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        await end.ping()
        assert end.transport is not None
        end.transport.write(b"\xff" * 64)
        assert "none came within 0 s" in await ended(here)


# Restoring


@in_loop
async def test_no_call_is_served_before_the_last_of_the_restore():
    async with house(counting()) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.ask("tested.state")
        end.ask("tested.alive")
        end.restore(RestoredCell("a", b"1"), last=False)
        await end.ping()
        assert not end.waiting(Kind.RESULT)
        end.restore(RestoredCell("hits", b"2", counter=True))
        values = [(await end.result())[1] for _ in range(2)]
        assert {"a": 1, "hits": 2} in values and True in values


@in_loop
async def test_the_restore_hook_runs_before_calls_and_its_changes_are_kept():
    agent = counting()
    seen: list[Restored] = []

    @agent.on_restore
    def hook(ctx: Ctx, restored: Restored) -> None:
        seen.append(restored)
        ctx.state["boots"] = ctx.state.get("boots", 0) + 1

    cells = (RestoredCell("boots", b"4"), RestoredCell("x", b"1", siblings=(b"2",)))
    async with at_work(agent, *cells, version=41, age_ms=1500, gap=2, source="copy of beta") as end:
        header, changes = await end.state()
        assert header.call_id == b"" and changes == [Change("boots", Op.SET, b"5")]
        assert (await end.call("tested.state"))[1] == {"boots": 5, "x": 1}
    assert seen == [Restored(41, 1.5, 2, "copy of beta", ("x",))]


@in_loop
async def test_a_restore_hook_that_raises_ends_the_agent_with_its_name(capsys: pytest.CaptureFixture[str]):
    agent = counting()

    @agent.on_restore
    async def hook(ctx: Ctx, restored: Restored) -> None:
        ctx.state["half"] = True
        raise KeyError("model")

    async with house(agent) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.restore()
        assert await ended(here) == "the on_restore of tested raised KeyError: 'model'"
        assert not end.waiting(Kind.STATE)


# Merging


def merging(decide: Callable[[object, object, object], object]) -> Agent:
    agent = counting()
    agent.merge("orders")(decide)
    return agent


ASKED = MergedCell("orders", b"[1]", ask=True, base=b"[]", mine=b"[1]", theirs=b"[2]")


@in_loop
async def test_merged_cells_are_in_force_and_the_authors_function_decides_its_keys():
    def both(base: list[int], mine: list[int], theirs: list[int]) -> list[int]:
        assert base == []
        return sorted({*mine, *theirs})

    cells = (RestoredCell("hits", b"1", counter=True), RestoredCell("old", b"1"))
    async with at_work(merging(both), *cells) as end:
        end.merge(3, ASKED, MergedCell("hits", b"5", counter=True), MergedCell("old", b"", deleted=True))
        header, changes = await end.merged()
        assert (header.merge_no, header.seq) == (3, 1)
        assert changes == [Change("orders", Op.SET, b"[1,2]")]
        assert (await end.call("tested.state"))[1] == {"hits": 5, "orders": [1, 2]}
        await end.call("tested.count")
        assert (await end.state())[0].merge_no == 3


@in_loop
async def test_what_is_on_its_way_to_the_daemon_stands_upon_a_merge_that_it_crossed():
    async with at_work(counting()) as end:
        for _ in range(3):
            await end.call("tested.count")
        end.merge(1, MergedCell("hits", b"11", counter=True), MergedCell("other", b"2"), seq=1)
        await end.merged()
        assert (await end.call("tested.state"))[1] == {"hits": 13, "other": 2}, "the second and the third are not in it"
        end.merge(2, MergedCell("hits", b"13", counter=True), seq=4)
        await end.merged()
        assert (await end.call("tested.state"))[1] == {"hits": 13, "other": 2}


@in_loop
async def test_a_merge_is_always_answered():
    async with at_work(counting()) as end:
        end.merge(1)
        end.merge(2, MergedCell("a", b"1"))
        assert [(await end.merged())[0].merge_no for _ in range(2)] == [1, 2]


@in_loop
async def test_a_key_whose_merge_function_raises_stays_undecided(capsys: pytest.CaptureFixture[str]):
    def fails(base: object, mine: object, theirs: object) -> object:
        raise ValueError("cannot tell")

    async with at_work(merging(fails)) as end:
        end.merge(1, ASKED)
        assert (await end.merged())[1] == []
        assert (await end.call("tested.state"))[1] == {"orders": [1]}, "until then the value of the merge is in force"
    assert "cannot tell" in capsys.readouterr().err


@in_loop
async def test_a_merge_waits_for_the_turn_of_a_call():
    agent = counting()
    go, here = asyncio.Event(), asyncio.Event()

    @agent.skill
    async def slow(ctx: Ctx) -> int:
        before = ctx.state.get("a", 0)
        here.set()
        await go.wait()
        assert ctx.state.get("a", 0) == before
        return before

    async with at_work(agent) as end:
        end.ask("tested.slow")
        await here.wait()
        end.merge(1, MergedCell("a", b"7"))
        await end.ping()
        assert not end.waiting(Kind.MERGED)
        go.set()
        assert (await end.result())[1] == 0
        await end.merged()
        assert (await end.call("tested.state"))[1] == {"a": 7}


# Background work and probes


@in_loop
async def test_background_work_changes_the_state_in_turns_of_its_own():
    agent = counting()
    go = asyncio.Event()

    @agent.background
    async def watch(ctx: Ctx) -> None:
        await go.wait()
        with pytest.raises(Exception, match="state-no-turn"):
            ctx.state["a"] = 1
        with contextlib.suppress(ZeroDivisionError):
            async with ctx.turn():
                ctx.state["dropped"] = 1
                raise ZeroDivisionError
        async with ctx.turn():
            ctx.state["a"] = ctx.state["hits"] + 1
        assert ctx.state["a"] == 2 and "dropped" not in ctx.state

    async with at_work(agent) as end:
        await end.call("tested.count")
        await end.state()
        go.set()
        header, changes = await end.state()
        assert header.call_id == b"" and changes == [Change("a", Op.SET, b"2")]


@in_loop
async def test_background_work_that_raises_ends_the_agent(capsys: pytest.CaptureFixture[str]):
    agent = counting()

    @agent.background
    async def watch(ctx: Ctx) -> None:
        raise OSError("no sensor")

    async with house(agent) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.restore()
        assert await ended(here) == "background watch raised OSError: no sensor"


@in_loop
async def test_a_probe_that_says_no_leaves_a_ping_unanswered(capsys: pytest.CaptureFixture[str]):
    agent = counting()
    answers: list[object] = [False, ZeroDivisionError(), True]

    @agent.probe
    async def well() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    async with at_work(agent) as end:
        for number in range(3):
            end.send(Frame(Kind.PING, stream=number))
            await end.call("tested.alive")
        assert (await end.next(Kind.PONG)).stream == 2
        assert not end.waiting(Kind.PONG)


# A daemon that goes away


@in_loop
async def test_what_was_not_kept_is_sent_again_in_order_to_the_daemon_that_comes_back():
    async with house(counting()) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.restore()
        for _ in range(3):
            await end.call("tested.count")
        end.merge(9)
        await end.merged()
        end.kept(1)
        await end.ping()
        here.kill(end)
        end = await here.daemon()
        header = await end.registration()
        assert (header.resume, header.ticket, header.merge_no) == (True, "ticket", 9)
        assert not end.waiting(Kind.STATE, Kind.RESULT)
        end.welcome()
        states = [await end.state() for _ in range(2)]
        assert [header.seq for header, _ in states] == [2, 3]
        assert [(await end.result())[1] for _ in range(2)] == [2, 3]
        assert (await end.merged())[0].seq == 4
        assert (await end.call("tested.count"))[1] == 4, "no restore comes, and none is waited for"


@in_loop
async def test_calls_in_work_go_on_and_their_states_are_sent_later_and_results_without_a_state_are_not():
    agent = counting()
    go, here_now = asyncio.Event(), asyncio.Event()
    ends: list[str] = []

    @agent.skill
    async def slow(ctx: Ctx) -> str:
        here_now.set()
        await go.wait()
        ctx.state["slow"] = 1
        ends.append("slow")
        return "done"

    @agent.skill
    async def stateless() -> str:
        await go.wait()
        ends.append("stateless")
        return "done"

    async with house(agent) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.restore()
        end.ask("tested.stateless")
        call_id = end.ask("tested.slow")
        await here_now.wait()
        here.kill(end)
        go.set()
        end = await here.daemon()
        await end.registration()
        assert sorted(ends) == ["slow", "stateless"]
        end.welcome()
        assert (await end.state())[0].call_id == call_id
        assert (await end.result())[0].call_id == call_id
        await end.ping()
        assert not end.waiting(Kind.RESULT)


@in_loop
async def test_own_calls_in_flight_end_when_the_daemon_goes_away():
    agent = counting()
    seen: list[str] = []

    @agent.skill
    async def ask() -> None:
        for _ in range(2):
            try:
                await agent.call("other.skill")
            except Unavailable as error:
                seen.append(error.message)

    async with house(agent) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.restore()
        end.ask("tested.ask")
        await end.asked()
        here.kill(end)
        end = await here.daemon()
        await end.registration()
    assert seen == [
        "the daemon went away during the call",
        "other.skill: there is no daemon now, or this agent is stopping",
    ]


@in_loop
async def test_an_orphan_ends_when_no_daemon_comes():
    async with house(counting(), orphan_s=0.05) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.restore()
        await end.ping()
        here.kill(end)
        assert "none came within 0.05 s" in await ended(here)


@in_loop
async def test_a_stop_lets_calls_in_work_end_and_refuses_new_ones():
    agent = counting()
    go, here_now = asyncio.Event(), asyncio.Event()

    @agent.skill
    async def slow() -> str:
        here_now.set()
        await go.wait()
        return "done"

    async with house(agent) as here:
        end = await here.daemon()
        here.start()
        await end.registration()
        end.welcome()
        end.restore()
        slow_id = end.ask("tested.slow")
        await here_now.wait()
        end.send(Frame(Kind.STOP))
        end.ask("tested.alive")
        assert (await end.result())[0].code == "unavailable"
        go.set()
        header, value = await end.result()
        assert (header.call_id, value) == (slow_id, "done")
        assert here.ended is not None
        await here.ended
        await end.until(lambda: end.closed)


# Calls and streams of its own


@in_loop
async def test_an_agent_whose_threads_all_hang_is_not_alive(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "THREADS_MAX", 2)
    agent = counting()
    go = threading.Event()

    @agent.skill
    def hang() -> None:
        go.wait(20)

    async with at_work(agent) as end:
        for _ in range(2):
            await end.ping()
            end.ask("tested.hang", deadline_ms=10)
            await end.call("tested.alive")
        late = asyncio.get_running_loop().time() + 0.05
        while asyncio.get_running_loop().time() < late:  # until both deadlines have passed
            await end.call("tested.alive")
        end.send(Frame(Kind.PING))
        assert (await end.call("tested.alive"))[1] is True
        assert not end.waiting(Kind.PONG, Kind.RESULT)
        go.set()


@in_loop
async def test_a_merge_function_may_be_async_and_nothing_it_gives_goes_unchecked(capsys: pytest.CaptureFixture[str]):
    async def decide(base: object, mine: object, theirs: object) -> object:
        await asyncio.sleep(0)
        return "x" * VALUE_BYTES_MAX if base is None else theirs

    async with at_work(merging(decide)) as end:
        end.merge(1, ASKED)
        assert (await end.merged())[1] == [Change("orders", Op.SET, b"[2]")]
        end.merge(2, MergedCell("orders", b"[1]", ask=True, mine=b"[1]", theirs=b"[2]"))
        assert (await end.merged())[1] == []
    assert "state-value-too-big" in capsys.readouterr().err
