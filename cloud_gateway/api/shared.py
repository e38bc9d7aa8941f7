"""One answer for all who ask the same at the same time: after a reset every open page asks for the grid at once."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from cloud_gateway.api.respond import Prepared, prepared
from meshnode.model.errors import LocalError


class Shared:
    """Answers under way, by their path. Nothing is kept once it was told."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Future[Prepared]] = {}

    async def told(self, path: str, make: Callable[[], Awaitable[msgspec.Struct]]) -> Prepared:
        """The answer that is under way, or a new one; its refusal, too. Whose asker went asks itself."""
        while (under_way := self._under_way.get(path)) is not None:
            await asyncio.wait((under_way,))
            if not under_way.cancelled():
                return under_way.result()
        mine = self._under_way[path] = asyncio.get_running_loop().create_future()
        try:
            mine.set_result(prepared(await make()))
        except LocalError as error:
            mine.set_exception(error)
        finally:
            del self._under_way[path]
            mine.cancel()  # does nothing to a result or a refusal
        return mine.result()
