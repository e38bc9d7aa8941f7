"""What one reader is told of many journals: which nodes are being asked for it, and what they have said.

Invariants: at most one question to a node is under way for a reader; what came between two requests is kept for the
next one, within ``KEPT_BYTES_MAX``; an answer that is not kept is not lost, for the reader's cursor has not moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from meshnode.kernel.decoding import JUNK
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.messaging.messages import CallEnded
from meshnode.model.commands import GatherJournals, JournalCursor, ReadJournal
from meshnode.model.ids import NodeId
from meshnode.model.views import Failure, JournalsView, JournalView
from meshnode.node.readers import NUMBER_MAX, RUN

ASK_WAIT_MS = 6_000  # with the way there and back it fits into the deadline of a question
LINGER_US = 20 * MS  # others have news at the same moment: one answer for all
REST_US = 5 * SECOND  # after a refusal or a failure a node is left alone for so long
KEPT_BYTES_MAX = 4 * 1024 * 1024
EVENT_BYTES = 256  # of an event as JSON; most are shorter
EVENTS_MIN = 16  # asked of a node at once, however many are asked
MISSING_CHARS_MAX = 300
TEXT_CHARS_MAX = 4_096


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """What the room asks of the node. ``find``: a member by name. ``why_not``: why a node cannot be asked now, "" if it
    can. ``in_turn``: whether that may be at this moment. ``own``: this node's journal behind a cursor. ``ask`` and
    ``drop``: put a question under a ticket, or give it up. ``read``: the view in an answer; raises ``ValueError`` or
    ``RecursionError`` for what is none."""

    me: NodeId
    find: Callable[[str], NodeId | None]
    name_of: Callable[[NodeId], str]
    why_not: Callable[[NodeId], str]
    in_turn: Callable[[NodeId, Instant], bool]
    own: Callable[[JournalCursor, int], JournalView]
    own_news: Callable[[JournalCursor], bool]
    ask: Callable[[int, ReadJournal, NodeId, Instant], Sequence[Effect]]
    drop: Callable[[int, Instant], Sequence[Effect]]
    read: Callable[[ReadJournal, CallEnded], JournalView | Failure]


class Tickets:
    """Numbers of questions that nobody at a door has put: below zero, so that no command has one of them."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, tuple[str, NodeId]] = {}  # reader and node

    def issue(self, reader: str, node: NodeId) -> int:
        self._last -= 1
        self._open[self._last] = (reader, node)
        return self._last

    def take(self, ticket: int) -> tuple[str, NodeId] | None:
        """It is used up; ``None`` if it was given up before."""
        return self._open.pop(ticket, None)


class _Asked(msgspec.Struct, frozen=True):
    ticket: int
    question: ReadJournal
    at_us: int


class _Kept(msgspec.Struct, frozen=True):
    cursor: JournalCursor
    view: JournalView
    size: int


