"""Walks the ways that every agent takes at its start, in the process that agents are forked from.

What is computed and cached on the way, in typing, msgspec and the interpreter itself, is then shared by all of them
rather than made by each: milliseconds and memory of every start.
"""

from collections.abc import AsyncIterator, Iterator

import msgspec

from meshnode.sdk.agent import Agent
from meshnode.sdk.commits import CHANGES_BYTES_MAX
from meshnode.sdk.context import Ctx
from meshnode.wire.calls import CallHeader, RegisteredHeader, RegisterHeader, ResultHeader
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from meshnode.wire.state import Change, Op, RestoreHeader, StateHeader

# The interpreter specializes a function after eight runs.
_ROUNDS = 10

_SOURCE = '''
from typing import Any
class Part:
    """A part."""
    def check(self, text: str, *, many: int = 1) -> dict[str, Any]:
        return {word: [len(word)] for word in text.split() if many > 0}
async def look(n: int) -> list[int]:
    try:
        return [i async for i in n]
    except (ValueError, KeyError) as error:
        raise RuntimeError(f"{n}: {error}") from error
'''


def warm() -> None:
    """Starts nothing and leaves nothing behind but caches."""
    for _ in range(_ROUNDS):
        _describe(_agent())
        _frames()
        compile(_SOURCE, "warm", "exec")
        ctx = Ctx.for_test({"a": [1]})
        ctx.state["a"].append(2)
        ctx.state.counter("b").add(1)
        dict(ctx.state)


def _agent() -> Agent:
    agent = Agent("warm")

    @agent.skill
    def plain(text: str, many: int = 1, *, ctx: Ctx, words: list[str] | None = None) -> dict[str, int]:
        """Do something.

        Args:
            text: to do it with.
        """
        return {text: many} if ctx else {str(words): many}

    @agent.skill
    async def single(value: float) -> bool:
        return value > 0

    @agent.skill
    async def many(n: int) -> AsyncIterator[int]:
        yield n

    @agent.skill
    def several(n: int) -> Iterator[dict[str, object]]:
        yield {"n": n}

    return agent


def _describe(agent: Agent) -> None:
    msgspec.json.encode([skill.description for skill in agent.skills.values()])
    skill = agent.skills["warm.plain"]
    skill.arguments(b'{"text": "a"}')
    skill.result({"a": 1})


def _frames() -> None:
    headers = (
        (Kind.REGISTER, RegisterHeader("warm", "warm/0", "", 1)),
        (Kind.REGISTERED, RegisteredHeader("north")),
        (Kind.RESTORE, RestoreHeader(last=True)),
        (Kind.CALL, CallHeader(b"", "warm.plain", 1)),
        (Kind.STATE, StateHeader(b"", 1)),
        (Kind.RESULT, ResultHeader(b"")),
    )
    for kind, header in headers:
        data = msgspec.msgpack.encode(header)
        assert len(data) < CHANGES_BYTES_MAX
        FrameReader().feed(
            encode(Frame(kind, header=data, payload=msgspec.msgpack.encode([Change("a", Op.SET, b"1")])))
        )
        msgspec.msgpack.decode(data, type=type(header))
