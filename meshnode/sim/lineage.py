"""What was ever written to documents, and what each writer had seen: told from the changes of users alone.

A generation sums up those before it, so that what overwrote what cannot be read from a document any more. Here every
write is noted when somebody makes it, with the writes it named as replaced; roots and carried strays only tell under
which number a write goes on. A write is accounted for when it is current (in force or a sibling), or when a write that
had seen it is accounted for. A removal is a write too: that a root says to have seen it is no account of it.
"""

from collections.abc import Iterable, Mapping

import msgspec

from meshnode.crdt.fields import DELETED, STAMP, stamp_of
from meshnode.crdt.history import Sealed
from meshnode.crdt.root import Rooted
from meshnode.crdt.seen import HORIZON_MS
from meshnode.crdt.store import StateStore, parsed_changes
from meshnode.crdt.strays import Stray
from meshnode.kernel.hlc import wall_ms
from meshnode.model.ids import DocId, NodeId

Name = tuple[bytes, str]  # the change that made a write first, and its field
Number = tuple[str, int, bytes]  # field, operation number, actor


class Made(msgspec.Struct, frozen=True):
    """One write. ``value`` ``None``: a removal, or the end of a deletion. ``over``: the writes it replaced."""

    value: str | None
    author: NodeId
    boot: int
    hlc: int
    over: tuple[Name, ...]


class _Doc(msgspec.Struct, frozen=True):
    made: dict[Name, Made] = {}
    numbers: dict[Number, Name] = {}
    by_change: dict[bytes, dict[Name, None]] = {}
    read: dict[bytes, None] = {}  # roots and carrying envelopes whose numbers are known
    buried: dict[Name, None] = {}  # summed up in a grave
    doubtful: dict[Name, None] = {}  # by who signed two under one number: promised to nobody


