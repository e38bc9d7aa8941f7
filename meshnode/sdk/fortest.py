"""A context for unit tests of skills: ``Ctx.for_test(...)``."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from meshnode.sdk.cells import Cells
from meshnode.sdk.context import Ctx
from meshnode.sdk.errors import Unavailable
from meshnode.sdk.state import Turn
from meshnode.sdk.topics import PUBLISHED, Published, event_frame
from meshnode.wire.state import Change, Op


class TestCtx(Ctx):
    """A context that stands alone; ``emitted`` lists what was emitted, as (type, data), ``published`` the events of
    topics, as (topic, data)."""

    __test__ = False  # for pytest: not a test itself

    def __init__(
        self,
        state: dict[str, object],
        calls: dict[str, Callable[..., object]],
        *,
        slot: int,
        session: str,
        key: str,
        caller: str,
    ) -> None:
        cells = Cells()
        cells.apply(Change(name, Op.SET, msgspec.json.encode(value)) for name, value in state.items())
        self.emitted: list[tuple[str, object]] = []
        self.published: list[tuple[str, object]] = []
        host = _TestHost(calls, self.emitted, self.published)
        super().__init__(host, Turn(cells), instance=f"test/{slot}", slot=slot, session=session, key=key, caller=caller)


class _TestHost:
    """Answers from given functions; every turn is granted."""

    def __init__(
        self,
        calls: dict[str, Callable[..., object]],
        emitted: list[tuple[str, object]],
        published: list[tuple[str, object]],
    ) -> None:
        self._calls, self._emitted, self._published = calls, emitted, published

    def call(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,  # noqa: ARG002 - the door of Host
        session: str,  # noqa: ARG002
        key: str,  # noqa: ARG002
        *,
        batch: bool,  # noqa: ARG002
        as_bytes: bool,  # noqa: ARG002 - what the function gives
    ) -> Any:  # noqa: ANN401
        async def answer() -> object:
            result = self._answer(skill, arguments)
            return await result if asyncio.iscoroutine(result) else result

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._answer(skill, arguments)
        return answer()

    async def stream(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,  # noqa: ARG002 - the door of Host
        session: str,  # noqa: ARG002
        *,
        as_bytes: bool,  # noqa: ARG002 - what the function gives
    ) -> AsyncIterator[Any]:
        items: Any = self._answer(skill, arguments)
        if hasattr(items, "__aiter__"):
            async for item in items:
                yield item
            return
        for item in items:
            yield item

    def emit(self, kind: str, data: bytes) -> None:
        self._emitted.append((kind, msgspec.json.decode(data)))

    def publish(self, topic: str, data: object) -> Published:
        frame = event_frame(topic, data)
        self._published.append((topic, msgspec.json.decode(frame.payload)))
        return PUBLISHED

    async def take(self, turn: Turn) -> None:
        turn.begin()

    def release(self, turn: Turn, *, commit: bool) -> None:
        if not commit:
            turn.drop()

    def _answer(self, skill: str, arguments: Mapping[str, object]) -> object:
        if skill not in self._calls:
            raise Unavailable("unavailable", f"this test has no answer for {skill}: Ctx.for_test(calls={{...}})")
        return self._calls[skill](**arguments)
