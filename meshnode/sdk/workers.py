"""Tasks that serve calls, one after the other: a call that ends without waiting for anything costs no task of its own.

To its code each call has a task and a context to itself: while it waits its worker waits with it, and another one takes
what stands behind it in the line. A worker that was cancelled ends with its call.

Invariant: while something stands in the line, a worker is on its way to it.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

# So many workers stay when there is nothing to do.
RESTING_MAX = 16

WorkT = TypeVar("WorkT")


class Workers(Generic[WorkT]):
    """``serve`` does a piece of work in a task; ``waits`` is told of one that does not end at once, before it waits."""

    def __init__(
        self, serve: Callable[[WorkT, "asyncio.Task[Any]"], Coroutine[Any, Any, None]], waits: Callable[[WorkT], None]
    ) -> None:
        self._serve, self._waits = serve, waits
        self._loop = asyncio.get_running_loop()
        self._line: deque[WorkT] = deque()
        self._resting: list[asyncio.Future[None]] = []
        self._coming = 0  # workers on their way to the line
        self._waited = False  # the last piece of work did: then so will those that stand in the line
        self._closed = False

    def add(self, work: WorkT, tasks: asyncio.TaskGroup) -> None:
        self._line.append(work)
        self._call(tasks)

    def close(self) -> None:
        """Whoever rests ends, and the others when they have done what stands in the line."""
        self._closed = True
        while self._resting:
            self._wake(self._resting.pop())

    def _call(self, tasks: asyncio.TaskGroup) -> None:
        """Have a worker come; one for each that stands in the line, where each will keep its worker waiting."""
        wanted = len(self._line) if self._waited else min(1, len(self._line))
        while self._coming < wanted:
            if self._resting:
                self._wake(self._resting.pop())
                continue
            worker = self._work(tasks)
            try:
                tasks.create_task(worker, name="calls")
            except RuntimeError:  # the group ends, and with it whoever might have done it
                worker.close()
                return
            self._coming += 1

    def _wake(self, rest: asyncio.Future[None]) -> None:
        if not rest.done():  # else its worker was cancelled, and does not know yet
            self._coming += 1
            rest.set_result(None)

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            self._coming -= 1
            while self._line:
                try:
                    await _Apart(self, self._line.popleft(), tasks, task)
                finally:
                    if task.cancelling():
                        self._call(tasks)
                if task.cancelling():
                    return
            if self._closed or len(self._resting) >= RESTING_MAX:
                return
            await self._rest()

    async def _rest(self) -> None:
        rest: asyncio.Future[None] = self._loop.create_future()
        self._resting.append(rest)
        try:
            await rest
        finally:
            if rest.cancelled() and rest in self._resting:
                self._resting.remove(rest)

    def begun(self, work: WorkT, task: "asyncio.Task[Any]") -> Coroutine[Any, Any, None]:
        return self._serve(work, task)

    def ended(self, *, waited: bool) -> None:
        self._waited = waited

    def waiting(self, work: WorkT, tasks: asyncio.TaskGroup) -> None:
        """Its worker is not there for what stands behind it."""
        self._waited = True
        self._waits(work)
        self._call(tasks)


class _Apart(Generic[WorkT]):
    """One piece of work, awaited, in a context of its own."""

    __slots__ = ("_task", "_tasks", "_work", "_workers")

    def __init__(
        self, workers: Workers[WorkT], work: WorkT, tasks: asyncio.TaskGroup, task: "asyncio.Task[Any]"
    ) -> None:
        self._workers, self._work, self._tasks, self._task = workers, work, tasks, task

    def __await__(self) -> Generator[Any, Any, None]:
        run, coroutine = contextvars.copy_context().run, self._workers.begun(self._work, self._task)
        waited, failure = False, None
        while True:
            try:
                what = run(coroutine.send, None) if failure is None else run(coroutine.throw, failure)
            except StopIteration:
                self._workers.ended(waited=waited)
                return
            if not waited:
                waited = True
                self._workers.waiting(self._work, self._tasks)
            failure = None
            try:
                yield what
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                failure = error
