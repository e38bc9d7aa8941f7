"""Who listens to topics through a door of this node: each with a bounded queue, so that nobody waits for a slow one."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Protocol

import msgspec

from meshnode.api.ports import LISTENING, TopicTold
from meshnode.kernel.counters import Counters
from meshnode.kernel.decoding import JUNK
from meshnode.model.errors import Invalid, Offline, RemoteError
from meshnode.model.view_parts import TopicEventView
from meshnode.node.inputs import TopicsWanted
from meshnode.wire.bus import Spread
from meshnode.wire.events import checked, payloads, read_event
from meshnode.wire.frame import Frame

LISTENERS_MAX = 1024
EVENTS_MAX = 4096  # that wait for one listener
EVENTS_BYTES_MAX = 4 * 1024 * 1024


class _Queue:
    """What one listener has not taken yet. ``dropped``: what it lost since it last took something."""

    def __init__(self) -> None:
        self.waiting: deque[TopicTold] = deque()
        self.waiting_bytes = 0
        self.dropped = 0
        self.number = 0
        self.stirred = asyncio.Event()

    def add(self, said: bytes) -> bool:
        self.number += 1
        if len(self.waiting) >= EVENTS_MAX or self.waiting_bytes + len(said) > EVENTS_BYTES_MAX:
            self.dropped += 1
            return False
        self.waiting.append(TopicTold(self.number, said, self.dropped))
        self.waiting_bytes += len(said)
        self.dropped = 0
        self.stirred.set()
        return True

    async def take(self) -> TopicTold:
        while not self.waiting:
            self.stirred.clear()
            await self.stirred.wait()
        told = self.waiting.popleft()
        self.waiting_bytes -= len(told.json)
        return told


class Beside(Protocol):
    """Another door, for many at once."""

    def spread(self, effect: Spread) -> None: ...


class TopicDoors:
    """``tell`` gives the core an input."""

    def __init__(self, tell: Callable[[TopicsWanted], None], counters: Counters) -> None:
        self._tell, self._counters = tell, counters
        self._queues: dict[int, _Queue] = {}
        self._last_door = 0
        self.beside: Beside | None = None  # door 0, if there is one: processes that are no agents

    async def subscribe(self, filters: tuple[str, ...]) -> AsyncGenerator[TopicTold]:
        """``LISTENING`` comes first: the core was told. Raises ``LocalError`` before anything is given."""
        try:
            wanted = checked(filters)
        except RemoteError as error:
            raise Invalid(str(error), next_step="meshnode subscribe 'topic/line/*'") from error
        if len(self._queues) >= LISTENERS_MAX:
            raise Offline(f"{LISTENERS_MAX} listen here already")
        self._last_door += 1
        door = self._last_door
        queue = self._queues[door] = _Queue()
        self._tell(TopicsWanted(door, wanted))
        try:
            yield LISTENING
            while True:
                yield await queue.take()
        finally:
            del self._queues[door]
            self._tell(TopicsWanted(door, ()))

    def spread(self, effect: Spread) -> None:
        """Events for some of them: each is written out once."""
        if self.beside is not None and 0 in effect.doors:
            self.beside.spread(effect)
        queues = [self._queues[door] for door in effect.doors if door in self._queues]
        if not queues:
            return
        for frame in effect.frames:
            for said in self._written(frame):
                for queue in queues:
                    if not queue.add(said):
                        self._counters.add("event-dropped")

    def _written(self, frame: Frame) -> Iterator[bytes]:
        """What is no JSON is left out: nobody has looked until now."""
        try:
            header = read_event(frame)
        except RemoteError as error:
            self._counters.add(error.reason)
            return
        for payload in payloads(header, frame):
            try:
                data: object = msgspec.json.decode(payload)
                yield msgspec.json.encode(TopicEventView(topic=header.topic, publisher=header.publisher, data=data))
            except JUNK:
                self._counters.add("event-junk")
