"""What the doors need from the house: somebody who answers commands and tells what happens."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Protocol

import msgspec

from meshnode.model.commands import AnyCommand, CallSkill
from meshnode.model.views import AnyView, CallView, EventView, Failure, StreamItem
from meshnode.wire import http


class Told(msgspec.Struct, frozen=True):
    """One event of the node's story. ``number`` grows by the event; 0 where the teller keeps no count."""

    number: int
    event: EventView


class TopicTold(msgspec.Struct, frozen=True):
    """One event of a topic. ``json``: a ``TopicEventView``, written out once for all who listen. ``number``: counts
    what came for this listener; ``dropped``: how many before it were lost, because nobody took them in time."""

    number: int
    json: bytes
    dropped: int = 0


LISTENING = TopicTold(0, b"")  # comes first: whatever is published through this node from now on is heard

# What a streaming call gives: items, then exactly one end.
Streamed = StreamItem | CallView | Failure


class Asker(Protocol):
    """The node, as a door sees it. Implemented by the daemon's loop."""

    async def ask(self, command: AnyCommand) -> AnyView:
        """The one answer. Impossible requests end in a ``Failure`` (or a ``LocalError``, which is shown as one)."""
        ...

    def stream(self, command: CallSkill) -> AsyncGenerator[Streamed]:
        """The items of a call as they come, then its end. Whoever is slow to take them slows the skill down; closing
        it before its end cancels the call."""
        ...

    def subscribe(self, filters: tuple[str, ...]) -> AsyncGenerator[TopicTold]:
        """``LISTENING``, then events of these topics as they come, until closed. A reader that is too slow loses some,
        and is told how many. Raises ``LocalError``: one cannot listen to that."""
        ...

    def watch(self, after: int, *, follow: bool) -> AsyncIterator[Sequence[Told]]:
        """Kept events with a number above ``after``, oldest first; with ``follow`` also all that come, until closed.
        Those that come at once are in one piece, which has at least one.

        A reader that is too slow loses events rather than holding the node up; the gap in the numbers shows it.
        """
        ...


class AgentLine(Protocol):
    """One agent without the SDK, connected over HTTP. What it says may raise ``LocalError``."""

    def events(self) -> AsyncGenerator[bytes]:
        """What it hears, as server-sent events, until its connection ends."""
        ...

    def gone(self) -> None:
        """Whoever read them has left, and the agent with it."""
        ...

    def answer(self, said: http.Answer) -> None: ...

    def fail(self, said: http.Fail) -> None: ...

    async def item(self, said: http.Item) -> None:
        """Waits until the reader of the stream has room."""
        ...

    async def call(self, said: http.Ask) -> object: ...

    def publish(self, said: http.Tell) -> None: ...

    def subscribe(self, said: http.Listen) -> None: ...

    def state(self) -> dict[str, object]: ...

    async def put(self, said: http.Put) -> int:
        """The version that holds it, once it is kept."""
        ...


class AgentDoor(Protocol):
    """The bus of the node, for agents that speak HTTP."""

    def open(self, descriptor: int, said: http.Registration) -> AgentLine:
        """A connection of whoever is at the other end of that socket. Raises ``LocalError``."""
        ...

    def of(self, token: str) -> AgentLine:
        """Raises ``LocalError``: there is none."""
        ...
