"""A reader of a stream grants by bytes: many small items may be under way, few large ones."""

import asyncio

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.sdk.streams import (
    INITIAL_GRANT,
    ITEMS_MAX,
    WINDOW_BYTES,
    WINDOW_MAX,
    WINDOW_MIN,
    Credit,
    Flow,
    Granted,
    Inbox,
)
from meshnode.wire.calls import ChunkHeader
from meshnode.wire.frame import Frame

SIZES = st.lists(st.sampled_from([1, 100, 16_384, 1_000_000]), min_size=1, max_size=200)
SOME_SIZES = st.lists(st.sampled_from([1, 16_384, 400_000]), min_size=1, max_size=80)


@given(sizes=SIZES, ahead=st.integers(1, 40))
def test_what_waits_is_bounded_and_a_reader_that_reads_is_never_stuck(sizes: list[int], ahead: int) -> None:
    """Of a maker that counts items only."""

    async def check() -> None:
        inbox, sent = Inbox(), 0
        granted = INITIAL_GRANT
        for taken in range(len(sizes)):
            while sent < len(sizes) and sent < granted and sent - taken < ahead:
                assert inbox.add(sent, bytes(sizes[sent]))
                sent += 1
            assert sent > taken, "the next item may always be sent"
            assert await inbox.take() == bytes(sizes[taken])
            granted = (inbox.grant() or (granted, 0))[0]
            assert granted - taken - 1 <= WINDOW_MAX
        assert not inbox.add(granted, b"one more than was granted")

    asyncio.run(check())


@given(sizes=SOME_SIZES, deaf=st.integers(0, 20), late=st.integers(0, 5))
def test_a_maker_that_counts_bytes_is_never_stuck_and_sends_no_more_than_waits_anyway(
    sizes: list[int], deaf: int, late: int
) -> None:
    """``deaf``: so many items leave before it hears of bytes; ``late``: so many grants are under way to it."""

    async def check() -> None:
        inbox, credit = Inbox(), Credit()
        waiting: list[Granted] = []
        sent = waiting_bytes = 0
        for taken, size in enumerate(sizes):
            if sent >= deaf:
                credit.grant(INITIAL_GRANT, WINDOW_BYTES)
            while sent < len(sizes) and credit.allows(sent):
                item = bytes(sizes[sent])
                assert inbox.add(sent, item, metered=credit.metered)
                credit.sent(item)
                sent, waiting_bytes = sent + 1, waiting_bytes + len(item)
                if not credit.metered and sent >= deaf:
                    credit.grant(INITIAL_GRANT, WINDOW_BYTES)
            first = min(deaf, INITIAL_GRANT) * max(sizes)
            assert waiting_bytes <= WINDOW_BYTES + max(sizes) + first and sent - taken <= ITEMS_MAX
            if sent <= taken:
                assert waiting, "the next item may be sent, or a grant for it is under way"
                credit.grant(*waiting[-1])
                waiting.clear()
                assert credit.allows(sent)
                assert inbox.add(sent, bytes(size), metered=credit.metered)
                credit.sent(bytes(size))
                sent, waiting_bytes = sent + 1, waiting_bytes + size
            assert inbox.next() == bytes(size)
            waiting_bytes -= size
            if (granted := inbox.grant()) is not None:
                waiting.append(granted)
            while len(waiting) > late:
                credit.grant(*waiting.pop(0))

    asyncio.run(check())


def test_a_maker_that_counts_bytes_is_held_to_them() -> None:
    async def check() -> None:
        inbox = Inbox()
        assert inbox.add(0, bytes(WINDOW_BYTES - 1), metered=True)
        assert inbox.add(1, bytes(100), metered=True), "the last one overdraws"
        assert not inbox.add(2, b"", metered=True)
        inbox.next()
        assert inbox.grant() == (1 + ITEMS_MAX, 2 * WINDOW_BYTES - 1)
        assert inbox.add(2, b"", metered=True)

    asyncio.run(check())


