"""Which event loop drives a daemon: asyncio's own, or uvloop where somebody asks for it and it is installed."""

import asyncio
import importlib.util
from collections.abc import Callable
from typing import Literal

from meshnode.model.errors import Invalid

Engine = Literal["asyncio", "uvloop"]


def maker(engine: Engine) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes the loop. Raises ``Invalid`` if it is not installed."""
    if engine == "asyncio":
        return asyncio.new_event_loop
    if importlib.util.find_spec("uvloop") is None:
        raise Invalid(
            "the event loop uvloop is not installed here",
            next_step="pip install 'meshnode[fast]', or start it once with --loop asyncio",
        )
    import uvloop

    return uvloop.new_event_loop
