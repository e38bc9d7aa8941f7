"""What a skill knows of its call, and can do besides returning."""

import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from meshnode.sdk.state import State, Turn, check_session
from meshnode.sdk.words import merged

if TYPE_CHECKING:
    from meshnode.sdk.fortest import TestCtx
    from meshnode.sdk.topics import Published

DEADLINE_S = 10.0


class Host(Protocol):
    """What a context needs of its surroundings: a daemon, a lone process, or a test."""

    def call(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,
        session: str,
        key: str,
        *,
        batch: bool,
        as_bytes: bool,
    ) -> Any:  # noqa: ANN401 - JSON
        """An awaitable; in a skill's thread the result itself."""
        ...

    def stream(
        self, skill: str, arguments: Mapping[str, object], deadline_s: float, session: str, *, as_bytes: bool
    ) -> AsyncIterator[Any]: ...

    def emit(self, kind: str, data: bytes) -> None: ...

    def publish(self, topic: str, data: object) -> "Published": ...

    async def take(self, turn: Turn) -> None:
        """Wait for the slot of a turn."""
        ...

    def release(self, turn: Turn, *, commit: bool) -> None:
        """Commit what the turn changed, or drop it, and let the next one in."""
        ...


class Log:
    """One line a message, in the manner of logfmt: what ``meshnode logs`` shows. Values are JSON."""

    __slots__ = ("_where",)

    def __init__(self, **where: object) -> None:
        self._where = {name: value for name, value in where.items() if value not in ("", None)}

    def info(self, text: str, /, **fields: object) -> None:
        self._write(sys.stdout, "info", text, fields)

    def warning(self, text: str, /, **fields: object) -> None:
        self._write(sys.stderr, "warning", text, fields)

    def error(self, text: str, /, **fields: object) -> None:
        self._write(sys.stderr, "error", text, fields)

    def _write(self, stream: Any, level: str, text: str, fields: dict[str, object]) -> None:  # noqa: ANN401 - a file
        pairs = {"level": level, "text": text, **self._where, **fields}
        words = (f"{name}={_shown(name, value)}" for name, value in pairs.items())
        stream.write(" ".join(words) + "\n")
        stream.flush()


def _shown(name: str, value: object) -> str:
    if name == "level":
        return str(value)
    return msgspec.json.encode(value, enc_hook=repr).decode("utf-8", "replace")


