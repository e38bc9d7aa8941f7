"""A made-up node with a journal that can lose things, and the checker of what a reader has of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from cloud_gateway.model.rows import CursorRow, EventRow, GapRow
from meshnode.model.commands import GatherJournals, JournalCursor, ReadJournal
from meshnode.model.document_views import AppliedView, DocumentView
from meshnode.model.errors import NotFound, Offline
from meshnode.model.view_parts import ConflictView, JournalEntry, LinkView
from meshnode.model.views import (
    AgentView,
    IdentityView,
    JournalsView,
    JournalView,
    LinksView,
    NodeView,
    SkillView,
    StatusView,
    WhyView,
)


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


class MadeUpNode:
    """What the guest asks of its node, answered from plain fields. ``away``: nobody answers."""

    def __init__(self, *journals: MadeUpJournal) -> None:
        self.journals_of = {journal.name: journal for journal in journals}
        self.views: list[NodeView] = [_resident(journal, here=not at) for at, journal in enumerate(journals)]
        self.units: list[AgentView] = []
        self.offers: list[SkillView] = []
        self.held: dict[tuple[str, str, str], DocumentView] = {}
        self.problems: list[str] = []
        self.missing: dict[str, str] = {}
        self.drained: dict[str, None] = {}
        self.given: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self.away = False

    def at(self, _timeout_s: float) -> "MadeUpNode":
        """A door to it."""
        return self

    def status(self) -> StatusView:
        self._here()
        return StatusView(
            name=self.views[0].name, mesh="made-up", region="", version="1", uptime_s=1.0, boot=1, listen="",
            peers_connected=0, nodes_known=len(self.views), nodes_reachable=len(self.views), documents=0,
            documents_root="", directory_root="", agents_running=0, agents_total=0, clock="", journal_bytes=0,
            counters={}, handle_max_ms=0.0, problems=self.problems, hardware={}, load={},
        )  # fmt: skip

    def identity(self) -> IdentityView:
        raise NotImplementedError

    def node(self, name: str) -> NodeView:
        self._here()
        found = next(view for view in self.views if view.name == name)
        agents = sum(unit.node == name for unit in self.units)
        return msgspec.structs.replace(found, drained=name in self.drained, agents=agents)

    def nodes_page(self, after: str = "", limit: int = 500) -> list[NodeView]:
        self._here()
        return sorted((v for v in self.views if v.node_id > after), key=lambda v: v.node_id)[:limit]

    def agents_page(self, after: str = "", limit: int = 500) -> list[AgentView]:
        self._here()
        keyed = {f"{unit.instance}@{unit.node}": unit for unit in self.units}
        return [keyed[key] for key in sorted(keyed) if key > after][:limit]

    def skills_page(self, skill: str = "", where: str = "", after: int = 0, limit: int = 500) -> list[SkillView]:
        self._here()
        return self.offers[after : after + limit]

    def documents(self, kind: str = "", namespace: str = "", name: str = "") -> list[DocumentView]:
        self._here()
        return [view for key, view in self.held.items() if kind in ("", key[0]) and name in ("", key[2])]

    def conflicts(self) -> list[ConflictView]:
        self._here()
        return []

    def links(self, node: str = "") -> LinksView:
        self._here()
        items = [LinkView(peer=f"n{i}", region="", kind="peer" if i % 2 else "neighbour", rtt_ms=i) for i in range(400)]
        return LinksView(node=node, items=items)

    def why(self, subject: str, node: str = "") -> WhyView:
        self._here()
        self.given.append(f"why {subject}")
        return WhyView(subject=subject, now="", events=[])

    def journal(self, command: ReadJournal) -> JournalView:
        self._here()
        self.acknowledged[command.node] = command.cursor.number
        return self.journals_of[command.node].view(command.cursor, command.limit)

    def journals(self, command: GatherJournals, timeout_s: float | None = None) -> JournalsView:
        self._here()
        self.acknowledged |= {name: cursor.number for name, cursor in command.cursors.items()}
        asked = {name: cursor for name, cursor in command.cursors.items() if name not in self.missing}
        views = [self.journals_of[name].view(cursor, command.limit) for name, cursor in asked.items()]
        news = [view for view in views if view.items or view.anew]
        return JournalsView(items=news, missing={n: w for n, w in self.missing.items() if n in command.cursors})

    def apply(self, manifest: dict[str, Any]) -> AppliedView:
        return self._done("apply", manifest["kind"], manifest["metadata"]["name"])

    def delete(self, kind: str, namespace: str, name: str) -> AppliedView:
        self._here()
        if self.held.pop((kind, namespace, name), None) is None:
            raise NotFound(f"no {kind} {name} is known here")
        return self._done("delete", kind, name)

    def scale(self, name: str, replicas: int, agent: str = "") -> AppliedView:
        return self._done(f"scale {replicas}", "Agent", name)

    def drain(self, node: str, reason: str = "") -> AppliedView:
        self.drained[node] = None
        return self._done("drain", "Node", node)

    def resume(self, node: str) -> AppliedView:
        self.drained.pop(node, None)
        return self._done("resume", "Node", node)

    def _done(self, what: str, kind: str, name: str) -> AppliedView:
        self._here()
        self.given.append(f"{what} {name}")
        return AppliedView(kind=kind, namespace="default", name=name, action="updated", notes=[])

    def _here(self) -> None:
        if self.away:
            raise Offline("no daemon runs here", next_step="meshnode up")


def _resident(journal: MadeUpJournal, *, here: bool) -> NodeView:
    return NodeView(
        name=journal.name, node_id=journal.node_id, state="ready", region="south", roles=["member"], boot=1,
        incarnation=1, path="-" if here else "direct", age_s=0.0, rtt_ms=None, reason="", endpoints=[], hardware={},
        load={"cpu_percent": 10}, agents=0, self_node=here,
    )  # fmt: skip
