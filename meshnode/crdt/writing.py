"""Local writes: from what a person wants to read to a signed envelope that would pass every peer's gate."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from meshnode.crdt import change, envelope, gate
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.encoding import composed, packed
from meshnode.crdt.envelope import (
    ENVELOPE_BYTES_MAX,
    Carry,
    Envelope,
    Pin,
    actor_of,
    are_names,
    doc_id_of,
    resource_of,
)
from meshnode.crdt.fields import DELETED, RESERVED, STAMP, JsonValue, canonical, flat
from meshnode.crdt.gate import Admitted
from meshnode.crdt.kinds import Kinds, added, counter_field
from meshnode.crdt.registers import FIELDS_EVER_MAX, Registers, Write
from meshnode.crdt.store import Standing, StateStore
from meshnode.crdt.strays import Stray, carrying_changes, portions
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Action, Authority, Signer
from meshnode.model.errors import Denied, Invalid, LocalError, NotFound, RemoteError
from meshnode.model.ids import DocId, short

_REMEMBERED_MAX = 1024
_SURE_CHARS_MAX = 8 * 1024  # of all fields of a write, of up to four bytes each: half of what an envelope holds
_SURE_FIELD_CHARS = 32  # that a field costs beside its name and value, at the very most
_actor_of = lru_cache(_REMEMBERED_MAX)(actor_of)  # who writes a document writes it again


@lru_cache(_REMEMBERED_MAX)
def _named(kind: str, namespace: str, name: str) -> tuple[DocId, str]:
    """The document of these names, and the resource that it is. Raises ``Invalid``."""
    if not are_names(kind, namespace, name):
        raise Invalid(
            f"{kind!r}, {namespace!r}, {name!r}: names are printable, 1 to 253 bytes, without '/'",
            next_step="choose another name",
        )
    return doc_id_of(kind, namespace, name), resource_of(kind, namespace, name)


class Broken(LocalError):
    """The engine cannot write this document. Nothing changed."""

    code = "document-broken"


class Full(LocalError):
    """The history of a document, or their number, is at its limit. Nothing changed."""

    code = "document-full"


class Draft(msgspec.Struct, frozen=True):
    """An envelope ready to be placed; ``None``: the document reads like that already."""

    doc: DocId
    admitted: Admitted | None
    created: bool


class Wanted(msgspec.Struct, frozen=True):
    """What a document is to read."""

    kind: str
    namespace: str
    name: str
    fields: Mapping[str, JsonValue]

    @property
    def names(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name


class Intent(msgspec.Struct, frozen=True):
    """Fields that a document is to be given, as it stands ``here``. ``plain``: no field has concurrent writes, so
    it has one head: every change sets its stamp."""

    doc: DocId
    names: tuple[str, str, str]
    here: Standing
    heads: tuple[bytes, ...]
    edit: Mapping[str, str | None]
    created: bool
    plain: bool

    @property
    def is_sure(self) -> bool:
        """Nothing can refuse this any more, as long as nothing else is changed: it needs far less than what a change,
        an envelope, a document or the store may hold at most, so nobody has to make it to know that."""
        here, edit = self.here, self.edit
        if not here.roomy or not self.plain:
            return False
        if len(here.fields) + len(edit) > FIELDS_EVER_MAX - len(RESERVED):
            return False
        return sum([_SURE_FIELD_CHARS + len(key) + len(text or "") for key, text in edit.items()]) <= _SURE_CHARS_MAX


class _Unsigned(msgspec.Struct, frozen=True):
    names: tuple[str, str, str]
    made: Envelope
    changes: list[ParsedChange]
    created: bool


class Pen:
    """Writes in this node's name."""

    def __init__(
        self, store: StateStore, hlc: Hlc, *, signer: Signer, authority: Authority, boot: int, kinds: Kinds
    ) -> None:
        self._store = store
        self._hlc = hlc
        self._signer = signer
        self._authority = authority
        self._boot = boot
        self._kinds = kinds

    def put(self, kind: str, namespace: str, name: str, fields: Mapping[str, JsonValue], now: Instant) -> Draft:
        (draft,) = self.write([self.intend(Wanted(kind, namespace, name, fields))], now)
        if isinstance(draft, LocalError):
            raise draft
        return draft

    def intend(self, wanted: Wanted) -> Intent | Draft | LocalError:
        """What there is to write, judged; nothing is made of it yet, and the next change makes it out of date."""
        try:
            doc = self._allowed(*wanted.names)
            here = self._store.standing(doc)
            edit, is_plain = self._edit(here.fields, wanted.kind, flat(wanted.fields))
        except LocalError as error:
            return error
        created = not here.is_live
        if not edit and not created:
            return Draft(doc, None, created=False)
        return Intent(doc, wanted.names, here, here.history.heads(), edit, created, is_plain)

    def write(self, intents: Sequence[Intent | Draft | LocalError], now: Instant) -> list[Draft | LocalError]:
        """Make envelopes of what was intended, each of another document, since the last change: sealed together, at a
        few signatures for all of them. What is wrong with one is no reason against another."""
        unsigned = [self._drafted(each, now) if isinstance(each, Intent) else each for each in intents]
        ready = [each for each in unsigned if isinstance(each, _Unsigned)]
        sealed = iter(envelope.seal_all([each.made for each in ready], self._signer))
        return [_signed(each, next(sealed)) if isinstance(each, _Unsigned) else each for each in unsigned]

    def _drafted(self, intent: Intent, now: Instant) -> _Unsigned | LocalError:
        try:
            return self._unsigned(intent.doc, intent.here, intent.names, intent.edit, now, created=intent.created)
        except LocalError as error:
            return error

    def delete(self, kind: str, namespace: str, name: str, now: Instant) -> Draft:
        doc = self._allowed(kind, namespace, name)
        if not self._is_live(doc):
            raise NotFound(
                f"no {kind} {name!r} in namespace {namespace!r} on this node. Nothing changed.",
                next_step=f"meshnode get {kind}",
            )
        return Draft(doc, self._sealed(doc, (kind, namespace, name), {DELETED: ""}, now), created=False)

    def add(self, kind: str, namespace: str, name: str, counter: str, amount: int, now: Instant) -> Draft:
        """Add to this node's part of a counter. Raises as ``put`` does."""
        doc = self._allowed(kind, namespace, name)
        self._kinds.judge_counter(kind, counter)
        field, created = counter_field(counter, self._signer.node), not self._is_live(doc)
        parts = [write.value for write in self._store.fields(doc).writes(field) if write.value is not None]
        newest = max(parts, key=int, default=None)
        edit: dict[str, str | None] = {field: added(newest, amount)}
        if created and doc in self._store:
            edit[DELETED] = None
        return Draft(doc, self._sealed(doc, (kind, namespace, name), edit, now), created)

    def settle(self, kind: str, namespace: str, name: str, fields: Mapping[str, JsonValue], now: Instant) -> Draft:
        """Exactly these stored fields; ``None``: gone. ``DELETED`` with ``None`` says that the document stays."""
        doc = self._allowed(kind, namespace, name)
        if not self._is_live(doc):
            raise NotFound(
                f"no {kind} {name!r} in namespace {namespace!r} on this node. Nothing changed.",
                next_step=f"meshnode get {kind}",
            )
        edit = {field: None if value is None else canonical(value) for field, value in fields.items()}
        return Draft(doc, self._sealed(doc, (kind, namespace, name), edit, now), created=False)

    def _allowed(self, kind: str, namespace: str, name: str) -> DocId:
        doc, resource = _named(kind, namespace, name)
        verdict = self._authority.may(self._signer.node, Action.WRITE, resource)
        if not verdict.allowed:
            raise Denied(
                f"node {short(self._signer.node)} may not write {resource}: {verdict.reason}. Nothing changed.",
                next_step="ask an admin for a role that may write it",
            )
        return doc

    def _is_live(self, doc: DocId) -> bool:
        return doc in self._store and not self._store.is_deleted(doc)

    def _edit(self, registers: Registers, kind: str, wanted: Mapping[str, str]) -> tuple[dict[str, str | None], bool]:
        """Fields to write: those that read otherwise now, and those in conflict, which this write settles; and whether
        there was no conflict anywhere."""
        here = registers.beside(wanted)
        edit, was_deleted = here.unlike, registers.writes(DELETED)
        siblings: Mapping[str, Sequence[Write]] = {} if here.plain else registers.siblings()
        edit.update({key: wanted[key] for key in siblings if key in wanted})
        for key in here.others:
            if (key in siblings or registers.value(key) is not None) and self._kinds.may_remove(kind, key):
                edit[key] = None
        if was_deleted and (was_deleted[0].value is not None or DELETED in siblings):
            edit[DELETED] = None
        return edit, here.plain

    def _sealed(
        self, doc: DocId, names: tuple[str, str, str], edit: Mapping[str, str | None], now: Instant
    ) -> Admitted:
        unsigned = self._unsigned(doc, self._store.standing(doc), names, edit, now, created=False)
        return _admitted(_signed(unsigned, envelope.seal(unsigned.made, self._signer)))

    def _unsigned(
        self,
        doc: DocId,
        here: Standing,
        names: tuple[str, str, str],
        edit: Mapping[str, str | None],
        now: Instant,
        *,
        created: bool,
    ) -> _Unsigned:
        stamp = self._stamp(here.fields, now)
        stamped = {**edit, STAMP: str(stamp)}
        if DELETED in edit and edit[DELETED] is not None:
            stamped[DELETED] = str(stamp)
        changes = [_change_on(here, self._actor(doc, here.pin), stamped)]
        return _Unsigned(names, self._made(doc, here.pin, names, stamp, changes, []), changes, created)

    def carry(self, doc: DocId, strays: Sequence[Stray], now: Instant) -> list[Admitted]:
        """Write again, in our own name, what a root did not include: in as many envelopes as it takes, each on top of
        the one before. Raises ``Denied``, ``Invalid``."""
        names = self._store.names(doc)
        self._allowed(*names)
        pin = self._store.pin(doc)
        chain = carrying_changes(self._store, doc, self._actor(doc, pin), strays, lambda: self._hlc.stamp(now))
        unsigned: list[_Unsigned] = []
        for some in portions(chain):
            changes, carried = [each.change for each in some], [carry for each in some for carry in each.carried]
            made = self._made(doc, pin, names, some[-1].stamp, changes, carried)
            unsigned.append(_Unsigned(names, made, changes, created=False))
        drafts = map(_signed, unsigned, envelope.seal_all([each.made for each in unsigned], self._signer))
        return [_admitted(draft) for draft in drafts]

    def _actor(self, doc: DocId, pin: Pin) -> bytes:
        return _actor_of(self._signer.public_key, doc, self._boot, pin[1])

    def _made(
        self,
        doc: DocId,
        pin: Pin,
        names: tuple[str, str, str],
        stamp: int,
        changes: list[ParsedChange],
        carried: list[Carry],
    ) -> Envelope:
        """Raises ``Invalid``."""
        try:
            change.judge_size(changes)
        except RemoteError as error:
            raise _too_large(names, error) from error
        generation, root = pin
        return Envelope(
            envelope.ROOTED_VERSION if generation else envelope.VERSION, doc, *names, self._signer.node, self._boot,
            changes[0].seq, stamp, [packed(each) for each in changes], generation, root, carried,
        )  # fmt: skip

    def _stamp(self, registers: Registers, now: Instant) -> int:
        """A new stamp that differs from the present one: the engine makes no operation of an equal value."""
        current = registers.stamp()
        stamp = self._hlc.stamp(now)
        return self._hlc.stamp(now) if current is not None and current.value == str(stamp) else stamp


