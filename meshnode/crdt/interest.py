"""Who wants which documents, and what two neighbours therefore compare.

Two nodes compare what both want: their *share*. As long as nobody narrows his interest all shares are the one index.
What a node does not want it is not sent; what it held before stays on its disk, out of sight, and is offered once to
each neighbour who wants it, so that nothing that was acknowledged stays where nobody looks. A write that moves a
document to another region is sent to everybody, or those it moved away from would go on acting upon the former one.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from meshnode.crdt.change import ParsedChange
from meshnode.crdt.document import Document
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.fields import JsonValue, flat
from meshnode.crdt.reading import document_of, value_of
from meshnode.crdt.store import StateStore
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.ports import Trust
from meshnode.model.errors import LocalError
from meshnode.model.ids import DocId, NodeId
from meshnode.model.interest import EVERYTHING, Interest

REGION_FIELDS = ("labels.region", "spec.region")
SHARES_MAX = 64
NARROW_MAX = 16_384
_REMEMBERED_MAX, _REMEMBERED_TEXT_MAX = 512, 512  # answers, and characters of one that is remembered


class NotHeld(LocalError):
    """This node does not hold such documents, and would write without knowing what is there. Nothing changed."""

    code = "not-held-here"


class Interests:
    """Of this node and all others; by name, since a document says it, which may be here before its node is known."""

    def __init__(self, me: NodeId, store: StateStore, index: Fingerprints, trust: Trust) -> None:
        self.me = me
        self._store, self._index, self._trust = store, index, trust
        self._named: dict[str, Interest] = {}  # those that are narrow
        self._regions: dict[DocId, tuple[str, ...]] = {}  # of documents that have some
        self._moved: dict[DocId, None] = {}  # since the last push
        self._shares: dict[tuple[Interest, ...], Fingerprints] = {}

    def say(self, name: str, interest: Interest) -> bool:
        """``True``: that is news."""
        if self._named.get(name, EVERYTHING) == interest:
            return False
        if interest == EVERYTHING:
            del self._named[name]
        elif name in self._named or len(self._named) < NARROW_MAX:
            self._named[name] = interest
        return True

    def of(self, node: NodeId) -> Interest:
        member = self._trust.member(node) if self._named else None
        return EVERYTHING if member is None else self._named.get(member.name, EVERYTHING)

    def is_called(self, node: NodeId, name: str) -> bool:
        member = self._trust.member(node)
        return member is not None and member.name == name

    @property
    def mine(self) -> Interest:
        return self.of(self.me)

    def wants(self, node: NodeId, doc: DocId) -> bool:
        """Of a document that is here."""
        interest = self.of(node)
        return interest is EVERYTHING or interest.wants(self._store.names(doc)[0], self._regions.get(doc, ()))

    def is_for(self, peer: NodeId, doc: DocId) -> bool:
        """Whether news of it go to this peer."""
        return doc in self._moved or self.wants(peer, doc)

    def is_narrow(self, node: NodeId) -> bool:
        return self.of(node) is not EVERYTHING

    def pushed(self) -> None:
        self._moved.clear()

    def hides(self, doc: DocId) -> bool:
        """It is here, and out of sight."""
        return self.mine is not EVERYTHING and doc in self._store and not self.wants(self.me, doc)

    def unwanted(self, peer: NodeId) -> list[DocId]:
        """What is here and not wanted here, and wanted by this peer."""
        if self.mine is EVERYTHING:
            return []
        return [doc for doc in self._store.docs() if not self.wants(self.me, doc) and self.wants(peer, doc)]

    def share(self, peer: NodeId) -> Fingerprints:
        """What this node and a peer compare."""
        narrow = {each: None for each in (self.mine, self.of(peer)) if each is not EVERYTHING}
        if not narrow:
            return self._index
        wanted = tuple(sorted(narrow, key=lambda each: (each.kinds, each.regions)))
        found = self._shares.pop(wanted, None)
        if found is None:
            found = Fingerprints()
            for doc in self._store.docs():
                self._put(wanted, found, doc)
        self._shares[wanted] = found
        if len(self._shares) > SHARES_MAX:
            del self._shares[next(iter(self._shares))]
        return found

    def placed(self, doc: DocId, version: bytes | None, changes: Sequence[ParsedChange] | None) -> None:
        """It has another version than this one, by these changes (``intake.Noticed``)."""
        if changes is None or any(field in each.keys for each in changes for field in REGION_FIELDS):
            before, after = self._regions.get(doc, ()), regions_of(self._store, doc)
            if before != after:
                self._regions[doc] = after
                if version is not None:
                    self._moved[doc] = None
                if not after:
                    del self._regions[doc]
        for wanted, share in self._shares.items():
            self._put(wanted, share, doc)

    def dropped(self, doc: DocId) -> None:
        self._regions.pop(doc, None)
        for share in self._shares.values():
            share.remove(doc)

    def unkept(self, kind: str, namespace: str, name: str) -> Document | None:
        """As it was here last, if it is not wanted here and so not kept up to date."""
        doc = doc_id_of(kind, namespace, name)
        known = doc in self._store and not self._store.is_deleted(doc)
        return document_of(self._store, doc) if known and not self.wants(self.me, doc) else None

    def judge(self, kind: str, namespace: str, name: str, fields: Mapping[str, JsonValue] | None = None) -> None:
        """Before a local write. ``fields``: as they are to be, of a document that may be new. Raises ``NotHeld``."""
        if not self._named or self.mine is EVERYTHING:
            return
        doc, interest = doc_id_of(kind, namespace, name), self.mine
        if self.wants(self.me, doc) if doc in self._store else interest.wants(kind, regions_in(fields)):
            return
        raise NotHeld(
            f"this node wants {interest.words()}, and {kind} {namespace}/{name} is none of them. Nothing changed.",
            next_step="write it on a node that wants it, or widen the interest in the Node document of this one",
        )

    def _put(self, wanted: Iterable[Interest], share: Fingerprints, doc: DocId) -> None:
        kind, regions = self._store.names(doc)[0], self._regions.get(doc, ())
        version = self._index.version(doc)
        if version is not None and all(each.wants(kind, regions) for each in wanted):
            share.put(doc, version)
        else:
            share.remove(doc)


def regions_in(fields: Mapping[str, JsonValue] | None) -> tuple[str, ...]:
    """Those that a document will name that is written like this."""
    given = flat(fields or {})
    texts = [given[field] for field in REGION_FIELDS if field in given]
    return tuple(sorted(value for text in texts if isinstance(value := value_of(text), str)))


def regions_of(store: StateStore, doc: DocId) -> tuple[str, ...]:
    """Those that its current writes name."""
    fields = store.fields(doc)
    texts = [write.value for field in REGION_FIELDS for write in fields.writes(field) if write.value is not None]
    few = sum(map(len, texts)) <= _REMEMBERED_TEXT_MAX
    return (_known_regions if few else _regions)(tuple(texts))


def _regions(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(value for text in texts if isinstance(value := value_of(text), str))))


_known_regions = lru_cache(_REMEMBERED_MAX)(_regions)  # a mesh has few, said by many documents
