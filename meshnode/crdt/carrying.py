"""What goes onto a stick, and what one brings: between the file (``crdt/stick.py``) and the room's gate and store."""

from collections.abc import Callable, Sequence

import msgspec

from meshnode.crdt.gate import Admitted, Gate
from meshnode.crdt.intake import Intake
from meshnode.crdt.keeping import Keeping
from meshnode.crdt.letters import RootItem, RootPart
from meshnode.crdt.parts import WHOLE_BYTES_MAX, count_of, part_of
from meshnode.crdt.root import Rooted
from meshnode.crdt.stick import Item, ItemKind
from meshnode.crdt.store import StateStore
from meshnode.kernel.decoding import JUNK
from meshnode.kernel.effects import Effect, Persist, Reject
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Trust
from meshnode.kernel.records import Record
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

Attests = Callable[[Rooted], Sequence[tuple[bytes, bytes]]]
Adopt = Callable[[RootItem | RootPart], Sequence[Effect]]
_roots = msgspec.msgpack.Decoder(RootItem)
_parts = msgspec.msgpack.Decoder(RootPart)


class Carried(msgspec.Struct, frozen=True):
    """A page of a stick. ``last``: go on behind this document; ``None``: there is no more."""

    items: tuple[Item, ...]
    documents: int
    last: DocId | None


class Taken(msgspec.Struct):
    """What became of the items of a stick. ``refused``: by the name of the refusal; ``unknown``: of a later version.

    ``records``, ``then``: what roots ask to keep, and what they ask for once it is kept.
    """

    applied: list[Admitted] = []
    held: int = 0  # was here already
    waits: int = 0  # judged, and waits for what it stands on
    members: int = 0  # records of members that are believed
    unknown: int = 0
    roots: int = 0  # of documents that began a generation by them
    records: list[Record] = []
    then: list[Effect] = []
    refused: dict[str, int] = {}

    def refuse(self, error: RemoteError) -> None:
        self.refused[error.reason] = self.refused.get(error.reason, 0) + 1


def carried(
    store: StateStore,
    trust: Trust,
    keeping: Keeping,
    attests: Attests,
    *,
    kind: str,
    after: DocId | None,
    bytes_max: int,
) -> Carried:
    """Whole documents in the order of their ids, at least one, as long as they fit; their authors' records first."""
    chosen = [doc for doc in sorted(store.docs()) if after is None or doc > after]
    envelopes: list[Item] = []
    authors: dict[NodeId, None] = {}
    documents, room = 0, bytes_max
    last: DocId | None = None
    for doc in chosen:
        if kind not in ("", store.names(doc)[0]):
            continue
        sealed = [each for each in store.beyond(doc, {}) if each.id not in keeping]
        root = _root_of(store, doc, attests)
        size = sum(len(each.data) for each in (*root, *sealed))
        if documents and size > room:
            return Carried((*_records(authors, trust), *envelopes), documents, last)
        envelopes += root
        envelopes += [Item(ItemKind.ENVELOPE, each.data) for each in sealed]
        authors.update(dict.fromkeys(each.author for each in sealed))
        documents, room, last = documents + 1, room - size, doc
    return Carried((*_records(authors, trust), *envelopes), documents, None)


def _root_of(store: StateStore, doc: DocId, attests: Attests) -> list[Item]:
    rooted = store.rooted(doc)
    if rooted is None:
        return []
    stand_by = list(attests(rooted))
    if len(rooted.data) > WHOLE_BYTES_MAX:
        parts = [part_of(doc, rooted.data, rooted.hash, number, stand_by) for number in range(count_of(rooted.data))]
        return [Item(ItemKind.ROOT_PART, msgspec.msgpack.encode(part)) for part in parts]
    return [Item(ItemKind.ROOT, msgspec.msgpack.encode(RootItem(rooted.data, stand_by)))]


def _records(authors: dict[NodeId, None], trust: Trust) -> list[Item]:
    members = [trust.member(author) for author in sorted(authors)]
    return [Item(ItemKind.MEMBER, member.record) for member in members if member is not None and member.record]


def take_in(
    items: Sequence[Item],
    me: NodeId,
    gate: Gate,
    store: StateStore,
    intake: Intake,
    trust: Trust,
    adopt: Adopt,
    now: Instant,
) -> Taken:
    """Each item through the door it would come through from a peer."""
    taken = Taken()
    for item in items:
        match item.kind:
            case ItemKind.MEMBER:
                admitted = trust.admit(item.data)
                if isinstance(admitted, str):
                    taken.refuse(RemoteError(f"member-{admitted}"))
                else:
                    taken.members += 1
            case ItemKind.ENVELOPE:
                _envelope(item.data, taken, me, gate, store, intake, now)
            case ItemKind.ROOT:
                _root(item.data, _roots, taken, adopt)
            case ItemKind.ROOT_PART:
                _root(item.data, _parts, taken, adopt)
            case _:
                taken.unknown += 1
    return taken


def _root(
    data: bytes,
    decoder: msgspec.msgpack.Decoder[RootItem] | msgspec.msgpack.Decoder[RootPart],
    taken: Taken,
    adopt: Adopt,
) -> None:
    try:
        root = decoder.decode(data)
    except JUNK:
        taken.refuse(RemoteError("root-frame"))
        return
    effects = adopt(root)
    if not effects and (isinstance(root, RootItem) or root.number == root.count - 1):
        taken.held += 1
    for effect in effects:
        match effect:
            case Persist(records, then):
                taken.records += records
                taken.then += then
                taken.roots += 1
            case Reject(_, reason):
                taken.refuse(RemoteError(reason))
            case _:
                taken.then.append(effect)


def _envelope(
    data: bytes, taken: Taken, me: NodeId, gate: Gate, store: StateStore, intake: Intake, now: Instant
) -> None:
    try:
        admitted = gate.admit(data, me, store, now)
    except RemoteError as error:
        taken.refuse(error)
        return
    if admitted is None:
        taken.held += 1
        return
    placed = intake.place(admitted)
    taken.applied += placed.applied
    taken.waits += placed.waits
    for _, error in placed.refused:
        taken.refuse(error)
