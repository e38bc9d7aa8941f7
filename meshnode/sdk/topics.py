"""Events of topics for one agent process: what it listens to, and its handlers at work.

A handler takes one event after the other. What it cannot take in time is dropped, the newest first, and ``dropped`` of
the next one says how many: an event is news, and nobody waits for a slow listener.
"""

import inspect
import traceback
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from meshnode.sdk.context import Ctx
from meshnode.wire.events import (
    EVENT_BYTES_MAX,
    FILTERS_MAX,
    EventHeader,
    SubscribeHeader,
    is_filter,
    is_topic,
    matches,
    payloads,
)
from meshnode.wire.frame import Frame, Kind

if TYPE_CHECKING:
    import asyncio

    from meshnode.sdk.threads import Threads

WAITING_MAX = 1024  # events for one handler
WAITING_BYTES_MAX = 4 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode
_headers = msgspec.msgpack.Decoder(EventHeader)


class Event(msgspec.Struct, frozen=True):
    """One event. ``publisher``: "agent/NAME/NODE" or "node/NAME", as the daemon there knows it. ``dropped``: how many
    before it this handler did not get."""

    topic: str
    publisher: str
    data: Any
    dropped: int = 0


class Published:
    """What ``publish`` gives: it has left. ``await`` it or not."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


PUBLISHED = Published()


class Handler:
    """One function that listens."""

    def __init__(self, wanted: str, function: Callable[..., Any]) -> None:
        self.wanted, self.function = wanted, function
        self.event_name, self.ctx_name = _parameters(function)
        self.is_async = inspect.iscoroutinefunction(function)
        self._waiting: deque[tuple[str, str, bytes, int]] = deque()
        self._waiting_bytes = self._dropped = 0
        self._stirred: asyncio.Event | None = None

    def add(self, header: EventHeader, payload: bytes) -> None:
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + len(payload) > WAITING_BYTES_MAX:
            self._dropped += 1
            return
        self._waiting.append((header.topic, header.publisher, payload, self._dropped))
        self._waiting_bytes += len(payload)
        self._dropped = 0
        if self._stirred is not None:
            self._stirred.set()

    async def work(self, context: Callable[[], Ctx], threads: "Threads") -> None:
        """For ever. What the author's code raises is told in the agent's log, and the next event comes."""
        import asyncio

        self._stirred = asyncio.Event()
        while True:
            while not self._waiting:
                self._stirred.clear()
                await self._stirred.wait()
            topic, publisher, payload, dropped = self._waiting.popleft()
            self._waiting_bytes -= len(payload)
            try:
                event = Event(topic, publisher, msgspec.json.decode(payload), dropped)
                await self._run(event, context, threads)
            except Exception as error:  # noqa: BLE001 - the author's code, or junk of another language's agent
                traceback.print_exception(error)

    async def _run(self, event: Event, context: Callable[[], Ctx], threads: "Threads") -> None:
        arguments: dict[str, object] = {self.event_name: event}
        if self.ctx_name:
            arguments[self.ctx_name] = context()
        if self.is_async:
            await self.function(**arguments)
        else:
            await threads.run(self.function, **arguments)


class Handlers:
    """All handlers of an agent."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self.all: list[Handler] = []

    def add(self, wanted: str, function: Callable[..., Any]) -> None:
        if not is_filter(wanted):
            raise ValueError(f"agent {self._agent}: {wanted!r}: listen to topic/a/b, or to topic/a/* and all below")
        if len({each.wanted for each in self.all} | {wanted}) > FILTERS_MAX:
            raise ValueError(f"agent {self._agent} listens to more than {FILTERS_MAX} topics")
        self.all.append(Handler(wanted, function))

    @property
    def subscription(self) -> Frame:
        filters = tuple(dict.fromkeys(each.wanted for each in self.all))
        return Frame(Kind.SUBSCRIBE, header=_encode(SubscribeHeader(filters)))

    def heard(self, frame: Frame) -> None:
        header = _headers.decode(frame.header)
        for each in self.all:
            if matches(each.wanted, header.topic):
                for payload in payloads(header, frame):
                    each.add(header, payload)


def event_frame(topic: str, data: object) -> Frame:
    """Raises ``ValueError``: it cannot be published."""
    if not is_topic(topic):
        raise ValueError(f"{topic!r} is no topic: topic/a/b, of letters, digits and . _ : @ + -")
    payload = msgspec.json.encode(data)
    if len(payload) > EVENT_BYTES_MAX:
        raise ValueError(f"{topic}: {len(payload)} bytes, an event has at most {EVENT_BYTES_MAX}; publish where it is")
    return Frame(Kind.EVENT, header=_encode(EventHeader(topic)), payload=payload)


def _parameters(function: Callable[..., Any]) -> tuple[str, str]:
    """The names of the parameters for the event and for the context ("" = none)."""
    hints = get_type_hints(function)
    names = list(inspect.signature(function).parameters)
    contexts = [name for name in names if hints.get(name) is Ctx]
    events = [name for name in names if name not in contexts]
    if len(events) != 1 or len(contexts) > 1:
        name = getattr(function, "__name__", "a handler")
        raise TypeError(f"{name}: a handler takes the event and, if it likes, a Ctx: def {name}(event: Event)")
    return events[0], contexts[0] if contexts else ""
