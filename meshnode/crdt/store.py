"""Where documents live: the port, and the implementation that stands on the Automerge engine.

One document per record, fields at its root. An engine document is made when one is written to and thrown away when many
others were since; what the room answers from (fields, siblings, heads) is kept beside it, so a node with ten thousand
documents starts without waking one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from meshnode.crdt import change, envelope
from meshnode.crdt.change import OpId, ParsedChange
from meshnode.crdt.envelope import UNROOTED, Pin
from meshnode.crdt.folding import context_of, folded
from meshnode.crdt.gate import Admitted
from meshnode.crdt.guard import Engine, EngineFailure
from meshnode.crdt.history import Clock, History, Sealed
from meshnode.crdt.registers import Registers, engine_choice
from meshnode.crdt.root import Rooted
from meshnode.crdt.seen import Seen
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId


class StateStore(Protocol):
    """Documents by id. Nothing is half applied: an operation raises and leaves all as it was, or it is done."""

    def __contains__(self, doc: DocId) -> bool: ...

    def __len__(self) -> int: ...

    def docs(self) -> Iterable[DocId]: ...

    def names(self, doc: DocId) -> tuple[str, str, str]:
        """Kind, namespace, name."""
        ...

    def heads(self, doc: DocId) -> tuple[bytes, ...]:
        """Hashes nothing stands on yet, sorted; empty for an unknown document."""
        ...

    def changes(self, doc: DocId) -> int: ...

    def missing(self, doc: DocId, hashes: Iterable[bytes]) -> list[bytes]: ...

    def clock(self, doc: DocId) -> Clock:
        """How many changes of each actor the document holds: what repair compares once the heads differ."""
        ...

    def beyond(self, doc: DocId, clock: Mapping[bytes, int]) -> list[Sealed]:
        """Envelopes that somebody of this clock lacks, in causal order."""
        ...

    def envelope_at(self, doc: DocId, actor: bytes, seq: int) -> Sealed | None: ...

    def fields(self, doc: DocId) -> Registers: ...

    def apply(self, admitted: Admitted) -> None:
        """All changes of an envelope or none. Dependencies must be there. Raises ``RemoteError``."""
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

    def seen(self, doc: DocId) -> Seen:
        """Which writes the document includes."""
        ...

    def fold(self, doc: DocId, heads: Sequence[bytes], grave_ms: int = 0) -> Rooted:
        """The root of the next generation at these heads, all known; nothing changes. Raises ``RemoteError``."""
        ...

    def adopt(self, rooted: Rooted, *, proven: bool = False) -> None:
        """Begin a generation: all that stood there before goes. Raises ``RemoteError``.

        ``proven``: a root of our own journal; the engine is not asked again.
        """
        ...


class _Record(msgspec.Struct):
    names: tuple[str, str, str]
    history: History
    fields: Registers
    rooted: Rooted | None = None


class AutomergeStore:
    """``StateStore`` on ``crdt/guard.py``."""

    def __init__(self, *, documents_max: int = 20_000, changes_max: int = 4096, engines_max: int = 256) -> None:
        self._records: dict[DocId, _Record] = {}
        self._engines: dict[DocId, Engine] = {}  # the one used longest ago first
        self._documents_max = documents_max
        self._changes_max = changes_max
        self._engines_max = engines_max

    def __contains__(self, doc: DocId) -> bool:
        return doc in self._records

    def __len__(self) -> int:
        return len(self._records)

    def docs(self) -> Iterable[DocId]:
        return self._records.keys()

    def names(self, doc: DocId) -> tuple[str, str, str]:
        return self._records[doc].names

    def heads(self, doc: DocId) -> tuple[bytes, ...]:
        return self._records[doc].history.heads() if doc in self._records else ()

    def changes(self, doc: DocId) -> int:
        return len(self._records[doc].history) if doc in self._records else 0

    def missing(self, doc: DocId, hashes: Iterable[bytes]) -> list[bytes]:
        return self._records[doc].history.missing(hashes) if doc in self._records else list(hashes)

    def clock(self, doc: DocId) -> Clock:
        return self._records[doc].history.clock() if doc in self._records else {}

    def beyond(self, doc: DocId, clock: Mapping[bytes, int]) -> list[Sealed]:
        return self._records[doc].history.beyond(clock) if doc in self._records else []

    def envelope_at(self, doc: DocId, actor: bytes, seq: int) -> Sealed | None:
        history = self._records[doc].history if doc in self._records else History()
        found = history.at(actor, seq)
        return None if found is None else history.envelope(found)

    def fields(self, doc: DocId) -> Registers:
        return self._records[doc].fields if doc in self._records else Registers()

    def pin(self, doc: DocId) -> Pin:
        rooted = self.rooted(doc)
        return UNROOTED if rooted is None else rooted.pin

    def rooted(self, doc: DocId) -> Rooted | None:
        return self._records[doc].rooted if doc in self._records else None

    def envelope_bytes(self, doc: DocId) -> int:
        return self._records[doc].history.envelope_bytes if doc in self._records else 0

    def drop(self, doc: DocId) -> None:
        self._records.pop(doc, None)
        self._engines.pop(doc, None)

    def max_op(self, doc: DocId, deps: Sequence[bytes]) -> int:
        return self._records[doc].history.max_op(deps) if doc in self._records else 0

    def seen(self, doc: DocId) -> Seen:
        return context_of(self.rooted(doc), self.beyond(doc, {}))

    def fold(self, doc: DocId, heads: Sequence[bytes], grave_ms: int = 0) -> Rooted:
        record = self._records[doc]
        if tuple(sorted(heads)) == record.history.heads():
            state = record.fields, record.history.beyond({})
        else:
            state = _at(record, heads)
        return folded(doc, record.names, record.rooted, heads, state, grave_ms)

    def adopt(self, rooted: Rooted, *, proven: bool = False) -> None:
        doc = DocId(rooted.root.doc)
        if doc not in self._records and len(self._records) >= self._documents_max:
            raise RemoteError("documents-full", f"the limit is {self._documents_max}")
        self._engines.pop(doc, None)
        if not proven:
            self._keep_engine(doc, _engine_on(rooted))
        self._records[doc] = _Record(rooted.root.names, History(rooted), Registers(rooted), rooted)

    def apply(self, admitted: Admitted) -> None:
        self._apply(admitted, proven=False)

    def restore(self, admitted: Admitted) -> None:
        self._apply(admitted, proven=True)

    def _apply(self, admitted: Admitted, *, proven: bool) -> None:
        record = self._records.get(admitted.doc)
        if record is None:
            if len(self._records) >= self._documents_max:
                raise RemoteError("documents-full", f"the limit is {self._documents_max}")
            record = _Record((admitted.kind, admitted.namespace, admitted.name), History(), Registers())
        if len(record.history) + len(admitted.changes) > self._changes_max:
            raise RemoteError("document-full", f"the limit is {self._changes_max} changes")
        record.history.judge(admitted.changes)
        _judge_replaced(record, admitted.changes)
        if admitted.pin != (UNROOTED if record.rooted is None else record.rooted.pin):
            raise RemoteError("old-generation", f"{admitted.pin[0]}")
        fresh = record.fields.fresh(admitted.changes, admitted.sealed)
        if not proven:
            self._prove(admitted, {key: engine_choice(writes).value for key, writes in fresh.items()})
        else:
            self._engines.pop(admitted.doc, None)  # it has not seen this; the next one is built with it
        record.history.append(admitted.changes, admitted.sealed)
        record.fields.take(fresh)
        self._records[admitted.doc] = record

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


def _engine_on(rooted: Rooted) -> Engine:
    try:
        engine = Engine([layer.plain for layer in rooted.layers])
        heads = engine.heads()
    except EngineFailure as error:
        raise RemoteError("engine-refused", str(error)) from error
    if heads != tuple(sorted(layer.hash for layer in rooted.layers)):
        raise RemoteError("engine-refused", "it read another root")
    return engine


def _at(record: _Record, heads: Sequence[bytes]) -> tuple[Registers, Sequence[Sealed]]:
    """Fields and envelopes as they were when these were the heads."""
    registers, envelopes = Registers(record.rooted), record.history.up_to(heads)
    for each in envelopes:
        registers.take(registers.fresh(parsed_changes(each), each))
    return registers, envelopes


def parsed_changes(sealed: Sealed) -> list[ParsedChange]:
    return [change.parse(chunk) for chunk in envelope.unseal(sealed.data).envelope.changes]


def _judge_replaced(record: _Record, changes: Sequence[ParsedChange]) -> None:
    """Each write named as replaced is one of the same field, which the writer can have seen."""
    own: dict[tuple[OpId, str], None] = {}
    for each in changes:
        for op in each.ops:
            for replaced in op.preds:
                if (replaced, op.key) not in own and not _is_seen(record, changes[0].deps, op.key, replaced):
                    raise RemoteError("change-pred", f"a write of {op.key[:60]!r} that its writer cannot have seen")
        own.update({((op.counter, each.actor), op.key): None for op in each.ops})


def _is_seen(record: _Record, deps: Sequence[bytes], key: str, replaced: OpId) -> bool:
    current = record.fields.write(key, replaced)
    if current is None:
        return _was_seen(record, deps, key, replaced)
    return record.history.is_ancestor(current.change, deps)


def _was_seen(record: _Record, deps: Sequence[bytes], key: str, replaced: OpId) -> bool:
    """The same for a write that somebody else has replaced in the meantime: rare, so its change is read again."""
    layer = record.history.layer(replaced)
    if layer is not None:
        return layer.ops.get(key) == replaced[0] and record.history.is_ancestor(layer.hash, deps)
    made_by = record.history.owner(replaced)
    if made_by is None or not record.history.is_ancestor(made_by, deps):
        return False
    again = parsed_changes(record.history.envelope(made_by))
    return any(op.counter == replaced[0] and op.key == key for each in again if each.hash == made_by for op in each.ops)
