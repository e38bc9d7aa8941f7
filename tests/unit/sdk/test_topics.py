"""Handlers of topics: declared, run one after the other, and what they cannot take in time."""

import asyncio
import json

import pytest

from meshnode.sdk import Agent, Ctx, Event
from meshnode.sdk.threads import Threads
from meshnode.sdk.topics import WAITING_MAX, Handlers, event_frame
from meshnode.wire.events import EVENT_BYTES_MAX, packed, read_event, read_subscribe
from meshnode.wire.events import event_frame as daemon_frame
from meshnode.wire.frame import Frame, Kind
from tests.unit.sdk.daemon_end import at_work, in_loop


def told(topic: str, *data: object, publisher: str = "node/south") -> Frame:
    (frame,) = packed([daemon_frame(topic, publisher, json.dumps(each).encode()) for each in data])
    return frame


@in_loop
async def test_an_agent_says_what_it_listens_to_and_its_handlers_run() -> None:
    agent = Agent("tested")
    heard: list[tuple[str, str, object]] = []

    @agent.on("topic/a/*")
    async def all_below(event: Event, ctx: Ctx) -> None:
        async with ctx.turn():
            ctx.state["last"] = event.data
        heard.append((event.topic, event.publisher, event.data))
        if event.data == "raise":
            raise RuntimeError
        await ctx.publish("topic/answer", event.data)

    @agent.on("topic/a/b")
    def one(event: Event) -> None:
        agent.publish("topic/thread", event.data)

    assert agent.handlers is not None and [each.function for each in agent.handlers.all] == [all_below, one]
    async with at_work(agent) as daemon:
        assert read_subscribe(await daemon.next(Kind.SUBSCRIBE)) == ("topic/a/*", "topic/a/b")
        daemon.send(told("topic/a/b", 1, "raise"), told("topic/a/c", 3), told("topic/other", 4))
        answers = [await daemon.next(Kind.EVENT) for _ in range(4)]
        assert sorted((read_event(frame).topic, frame.payload) for frame in answers) == [
            ("topic/answer", b"1"), ("topic/answer", b"3"), ("topic/thread", b'"raise"'), ("topic/thread", b"1"),
        ]  # fmt: skip
        assert heard == [
            ("topic/a/b", "node/south", 1), ("topic/a/b", "node/south", "raise"), ("topic/a/c", "node/south", 3),
        ]  # fmt: skip


def nothing(event: Event) -> None: ...


def test_what_one_cannot_listen_to_or_publish_is_refused_where_it_is_written() -> None:
    agent = Agent("tested")
    for wanted in ("words", "topic/*/a", "topic/a/../b"):
        with pytest.raises(ValueError, match="listen to topic/a/b"):
            agent.on(wanted)(nothing)
    with pytest.raises(TypeError, match="takes the event"):

        @agent.on("topic/a")
        def two(event: Event, other: int) -> None: ...

    with pytest.raises(ValueError, match="no topic"):
        event_frame("topic/*", 1)
    with pytest.raises(ValueError, match="at most"):
        event_frame("topic/a", "x" * EVENT_BYTES_MAX)


def test_the_context_of_a_test_lists_what_was_published() -> None:
    ctx = Ctx.for_test()
    ctx.publish("topic/a", {"n": 1})
    assert ctx.published == [("topic/a", {"n": 1})]
    with pytest.raises(ValueError, match="no topic"):
        ctx.publish("a")


def test_a_slow_handler_loses_the_newest_and_hears_how_many() -> None:
    got: list[Event] = []

    async def scenario() -> None:
        handlers, enough = Handlers("tested"), asyncio.Event()

        async def slow(event: Event) -> None:
            got.append(event)
            if len(got) >= WAITING_MAX:
                enough.set()

        handlers.add("topic/a", slow)
        for number in range(WAITING_MAX + 7):
            handlers.heard(told("topic/a", number))
        work = asyncio.ensure_future(handlers.all[0].work(Ctx.for_test, Threads()))
        await enough.wait()
        enough.clear()
        handlers.heard(told("topic/a", "later"))
        await enough.wait()
        work.cancel()

    asyncio.run(scenario())
    assert [event.data for event in got] == [*range(WAITING_MAX), "later"]
    assert [event.dropped for event in got] == [0] * WAITING_MAX + [7]
