"""Journals for readers outside the mesh: this node's own, and those of others gathered through it.

A reader has one gathering. It is forgotten when it does not come back: then nobody asks for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.kernel.instant import SECOND
from meshnode.kernel.machine import earliest
from meshnode.kernel.timers import Timers
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.views import Failure
from meshnode.node.effects import Reply
from meshnode.node.gathering import Around, Gathering, Tickets
from meshnode.node.readers import Readers, check_cursor, check_reading

if TYPE_CHECKING:
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.messaging.messages import CallEnded
    from meshnode.model.commands import GatherJournals, ReadJournal
    from meshnode.model.ids import NodeId
    from meshnode.node.story import Story

NODES_MAX = 1_024  # in one request
GATHERINGS_MAX = 16
FORGET_US = 60 * SECOND


class Journals:
    """Every request ends in one ``Reply``."""

    def __init__(self, story: Story, around: Around) -> None:
        self._around = around
        self._readers = Readers(story, around.own)
        self._gatherings: dict[str, Gathering] = {}
        self._tickets = Tickets()
        self._due: Timers[str] = Timers()  # by reader: when to answer it
        self._forget: Timers[str] = Timers()

    def read(self, command_no: int, command: ReadJournal, through: str, now: Instant) -> list[Effect]:
        """This node's own journal. ``through``: the node that asks for the reader, "" = asked here.

        Raises:
            Invalid, LocalError: nothing is read.
        """
        check_reading(command.reader, command.limit, command.wait_ms)
        check_cursor(command.cursor)
        reader = f"{command.reader}@{through}" if through else command.reader
        return self._readers.ask(command_no, reader, command, now)

    def gather(self, command_no: int, command: GatherJournals, now: Instant) -> list[Effect]:
        """Raises ``Invalid`` or ``LocalError``: nobody is asked."""
        check_reading(command.reader, command.limit, command.wait_ms)
        if len(command.cursors) > NODES_MAX:
            raise Invalid(f"cursors names {len(command.cursors)} nodes; {NODES_MAX} may be", next_step="ask in turns")
        for name, cursor in command.cursors.items():
            check_cursor(cursor, f"cursors.{name[:80]}")
        gathering = self._gathering(command.reader)
        former = gathering.command_no
        own = command.cursors.get(self._around.name_of(self._around.me))
        if own is not None:
            self._readers.acknowledge(command.reader, own, now)
        self._forget.cancel(command.reader)
        effects = gathering.begin(command_no, command, now)
        self._arm(gathering)
        return effects if former is None else [_superseded(former, command.reader), *effects]

    def told(self, now: Instant) -> list[Effect]:
        """Events of this node may be shown to readers since now."""
        effects = self._readers.told()
        for gathering in self._gatherings.values():
            gathering.told(now)
            self._arm(gathering)
        return effects

    def ended(self, ended: CallEnded, now: Instant) -> list[Effect]:
        """A question this room has put is answered, or will not be."""
        found = self._tickets.take(ended.ticket)
        if found is None:
            return []
        reader, node = found
        gathering = self._gatherings[reader]
        effects = gathering.ended(node, ended, now)
        self._arm(gathering)
        return effects

    def reachable(self, node: NodeId, now: Instant) -> list[Effect]:
        """A node came back."""
        return [effect for gathering in self._gatherings.values() for effect in gathering.reachable(node, now)]

    def dropped(self, command_no: int, now: Instant) -> None:
        """Whoever asked is gone. What was asked for it goes on: its reader may come again."""
        self._readers.dropped(command_no)
        for gathering in self._gatherings.values():
            if gathering.command_no == command_no:
                gathering.command_no = gathering.due_us = None
                self._rest(gathering, now)

    def committed(self, now: Instant) -> dict[str, str]:
        """How far each reader has this node's journal, for people."""
        return self._readers.committed(now)

    def wake(self, now: Instant) -> list[Effect]:
        effects = self._readers.wake(now)
        for reader in self._due.pop_due(now.mono_us):
            gathering = self._gatherings[reader]
            number = gathering.command_no
            assert number is not None
            effects.append(Reply(number, gathering.answer(now)))
            self._rest(gathering, now)
        for reader in self._forget.pop_due(now.mono_us):
            effects += self._gatherings.pop(reader).end(now)
        return effects

    def deadline(self) -> int | None:
        return earliest(self._readers.deadline(), self._due.deadline(), self._forget.deadline())

    def _gathering(self, reader: str) -> Gathering:
        found = self._gatherings.get(reader)
        if found is not None:
            return found
        if len(self._gatherings) >= GATHERINGS_MAX:
            raise LocalError(
                f"{GATHERINGS_MAX} readers gather journals through this node already",
                next_step=f"one that does not come back is forgotten after {FORGET_US // SECOND} s",
            )
        self._gatherings[reader] = Gathering(reader, self._around, self._tickets)
        return self._gatherings[reader]

    def _arm(self, gathering: Gathering) -> None:
        if gathering.due_us is not None:
            self._due.set(gathering.reader, gathering.due_us)

    def _rest(self, gathering: Gathering, now: Instant) -> None:
        self._due.cancel(gathering.reader)
        self._forget.set(gathering.reader, now.mono_us + FORGET_US)


def _superseded(command_no: int, reader: str) -> Effect:
    failure = Failure(
        code="superseded", message=f"another request of the reader {reader} came: it has the answer",
        next_step="one program is one reader: give each its own name",
    )  # fmt: skip
    return Reply(command_no, failure)
