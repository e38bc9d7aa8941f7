"""Local writes: from what a person wants to read to a signed envelope that would pass every peer's gate."""

from collections.abc import Mapping, Sequence

import msgspec

from meshnode.crdt import change, envelope, gate
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import ENVELOPE_BYTES_MAX, Carry, Envelope, actor_of, are_names, doc_id_of, resource_of
from meshnode.crdt.fields import DELETED, RESERVED, STAMP, JsonValue, canonical, flat
from meshnode.crdt.gate import Admitted
from meshnode.crdt.kinds import Kinds, added, counter_field
from meshnode.crdt.store import StateStore
from meshnode.crdt.strays import Stray, carrying_changes, depth_of
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Action, Authority, Signer
from meshnode.model.errors import Denied, Invalid, LocalError, NotFound, RemoteError
from meshnode.model.ids import DocId, short


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
        doc = self._allowed(kind, namespace, name)
        edit = self._edit(doc, kind, flat(fields))
        created = not self._is_live(doc)
        if not edit and not created:
            return Draft(doc, None, created=False)
        return Draft(doc, self._sealed(doc, (kind, namespace, name), edit, now), created)

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
        if not are_names(kind, namespace, name):
            raise Invalid(
                f"{kind!r}, {namespace!r}, {name!r}: names are printable, 1 to 253 bytes, without '/'",
                next_step="choose another name",
            )
        resource = resource_of(kind, namespace, name)
        verdict = self._authority.may(self._signer.node, Action.WRITE, resource)
        if not verdict.allowed:
            raise Denied(
                f"node {short(self._signer.node)} may not write {resource}: {verdict.reason}. Nothing changed.",
                next_step="ask an admin for a role that may write it",
            )
        return doc_id_of(kind, namespace, name)

    def _is_live(self, doc: DocId) -> bool:
        return doc in self._store and not self._store.is_deleted(doc)

    def _edit(self, doc: DocId, kind: str, wanted: Mapping[str, str]) -> dict[str, str | None]:
        """Fields to write: those that read otherwise now, and those in conflict, which this write settles."""
        registers = self._store.fields(doc)
        values, siblings = registers.values(), registers.siblings()
        edit = {
            key: wanted.get(key)
            for key in sorted({**values, **wanted})
            if key not in RESERVED
            and (values.get(key) != wanted.get(key) or key in siblings)
            and (key in wanted or self._kinds.may_remove(kind, key))
        }
        if values.get(DELETED) is not None or DELETED in siblings:
            edit[DELETED] = None
        return edit

    def _sealed(
        self, doc: DocId, names: tuple[str, str, str], edit: Mapping[str, str | None], now: Instant
    ) -> Admitted:
        stamp = self._stamp(doc, now)
        actor = self._actor(doc)
        stamped = {**edit, STAMP: str(stamp)}
        if DELETED in edit and edit[DELETED] is not None:
            stamped[DELETED] = str(stamp)
        try:
            made = change_of(self._store, doc, actor, stamped)
            return self._signed(doc, names, stamp, [made], [])
        except RemoteError as error:  # our own envelope would be refused by every peer, so it is refused here
            raise Invalid(
                f"{'/'.join(names)}: {error}. Nothing changed.",
                next_step=f"a document's change has at most {ENVELOPE_BYTES_MAX} bytes, compressed: make it smaller",
            ) from error

    def carry(self, doc: DocId, strays: Sequence[Stray], now: Instant) -> Admitted:
        """Write again, in our own name, what a root did not include. Raises ``Denied``, ``Invalid``."""
        names = self._store.names(doc)
        self._allowed(*names)
        stamps = [self._hlc.stamp(now) for _ in range(depth_of(strays))]
        changes, carried = carrying_changes(self._store, doc, self._actor(doc), strays, stamps)
        try:
            return self._signed(doc, names, stamps[-1], changes, carried)
        except RemoteError as error:
            raise Invalid(f"{'/'.join(names)}: {error}. Nothing changed.", next_step="meshnode conflicts") from error

    def _actor(self, doc: DocId) -> bytes:
        return actor_of(self._signer.public_key, doc, self._boot, self._store.pin(doc)[1])

    def _signed(
        self,
        doc: DocId,
        names: tuple[str, str, str],
        stamp: int,
        changes: list[ParsedChange],
        carried: list[Carry],
    ) -> Admitted:
        """Raises ``RemoteError`` when every peer would refuse it."""
        generation, root = self._store.pin(doc)
        made = Envelope(
            envelope.ROOTED_VERSION if generation else envelope.VERSION, doc, *names, self._signer.node, self._boot,
            changes[0].seq, stamp, [packed(each) for each in changes], generation, root, carried,
        )  # fmt: skip
        change.judge_size(changes)
        data = envelope.seal(made, self._signer)
        envelope.judge_size(data, made)
        return gate.admitted(made, data, changes, proven=True)

    def _stamp(self, doc: DocId, now: Instant) -> int:
        """A new stamp that differs from the present one: the engine makes no operation of an equal value."""
        current = self._store.fields(doc).stamp()
        stamp = self._hlc.stamp(now)
        return self._hlc.stamp(now) if current is not None and current.value == str(stamp) else stamp


def change_of(store: StateStore, doc: DocId, actor: bytes, fields: Mapping[str, str | None]) -> ParsedChange:
    """The change that sets ``fields`` on top of all we hold, replacing every current write of theirs: byte for byte
    what the engine would have written (a test asks it), at a third of the time."""
    current, heads = store.fields(doc), store.heads(doc)
    settings = [
        Setting(key, fields[key], tuple(sorted(write.op for write in current.writes(key)))) for key in sorted(fields)
    ]
    seq = store.clock(doc).get(actor, 0) + 1
    return written(actor, seq, store.max_op(doc, heads) + 1, heads, settings)
