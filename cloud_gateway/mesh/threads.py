"""Waiting for a thread. The client of a node is synchronous, and a long poll must not hold up the end of the process:
threads of a pool would."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

AnswerT = TypeVar("AnswerT")


async def in_thread(do: Callable[[], AnswerT], name: str) -> AnswerT:
    """What ``do`` gives or raises. Cancelled, the thread goes on to its own deadline and nobody hears of it; callers
    bound how many there are."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[AnswerT] = loop.create_future()

    def told(result: AnswerT | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # pyright: ignore[reportArgumentType] # there is one where there is no error

    def run() -> None:
        result, error = None, None
        try:
            result = do()
        except Exception as raised:  # noqa: BLE001 - it is raised again where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(told, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await answer