def _signed(unsigned: _Unsigned, data: bytes) -> Draft | Invalid:
    """Our own envelope that every peer would refuse is refused here."""
    try:
        envelope.judge_size(data, unsigned.made)
    except RemoteError as error:
        return _too_large(unsigned.names, error)
    admitted = gate.admitted(unsigned.made, data, unsigned.changes, proven=True)
    return Draft(admitted.doc, admitted, unsigned.created)


def _admitted(draft: Draft | Invalid) -> Admitted:
    if isinstance(draft, Invalid):
        raise draft
    assert draft.admitted is not None
    return draft.admitted


def _too_large(names: tuple[str, str, str], error: RemoteError) -> Invalid:
    return Invalid(
        f"{'/'.join(names)}: {error}. Nothing changed.",
        next_step=f"a document's change has at most {ENVELOPE_BYTES_MAX} bytes, compressed: make it smaller",
    )


def change_of(store: StateStore, doc: DocId, actor: bytes, fields: Mapping[str, str | None]) -> ParsedChange:
    """The change that sets ``fields`` on top of all we hold, replacing every current write of theirs: byte for byte
    what the engine would have written (a test asks it), at a third of the time."""
    return _change_on(store.standing(doc), actor, fields)


def _change_on(here: Standing, actor: bytes, fields: Mapping[str, str | None]) -> ParsedChange:
    numbers, history = here.fields.numbers, here.history
    heads = history.heads()
    start_op = history.max_op(heads) + 1
    keys = tuple(sorted(fields))
    values, preds = tuple([fields[key] for key in keys]), tuple([numbers(key) for key in keys])
    return composed(actor, history.count(actor) + 1, start_op, heads, keys, values, preds)
