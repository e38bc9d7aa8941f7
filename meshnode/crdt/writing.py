"""Local writes: from what a person wants to read to a signed envelope that would pass every peer's gate."""

from collections.abc import Mapping, Sequence

import msgspec

from meshnode.crdt import change, envelope, gate
from meshnode.crdt.encoding import packed
from meshnode.crdt.envelope import ENVELOPE_BYTES_MAX, Carry, Envelope, actor_of, are_names, doc_id_of, resource_of
from meshnode.crdt.fields import DELETED, RESERVED, STAMP, JsonValue, canonical, flat
from meshnode.crdt.gate import Admitted
from meshnode.crdt.guard import EngineFailure
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

    def __init__(self, store: StateStore, hlc: Hlc, *, signer: Signer, authority: Authority, boot: int) -> None:
        self._store = store
        self._hlc = hlc
        self._signer = signer
        self._authority = authority
        self._boot = boot

    def put(self, kind: str, namespace: str, name: str, fields: Mapping[str, JsonValue], now: Instant) -> Draft:
        doc = self._allowed(kind, namespace, name)
        edit = self._edit(doc, flat(fields))
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
        return doc in self._store and not self._store.fields(doc).is_deleted()

    def _edit(self, doc: DocId, wanted: Mapping[str, str]) -> dict[str, str | None]:
        """Fields to write: those that read otherwise now, and those in conflict, which this write settles."""
        registers = self._store.fields(doc)
        values, siblings = registers.values(), registers.siblings()
        edit = {
            key: wanted.get(key)
            for key in sorted({**values, **wanted})
            if key not in RESERVED and (values.get(key) != wanted.get(key) or key in siblings)
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
            chunk = self._store.draft(doc, actor, stamped)
            seq = change.parse(chunk).seq
            return self._signed(doc, names, seq, stamp, [chunk], [])
        except EngineFailure as error:
            raise Broken(f"{'/'.join(names)}: {error}. Nothing changed.", next_step="meshnode doctor") from error
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
        chunks = [packed(each) for each in changes]
        try:
            return self._signed(doc, names, changes[0].seq, stamps[-1], chunks, carried)
        except RemoteError as error:
            raise Invalid(f"{'/'.join(names)}: {error}. Nothing changed.", next_step="meshnode conflicts") from error

    def _actor(self, doc: DocId) -> bytes:
        return actor_of(self._signer.public_key, doc, self._boot, self._store.pin(doc)[1])

    def _signed(
        self, doc: DocId, names: tuple[str, str, str], seq: int, stamp: int, chunks: list[bytes], carried: list[Carry]
    ) -> Admitted:
        """Raises ``RemoteError`` when every peer would refuse it."""
        generation, root = self._store.pin(doc)
        made = Envelope(
            envelope.ROOTED_VERSION if generation else envelope.VERSION, doc, *names, self._signer.node, self._boot,
            seq, stamp, chunks, generation, root, carried,
        )  # fmt: skip
        data = envelope.seal(made, self._signer)
        return gate.opened(envelope.unseal(data), data, self._actor(doc))

    def _stamp(self, doc: DocId, now: Instant) -> int:
        """A new stamp that differs from the present one: the engine makes no operation of an equal value."""
        current = self._store.fields(doc).stamp()
        stamp = self._hlc.stamp(now)
        return self._hlc.stamp(now) if current is not None and current.value == str(stamp) else stamp
