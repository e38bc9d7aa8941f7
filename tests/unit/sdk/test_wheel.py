"""The wheel calls nothing early, nothing that was cleared, and everything else."""

import asyncio

from meshnode.sdk.wheel import GRAIN_S, Wheel
from tests.unit.sdk.daemon_end import in_loop


@in_loop
async def test_what_is_due_is_called_in_time_and_what_was_cleared_is_not() -> None:
    wheel, loop = Wheel(), asyncio.get_running_loop()
    began_s = loop.time()
    called: dict[str, float] = {}
    done = asyncio.Event()

    def act(name: str) -> None:
        called[name] = loop.time() - began_s
        if name == "last":
            done.set()

    cleared = wheel.set("cleared", began_s + 0.03, lambda: act("cleared"))
    for name, after_s in (("last", 0.12), ("first", 0.02), ("second", 0.02), ("past", -1.0)):
        wheel.set(name, began_s + after_s, lambda name=name: act(name))
    wheel.clear("cleared", cleared)
    wheel.clear("cleared", cleared)
    async with asyncio.timeout(5):
        await done.wait()
    assert list(called) == ["past", "first", "second", "last"]
    assert called["first"] >= 0.02 and called["last"] >= 0.12
    assert len(wheel) == 0


@in_loop
async def test_one_that_acts_may_set_and_clear_others() -> None:
    wheel, loop = Wheel(), asyncio.get_running_loop()
    called: list[str] = []
    done = asyncio.Event()
    at_s = loop.time() + GRAIN_S
    tick = 0

    def first() -> None:
        called.append("first")
        wheel.clear("second", tick)
        wheel.set("third", at_s, done.set)

    wheel.set("first", at_s, first)
    tick = wheel.set("second", at_s, lambda: called.append("second"))
    async with asyncio.timeout(5):
        await done.wait()
    assert called == ["first"]


@in_loop
async def test_one_that_fails_does_not_keep_the_others_from_their_turn() -> None:
    wheel, loop = Wheel(), asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    done = asyncio.Event()

    def fail() -> None:
        raise ValueError("of its author")

    wheel.set("fails", loop.time(), fail)
    wheel.set("next", loop.time(), done.set)
    async with asyncio.timeout(5):
        await done.wait()
    assert [type(each) for each in failures] == [ValueError]


@in_loop
async def test_calls_that_end_leave_nothing_behind() -> None:
    wheel, loop, count = Wheel(), asyncio.get_running_loop(), 1000
    ticks = [wheel.set(number, loop.time() + 30, lambda: None) for number in range(count)]
    for number, tick in enumerate(ticks):
        wheel.clear(number, tick)
    assert len(wheel) == 0
