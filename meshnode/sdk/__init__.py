"""Make an agent of typed functions: ``from meshnode.sdk import Agent, Ctx``.

    agent = Agent("words")

    @agent.skill
    def count(text: str, ctx: Ctx) -> dict[str, int]:
        "Count the words of a text."
        ctx.state.counter("texts").add(1)
        ...

    if __name__ == "__main__":
        agent.run()

Run it with ``meshnode run FILE``; call it from any node with ``meshnode call words.count text=...``; try it without a
mesh with ``python FILE count text=...``.
"""

from meshnode.sdk.agent import Agent
from meshnode.sdk.context import Ctx
from meshnode.sdk.errors import CallFailed, Cancelled, DeadlinePassed, Refused, SkillError, StateError, Unavailable
from meshnode.sdk.hooks import Restored
from meshnode.sdk.topics import Event

__all__ = [
    "Agent",
    "CallFailed",
    "Cancelled",
    "Ctx",
    "DeadlinePassed",
    "Event",
    "Refused",
    "Restored",
    "SkillError",
    "StateError",
    "Unavailable",
    "preload",
]


_NEEDED = (
    "asyncio",
    "concurrent.futures.thread",
    "linecache",
    "meshnode.sdk.forked",
    "meshnode.sdk.runtime",
    "meshnode.sdk.unixlink",
)


def preload(rehearsal: str = "") -> None:
    """Import everything that a running agent needs, so that what is forked from this process imports nothing.

    Starts no thread, and leaves no socket and no loop behind.

    Args:
        rehearsal: where a unix socket may stand meanwhile, in a private directory. Without it no agent is rehearsed,
            and each costs more.
    """
    import importlib

    from meshnode.sdk.rehearsal import rehearse
    from meshnode.sdk.warm import warm

    for name in _NEEDED:
        importlib.import_module(name)
    warm()
    if rehearsal:
        rehearse(rehearsal)
