"""One node's room of the journals, with peers that are letters and answer what a test says."""

from collections.abc import Sequence

import msgspec

from meshnode.kernel.effects import Effect, Fact
from meshnode.kernel.instant import SECOND, Instant
from meshnode.messaging.messages import CallEnded
from meshnode.model.commands import GatherJournals, JournalCursor, ReadJournal
from meshnode.model.ids import NodeId
from meshnode.model.view_parts import JournalEntry
from meshnode.model.views import AnyView, Failure, JournalsView, JournalView
from meshnode.node import asking
from meshnode.node.effects import Reply
from meshnode.node.gathering import Around
from meshnode.node.journals import Journals
from meshnode.node.story import Story

ME = NodeId(b"\0" * 32)
RUN = "ab" * 8
NOWHERE = JournalCursor()


class Put(Fact, frozen=True):
    """A question was put."""

    ticket: int
    question: ReadJournal
    node: NodeId


class GivenUp(Fact, frozen=True):
    ticket: int


def entry(number: int, text: str = "x", boot: int = 1) -> JournalEntry:
    return JournalEntry(number=number, boot=boot, at_ms=1_000, subject="node/x", text=text)


def view(*items: JournalEntry, node: str = "b", anew: bool = False, run: str = RUN) -> JournalView:
    last = items[-1].number if items else 0
    return JournalView(
        node=node, node_id="77", boot=1, run=run, items=list(items), first=1, last=last, anew=anew, more=False
    )


class House:
    """A node of the name "a" whose peers are letters; what the room wants is kept, not done."""

    def __init__(self, *names: str) -> None:
        self.nodes = {name: NodeId(name.encode() * 32) for name in names} | {"a": ME}
        self.down: dict[str, str] = {}
        self.later: set[str] = set()  # whose turn has not come
        self.now_us = 1_000 * SECOND
        self.story = Story([], boot=1, run=bytes.fromhex(RUN))
        self.replies: dict[int, AnyView] = {}
        self.put: dict[tuple[str, NodeId], Put] = {}  # questions that are not answered yet, by reader and node
        self.puts = 0
        self.given_up: list[int] = []
        around = Around(
            me=ME, find=self.nodes.get, name_of=self._name, why_not=lambda node: self.down.get(self._name(node), ""),
            in_turn=lambda node, _now: self._name(node) not in self.later,
            own=self._own, own_news=self.story.has_news,
            ask=lambda ticket, question, node, _now: [Put(ticket, question, node)],
            drop=lambda ticket, _now: [GivenUp(ticket)], read=self._read,
        )  # fmt: skip
        self.room = Journals(self.story, around)

    def _name(self, node: NodeId) -> str:
        return next(name for name, each in self.nodes.items() if each == node)

    def _own(self, cursor: JournalCursor, limit: int) -> JournalView:
        page = self.story.page(cursor, limit)
        return view(*page.items, node="a", anew=page.anew, run=page.run)

    def _read(self, question: ReadJournal, ended: CallEnded) -> JournalView | Failure:
        answer = asking.answer_of(question, ended)
        assert isinstance(answer, JournalView | Failure)
        return answer

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 1_800_000_000_000)

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Put(_, question, node):
                    assert (question.reader, node) not in self.put, "two questions to one node"
                    self.put[question.reader, node] = effect
                    self.puts += 1
                case GivenUp(ticket):
                    self.given_up.append(ticket)
                    self.put = {key: put for key, put in self.put.items() if put.ticket != ticket}
                case Reply(number, answer):
                    assert number not in self.replies
                    self.replies[number] = answer
                case _:
                    raise AssertionError(effect)

    def run(self, for_us: int) -> None:
        until = self.now_us + for_us
        while (due := self.room.deadline()) is not None and due <= until:
            self.now_us = max(self.now_us, due)
            self.take(self.room.wake(self.now))
            after = self.room.deadline()
            assert after is None or after > self.now_us
        self.now_us = until

    def gather(self, number: int, cursors: dict[str, JournalCursor], wait_ms: int = 8_000, **more: int | str) -> None:
        command = GatherJournals(**{"reader": "r", "cursors": cursors, "wait_ms": wait_ms} | more)  # pyright: ignore[reportArgumentType]
        self.take(self.room.gather(number, command, self.now))

    def answers(self, name: str, answer: object, code: str = "", reader: str = "r") -> None:
        """The node has answered the question under way."""
        payload = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        put = self.put.pop((reader, self.nodes[name]))
        ended = CallEnded(put.ticket, b"", code, "why" if code else "", payload, put.node, "", 0, 1)
        self.take(self.room.ended(ended, self.now))

    def happens(self, text: str = "something") -> None:
        self.story.add("node/a", text, self.now)
        self.story.storing(1)
        assert self.story.stored(1)
        self.take(self.room.told(self.now))

    def told(self, number: int) -> JournalsView:
        answer = self.replies[number]
        assert isinstance(answer, JournalsView), answer
        return answer

    def numbers(self, number: int) -> dict[str, list[int]]:
        return {item.node: [event.number for event in item.items] for item in self.told(number).items}


def cursors(**numbers: int) -> dict[str, JournalCursor]:
    return {name: JournalCursor(1, number, RUN) if number else NOWHERE for name, number in numbers.items()}
