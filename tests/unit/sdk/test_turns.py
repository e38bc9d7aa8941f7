"""Turns are handed on in order, whatever is cancelled meanwhile; slots are spread."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk.turns import Slots, Turns


@given(plan=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=20), data=st.data())
def test_one_holder_a_slot_in_order_and_nothing_is_left_behind(plan: list[tuple[int, bool]], data: st.DataObject):
    async def check() -> None:
        turns = Turns()
        holders: dict[int, int] = {}
        order: dict[int, list[int]] = {}

        async def work(number: int, slot: int) -> None:
            await turns.take(slot)
            try:
                assert holders.setdefault(slot, number) == number, "nobody else holds it"
                order.setdefault(slot, []).append(number)
                await asyncio.sleep(0)
            finally:
                del holders[slot]
                turns.release(slot)

        tasks = [asyncio.create_task(work(number, slot)) for number, (slot, _) in enumerate(plan)]
        for number, (_, cancel) in enumerate(plan):
            if cancel:
                tasks[number].cancel()
            if data.draw(st.booleans()):
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert all(numbers == sorted(numbers) for numbers in order.values())
        assert not turns._held

    asyncio.run(check())


@given(wanted=st.lists(st.integers(-1, 4), max_size=30), first=st.integers(0, 3))
def test_a_call_for_any_slot_goes_to_one_that_is_least_busy(wanted: list[int], first: int):
    slots = Slots(first, 5)
    busy = dict.fromkeys(range(first, first + 5), 0)
    for want in wanted:
        slot = slots.enter(want if want < 0 else first + want)
        assert slot in slots
        if want < 0:
            assert busy[slot] == min(busy.values())
        busy[slot] += 1
    for slot, count in busy.items():
        for _ in range(count):
            slots.leave(slot)
    assert not slots._busy
