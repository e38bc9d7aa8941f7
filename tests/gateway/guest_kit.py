"""A made-up node with a journal that can lose things, and the checker of what a reader has of it."""

from collections.abc import Iterable, Sequence

import msgspec

from cloud_gateway.model.rows import CursorRow, EventRow, GapRow
from meshnode.model.commands import JournalCursor
from meshnode.model.views import JournalEntry, JournalView


class Written(msgspec.Struct, frozen=True):
    """One event as the node keeps it."""

    number: int
    boot: int
    run: str
    text: str


class MadeUpJournal:
    """One node's journal, by the rules of ``meshnode.node.story``: no two events ever have the same text."""

    def __init__(self, name: str, node_id: str = "") -> None:
        self.name, self.node_id = name, node_id or name.encode().hex().ljust(64, "0")
        self.kept: list[Written] = []
        self.boot, self.run, self.last, self._told = 1, "a1", 0, 0

    def write(self, count: int) -> None:
        for _ in range(count):
            self.last += 1
            self._told += 1
            self.kept.append(Written(self.last, self.boot, self.run, f"{self.name} event {self._told}"))

    def drop(self, count: int) -> None:
        """The oldest, to stay in its budget."""
        del self.kept[:count]

    def damage(self, at: int) -> None:
        """One somewhere in the middle cannot be read any more."""
        if len(self.kept) > 2:
            del self.kept[1 + at % (len(self.kept) - 2)]

    def restart(self) -> None:
        self.boot += 1
        self.run = f"a{self.run[1:]}{self.boot % 10}"[:32]

    def lose_disk(self) -> None:
        """It begins anew: numbers and boots from 1."""
        self.kept, self.last, self.boot = [], 0, 0
        self.run = f"b{self._told}"
        self.boot += 1

    @property
    def first(self) -> int:
        return self.kept[0].number if self.kept else self.last + 1

    def view(self, cursor: JournalCursor, limit: int) -> JournalView:
        anew = self.is_foreign(cursor)
        behind = [event for event in self.kept if anew or event.number > cursor.number]
        page = behind[:limit]
        boot, run = (page[-1].boot, page[-1].run) if page else (0, "") if anew else (cursor.boot, cursor.run)
        return JournalView(
            node=self.name, node_id=self.node_id, boot=boot, run=run, first=self.first, last=self.last, anew=anew,
            more=len(behind) > len(page),
            items=[
                JournalEntry(number=e.number, boot=e.boot, at_ms=1_000 * e.number, subject="node/x", text=e.text)
                for e in page
            ],
        )  # fmt: skip

    def is_foreign(self, cursor: JournalCursor) -> bool:
        if not cursor.number:
            return False
        if cursor.number > self.last or cursor.boot > self.boot:
            return True
        at = next((event for event in self.kept if event.number == cursor.number), None)
        if at is not None:
            return at.run != cursor.run
        following = next((event for event in self.kept if event.number > cursor.number), None)
        return following is not None and following.boot < cursor.boot


def faults(journal: MadeUpJournal, cursor: CursorRow, events: Sequence[EventRow], gaps: Sequence[GapRow]) -> list[str]:
    """What is wrong with what a reader has of a journal that it has read to its end; [] if nothing is."""
    found = _doubles(events)
    mine = {(event.number, event.text) for event in events if event.life == cursor.life}
    found += [f"lost: {kept}" for kept in journal.kept if (kept.number, kept.text) not in mine]
    for life in range(1, cursor.life + 1):
        numbers = {event.number for event in events if event.life == life}
        found += _holes(life, numbers, [gap for gap in gaps if gap.life == life], ended=life < cursor.life)
    return found


def _doubles(events: Iterable[EventRow]) -> list[str]:
    texts: dict[str, int] = {}
    for event in events:
        texts[event.text] = texts.get(event.text, 0) + 1
    return [f"doubled: {text}" for text, count in texts.items() if count > 1]


def _holes(life: int, numbers: set[int], gaps: Sequence[GapRow], *, ended: bool) -> list[str]:
    """Every number from 1 to the last is an event or within one gap, never both."""
    told = {number for gap in gaps if gap.last for number in range(gap.first, gap.last + 1)}
    last = max((*numbers, *told), default=0)
    found = [f"life {life}: {number} is neither here nor in a gap" for number in range(1, last + 1)
             if number not in numbers and number not in told]  # fmt: skip
    found += [f"life {life}: {number} is here and in a gap" for number in sorted(numbers & told)]
    found += [
        f"life {life}: {gap} counts wrongly" for gap in gaps if gap.last and gap.count != gap.last - gap.first + 1
    ]
    open_ends = [gap.first for gap in gaps if not gap.last]
    if open_ends != ([last + 1] if ended else []):
        found.append(f"life {life} ends at {last}, its open gaps begin at {open_ends}")
    return found
