"""The daemon's side of the local API: commands become inputs of the core, replies find whoever waits."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

import msgspec

from meshnode.api.ports import Streamed, Told, TopicTold
from meshnode.daemon.topics import TopicDoors
from meshnode.host.loop import CoreLoop
from meshnode.kernel.counters import Counters
from meshnode.kernel.decoding import JUNK
from meshnode.kernel.instant import Instant
from meshnode.model.commands import AnyCommand, CallSkill, GetStatus
from meshnode.model.views import AnyView, CallView, EventView, Failure, StreamItem
from meshnode.node.core import Core
from meshnode.node.inputs import CommandDropped, CommandGiven, Measured, StreamWanted, TopicsWanted
from meshnode.wire.bus import Spread

WATCHERS_MAX = 64
EVENTS_PENDING_MAX = 1_000
TOLD_MAX = 64  # events in one piece: of a node that meets a mesh each would be a write of its own
_JUNK = "bad-answer"
# Items of one stream that may be under way to a reader who has not taken them yet.
ITEMS_AHEAD_MAX = 32


class _Stream:
    """The items of one call that nobody has taken yet, at most as many as were asked for, and its end."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Streamed] = asyncio.Queue(ITEMS_AHEAD_MAX + 1)
        self.granted = ITEMS_AHEAD_MAX
        self.next_no = 0
        self.ended = False

    def item(self, number: int, payload: bytes) -> None:
        if self.ended:
            return
        if number != self.next_no or number >= self.granted:
            self.end(_junk(f"item {number} came where {self.next_no} of {self.granted} was due"))
            return
        self.next_no += 1
        try:
            self.heard.put_nowait(StreamItem(number=number, item=msgspec.json.decode(payload)))
        except JUNK as error:
            self.end(_junk(f"item {number} cannot be read: {error}"))

    def end(self, end: CallView | Failure) -> None:
        """The last thing heard. It has room: items never fill more of the queue than was granted."""
        if not self.ended:
            self.ended = True
            self.heard.put_nowait(end)


class Door:
    """Implements ``api.ports.Asker``."""

    def __init__(
        self, core: Core, loop: CoreLoop, measure: Callable[[], Measured], counters: Counters | None = None
    ) -> None:
        self._core, self._loop, self._measure = core, loop, measure
        self.topics = TopicDoors(loop.tell, counters or Counters())
        self._waiting: dict[int, asyncio.Future[AnyView]] = {}
        self._streams: dict[int, _Stream] = {}
        self._last_no = 0
        self._watchers: list[asyncio.Queue[Told]] = []
        self._leaving: Failure | None = None

    async def ask(self, command: AnyCommand) -> AnyView:
        if self._leaving is not None:
            return self._leaving
        self._last_no += 1
        number = self._last_no
        answer: asyncio.Future[AnyView] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        if isinstance(command, GetStatus):
            self._loop.tell(self._measure())
        self._loop.tell(CommandGiven(number, command))
        try:
            return await answer
        finally:
            if self._waiting.pop(number, None) is not None and answer.cancelled():
                self._loop.tell(CommandDropped(number))

    async def stream(self, command: CallSkill) -> AsyncGenerator[Streamed]:
        if self._leaving is not None:
            yield self._leaving
            return
        self._last_no += 1
        number = self._last_no
        stream = self._streams[number] = _Stream()
        self._loop.tell(CommandGiven(number, command))
        self._loop.tell(StreamWanted(number, stream.granted))
        answered = False
        try:
            while isinstance(heard := await stream.heard.get(), StreamItem):
                yield heard
                self._taken(number, stream, heard.number + 1)
            answered = not (isinstance(heard, Failure) and heard.code == _JUNK)
            yield heard
        finally:
            del self._streams[number]
            if not answered:
                self._loop.tell(CommandDropped(number))

    def _taken(self, number: int, stream: _Stream, taken: int) -> None:
        """Ask for more once half of what was asked for is used up: not for every item."""
        if stream.granted - taken <= ITEMS_AHEAD_MAX // 2:
            stream.granted = taken + ITEMS_AHEAD_MAX
            self._loop.tell(StreamWanted(number, stream.granted))

    def item(self, number: int, item_no: int, payload: bytes) -> None:
        """One item of a streaming call; whoever has gone does not get it any more."""
        stream = self._streams.get(number)
        if stream is not None:
            stream.item(item_no, payload)

    def reply(self, number: int, view: AnyView) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            assert isinstance(view, CallView | Failure)
            stream.end(view)
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(view)

    def leave(self, reason: str) -> None:
        """The node ends: whoever still waits, or asks from now on, is told."""
        self._leaving = Failure(
            code="offline", message=f"the node has ended before this was answered: {reason}; it may have been done",
            next_step="start it again: meshnode up", exit_code=6,
        )  # fmt: skip
        for number in (*self._waiting, *self._streams):
            self.reply(number, self._leaving)

    def announce(self, number: int, event: EventView) -> None:
        """Hand an event to every watcher; a slow one misses it and sees the gap in the numbers."""
        for queue in self._watchers:
            if not queue.full():
                queue.put_nowait(Told(number, event))

    def subscribe(self, filters: tuple[str, ...]) -> AsyncGenerator[TopicTold]:
        return self.topics.subscribe(filters)

    def tell(self, event: TopicsWanted | CommandGiven) -> None:
        """What a door beside this one says; nobody waits for an answer to its commands."""
        self._loop.tell(event)

    def spread(self, effect: Spread) -> None:
        """Events for those who listen through this door."""
        self.topics.spread(effect)

    async def watch(self, after: int, *, follow: bool) -> AsyncIterator[Sequence[Told]]:
        queue: asyncio.Queue[Told] = asyncio.Queue(EVENTS_PENDING_MAX)
        if follow and len(self._watchers) < WATCHERS_MAX:
            self._watchers.append(queue)
        try:
            kept = [Told(number, event) for number, event in self._core.story.since(after, self._now())]
            for at in range(0, len(kept), TOLD_MAX):
                yield kept[at : at + TOLD_MAX]
            while queue in self._watchers:
                come = [await queue.get()]
                while not queue.empty() and len(come) < TOLD_MAX:
                    come.append(queue.get_nowait())
                told = [one for one in come if one.number > after]
                if told:
                    yield told
        finally:
            if queue in self._watchers:
                self._watchers.remove(queue)

    def _now(self) -> Instant:
        return self._loop.now()


def _junk(what: str) -> Failure:
    return Failure(
        code=_JUNK, message=f"the stream is broken: {what}",
        next_step="meshnode ls -o wide shows whether that node runs another version",
    )  # fmt: skip
