"""A reader of a stream grants by bytes: many small items may be under way, few large ones."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk.streams import INITIAL_GRANT, WINDOW_BYTES, WINDOW_MAX, WINDOW_MIN, Inbox


@given(sizes=st.lists(st.sampled_from([1, 100, 16_384, 1_000_000]), min_size=1, max_size=200), ahead=st.integers(1, 40))
def test_what_waits_is_bounded_and_a_reader_that_reads_is_never_stuck(sizes: list[int], ahead: int) -> None:
    async def check() -> None:
        inbox, sent = Inbox(), 0
        granted = INITIAL_GRANT
        for taken in range(len(sizes)):
            while sent < len(sizes) and sent < granted and sent - taken < ahead:
                assert inbox.add(sent, bytes(sizes[sent]))
                sent += 1
            assert sent > taken, "the next item may always be sent"
            assert await inbox.take() == bytes(sizes[taken])
            granted = inbox.grant() or granted
            assert granted - taken - 1 <= WINDOW_MAX
        assert not inbox.add(granted, b"one more than was granted")

    asyncio.run(check())


def test_of_small_items_more_are_granted_than_of_large_ones() -> None:
    async def after(size: int) -> int:
        inbox = Inbox()
        for number in range(INITIAL_GRANT):
            assert inbox.add(number, bytes(size))
        assert not inbox.add(INITIAL_GRANT, bytes(size)), "more than was granted"
        grants: list[int | None] = []
        for _ in range(INITIAL_GRANT // 2):
            await inbox.take()
            grants.append(inbox.grant())
        assert grants[:-1] == [None] * (INITIAL_GRANT // 2 - 1), "half of it is used up first"
        return (grants[-1] or 0) - INITIAL_GRANT // 2

    assert asyncio.run(after(10)) == WINDOW_MAX
    assert asyncio.run(after(32_768)) == WINDOW_BYTES // 32_768


def test_of_the_largest_items_a_reader_that_sleeps_holds_few() -> None:
    async def check() -> None:
        inbox = Inbox()
        for number in range(INITIAL_GRANT):
            assert inbox.add(number, bytes(1_000_000))
        grants: list[int | None] = []
        for _ in range(INITIAL_GRANT):
            await inbox.take()
            grants.append(inbox.grant())
        held = INITIAL_GRANT - WINDOW_MIN // 2
        assert grants[: held - 1] == [None] * (held - 1), "what was granted at first is used up"
        assert grants[held - 1] == held + WINDOW_MIN

    asyncio.run(check())
