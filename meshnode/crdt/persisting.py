"""What hangs on the commit of envelopes that are in a document already: who is told, and when.

Invariant: an envelope is journalled before it is passed on or told about, unless its writer was content with memory.
"""

from collections.abc import Sequence

from meshnode.crdt import shelf
from meshnode.crdt.chronicle import touch_of
from meshnode.crdt.gate import Admitted
from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.crdt.rhythm import Rhythm
from meshnode.crdt.succession import Room, Succession
from meshnode.kernel.effects import Persist
from meshnode.kernel.instant import Instant
from meshnode.model.ids import DocId, NodeId


class Persisting:
    """Turns what was newly placed into the one effect that keeps it."""

    def __init__(self, room: Room, succession: Succession, rhythm: Rhythm, *, lazy_us: int) -> None:
        self._store, self._keeping, self._exchange = room.store, room.keeping, room.exchange
        self._counters, self._me = room.counters, room.signer.node
        self._succession, self._rhythm, self._lazy_us = succession, rhythm, lazy_us

    def kept(
        self, via: NodeId, applied: Sequence[Admitted], now: Instant, *, eager: bool, lazily: bool = False
    ) -> Persist:
        """Everything that may only happen once ``applied`` is in the journal, behind its commit; ``lazily``: see
        ``keeping.spread``."""
        lazily = lazily and eager  # what comes by repair may be old, and long since promised
        self._keeping.offer(applied, now, patience_us=self._lazy_us if lazily else 0)
        self._counters.add("applied", len(applied))
        docs = list(dict.fromkeys(each.doc for each in applied))
        roots = self._succession.changed(docs, now)
        if self._succession.freezes.has_work:
            self._rhythm.freeze(now)
        sealed = [each.sealed for each in applied]
        onward = self._exchange.push(sealed, via, lazily=lazily) if eager else self._exchange.announce(docs, via)
        facts = [self._fact(each, lazily=lazily) for each in self._keeping.untold(applied)]
        if lazily:
            self._keeping.tell(applied)
        hashes = tuple(
            [self._store.pin(DocId(record.key[: shelf.DOC_BYTES]))[1] for record in roots if shelf.is_root(record)]
        )
        kept = EnvelopesKept(tuple([each.id for each in sealed]), hashes)
        return Persist((*roots, *[shelf.record_of(each) for each in applied]), (kept, *onward, *facts), lazily)

    def _fact(self, each: Admitted, *, lazily: bool) -> DocumentChanged:
        author, touch = each.sealed.author, touch_of(each)
        return DocumentChanged(
            each.doc, each.kind, each.namespace, each.name, author, remote=author != self._me, change=each.sealed.id,
            hlc=each.sealed.hlc, fields=touch.fields, deletes=touch.deletes, begins=touch.begins, lazily=lazily,
        )  # fmt: skip
