"""What the doors need from the house: somebody who answers commands and tells what happens."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

import msgspec

from meshnode.model.commands import AnyCommand, CallSkill
from meshnode.model.views import AnyView, CallView, EventView, Failure, StreamItem


class Told(msgspec.Struct, frozen=True):
    """One event of the node's story. ``number`` grows by the event; 0 where the teller keeps no count."""

    number: int
    event: EventView


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

    def watch(self, after: int, *, follow: bool) -> AsyncIterator[Told]:
        """Kept events with a number above ``after``, oldest first; with ``follow`` also all that come, until closed.

        A reader that is too slow loses events rather than holding the node up; the gap in the numbers shows it.
        """
        ...