class Gathering:
    """Of one reader. ``due_us``: when whoever waits is answered; ``command_no``: of its request."""

    def __init__(self, reader: str, around: Around, tickets: Tickets) -> None:
        self.reader, self._around, self._tickets = reader, around, tickets
        self.command_no: int | None = None
        self.due_us: int | None = None
        self._limit = self._share = 0  # events of this node, and of each other one: what all say at once is to be kept
        self._cursors: Mapping[str, JournalCursor] = {}
        self._nodes: dict[NodeId, str] = {}  # those of the request that are other members
        self._asked: dict[NodeId, _Asked] = {}
        self._kept: dict[NodeId, _Kept] = {}
        self._kept_bytes = 0
        self._resting: dict[NodeId, tuple[str, int]] = {}  # why, and until when

    def begin(self, command_no: int, command: GatherJournals, now: Instant) -> list[Effect]:
        self.command_no, self.due_us = command_no, now.mono_us + command.wait_ms * MS
        self._limit, self._cursors = command.limit, command.cursors
        found = ((self._around.find(name), name) for name in command.cursors)
        self._nodes = {node: name for node, name in found if node is not None and node != self._around.me}
        self._resting = {node: rest for node, rest in self._resting.items() if rest[1] > now.mono_us}
        self._share = max(EVENTS_MIN, min(command.limit, KEPT_BYTES_MAX // EVENT_BYTES // max(1, len(self._nodes))))
        effects = self._forget(now)
        for node in self._nodes:
            effects += self._ask(node, now)
        self._hurry(now)
        return effects

    def reachable(self, node: NodeId, now: Instant) -> list[Effect]:
        """It came back while somebody waits."""
        self._resting.pop(node, None)
        return self._ask(node, now) if self.command_no is not None and node in self._nodes else []

    def told(self, now: Instant) -> None:
        """There is news in this node's own journal."""
        if self.command_no is not None:
            self._hurry(now)

    def ended(self, node: NodeId, ended: CallEnded, now: Instant) -> list[Effect]:
        """The end of a question."""
        asked = self._asked.pop(node)
        answer = self._answer(node, asked, ended)
        if isinstance(answer, str):
            self._resting[node] = (answer[:MISSING_CHARS_MAX], now.mono_us + REST_US)
            return []
        if answer.items or answer.anew:
            self._keep(node, asked, answer, len(ended.payload))
            if self.command_no is not None:
                self._hurry(now)
            return []
        if now.mono_us - asked.at_us < ASK_WAIT_MS * MS // 2:
            self._resting[node] = ("it does not wait for news", now.mono_us + REST_US)
            return []
        return self._ask(node, now) if self.command_no is not None and node in self._nodes else []

    def answer(self, now: Instant) -> JournalsView:
        """What is there, for whoever waits; nobody does afterwards."""
        self.command_no = self.due_us = None
        items: list[JournalView] = []
        missing: dict[str, str] = {}
        for name, cursor in self._cursors.items():
            node = self._around.find(name)
            if node is None:
                missing[name] = "no node of that name is known here"
            elif node == self._around.me:
                items += [self._around.own(cursor, self._limit)] if self._around.own_news(cursor) else []
            elif (kept := self._kept.pop(node, None)) is not None:
                self._kept_bytes -= kept.size
                items.append(kept.view)
            elif (why := self._why_not(node, now)) and node not in self._asked:
                missing[name] = why
        return JournalsView(items=items, missing=missing)

    def end(self, now: Instant) -> list[Effect]:
        """The reader does not come back."""
        return [effect for node in list(self._asked) for effect in self._give_up(node, now)]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _why_not(self, node: NodeId, now: Instant) -> str:
        why, until_us = self._resting.get(node, ("", 0))
        return self._around.why_not(node) or (why if until_us > now.mono_us else "")

    def _ask(self, node: NodeId, now: Instant) -> list[Effect]:
        """Unless it is asked already, has answered, or cannot be asked now. Whose turn has not come is asked by the
        next request."""
        if node in self._asked or node in self._kept or self._why_not(node, now):
            return []
        if not self._around.in_turn(node, now):
            return []
        question = ReadJournal(
            reader=self.reader, cursor=self._cursors[self._nodes[node]], limit=self._share, wait_ms=ASK_WAIT_MS
        )
        ticket = self._tickets.issue(self.reader, node)
        self._asked[node] = _Asked(ticket, question, now.mono_us)
        return list(self._around.ask(ticket, question, node, now))

    def _give_up(self, node: NodeId, now: Instant) -> Sequence[Effect]:
        ticket = self._asked.pop(node).ticket
        self._tickets.take(ticket)
        return self._around.drop(ticket, now)

    def _forget(self, now: Instant) -> list[Effect]:
        """What was asked or kept for a cursor that has moved, or of a node the reader wants no more."""
        self._kept = {node: kept for node, kept in self._kept.items() if self._at(node, kept.cursor)}
        self._kept_bytes = sum(kept.size for kept in self._kept.values())
        gone = [node for node, asked in self._asked.items() if not self._at(node, asked.question.cursor)]
        return [effect for node in gone for effect in self._give_up(node, now)]

    def _at(self, node: NodeId, cursor: JournalCursor) -> bool:
        return node in self._nodes and self._cursors[self._nodes[node]] == cursor

    def _keep(self, node: NodeId, asked: _Asked, view: JournalView, size: int) -> None:
        if self._kept_bytes + size <= KEPT_BYTES_MAX:
            self._kept_bytes += size
            self._kept[node] = _Kept(asked.question.cursor, view, size)

    def _hurry(self, now: Instant) -> None:
        """Answer at once when nobody else can have news, soon when some have."""
        if not self._kept and not self._own_news():
            return
        assert self.due_us is not None
        self.due_us = min(self.due_us, now.mono_us + (LINGER_US if self._asked else 0))

    def _own_news(self) -> bool:
        cursor = self._cursors.get(self._around.name_of(self._around.me))
        return cursor is not None and self._around.own_news(cursor)

    def _answer(self, node: NodeId, asked: _Asked, ended: CallEnded) -> JournalView | str:
        """A journal as that node told it, or why there is none. The payload is another node's: it may be anything."""
        if ended.code:
            return f"{ended.code}: {ended.message}"
        try:
            view = self._around.read(asked.question, ended)
        except JUNK as error:
            return f"bad-answer: it cannot be read: {error}"
        if isinstance(view, Failure):
            return f"{view.code}: {view.message}"
        fault = _fault(view, asked.question)
        if fault:
            return f"bad-answer: {fault}"
        return msgspec.structs.replace(view, node=self._around.name_of(node), node_id=node.hex())


def _fault(view: JournalView, question: ReadJournal) -> str:
    """What is wrong with a journal a node gave; "" if it may be passed on."""
    counts = [view.boot, view.first, view.last]
    counts += [count for item in view.items for count in (item.number, item.boot, item.at_ms)]
    if not all(0 <= count < NUMBER_MAX for count in counts):
        return "a number in it is none"
    if len(view.items) > question.limit:
        return f"it has {len(view.items)} events, {question.limit} were asked for"
    if not RUN.fullmatch(view.run):
        return "its run is no run"
    if any(len(item.text) > TEXT_CHARS_MAX or len(item.subject) > TEXT_CHARS_MAX for item in view.items):
        return f"a text in it has more than {TEXT_CHARS_MAX} characters"
    before = 0 if view.anew else question.cursor.number
    return "" if _ascending(before, (item.number for item in view.items)) else "its events are not in order"


def _ascending(before: int, numbers: Iterable[int]) -> bool:
    for number in numbers:
        if number <= before:
            return False
        before = number
    return True
