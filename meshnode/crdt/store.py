"""Where documents live: the port, and the implementation that stands on the Automerge engine.

One document per record, fields at its root. An engine document is made when one is written to and thrown away when many
others were since; what the room answers from (fields, siblings, heads) is kept beside it, so a node with ten thousand
documents starts without waking one. Documents that are used stay as they are for some twenty seconds: to make one from
its bytes costs more than to apply a change, and what heals after a cut comes back to each of thousands several times.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from meshnode.crdt import envelope, usual
from meshnode.crdt.change import OpId, ParsedChange
from meshnode.crdt.cold import Cold, Record, cooled, hydrated
from meshnode.crdt.envelope import UNROOTED, Pin
from meshnode.crdt.folding import context_of, folded
from meshnode.crdt.gate import Admitted
from meshnode.crdt.guard import Engine, EngineFailure
from meshnode.crdt.history import Clock, History, Past, Sealed
from meshnode.crdt.registers import Fresh, Registers, engine_choice
from meshnode.crdt.root import Rooted
from meshnode.crdt.seen import Seen
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId

PROMISED_MAX = 256  # writes, of new documents too, that may be promised before they are made
_WORDS_MAX = 1024
_RESTS = 2  # calls of ``rest`` without a use, after which a document cools
_COOLED_MAX = 512  # at once


class Standing(msgspec.Struct, frozen=True):
    """What a new change of a document stands on, found at once. ``roomy``: neither its history nor the store is near
    its limit."""

    fields: Registers
    history: History
    pin: Pin = UNROOTED
    known: bool = False
    roomy: bool = False

    @property
    def is_live(self) -> bool:
        return self.known and not self.fields.is_deleted()


class StateStore(Protocol):
    """Documents by id. Nothing is half applied: an operation raises and leaves all as it was, or it is done."""

    def __contains__(self, doc: DocId) -> bool: ...

    def __len__(self) -> int: ...

    def docs(self) -> Iterable[DocId]: ...

    def look(self, doc: DocId) -> Record | Cold | None:
        """A document as it is, for whoever has several questions; nobody but the store alters it."""
        ...

    def names(self, doc: DocId) -> tuple[str, str, str]:
        """Kind, namespace, name."""
        ...

    def heads(self, doc: DocId) -> tuple[bytes, ...]:
        """Hashes nothing stands on yet, sorted; empty for an unknown document."""
        ...

    def changes(self, doc: DocId) -> int: ...

    def is_deleted(self, doc: DocId) -> bool: ...

    def is_divided(self, doc: DocId) -> bool:
        """Whether a field has concurrent values."""
        ...

    def missing(self, doc: DocId, hashes: Iterable[bytes]) -> list[bytes]: ...

    def clock(self, doc: DocId) -> Clock:
        """How many changes of each actor the document holds: what repair compares once the heads differ."""
        ...

    def beyond(self, doc: DocId, clock: Mapping[bytes, int]) -> list[Sealed]:
        """Envelopes that somebody of this clock lacks, in causal order."""
        ...

    def envelope_at(self, doc: DocId, actor: bytes, seq: int) -> Sealed | None: ...

    def fields(self, doc: DocId) -> Registers: ...

    def standing(self, doc: DocId) -> Standing: ...

    def glance(self, doc: DocId) -> Registers:
        """Its fields, once: a document that is not in use stays as it is, so that thousands can be gone over."""
        ...

    def apply(self, admitted: Admitted) -> None:
        """All changes of an envelope or none. Dependencies must be there. Raises ``RemoteError``.

        The engine is asked about changes in a form that it does not write itself; of the others the store knows already
        all that the engine would look at.
        """
        ...

    def restore(self, admitted: Admitted) -> None:
        """As ``apply``, for envelopes of our own journal: the engine is not asked again."""
        ...

    def pin(self, doc: DocId) -> Pin:
        """Generation and root hash."""
        ...

    def rooted(self, doc: DocId) -> Rooted | None: ...

    def envelope_bytes(self, doc: DocId) -> int:
        """What stands on the root, in bytes."""
        ...

    def drop(self, doc: DocId) -> None:
        """As if it had never been here."""
        ...

    def max_op(self, doc: DocId, deps: Sequence[bytes]) -> int:
        """The highest operation number among changes that are here."""
        ...

    def begin(self) -> None:
        """All of the journal is read."""
        ...

    @property
    def is_warm(self) -> bool:
        """Whether documents are kept in use that could rest."""
        ...

    def rest(self) -> None:
        """Some time has passed: what was not used for long may give up its memory."""
        ...

    def seen(self, doc: DocId) -> Seen:
        """Which writes the document includes."""
        ...

    def fold(self, doc: DocId, heads: Sequence[bytes], grave_ms: int = 0, fields: Registers | None = None) -> Rooted:
        """The root of the next generation at these heads, all known; nothing changes. Raises ``RemoteError``.

        ``fields``: as they were there, if somebody kept them; otherwise they are read again from all envelopes.
        """
        ...

    def adopt(self, rooted: Rooted, *, proven: bool = False) -> None:
        """Begin a generation: all that stood there before goes. Raises ``RemoteError``.

        ``proven``: a root of our own journal; the engine is not asked again.
        """
        ...


class AutomergeStore:
    """``StateStore`` on ``crdt/guard.py``.

    Of all but the last ``hydrated_max`` documents it holds little but bytes; after a while of all but ``hydrated_min``.
    ``warm_bytes_max``: of envelopes and roots of those beyond that; in memory they are some three times as much.
    """

    def __init__(
        self,
        *,
        documents_max: int = 20_000,
        changes_max: int = 4096,
        engines_max: int = 256,
        hydrated_min: int = 256,
        hydrated_max: int = 12_288,
        warm_bytes_max: int = 16 * 1024 * 1024,
    ) -> None:
        self._all: dict[DocId, Record | Cold] = {}  # in the order in which they came
        self._records: dict[DocId, Record] = {}  # those in use, the one used longest ago first
        self._engines: dict[DocId, Engine] = {}  # the one used longest ago first
        self._words: dict[str, str] = {}  # kinds and namespaces: a few words, said by many documents
        self._documents_max = documents_max
        self._changes_max = changes_max
        self._engines_max = engines_max
        self._hydrated_min = min(hydrated_min, hydrated_max)
        self._hydrated_max = hydrated_max
        self._warm_max = self._hydrated_min  # until the journal is read
        self._warm_bytes_max = warm_bytes_max
        self._warm_bytes = 0
        self._rests = 0

    def __contains__(self, doc: DocId) -> bool:
        return doc in self._all

    def __len__(self) -> int:
        return len(self._all)

    def docs(self) -> Iterable[DocId]:
        return self._all.keys()

    def look(self, doc: DocId) -> Record | Cold | None:
        return self._all.get(doc)

    def names(self, doc: DocId) -> tuple[str, str, str]:
        return self._all[doc].names

    def heads(self, doc: DocId) -> tuple[bytes, ...]:
        found = self._all.get(doc)
        return () if found is None else found.heads

    def changes(self, doc: DocId) -> int:
        found = self._all.get(doc)
        return 0 if found is None else found.changes

    def is_deleted(self, doc: DocId) -> bool:
        return self._all[doc].deleted

    def is_divided(self, doc: DocId) -> bool:
        return self._all[doc].divided

    def missing(self, doc: DocId, hashes: Iterable[bytes]) -> list[bytes]:
        wanted = list(hashes)
        found = self._all.get(doc)
        if found is None:
            return wanted
        if isinstance(found, Cold):
            heads = found.heads
            if all(each in heads for each in wanted):
                return []
        return self._record(doc).history.missing(wanted)

    def clock(self, doc: DocId) -> Clock:
        found = self._all.get(doc)
        return {} if found is None else found.clock

    def beyond(self, doc: DocId, clock: Mapping[bytes, int]) -> list[Sealed]:
        found = self._all.get(doc)
        if found is None or (isinstance(found, Cold) and not found.is_beyond(clock)):
            return []
        return self._record(doc).history.beyond(clock)

    def envelope_at(self, doc: DocId, actor: bytes, seq: int) -> Sealed | None:
        found = self._all.get(doc)
        if found is None or not 0 < seq <= found.count(actor):
            return None
        history = self._record(doc).history
        made = history.at(actor, seq)
        return None if made is None else history.envelope(made)

    def fields(self, doc: DocId) -> Registers:
        return self._record(doc).fields if doc in self._all else Registers()

    def standing(self, doc: DocId) -> Standing:
        if doc not in self._all:
            return Standing(Registers(), History(), roomy=len(self._all) + PROMISED_MAX <= self._documents_max)
        record = self._record(doc)
        roomy = len(record.history) < self._changes_max
        return Standing(record.fields, record.history, record.pin, known=True, roomy=roomy)

    def glance(self, doc: DocId) -> Registers:
        found = self._all.get(doc)
        return hydrated(found).fields if isinstance(found, Cold) else self.fields(doc)

    def pin(self, doc: DocId) -> Pin:
        found = self._all.get(doc)
        return UNROOTED if found is None else found.pin

    def rooted(self, doc: DocId) -> Rooted | None:
        found = self._all.get(doc)
        if found is None or not found.root_bytes:
            return None
        return self._record(doc).rooted

    def envelope_bytes(self, doc: DocId) -> int:
        found = self._all.get(doc)
        return 0 if found is None else found.envelope_bytes

    def begin(self) -> None:
        self._warm_max = self._hydrated_max

    @property
    def is_warm(self) -> bool:
        return len(self._records) > self._hydrated_min

    def rest(self) -> None:
        self._rests += 1
        for _ in range(_COOLED_MAX):
            if not self.is_warm or self._records[next(iter(self._records))].used + _RESTS > self._rests:
                return
            self._cool_one()

    def drop(self, doc: DocId) -> None:
        if doc in self._records:
            self._warm_bytes -= self._records[doc].weight
        for held in (self._all, self._records, self._engines):
            held.pop(doc, None)

    def max_op(self, doc: DocId, deps: Sequence[bytes]) -> int:
        return self._record(doc).history.max_op(deps) if doc in self._all else 0

    def seen(self, doc: DocId) -> Seen:
        return context_of(self.rooted(doc), self.beyond(doc, {}))

    def fold(self, doc: DocId, heads: Sequence[bytes], grave_ms: int = 0, fields: Registers | None = None) -> Rooted:
        record = self._record(doc)
        if tuple(sorted(heads)) == record.history.heads():
            state = record.fields, record.history.beyond({})
        elif fields is not None:
            state = fields, record.history.up_to(heads)
        else:
            state = _at(record, heads)
        return folded(doc, record.names, record.rooted, heads, state, grave_ms)

    def adopt(self, rooted: Rooted, *, proven: bool = False) -> None:
        doc = DocId(rooted.root.doc)
        if doc not in self._all and len(self._all) >= self._documents_max:
            raise RemoteError("documents-full", f"the limit is {self._documents_max}")
        self._engines.pop(doc, None)
        if not proven:
            self._keep_engine(doc, _engine_on(rooted))
        self._keep(doc, Record(rooted.root.names, History(rooted), Registers(rooted), rooted, rooted.pin))

    def apply(self, admitted: Admitted) -> None:
        self._apply(admitted, proven=admitted.proven)

    def restore(self, admitted: Admitted) -> None:
        self._apply(admitted, proven=True)

    def _apply(self, admitted: Admitted, *, proven: bool) -> None:
        if admitted.doc in self._all:
            record = self._record(admitted.doc)
        elif len(self._all) >= self._documents_max:
            raise RemoteError("documents-full", f"the limit is {self._documents_max}")
        else:
            record = Record(self._said(admitted), History(), Registers())
        if len(record.history) + len(admitted.changes) > self._changes_max:
            raise RemoteError("document-full", f"the limit is {self._changes_max} changes")
        fresh = _judged(record, admitted)
        if not proven:
            self._prove(admitted, {key: engine_choice(writes).value for key, writes in fresh.items()})
        elif admitted.doc in self._engines and not self._engines[admitted.doc].owe(admitted.changes):
            del self._engines[admitted.doc]
        record.history.append(admitted.changes, admitted.sealed)
        record.fields.take(fresh)
        record.cold = None
        self._keep(admitted.doc, record)

    def _said(self, admitted: Admitted) -> tuple[str, str, str]:
        kind, namespace = (self._words.setdefault(word, word) for word in (admitted.kind, admitted.namespace))
        if len(self._words) > _WORDS_MAX:
            self._words.clear()
        return kind, namespace, admitted.name

    # -- warm and cold

    def _record(self, doc: DocId) -> Record:
        """The document, made from its bytes if it is cold."""
        found = self._all[doc]
        if isinstance(found, Cold):
            found = hydrated(found)
            self._keep(doc, found)
        else:
            self._records[doc] = self._records.pop(doc)
            found.used = self._rests
        return found

    def _keep(self, doc: DocId, record: Record) -> None:
        """As the one used last; the one used longest ago cools down."""
        self._all[doc] = record
        before = self._records.pop(doc, None)
        if before is not None:
            self._warm_bytes -= before.weight
        self._records[doc] = record
        record.used, record.weight = self._rests, record.envelope_bytes + record.root_bytes
        self._warm_bytes += record.weight
        while len(self._records) > self._warm_max or (self.is_warm and self._warm_bytes > self._warm_bytes_max):
            self._cool_one()

    def _cool_one(self) -> None:
        """The one used longest ago."""
        oldest = next(iter(self._records))
        record = self._records.pop(oldest)
        self._warm_bytes -= record.weight
        self._all[oldest] = cooled(record)

    def _prove(self, admitted: Admitted, expected: Mapping[str, str | None]) -> None:
        try:
            self._engine(admitted.doc).apply(admitted.changes, expected)
        except EngineFailure as error:
            raise RemoteError("engine-refused", str(error)) from error

    def _engine(self, doc: DocId) -> Engine:
        engine = self._engines.pop(doc, None)
        if engine is None or not engine.is_sound():
            engine = Engine(self._chunks(doc))
        self._keep_engine(doc, engine)
        return engine

    def _keep_engine(self, doc: DocId, engine: Engine) -> None:
        self._engines.pop(doc, None)
        if len(self._engines) >= self._engines_max:
            del self._engines[next(iter(self._engines))]
        self._engines[doc] = engine

    def _chunks(self, doc: DocId) -> list[bytes]:
        rooted = self.rooted(doc)
        layers = [] if rooted is None else [layer.plain for layer in rooted.layers]
        return [*layers, *(parsed.plain for each in self.beyond(doc, {}) for parsed in parsed_changes(each))]


def _judged(record: Record, admitted: Admitted) -> Fresh:
    """What the touched fields would be. Raises ``RemoteError``."""
    if admitted.sealed.pin != record.pin:
        raise RemoteError("old-generation", f"{admitted.pin[0]}")
    record.history.judge(admitted.changes)
    _judge_replaced(record, admitted.changes)
    return record.fields.fresh(admitted.changes, admitted.sealed)


def _engine_on(rooted: Rooted) -> Engine:
    try:
        engine = Engine([layer.plain for layer in rooted.layers])
        heads = engine.heads()
    except EngineFailure as error:
        raise RemoteError("engine-refused", str(error)) from error
    if heads != tuple(sorted(layer.hash for layer in rooted.layers)):
        raise RemoteError("engine-refused", "it read another root")
    return engine


def _at(record: Record, heads: Sequence[bytes]) -> tuple[Registers, Sequence[Sealed]]:
    """Fields and envelopes as they were when these were the heads."""
    registers, envelopes = Registers(record.rooted), record.history.up_to(heads)
    for each in envelopes:
        registers.take(registers.fresh(parsed_changes(each), each))
    return registers, envelopes


def parsed_changes(sealed: Sealed) -> list[ParsedChange]:
    return [usual.parse(chunk)[0] for chunk in envelope.reread(sealed.data).envelope.changes]


def _judge_replaced(record: Record, changes: Sequence[ParsedChange]) -> None:
    """Each write named as replaced is one of the same field, which the writer can have seen."""
    own: dict[tuple[OpId, str], None] = {}
    history, deps, last = record.history, changes[0].deps, changes[-1]
    past: Past | None = None
    on_top, in_force = deps == history.heads(), record.fields.in_force
    for each in changes:
        for key, preds in zip(each.keys, each.preds, strict=True):
            for replaced in preds:
                if own and (replaced, key) in own:
                    continue
                if on_top:  # the usual case: its writer saw all that we hold
                    write = in_force(key)
                    if write is not None and write.op == replaced:
                        continue
                if history.stands_on(replaced, key, deps):  # the usual one of two sides of a cut
                    continue
                past = past or history.past(deps)
                if not _was_seen(history, past, key, replaced):
                    raise RemoteError("change-pred", f"a write of {key[:60]!r} that its writer cannot have seen")
        if each is not last:
            own.update({((number, each.actor), key): None for number, key in enumerate(each.keys, each.start_op)})


def _was_seen(history: History, past: Past, key: str, replaced: OpId) -> bool:
    """Whether a write of this field is among what its writer had, replaced since or not."""
    layer = history.layer(replaced)
    if layer is not None:
        return layer.ops.get(key) == replaced[0] and layer.hash in past
    made_by = history.wrote(replaced, key)
    return made_by is not None and made_by in past
