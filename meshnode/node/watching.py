"""Who watches documents: every signed write is told once, in the order of its commit, which is a causal one.

A cursor names the last write told by its hash, not by a count: the journal keeps writes in the order of their commits,
so a daemon that restarts finds the place again in what it has restored. A cursor nobody here knows any more (too old,
of another node, the write was folded) is answered by ``resync`` and all documents as they are: named, never silent.

Invariant: a wait ends with a change that fits, at its time, or when its asker is gone.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from meshnode.crdt import shelf
from meshnode.crdt.chronicle import touch_of
from meshnode.kernel.hlc import wall_ms
from meshnode.kernel.instant import MS
from meshnode.kernel.records import Record, RecordKind
from meshnode.kernel.timers import Timers
from meshnode.model.document_views import DocumentEvent, WatchView
from meshnode.model.errors import Invalid, LocalError, RemoteError
from meshnode.model.ids import DocId, NodeId
from meshnode.node import snapshot
from meshnode.node.effects import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from meshnode.crdt.messages import DocumentChanged
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import WatchDocuments
    from meshnode.node.core import Core

EVENTS_MAX = 4_096  # writes that a reader may be behind
RESTORED_MAX = 1_024  # of them, found again after a restart
WAITS_MAX = 256
LIMIT_MAX = 1_000
WAIT_MS_MAX = 30_000
ADDED, CHANGED, DELETED, RESYNC, SYNCED = "added", "changed", "deleted", "resync", "synced"
_NOWHERE = "0"  # before the first write that this node ever kept
_CURSOR = re.compile(r"(?:e\.(?P<told>0|[0-9a-f]{64})|s\.(?P<since>0|[0-9a-f]{64})\.(?P<doc>[0-9a-f]{0,32}))?")


class _Told(msgspec.Struct, frozen=True):
    """One write, as it was told."""

    type: str
    doc: DocId
    names: tuple[str, str, str]
    by: NodeId
    hlc: int
    fields: tuple[str, ...]
    change: bytes


class _Wait(msgspec.Struct):
    """``number``: of the last write that was looked at for it."""

    command: WatchDocuments
    number: int


class Watching:
    """Writes are numbered from 1 as they are told; ``_first`` is the number of the oldest that is kept."""

    def __init__(self, core: Core, restored: Sequence[Record]) -> None:
        self._core = core
        self._told: deque[_Told] = deque()
        self._numbers: dict[bytes, int] = {}
        self._first = 1
        self._live = core.documents.live()
        self._waits: dict[int, _Wait] = {}
        self._due: Timers[int] = Timers()
        self._restore(restored)

    # -- what happens

    def changed(self, fact: DocumentChanged, now: Instant) -> list[Effect]:
        """A write is durable: whoever waits for it hears of it."""
        names = (fact.kind, fact.namespace, fact.name)
        # A root that replaces what stood here is no write of its own time: what it did is how the document reads now.
        buried = not fact.hlc and not self._core.documents.is_live(fact.doc_id)
        hidden = self._core.documents.interests.hides(fact.doc_id)
        type_ = self._type_of(fact.doc_id, deletes=fact.deletes or buried or hidden)
        if type_:
            self._add(_Told(type_, fact.doc_id, names, fact.by, fact.hlc, fact.fields, fact.change))
        return self._tell(now)

    def sight_changed(self, fact: DocumentChanged, now: Instant) -> list[Effect]:
        """This node wants other documents since this change: whoever watches sees those come and these go."""
        before, self._live = self._live, self._core.documents.live()
        gone = [(DELETED, doc) for doc in before if doc not in self._live]
        for type_, doc in (*gone, *((ADDED, doc) for doc in self._live if doc not in before)):
            names = self._core.documents.names(doc)
            if names is not None:
                place = hashlib.sha256(fact.change + doc).digest()
                self._add(_Told(type_, doc, names, fact.by, fact.hlc, (), place))
        return self._tell(now)

    def _type_of(self, doc: DocId, *, deletes: bool) -> str:
        """What the write did; "": nothing that anybody could see."""
        was_live = doc in self._live
        if deletes and not self._core.documents.is_live(doc):
            self._live.pop(doc, None)
            return DELETED if was_live else ""
        if deletes and not was_live:
            return ""
        self._live[doc] = None
        return CHANGED if was_live else ADDED

    def _add(self, told: _Told) -> None:
        self._told.append(told)
        self._numbers[told.change] = self._last
        if len(self._told) > EVENTS_MAX:
            gone = self._told.popleft()
            if self._numbers.get(gone.change) == self._first:
                del self._numbers[gone.change]
            self._first += 1

    def _tell(self, now: Instant) -> list[Effect]:
        ready: list[int] = []
        for number, wait in self._waits.items():
            if any(_fits(wait.command, told) for _, told in self._behind(wait.number)):
                ready.append(number)
            else:
                wait.number = self._last
        return [self._end(number, now) for number in ready]

    # -- who asks

    def ask(self, command_no: int, command: WatchDocuments, now: Instant) -> list[Effect]:
        """Ends in one ``Reply``. Raises ``Invalid``, ``LocalError``."""
        _check(command)
        place = _CURSOR.fullmatch(command.after)
        assert place is not None
        if place["told"] is None:
            return [Reply(command_no, self._snapshot(command, place["since"], place["doc"] or "", now, anew=False))]
        number = self._number_of(place["told"])
        if number is None:
            return [Reply(command_no, self._snapshot(command, None, "", now, anew=True))]
        view = self._page(command, number, now)
        if view.items or not command.wait_ms:
            return [Reply(command_no, view)]
        if len(self._waits) >= WAITS_MAX:
            raise LocalError(f"{WAITS_MAX} watchers wait for documents already", next_step="ask without wait_ms")
        self._waits[command_no] = _Wait(command, self._last)
        self._due.set(command_no, now.mono_us + command.wait_ms * MS)
        return []

    def dropped(self, command_no: int) -> None:
        self._waits.pop(command_no, None)
        self._due.cancel(command_no)

    def wake(self, now: Instant) -> list[Effect]:
        return [self._end(number, now) for number in self._due.pop_due(now.mono_us)]

    def deadline(self) -> int | None:
        return self._due.deadline()

    # -- answers

    def _page(self, command: WatchDocuments, number: int, now: Instant) -> WatchView:
        items: list[DocumentEvent] = []
        for at, told in self._behind(number):
            if len(items) == command.limit:
                return WatchView(items=items, cursor=self._cursor(at - 1), more=True)
            if _fits(command, told):
                items.append(self._event(told, self._cursor(at), now))
        return WatchView(items=items, cursor=self._cursor(self._last))

    def _snapshot(
        self, command: WatchDocuments, since: str | None, behind: str, now: Instant, *, anew: bool
    ) -> WatchView:
        """All documents, a page at a time in the order of their ids; ``since``: where the changes will go on."""
        since = since if since is not None else self._cursor(self._last)[2:]
        items = [DocumentEvent(type=RESYNC, cursor=f"s.{since}.")] if anew else []
        docs = sorted(self._live)
        for doc in docs[bisect_right(docs, DocId(bytes.fromhex(behind))) if behind else 0 :]:
            cursor = f"s.{since}.{doc.hex()}"
            if len(items) >= command.limit:
                return WatchView(items=items, cursor=items[-1].cursor, more=True)
            names = self._core.documents.names(doc)
            if names is not None and _is_meant(command, names):
                items.append(self._seen(doc, names, cursor, now))
        items.append(DocumentEvent(type=SYNCED, cursor=f"e.{since}"))
        return WatchView(items=items, cursor=f"e.{since}", more=self._last > (self._number_of(since) or 0))

    def _seen(self, doc: DocId, names: tuple[str, str, str], cursor: str, now: Instant) -> DocumentEvent:
        kind, namespace, name = names
        found = self._core.documents.get(*names)
        assert found is not None, f"{doc.hex()} is live and cannot be read"
        return DocumentEvent(
            type=ADDED, cursor=cursor, kind=kind, namespace=namespace, name=name,
            by=self._core.names.of(found.updated_by), at_ms=found.updated_ms, fields=sorted(found.fields),
            document=snapshot.document_view(self._core, found, now),
        )  # fmt: skip

    def _event(self, told: _Told, cursor: str, now: Instant) -> DocumentEvent:
        kind, namespace, name = told.names
        found = self._core.documents.get(*told.names) if told.type != DELETED else None
        return DocumentEvent(
            type=told.type, cursor=cursor, kind=kind, namespace=namespace, name=name, by=self._core.names.of(told.by),
            at_ms=wall_ms(told.hlc), fields=list(told.fields),
            document=None if found is None else snapshot.document_view(self._core, found, now),
        )  # fmt: skip

    def _end(self, command_no: int, now: Instant) -> Effect:
        wait = self._waits.pop(command_no)
        self._due.cancel(command_no)
        return Reply(command_no, self._page(wait.command, wait.number, now))

    # -- places

    @property
    def _last(self) -> int:
        return self._first + len(self._told) - 1

    def _behind(self, number: int) -> Iterator[tuple[int, _Told]]:
        for at in range(max(0, number + 1 - self._first), len(self._told)):
            yield self._first + at, self._told[at]

    def _number_of(self, place: str) -> int | None:
        if place == _NOWHERE:
            return 0 if self._first == 1 else None
        return self._numbers.get(bytes.fromhex(place))

    def _cursor(self, number: int) -> str:
        return f"e.{self._told[number - self._first].change.hex() if number >= self._first else _NOWHERE}"

    def _restore(self, restored: Sequence[Record]) -> None:
        """The newest writes of the journal, so that readers find their place again. What they did is told by what they
        say: whether a document was live before each is not known any more."""
        kept = [record for record in restored if record.kind is RecordKind.ENVELOPE and record.body]
        if len(kept) > RESTORED_MAX:
            self._first = 2  # there was something before: nobody's cursor is "before the first"
        for record in kept[-RESTORED_MAX:]:
            try:
                admitted = shelf.restored(record)
            except RemoteError:
                continue
            touch, sealed = touch_of(admitted), admitted.sealed
            type_ = DELETED if touch.deletes else ADDED if touch.begins else CHANGED
            names = (admitted.kind, admitted.namespace, admitted.name)
            self._add(_Told(type_, admitted.doc, names, sealed.author, sealed.hlc, touch.fields, sealed.id))


def _fits(command: WatchDocuments, told: _Told) -> bool:
    return _is_meant(command, told.names)


def _is_meant(command: WatchDocuments, names: tuple[str, str, str]) -> bool:
    wanted = (command.kind, command.namespace, command.name)
    return all(not want or want == name for want, name in zip(wanted, names, strict=True))


def _check(command: WatchDocuments) -> None:
    if not _CURSOR.fullmatch(command.after):
        raise Invalid(
            f"after is {command.after[:80]!r}, which is no cursor of a watch",
            next_step="give the cursor of the last event, or none to begin with all documents",
        )
    if not 1 <= command.limit <= LIMIT_MAX:
        raise Invalid(f"limit is {command.limit}; it may be 1 to {LIMIT_MAX}", next_step="ask in turns, by the cursor")
    if not 0 <= command.wait_ms <= WAIT_MS_MAX:
        raise Invalid(
            f"wait_ms is {command.wait_ms}; it may be 0 to {WAIT_MS_MAX}", next_step="ask again when it is over"
        )