class Lineage:
    """Of all documents of a world."""

    def __init__(self) -> None:
        self._docs: dict[DocId, _Doc] = {}

    def wrote(self, store: StateStore, doc: DocId, change: bytes) -> None:
        """Somebody has just written this here; ``change``: its last one."""
        known = self._of(doc)
        known.read[change] = None
        self.read(store, doc)
        sealed = next((each for each in store.beyond(doc, {}) if each.id == change), None)
        if sealed is not None:
            self._made(known, sealed)

    def signed(self, store: StateStore, doc: DocId, sealed: Sealed) -> None:
        """A member signed this on top of what he holds, and signs another one under the same number."""
        known = self._of(doc)
        known.read[sealed.id] = None
        self.read(store, doc)
        known.doubtful.update(dict.fromkeys(self._made(known, sealed)))

    def _made(self, known: _Doc, sealed: Sealed) -> list[Name]:
        names: list[Name] = []
        for parsed in parsed_changes(sealed):
            for op in parsed.ops:
                if op.key != STAMP:
                    name = (parsed.hash, op.key)
                    pairs = [known.numbers.get((op.key, *pred)) for pred in op.preds]
                    over = tuple(each for each in pairs if each is not None)
                    known.made[name] = Made(op.value, sealed.author, sealed.boot, stamp_of(parsed), over)
                    self._number(known, (op.key, op.counter, parsed.actor), name)
                    names.append(name)
        return names

    def read(self, store: StateStore, doc: DocId) -> None:
        """Under which numbers this node knows what was written."""
        known = self._of(doc)
        rooted = store.rooted(doc)
        if rooted is not None and rooted.hash not in known.read:
            known.read[rooted.hash] = None
            _number_root(known, rooted)
        for sealed in store.beyond(doc, {}):
            if sealed.id not in known.read:
                known.read[sealed.id] = None
                self._number_carried(known, sealed)

    def names(self, doc: DocId, change: bytes) -> Iterable[Name]:
        """The writes of a change, or those it carried."""
        known = self._of(doc)
        return [name for name in known.by_change.get(change, ()) if name not in known.doubtful]

    def is_true_deletion(self, doc: DocId, value: str | None, hlc: int) -> bool:
        """Whether somebody deleted the document, or ended its deletion, by then: carried on, it has a new name."""
        made = [each for (_, key), each in self._of(doc).made.items() if key == DELETED and each.hlc <= hlc]
        return any((each.value is None) == (value is None) for each in made)

    def is_true(self, doc: DocId, name: Name, value: str | None) -> bool:
        """Whether somebody wrote this value there."""
        made = self._of(doc).made.get(name)
        return made is not None and made.value == value

    def accounted(self, store: StateStore, doc: DocId, strays: Iterable[Stray] = ()) -> dict[Name, None]:
        """Writes that this node shows, waits to carry, or knows to be overwritten by somebody who had seen them."""
        self.read(store, doc)
        known = self._of(doc)
        found: dict[Name, None] = dict(known.buried)
        # Who signed two under one number meant to overwrite what both name, whichever of them stays.
        edge = list(known.doubtful)
        edge += [(write.origin, key) for key, writes in store.fields(doc).items() for write in writes]
        edge += [stray.name for stray in strays]
        is_rooted = store.rooted(doc) is not None
        while edge:
            _walk(known.made, edge, found)
            edge = _equal(known.made, found) if is_rooted else []
        return found

    def _of(self, doc: DocId) -> _Doc:
        return self._docs.setdefault(doc, _Doc())

    @staticmethod
    def _number(known: _Doc, number: Number, name: Name) -> None:
        known.numbers[number] = name
        known.by_change.setdefault(name[0], {})[name] = None

    def _number_carried(self, known: _Doc, sealed: Sealed) -> None:
        carried = {(each.change, each.key): each.origin for each in sealed.carried}
        for parsed in parsed_changes(sealed):
            for op in parsed.ops:
                origin = carried.get((parsed.hash, op.key))
                if origin is not None:
                    known.numbers[op.key, op.counter, parsed.actor] = (origin, op.key)
                    known.by_change.setdefault(parsed.hash, {})[origin, op.key] = None
                elif op.key == DELETED:  # it goes on under another name: for every deletion there was by then
                    stamp = stamp_of(parsed)
                    over = tuple(n for n, made in known.made.items() if n[1] == DELETED and made.hlc <= stamp)
                    name = (parsed.hash, DELETED)
                    known.made[name] = Made(op.value, sealed.author, sealed.boot, stamp, over)
                    self._number(known, (DELETED, op.counter, parsed.actor), name)


def _number_root(known: _Doc, rooted: Rooted) -> None:
    for key, writes in rooted.root.fields:
        for number, write in enumerate(writes):
            known.numbers[key, *rooted.op(key, number)] = (write.origin, key)
    grave_ms = rooted.root.grave_ms
    if grave_ms:
        old = [name for name, made in known.made.items() if wall_ms(made.hlc) <= grave_ms + HORIZON_MS]
        known.buried.update(dict.fromkeys(old))


def _walk(made: Mapping[Name, Made], edge: list[Name], found: dict[Name, None]) -> None:
    """From these writes to all that they replaced."""
    while edge:
        name = edge.pop()
        if name not in found:
            found[name] = None
            known = made.get(name)
            edge += known.over if known is not None else ()


def _equal(made: Mapping[Name, Made], found: Mapping[Name, None]) -> list[Name]:
    """Of concurrent writes of one value a root keeps the newest, which stands for all of them."""
    newest: dict[tuple[str, str | None], tuple[int, bytes]] = {}
    for origin, key in found:
        known = made.get((origin, key))
        if known is not None:
            place = (key, known.value)
            newest[place] = max(newest.get(place, (0, b"")), (known.hlc, origin))
    return [
        (origin, key)
        for (origin, key), each in made.items()
        if (origin, key) not in found and (each.hlc, origin) < newest.get((key, each.value), (0, b""))
    ]
