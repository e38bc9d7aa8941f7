"""One thread for slow work: jobs in order, outcomes told in the loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

ResultT = TypeVar("ResultT")


class Worker:
    """``work`` runs in the thread and answers for its own errors: it returns what ``then`` is to hear in the loop."""

    def __init__(self, name: str, jobs_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._jobs, self._jobs_max = 0, jobs_max

    def do(self, work: Callable[[], ResultT], then: Callable[[ResultT], None]) -> bool:
        """False: too much waits already, or it is closed; nothing will be done or told."""
        if self._jobs >= self._jobs_max:
            return False
        try:
            future = self._loop.run_in_executor(self._pool, work)
        except RuntimeError:  # closed
            return False
        self._jobs += 1

        def done(ended: "asyncio.Future[ResultT]") -> None:
            self._jobs -= 1
            then(ended.result())

        future.add_done_callback(done)
        return True

    def close(self) -> None:
        """Do what waits, then end. Blocks for as long as that takes; what it comes to is not told any more if the loop
        is left before its next turn."""
        self._pool.shutdown(wait=True)
