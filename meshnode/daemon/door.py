"""The daemon's side of the local API: commands become inputs of the core, replies find whoever waits."""

import asyncio
from collections.abc import AsyncIterator, Callable

from meshnode.api.ports import Told
from meshnode.host.loop import CoreLoop
from meshnode.kernel.instant import Instant
from meshnode.model.commands import AnyCommand, GetStatus
from meshnode.model.views import AnyView, EventView, Failure
from meshnode.node.core import Core
from meshnode.node.inputs import CommandDropped, CommandGiven, Measured

WATCHERS_MAX = 64
EVENTS_PENDING_MAX = 1_000


class Door:
    """Implements ``api.ports.Asker``."""

    def __init__(self, core: Core, loop: CoreLoop, measure: Callable[[], Measured]) -> None:
        self._core, self._loop, self._measure = core, loop, measure
        self._waiting: dict[int, asyncio.Future[AnyView]] = {}
        self._last_no = 0
        self._watchers: list[asyncio.Queue[Told]] = []
        self._leaving: Failure | None = None

    async def ask(self, command: AnyCommand) -> AnyView:
        if self._leaving is not None:
            return self._leaving
        self._last_no += 1
        number = self._last_no
        answer: asyncio.Future[AnyView] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        if isinstance(command, GetStatus):
            self._loop.tell(self._measure())
        self._loop.tell(CommandGiven(number, command))
        try:
            return await answer
        finally:
            if self._waiting.pop(number, None) is not None and answer.cancelled():
                self._loop.tell(CommandDropped(number))

    def reply(self, number: int, view: AnyView) -> None:
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(view)

    def leave(self, reason: str) -> None:
        """The node ends: whoever still waits, or asks from now on, is told."""
        self._leaving = Failure(
            code="offline", message=f"the node has ended before this was answered: {reason}; it may have been done",
            next_step="start it again: meshnode up", exit_code=6,
        )  # fmt: skip
        for number in list(self._waiting):
            self.reply(number, self._leaving)

    def announce(self, number: int, event: EventView) -> None:
        """Hand an event to every watcher; a slow one misses it and sees the gap in the numbers."""
        for queue in self._watchers:
            if not queue.full():
                queue.put_nowait(Told(number, event))

    async def watch(self, after: int, *, follow: bool) -> AsyncIterator[Told]:
        queue: asyncio.Queue[Told] = asyncio.Queue(EVENTS_PENDING_MAX)
        if follow and len(self._watchers) < WATCHERS_MAX:
            self._watchers.append(queue)
        try:
            for number, event in self._core.story.since(after, self._now()):
                after = number
                yield Told(number, event)
            while queue in self._watchers:
                told = await queue.get()
                if told.number > after:
                    yield told
        finally:
            if queue in self._watchers:
                self._watchers.remove(queue)

    def _now(self) -> Instant:
        return self._loop.now()