class Ctx:
    """The context of a call: a parameter annotated with ``Ctx`` gets it, whatever its name.

    ``key``: the call's idempotency key, ``caller``: who called ("node/NAME", "agent/NAME/NODE"), ``instance``:
    "AGENT/SLOT", ``slot``: its number, ``log``: lines for ``meshnode logs``. Valid during the call.
    """

    __slots__ = ("_due_s", "_host", "_session", "_turn", "caller", "instance", "key", "log", "slot", "state")

    def __init__(
        self,
        host: Host,
        turn: Turn,
        *,
        instance: str = "",
        slot: int = 0,
        caller: str = "",
        key: str = "",
        session: str = "",
        due_s: float = float("inf"),
        call: str = "",
    ) -> None:
        self._host, self._turn, self._session, self._due_s = host, turn, session, due_s
        self.instance, self.slot, self.caller, self.key = instance, slot, caller, key
        self.state = State(turn)
        self.log = Log(instance=instance, call=call)

    @staticmethod
    def for_test(
        state: Mapping[str, object] | None = None,
        *,
        calls: Mapping[str, Callable[..., object]] | None = None,
        slot: int = 0,
        session: str = "",
        key: str = "",
        caller: str = "test",
    ) -> "TestCtx":
        """A context for a unit test of a skill.

        Args:
            state: what ``ctx.state`` begins with.
            calls: answers for ``ctx.call`` and ``ctx.stream``: functions by the name of the skill they stand for.
        """
        from meshnode.sdk.fortest import TestCtx

        return TestCtx(dict(state or {}), dict(calls or {}), slot=slot, session=session, key=key, caller=caller)

    @property
    def deadline_s(self) -> float:
        """How many seconds the caller still waits; infinite outside of calls."""
        return self._due_s - time.monotonic()

    def session(self, key: str = "") -> State:
        """The state of one session: a conversation, an order, a machine. Without a key, of the call's own session."""
        return State(self._turn, check_session(key or self._session))

    def call(
        self,
        skill: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        deadline_s: float = DEADLINE_S,
        session: str = "",
        key: str = "",
        batch: bool = False,
        as_bytes: bool = False,
        **more: object,
    ) -> Any:  # noqa: ANN401 - JSON
        """Call a skill anywhere in the mesh: ``await ctx.call("words.count", text=...)``.

        In a plain ``def`` skill, which runs in a thread, without ``await``.

        Args:
            skill: e.g. ``"words.count"``.
            arguments: by name, for names that this function uses itself (``deadline_s``, ``session``, ``key``,
                ``batch``, ``as_bytes``); else give them as keywords.
            deadline_s: how long to wait at most, and never longer than this call's own caller waits.
            session: calls of one session go to one instance.
            key: an idempotency key: however often the call is repeated with it, it runs once.
            batch: work that may wait: a node with too much to do refuses it first.
            as_bytes: of a skill whose result is ``bytes``: it comes as such, not as the text in base64 that JSON has
                for it, and travels as it is where all on the way can. Arguments that are ``bytes`` do so anyway.

        Where there is no room, the call is made again as late as the node asks for, while its deadline allows it.

        Raises:
            Unavailable, DeadlinePassed, Refused, Cancelled, CallFailed: see there ("not-bytes": of a result that is
                none).
            TypeError: one of those words is given something that is none of its own.
        """
        named = merged(arguments, more, deadline_s, session, key, batch, as_bytes)
        limit_s = min(deadline_s, self.deadline_s)
        return self._host.call(skill, named, limit_s, session, key, batch=batch, as_bytes=as_bytes)

    def stream(
        self,
        skill: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        deadline_s: float = DEADLINE_S,
        session: str = "",
        as_bytes: bool = False,
        **more: object,
    ) -> AsyncIterator[Any]:
        """The items of a streaming skill: ``async for item in ctx.stream(...)``. An early end cancels the call.

        ``as_bytes``: of a skill whose items, or whose one result, are ``bytes``: they come as such, not as the text in
        base64 that JSON has for them, and travel as they are where all on the way can. Raises ``CallFailed``
        ("not-bytes") at an item that is none.
        """
        named = merged(arguments, more, deadline_s, session, as_bytes=as_bytes)
        limit_s = min(deadline_s, self.deadline_s)
        return self._host.stream(skill, named, limit_s, session, as_bytes=as_bytes)

    def emit(self, kind: str, data: object = None) -> None:
        """Tell an event of the agent's own, e.g. ``ctx.emit("quality.verdict", {"ok": True})``.

        It leaves at once and is not taken back if the call fails; while the daemon is away it is lost.
        """
        self._host.emit(kind, msgspec.json.encode(data))

    def publish(self, topic: str, data: object = None) -> "Published":
        """An event for whoever listens now, anywhere in the mesh: ``await ctx.publish("topic/line/3", {"ok": True})``.

        It leaves at once, is delivered at most once, and is not taken back if the call fails; while the daemon is away
        it is lost.

        Raises:
            ValueError: not a topic, or over 64 KiB.
        """
        return self._host.publish(topic, data)

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator["Ctx", None]:
        """For background work: no call of this slot runs meanwhile, and at the end what was changed is kept together.
        An error inside drops the changes."""
        if self._turn.open:
            raise RuntimeError("a call has its turn already: ctx.turn() is for @agent.background")
        await self._host.take(self._turn)
        done = False
        try:
            yield self
            done = True
        finally:
            self._host.release(self._turn, commit=done)