def test_of_small_items_more_are_granted_than_of_large_ones() -> None:
    async def after(size: int) -> int:
        inbox = Inbox()
        for number in range(INITIAL_GRANT):
            assert inbox.add(number, bytes(size))
        assert not inbox.add(INITIAL_GRANT, bytes(size)), "more than was granted"
        grants: list[Granted | None] = []
        for _ in range(INITIAL_GRANT // 2):
            await inbox.take()
            grants.append(inbox.grant())
        assert grants[:-1] == [None] * (INITIAL_GRANT // 2 - 1), "half of it is used up first"
        return (grants[-1] or (0, 0))[0] - INITIAL_GRANT // 2

    assert asyncio.run(after(10)) == WINDOW_MAX
    assert asyncio.run(after(32_768)) == WINDOW_BYTES // 32_768


def test_of_the_largest_items_a_reader_that_sleeps_holds_few() -> None:
    async def check() -> None:
        inbox = Inbox()
        for number in range(INITIAL_GRANT):
            assert inbox.add(number, bytes(1_000_000))
        for taken in range(1, INITIAL_GRANT + 1):
            await inbox.take()
            total, _ = inbox.grant() or (0, 0)
            assert total <= max(INITIAL_GRANT, taken + WINDOW_MIN), "what was granted at first is used up, then few"
        assert inbox.granted == INITIAL_GRANT + WINDOW_MIN

    asyncio.run(check())


# Items on their way


def flowing(credit: Credit) -> tuple[Flow, list[Frame]]:
    sent: list[Frame] = []
    return Flow(bytes(16), credit, sent.append), sent


def items_of(frames: list[Frame]) -> list[list[bytes]]:
    """Items by frame; all of them are where they say."""
    inbox, out = Inbox(), list[list[bytes]]()
    for frame in frames:
        assert inbox.add_all(msgspec.msgpack.decode(frame.header, type=ChunkHeader), frame.payload)
        out.append([])
        while (item := inbox.next()) is not None:
            out[-1].append(item)
    return out


def test_items_of_one_turn_leave_together_behind_the_first_if_the_reader_counts_bytes() -> None:
    async def check() -> None:
        credit = Credit()
        credit.grant(1_000, WINDOW_BYTES)
        flow, sent = flowing(credit)
        for number in range(10):
            await flow.item(number, b"%d" % number)
        assert items_of(sent) == [[b"0"]]
        await asyncio.sleep(0)
        assert items_of(sent) == [[b"0"], [b"%d" % number for number in range(1, 10)]]
        await flow.item(10, b"x" * 100_000)
        await flow.item(11, b"y" * 100_000)
        flow.flush()
        assert [len(frame.payload) for frame in sent[2:]] == [100_000, 100_000], "no frame is longer than need be"

    asyncio.run(check())


def test_items_leave_one_by_one_to_a_reader_that_counts_none() -> None:
    async def check() -> None:
        flow, sent = flowing(Credit())
        for number in range(INITIAL_GRANT):
            await flow.item(number, b"%d" % number)
        assert items_of(sent) == [[b"%d" % number] for number in range(INITIAL_GRANT)]
        assert not msgspec.msgpack.decode(sent[0].header, type=ChunkHeader).metered

    asyncio.run(check())


def test_what_waits_is_dropped_with_its_call() -> None:
    async def check() -> None:
        credit = Credit()
        credit.grant(1_000, WINDOW_BYTES)
        flow, sent = flowing(credit)
        for number in range(3):
            await flow.item(number, b"1")
        flow.drop()
        await asyncio.sleep(0)
        assert items_of(sent) == [[b"1"]]

    asyncio.run(check())


@given(
    sizes=st.lists(st.sampled_from([0, 1, 100, 16_384, 130_000]), max_size=60),
    turns=st.lists(st.booleans(), min_size=1, max_size=10),
)
def test_items_come_as_they_were_made_however_they_are_put_together(sizes: list[int], turns: list[bool]) -> None:
    async def check() -> None:
        credit = Credit()
        credit.grant(1_000, 2**40)
        flow, sent = flowing(credit)
        made = [bytes([number]) * size for number, size in enumerate(sizes)]
        for number, item in enumerate(made):
            await flow.item(number, item)
            if turns[number % len(turns)]:
                await asyncio.sleep(0)
        flow.flush()
        inbox = Inbox()
        inbox.granted, inbox.granted_bytes = 1_000, 2**40
        came: list[bytes] = []
        for frame in sent:
            assert inbox.add_all(msgspec.msgpack.decode(frame.header, type=ChunkHeader), frame.payload)
            while (item := inbox.next()) is not None:
                came.append(item)
        assert came == made

    asyncio.run(check())


def test_items_that_are_not_where_they_say_are_refused() -> None:
    async def check() -> None:
        for lengths in ((1, 1), (4,), (1, -1, 3)):
            assert not Inbox().add_all(ChunkHeader(bytes(16), 0, metered=True, lengths=lengths), b"xxx")

    asyncio.run(check())
