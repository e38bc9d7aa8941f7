"""Puts judged envelopes into documents, in causal order, and keeps the index of heads that repair compares."""

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from meshnode.crdt.change import ParsedChange
from meshnode.crdt.gate import Admitted
from meshnode.crdt.held import Held
from meshnode.crdt.store import StateStore
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId

# A document has another version than the one before (``None``: it is new), by these changes, or by a root.
Noticed = Callable[[DocId, bytes | None, Sequence[ParsedChange] | None], None]


class Placed(msgspec.Struct):
    """``applied``: the envelope and those that had waited for it, in order; ``waits``: it is newly held."""

    applied: list[Admitted] = []
    refused: list[tuple[Admitted, RemoteError]] = []
    waits: bool = False


class Intake:
    """The only writer of the store."""

    def __init__(self, store: StateStore, held: Held) -> None:
        self.index = Fingerprints()
        self.noticed: Noticed = lambda _doc, _before, _changes: None
        self._store = store
        self._held = held

    def place(self, admitted: Admitted, *, restored: bool = False) -> Placed:
        """Apply what can be applied. What the store refuses is named; the rest goes on."""
        placed = Placed()
        ready = [admitted]
        while ready:
            each = ready.pop(0)
            missing = self._store.missing(each.doc, each.changes[0].deps)
            if missing:
                placed.waits |= self._held.hold(each, missing[0], restored=restored)
            elif self._apply(each, placed, restored=restored) and self._held:
                for change in each.sealed.hashes:
                    ready += self._held.release(change)
        return placed

    def waits(self, envelope: bytes) -> bool:
        """It is held back for something it stands on."""
        return envelope in self._held

    def stranded(self, doc: DocId) -> list[Admitted]:
        """Envelopes of our own journal that stand on something the disk lost."""
        return self._held.restored(doc)

    def rooted(self, doc: DocId) -> None:
        """The document began a generation: what waited for a change of the one before waits for nothing any more."""
        self._held.forget(doc)
        before = self.index.put(doc, version_of(self._store, doc))
        self.noticed(doc, before, None)

    def _apply(self, each: Admitted, placed: Placed, *, restored: bool) -> bool:
        try:
            (self._store.restore if restored else self._store.apply)(each)
        except RemoteError as error:
            placed.refused.append((each, error))
            return False
        version = version_of(self._store, each.doc)
        before = self.index.put(each.doc, version)
        if version == before:  # believed, it would be told on and asked for again, without end
            placed.refused.append((each, RemoteError("change-lost", "the store holds nothing of what it took")))
            return False
        self.noticed(each.doc, before, each.changes)
        placed.applied.append(each)
        return True


def version_of(store: StateStore, doc: DocId) -> bytes:
    """Equal heads mean an equal document: from generation 1 on they are, or stand on, layers named after the root."""
    return hashlib.blake2b(b"".join(store.heads(doc)), digest_size=16).digest()
