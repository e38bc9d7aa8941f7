"""Rounds with work to do go ahead of the sockets, and never for long."""

import asyncio
import os
import selectors

from meshnode.sdk.selector import ROUNDS_MAX, Selector


def test_a_loop_with_work_asks_the_kernel_only_now_and_then():
    with Selector() as selector:
        reading, writing = os.pipe()
        selector.register(reading, selectors.EVENT_READ)
        os.write(writing, b"!")
        asked = [bool(selector.select(0)) for _ in range(2 * (ROUNDS_MAX + 1))]
        assert asked == [*[False] * ROUNDS_MAX, True] * 2
        os.close(reading)
        os.close(writing)


def test_a_loop_without_work_asks_at_once():
    with Selector() as selector:
        reading, writing = os.pipe()
        selector.register(reading, selectors.EVENT_READ)
        os.write(writing, b"!")
        selector.select(0)
        assert selector.select(1.0)
        assert selector.select(None)
        os.close(reading)
        os.close(writing)


def test_callbacks_without_end_do_not_keep_a_socket_waiting():
    async def main() -> int:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        heard = loop.create_future()
        rounds = 0

        def again() -> None:
            nonlocal rounds
            rounds += 1
            if not heard.done():
                loop.call_soon(again)

        loop.add_reader(reading, lambda: heard.done() or heard.set_result(None))
        again()
        os.write(writing, b"!")
        await heard
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)
        return rounds

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Selector())) as runner:
        assert runner.run(main()) <= 2 * ROUNDS_MAX
