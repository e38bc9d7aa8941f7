"""Threads for skills that are plain functions; made when the first one is called."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

THREADS_MAX = 32


class Threads:
    """A thread cannot be ended: what was cancelled runs on until it returns, and nobody hears of it."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: dict[Future[Any], None] = {}
        self._abandoned: dict[Future[Any], None] = {}
        self._loop_thread = threading.get_ident()

    async def run(self, function: Callable[..., Any], /, **arguments: object) -> Any:  # noqa: ANN401 - the author's
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="skill")
        context = contextvars.copy_context()
        job = self._pool.submit(context.run, function, **arguments)
        self._jobs[job] = None
        job.add_done_callback(lambda job: self._jobs.pop(job, None))
        try:
            return await asyncio.wrap_future(job)
        finally:
            if job.running():
                self._abandoned[job] = None
                job.add_done_callback(lambda job: self._abandoned.pop(job, None))

    @property
    def here_is_loop(self) -> bool:
        """Asked from the thread of the event loop, not from one of a skill."""
        return threading.get_ident() == self._loop_thread

    @property
    def stuck(self) -> bool:
        return any(job.running() for job in list(self._jobs))

    @property
    def exhausted(self) -> bool:
        """Every thread works for a call that nobody waits for: plain skills can run no more."""
        return len(self._abandoned) >= THREADS_MAX

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
