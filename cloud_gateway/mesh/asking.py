"""Questions that people ask of the mesh now: few at a time, briefly remembered, each with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from cloud_gateway.mesh.ports import Door
from cloud_gateway.mesh.threads import in_thread
from meshnode.model.errors import LocalError
from meshnode.model.view_parts import LinkView
from meshnode.model.views import WhyView

AT_ONCE_MAX = 4
WAITING_MAX = 64
ANSWER_S = 8.0
REMEMBERED_S = 2.0
REMEMBERED_MAX = 256
LINKS_MAX = 300
AnswerT = TypeVar("AnswerT")


class _Remembered(Generic[AnswerT]):
    """Answers of the last two seconds."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[float, AnswerT]] = {}

    async def get(self, question: str, ask: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        now_s = asyncio.get_running_loop().time()
        held = self._answers.get(question)
        if held is not None and now_s - held[0] < REMEMBERED_S:
            return held[1]
        answer = await ask()
        self._answers.pop(question, None)
        while len(self._answers) >= REMEMBERED_MAX:
            del self._answers[next(iter(self._answers))]
        self._answers[question] = (asyncio.get_running_loop().time(), answer)
        return answer


class Asking:
    """Implements ``api.ports.MeshDoor``."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._free = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0
        self._links: _Remembered[list[LinkView]] = _Remembered()
        self._stories: _Remembered[WhyView] = _Remembered()

    async def links(self, node: str) -> list[LinkView]:
        """Neighbours first, then the nearest."""
        return await self._links.get(node, lambda: self._asked(lambda: _links(self._door, node)))

    async def why(self, subject: str) -> WhyView:
        return await self._stories.get(subject, lambda: self._asked(lambda: self._door(ANSWER_S).why(subject)))

    async def _asked(self, do: Callable[[], AnswerT]) -> AnswerT:
        if self._waiting >= WAITING_MAX:
            raise LocalError("too much is being asked of the mesh at once", next_step="try again in a few seconds")
        self._waiting += 1
        try:
            async with self._free:
                return await in_thread(do, "asking")
        finally:
            self._waiting -= 1


def _links(door: Door, node: str) -> list[LinkView]:
    items = door(ANSWER_S).links(node).items
    items = sorted(items, key=lambda link: (link.kind != "neighbour", link.rtt_ms is None, link.rtt_ms or 0.0))
    return items[:LINKS_MAX]
