"""When a generation ends: who may write a long document proposes to freeze its heads, and all tell on who holds them.

Acknowledgements only save work (a node that lacks something of the frozen heads carries its strays afterwards), so
members that cannot be reached are not waited for, and a document four times over the limit waits for nobody.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from meshnode.crdt.change import DEPS_MAX
from meshnode.crdt.envelope import Pin
from meshnode.crdt.letters import HOLDER_BYTES, FrozenRow
from meshnode.crdt.registers import Registers
from meshnode.crdt.store import StateStore
from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import DocId, NodeId

FREEZES_MAX = 1024  # at once; others wait for the next write
STALE_US = 10 * SECOND  # then new heads are proposed
KEPT_FIELDS_MAX = 64
HURRY = 4  # times over the limit: no more waiting
HEADS_MAX = DEPS_MAX  # nobody could write on top of more
HOLDERS_MAX = 1024  # of one freeze; of a larger mesh only those who are waited for here
RIPE_MAX = 8  # at once, some 0.8 ms each: what is written side by side ends its generations side by side

Heads = tuple[bytes, ...]


class Limits(msgspec.Struct, frozen=True):
    """What a generation may hold before the next one is due; of a large root as much again, so that it is not written
    for every few changes."""

    changes: int
    bytes: int

    def times(self, store: StateStore, doc: DocId) -> float:
        here = store.look(doc)
        if here is None:
            return 0.0
        return max(here.changes / self.changes, here.envelope_bytes / max(self.bytes, here.root_bytes))


class Frozen(msgspec.Struct):
    """Heads of one document that are to become its next root. ``fields``: as they are there, if it was at hand when it
    began; writers go on meanwhile, and all changes of the generation would have to be read again."""

    pin: Pin
    heads: Heads
    grave_ms: int
    begun_us: int
    holders: dict[bytes, None]
    untold: bool = True
    alone: bool = False  # nobody is waited for
    fields: Registers | None = None


class Freezes:
    """At most one for each document: of two proposals every node prefers the same one."""

    def __init__(
        self,
        store: StateStore,
        limits: Limits,
        me: NodeId,
        *,
        may_propose: Callable[[DocId], bool],
        may_bury: Callable[[DocId, int], bool],
        live: Callable[[], Iterable[NodeId]],
        wants: Callable[[NodeId, DocId], bool] = lambda _node, _doc: True,
    ) -> None:
        """``live``: who is waited for, if it ``wants`` the document."""
        self._store = store
        self._limits = limits
        self._me = me[:HOLDER_BYTES]
        self._may_propose = may_propose
        self._may_bury = may_bury
        self._live, self._wants = live, wants
        self._frozen: dict[DocId, Frozen] = {}
        self._touched: dict[DocId, None] = {}  # something about their freeze may have changed
        self._hopeless: dict[DocId, tuple[int, int, Heads]] = {}  # what could not be folded, and after how many changes
        self._divided: dict[DocId, int] = {}  # when one was frozen because its nodes can never hold the same

    def __len__(self) -> int:
        return len(self._frozen)

    @property
    def has_work(self) -> bool:
        return bool(self._touched)

    def changed(self, doc: DocId, now: Instant) -> None:
        """A document has more changes than before."""
        frozen = self._frozen.get(doc)
        if frozen is not None and now.mono_us - frozen.begun_us > STALE_US:
            del self._frozen[doc]
            frozen = None
        if frozen is None and self._limits.times(self._store, doc) > 1 and self._is_worth_a_try(doc):
            self.propose(doc, 0, now)
        elif frozen is not None:
            self._touched[doc] = None

    def propose(self, doc: DocId, grave_ms: int, now: Instant, *, anyway: bool = False) -> None:
        """``anyway``: though this node may not write the document."""
        before = self._frozen.get(doc)
        if before is not None and now.mono_us - before.begun_us <= STALE_US:
            return
        if (before is None and len(self._frozen) >= FREEZES_MAX) or not (anyway or self._may_propose(doc)):
            return
        heads = self._store.heads(doc)
        self._frozen[doc] = Frozen(
            self._store.pin(doc), heads, grave_ms, now.mono_us, {self._me: None}, fields=self._fields_at(doc, heads)
        )  # fmt: skip
        self._touched[doc] = None

    def divided(self, doc: DocId, now: Instant, *, anyway: bool) -> bool:
        """Nodes hold different writes under one number: no heads are everybody's, so nobody is waited for. Whoever
        signs twice again and again makes it re-root no more often than this. ``anyway``: see ``propose``. Whether it
        is frozen now."""
        if doc not in self._store or now.mono_us - self._divided.get(doc, -STALE_US) < STALE_US:
            return False
        before = self._frozen.pop(doc, None)
        self.propose(doc, 0, now, anyway=anyway)
        ours = self._frozen.get(doc)
        if ours is not None:
            ours.alone = True
            self._divided.pop(doc, None)
            self._divided[doc] = now.mono_us
            if len(self._divided) > FREEZES_MAX:
                del self._divided[next(iter(self._divided))]
        elif before is not None:
            self._frozen[doc] = before
        return ours is not None

    def hear(self, row: FrozenRow, now: Instant) -> None:
        doc, pin, heads = DocId(row.doc), (row.generation, row.root), tuple(row.heads)
        if pin != self._store.pin(doc) or doc not in self._store or not 0 < len(heads) <= HEADS_MAX:
            return
        if self._limits.times(self._store, doc) > HURRY and self._store.missing(doc, heads):
            return  # heads that nobody has could keep it from ending until it is full
        ours = self._frozen.get(doc)
        if ours is not None and (ours.grave_ms, ours.heads) != (row.grave_ms, heads):
            if (row.grave_ms, heads) > (ours.grave_ms, ours.heads) and now.mono_us - ours.begun_us <= STALE_US:
                return
            ours = None
        if ours is None:
            if self._hopeless.get(doc, ())[1:] == (row.grave_ms, heads):
                return  # neighbours that found the same tell each other once, not for ever
            if (doc not in self._frozen and len(self._frozen) >= FREEZES_MAX) or not self._is_fit(doc, row):
                return
            fields = self._fields_at(doc, heads)
            ours = self._frozen[doc] = Frozen(pin, heads, row.grave_ms, now.mono_us, {}, fields=fields)
        news = {holder: None for holder in row.holders if holder not in ours.holders and holder != self._me}
        if len(ours.holders) + len(news) > HOLDERS_MAX:
            news = {holder: None for holder in self._awaited() if holder in news}
        ours.holders.update(news)
        ours.untold |= bool(news)
        self._touched[doc] = None

    def untold(self, *, all_of_them: bool = False) -> list[FrozenRow]:
        """What neighbours should hear, each once, or all of it for a new neighbour."""
        rows: list[FrozenRow] = []
        for doc, each in self._frozen.items():
            if each.untold or all_of_them:
                rows.append(FrozenRow(doc, *each.pin, list(each.heads), sorted(each.holders), each.grave_ms))
                each.untold = all_of_them and each.untold
        return rows

    def ripe(self) -> list[tuple[DocId, Frozen]]:
        """Freezes that are complete, so many that a turn bears; they are over with this."""
        live = list(self._live())
        found: list[tuple[DocId, Frozen]] = []
        while self._touched and len(found) < RIPE_MAX:
            doc = next(iter(self._touched))
            del self._touched[doc]
            each = self._frozen.get(doc)
            if each is None or each.pin != self._store.pin(doc):
                self._frozen.pop(doc, None)
                continue
            if self._store.missing(doc, each.heads):
                continue  # whatever others say of us: they may know it from a boot whose last writes were lost
            if self._me not in each.holders:
                each.holders[self._me] = None
                each.untold = True
            if self._is_complete(doc, each, live):
                found.append((doc, each))
        return found

    def end(self, doc: DocId, *, folded: bool) -> None:
        frozen = self._frozen.pop(doc, None)
        self._hopeless.pop(doc, None)
        if frozen is not None and not folded:
            self._hopeless[doc] = (self._store.changes(doc), frozen.grave_ms, frozen.heads)
            if len(self._hopeless) > FREEZES_MAX:
                del self._hopeless[next(iter(self._hopeless))]

    def _is_complete(self, doc: DocId, each: Frozen, live: Sequence[NodeId]) -> bool:
        held = all(node[:HOLDER_BYTES] in each.holders or not self._wants(node, doc) for node in live)
        return held or each.alone or self._limits.times(self._store, doc) > HURRY

    def _awaited(self) -> Iterable[bytes]:
        return [node[:HOLDER_BYTES] for node in self._live()]

    def _fields_at(self, doc: DocId, heads: Heads) -> Registers | None:
        """Its fields, if these are its heads now and it has but a few."""
        if heads != self._store.heads(doc):
            return None
        fields = self._store.fields(doc)
        return fields.copy() if len(fields) <= KEPT_FIELDS_MAX else None

    def _is_worth_a_try(self, doc: DocId) -> bool:
        hopeless = self._hopeless.get(doc)
        return hopeless is None or self._store.changes(doc) >= hopeless[0] + self._limits.changes

    def _is_fit(self, doc: DocId, row: FrozenRow) -> bool:
        """Nobody makes us re-root a short document, or bury one that is not dead."""
        if row.grave_ms:
            return self._may_bury(doc, row.grave_ms)
        return self._limits.times(self._store, doc) > 0.5
