"""Whole lives of an agent, in the process that agents are forked from: registered, restored, called, stopped.

The interpreter rewrites code while it runs: it counts the first runs of every function, then replaces instructions by
faster ones. Each such write makes a page private to its process. Done here, once, it is shared by all agents.
"""

import asyncio
import contextlib
import os

import msgspec

from meshnode.sdk.agent import Agent
from meshnode.sdk.connection import Ended
from meshnode.sdk.context import Ctx
from meshnode.sdk.runtime import Runtime
from meshnode.sdk.selector import Selector
from meshnode.wire.calls import CallHeader, GrantHeader, RegisteredHeader, ResultHeader, encoded_call, encoded_result
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from meshnode.wire.state import KeptHeader, RestoredCell, RestoreHeader

# The interpreter rewrites a function after eight runs, and has settled after some more.
LIVES = 16
# For all of them; whoever waits for an agent must not wait for this.
LIVES_S = 3.0

_encode = msgspec.msgpack.Encoder().encode


def rehearse(path: str) -> None:
    """Leaves nothing behind but warm code. ``path``: for a unix socket, in a private directory; it is gone after this.

    An agent must do without if that fails, and only costs more.
    """
    with (
        contextlib.suppress(OSError, TimeoutError, Ended),
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Selector())) as runner,
    ):
        runner.run(_lives(path))
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108 - pathlib is not needed by every agent


async def _lives(path: str) -> None:
    """Raises ``OSError``, ``TimeoutError``, ``Ended``."""
    loop = asyncio.get_running_loop()
    daemons: list[_Daemon] = []
    server = await loop.create_unix_server(lambda: _Daemon(daemons), path)
    environment = {"MESHNODE_BUS": f"unix://{path}", "MESHNODE_INSTANCE": "rehearsal/0", "MESHNODE_TICKET": ""}
    try:
        async with asyncio.timeout(LIVES_S):
            for _ in range(LIVES):
                agent = _agent()
                runtime = Runtime(agent, environment)
                agent.attach(runtime)
                await runtime.run()
    finally:
        server.close()
        for daemon in daemons:
            daemon.hang_up()
        await asyncio.sleep(0)  # that is when asyncio closes the sockets


def _agent() -> Agent:
    agent = Agent("rehearsal")

    @agent.skill
    async def say(text: str) -> str:
        return text

    @agent.skill
    async def count(text: str, ctx: Ctx) -> dict[str, object]:
        ctx.state.counter("calls").add(1)
        ctx.state["last"] = text
        return {"last": await ctx.call("other.say", text=text)}

    return agent


class _Daemon(asyncio.Protocol):
    """The other end of a life."""

    def __init__(self, others: list["_Daemon"]) -> None:
        others.append(self)
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._heard(frame)

    def _heard(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.REGISTER:
                restore = msgspec.msgpack.encode([RestoredCell("last", b'"word"')])
                self._say(
                    Frame(Kind.REGISTERED, header=_encode(RegisteredHeader("north"))),
                    Frame(Kind.RESTORE, header=_encode(RestoreHeader(last=True)), payload=restore),
                )
                self._say(Frame(Kind.PING))
            case Kind.PONG:
                self._call(1, "rehearsal.say")
            case Kind.CALL:  # one of its own
                call = msgspec.msgpack.decode(frame.header, type=CallHeader)
                self._say(Frame(Kind.RESULT, header=encoded_result(ResultHeader(call.call_id)), payload=b'"word"'))
            case Kind.STATE:
                self._say(Frame(Kind.KEPT, header=_encode(KeptHeader(1, 1))))
            case _:
                self._answered(frame)

    def _answered(self, frame: Frame) -> None:
        result = msgspec.msgpack.decode(frame.header, type=ResultHeader)
        if int.from_bytes(result.call_id) == 1:
            self._call(2, "rehearsal.count")
        else:
            self._say(Frame(Kind.STOP))

    def _call(self, number: int, skill: str) -> None:
        call_id = number.to_bytes(16)
        header = encoded_call(CallHeader(call_id, skill, 5000, caller="node/north"))
        self._say(
            Frame(Kind.CALL, header=header, payload=b'{"text":"word"}'),
            Frame(Kind.GRANT, header=_encode(GrantHeader(call_id, 32))),
        )

    def _say(self, *frames: Frame) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(map(encode, frames)))
