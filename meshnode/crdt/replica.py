"""The documents of one node: written here, merged with everybody else's, never behind a quorum.

Invariants: an envelope is journalled before it is passed on or told about (``persisting.py``); nothing the gate has not
judged is in a document (``arrivals.py``); two nodes that hold the same envelopes hold the same documents.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from meshnode.crdt import carrying
from meshnode.crdt.arrivals import Arrivals
from meshnode.crdt.carrying import Carried, Taken
from meshnode.crdt.chronicle import Chronicle
from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.document import Change, Changes, Conflict, Declared, Document
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.exchange import Exchange
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.freeze import Limits
from meshnode.crdt.gate import Admitted, Gate, Until
from meshnode.crdt.held import Held
from meshnode.crdt.intake import Intake
from meshnode.crdt.interest import Interests
from meshnode.crdt.keeping import Keeping, spread
from meshnode.crdt.kinds import Kinds
from meshnode.crdt.letters import RootItem, RootPart, Roots
from meshnode.crdt.messages import EnvelopesKept
from meshnode.crdt.persisting import Persisting
from meshnode.crdt.reading import conflicts_of, declared_of, document_of, versions_of
from meshnode.crdt.restoring import Restoring, set_right
from meshnode.crdt.rhythm import COOL, FREEZE, REMIND, ROUND, Rhythm
from meshnode.crdt.root import Rooted
from meshnode.crdt.stick import Item
from meshnode.crdt.store import AutomergeStore, StateStore
from meshnode.crdt.strays import Stray
from meshnode.crdt.succession import Room, Succession, forgotten
from meshnode.crdt.writing import Broken, Draft, Full, Intent, Pen, Wanted
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Channel, Effect, Persist
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import Authority, Liveness, Signer, Trust, Verifier
from meshnode.kernel.records import Record
from meshnode.kernel.rng import Random
from meshnode.links.messages import ControlReceived, PeerDown, PeerUp
from meshnode.model.errors import LocalError
from meshnode.model.ids import UNKNOWN_NODE, DocId, NodeId
from meshnode.model.interest import Interest

Effects: TypeAlias = list[Effect]


class Documents:
    """The machine. Local writes are methods that answer with a ``Change``; all else arrives as events."""

    def __init__(
        self,
        config: DocumentsConfig,
        *,
        signer: Signer,
        verifier: Verifier,
        authority: Authority,
        trust: Trust,
        boot: int,
        restored: Sequence[Record],
        rng: Random,
        store: Callable[[], StateStore] = AutomergeStore,
    ) -> None:
        self.counters = Counters()
        self._me = signer.node
        self._trust = trust
        self._rng = rng
        self._rhythm = Rhythm(config, rng, signer.node)
        self._hlc = Hlc()
        self._store = store()
        self.chronicle = Chronicle(self._store)
        self._keeping = Keeping(config.keep_again_after_us)
        self._held = Held(
            envelopes_max=config.held_max, bytes_max=config.held_bytes_max, per_author_max=config.held_per_author_max,
            bytes_per_author_max=config.held_bytes_per_author_max,
        )  # fmt: skip
        self._intake = Intake(self._store, self._held)
        self.interests = Interests(self._me, self._store, self._intake.index, trust)
        self._intake.noticed = self.interests.placed
        self._pen = Pen(
            self._store, self._hlc, signer=signer, authority=authority, boot=boot, kinds=Kinds(config.kinds)
        )  # fmt: skip
        self._gate = Gate(
            signer=signer, verifier=verifier, authority=authority, trust=trust, peers=config.rates(),
            authors=config.rates(),
        )  # fmt: skip
        self._exchange = Exchange(self._store, self._intake.index, self._keeping, self._attests, self.interests)
        room = Room(
            self._store, self._intake, self._keeping, self._exchange, self.interests, self._pen, self._gate, signer,
            self._hlc, self.counters,
        )  # fmt: skip
        self._succession = Succession(
            room, Limits(config.generation_changes, config.generation_bytes), acks_max=config.acks_max,
            keep_again_after_us=config.keep_again_after_us,
            kept=lambda applied, now: self._persisting.kept(UNKNOWN_NODE, applied, now, eager=True),
        )  # fmt: skip
        self._generations = self._succession.generations
        self._persisting = Persisting(room, self._succession, self._rhythm, lazy_us=config.lazy_us)
        self._arrivals = Arrivals(room, self._succession, self._persisting, self._rhythm, trust)
        restoring = Restoring(self._generations, self._intake, self._hlc, self.counters)
        restoring.read(restored)
        self._succession.restored()
        self._store.begin()
        self._notes: list[Effect] = restoring.notes
        self.interests.pushed()

    def attend(self, liveness: Liveness) -> None:
        """Whom to wait for before a generation ends; without it the linked peers."""
        self._succession.liveness = liveness

    def begin(self, now: Instant) -> None:
        """When the node starts: stamps do not go on from those of a clock that was set right since."""
        set_right(self._hlc, self._store, now)

    def heed(self, until: Until) -> None:
        """Whose authority has shrunk, and when."""
        self._gate.until = until

    def empowered(self, node: NodeId) -> None:
        """A member record or a policy about this node has come: what it wrote, or brought, is judged anew."""
        self._arrivals.empowered(node)

    def narrow(self, name: str, interest: Interest) -> Effects:
        """What a node wants from now on. What it lacks of that, or holds beyond it, is compared at once."""
        return self._exchange.narrowed(name) if self.interests.say(name, interest) else []

    def fetch(self, kind: str, namespace: str, name: str) -> Effects:
        """Ask all linked peers for a document, wanted or not."""
        return self._exchange.fetch(doc_id_of(kind, namespace, name))

    def give(self, peer: NodeId, kind: str, namespace: str, name: str) -> Effects:
        return self._exchange.give(peer, doc_id_of(kind, namespace, name))

    # -- the machine

    def handle(self, event: PeerUp | PeerDown | ControlReceived | EnvelopesKept, now: Instant) -> Sequence[Effect]:
        self._succession.now, self._exchange.now_us = now, now.mono_us
        match event:
            case PeerUp(peer):
                return [*self._told(), *self._meet(peer, now)]
            case PeerDown(peer):
                self._exchange.remove(peer)
                self._rhythm.forget(peer)
                self._arrivals.forget(peer)
                return self._told()
            case ControlReceived(peer, Channel.STATE, body):
                return [*self._told(), *self._arrivals.read(peer, body, now)]
            case ControlReceived():
                return self._told()
            case EnvelopesKept(envelopes, roots):
                self._keeping.kept(envelopes)
                return [*self._told(), *forgotten(self._generations.kept(roots))]

    def wake(self, now: Instant) -> Sequence[Effect]:
        self._succession.now, self._exchange.now_us = now, now.mono_us
        effects = [*self._told(), *forgotten(self._generations.remains()), *self._succession.bury(now)]
        self._rest_until_freeze(now)
        peers = [peer for peer in self._exchange.at_rest() if not self._arrivals.is_reading(peer)]
        for key in self._rhythm.due(now):
            if key == FREEZE:
                effects += self._succession.turn(now)
                if self._succession.freezes.has_work:
                    self._rhythm.freeze_on(now)
            elif key == REMIND and self.is_reading:  # what is announced, or announced here, may be among it
                self._rhythm.remind(now)
            elif key == REMIND:
                effects += self._exchange.remind()
            elif key == COOL:
                self._store.rest()
            elif key != ROUND:
                self._arrivals.rested(NodeId(key))
                effects.append(self._exchange.open(NodeId(key)))
            elif self._exchange.peers():
                effects += [self._exchange.open(self._rng.choice(peers), patient=True)] if peers else []
                self._rhythm.rest(now)
        if self._store.is_warm:
            self._rhythm.cool(now)
        overdue = self._keeping.overdue(now)
        if overdue:
            self.counters.add("kept-again", len(overdue))
            effects.append(self._persisting.kept(UNKNOWN_NODE, overdue, now, eager=False))
        return [*effects, *self._succession.wake(now), *self._arrivals.read_on(now)]

    @property
    def is_reading(self) -> bool:
        """Something that peers sent waits for the next turn: ``wake`` reads on."""
        return self._arrivals.has_more

    def deadline(self) -> int | None:
        if self._notes or (self._store.is_warm and not self._rhythm.is_cooling):
            return 0
        keeping = earliest(self._keeping.deadline(), self._succession.deadline())
        return earliest(self._rhythm.deadline(), keeping, self._arrivals.deadline())

    # -- local writes

    def put(self, kind: str, namespace: str, name: str, fields: Mapping[str, JsonValue], now: Instant) -> Change:
        """Make the document read ``fields``: changed ones are written, absent ones removed, conflicts thereby resolved.

        Raises ``Denied``, ``Invalid`` or another ``LocalError``; then nothing changed.
        """
        self.interests.judge(kind, namespace, name, fields)
        return self._filed(self._pen.put(kind, namespace, name, fields, now), now)

    def put_all(self, writes: Sequence[Wanted], now: Instant, *, lazily: bool = False) -> Changes:
        """As ``put``, each write by itself: all of one turn of the node, at a few signatures for all of them.

        ``lazily``: peers are told at once, and the journal may take ``lazy_us``. A node that loses such a write in a
        crash gets it back from whoever was told; its next start is another boot, so no number is used twice.
        """
        outcomes: list[Change | LocalError] = []
        placed: dict[bytes, Admitted] = {}
        for some in _apart(writes):
            drafts = self._pen.write([self.intend(each) for each in some], now)
            outcomes += [self._placed(each, placed, lazily=lazily) for each in drafts]
        return self._all_of(outcomes, placed, now, lazily=lazily)

    def intend(self, wanted: Wanted) -> Intent | Draft | LocalError:
        """What a ``put`` would write. One that ``is_sure`` may be acknowledged from memory before it is made, if it is
        given to ``fulfil`` before anything else is asked of this room. A ``Draft``: there is nothing to write."""
        try:
            self.interests.judge(*wanted.names, wanted.fields)
        except LocalError as error:
            return error
        return self._pen.intend(wanted)

    def fulfil(self, intents: Sequence[Intent], now: Instant) -> Changes:
        """Write what was promised, lazily, each of another document."""
        assert all(self._store.heads(each.doc) == each.heads for each in intents), "something came before a promise"
        placed: dict[bytes, Admitted] = {}
        outcomes = [self._placed(each, placed, lazily=True) for each in self._pen.write(intents, now)]
        broken = [each for each in outcomes if isinstance(each, LocalError)]
        assert not broken, f"a promise that cannot be kept: {broken[0]}"
        return self._all_of(outcomes, placed, now, lazily=True)

    def delete(self, kind: str, namespace: str, name: str, now: Instant) -> Change:
        """Leave a tombstone. Raises ``NotFound``, ``Denied``, ``NotHeld``."""
        self.interests.judge(kind, namespace, name)
        return self._filed(self._pen.delete(kind, namespace, name, now), now)

    def add(self, kind: str, namespace: str, name: str, counter: str, amount: int, now: Instant) -> Change:
        """Add to a counter of the document; what others add at the same time is added too (``kinds.counters_of``).

        Raises ``Denied``, ``Invalid``, ``NotHeld``.
        """
        self.interests.judge(kind, namespace, name)
        return self._filed(self._pen.add(kind, namespace, name, counter, amount, now), now)

    def settle(self, kind: str, namespace: str, name: str, fields: Mapping[str, JsonValue], now: Instant) -> Change:
        """Write these stored fields and no others (``None``: removed): whatever is concurrent there is thereby settled.

        Raises ``NotFound``, ``Denied``, ``Invalid``, ``NotHeld``.
        """
        self.interests.judge(kind, namespace, name)
        return self._filed(self._pen.settle(kind, namespace, name, fields, now), now)

    # -- the stick

    def carried(self, kind: str = "", after: DocId | None = None, bytes_max: int = 1 << 62) -> Carried:
        """Durable envelopes in causal order and who wrote them, from behind document ``after``, whole documents."""
        return carrying.carried(
            self._store, self._trust, self._keeping, self._attests, kind=kind, after=after, bytes_max=bytes_max
        )

    def take_in(self, items: Sequence[Item], now: Instant) -> tuple[Taken, Change]:
        """What a stick brings, through the same gate as a peer's envelopes. The change asks for its commit."""

        def adopt(root: RootItem | RootPart) -> Sequence[Effect]:
            if isinstance(root, RootPart):
                return self._succession.receive_part(self._me, root, now)
            return self._succession.receive(self._me, Roots([root]), now)

        taken = carrying.take_in(items, self._me, self._gate, self._store, self._intake, self._trust, adopt, now)
        if taken.members:
            self._arrivals.empowered(None)
        for each in taken.applied:
            self._hlc.witness(each.sealed.hlc, now)
        records, then = tuple(taken.records), tuple(taken.then)
        if taken.applied:
            persist = self._persisting.kept(UNKNOWN_NODE, taken.applied, now, eager=False)
            records, then = (*records, *persist.records), (*then, *persist.then)
        self._rest_until_freeze(now)
        return taken, Change(DocId(b""), records, then, unchanged=not records)

    def compare_now(self) -> tuple[list[NodeId], Effects]:
        """Ask every linked peer what it holds, without waiting for the next round."""
        peers = self._exchange.peers()
        return peers, [self._exchange.open(peer) for peer in peers]

    # -- questions

    def live(self) -> dict[DocId, None]:
        """All documents that are not deleted, by id."""
        return {doc: None for doc in self._store.docs() if self.is_live(doc)}

    def versions(self, kind: str, namespace: str, name: str, field: str) -> list[tuple[JsonValue, int]]:
        """All current values of one field, and when each was signed; none, if there is no such document."""
        doc = doc_id_of(kind, namespace, name)
        return versions_of(self._store, doc, field) if self.is_live(doc) else []

    def strays(self, doc: DocId) -> Sequence[Stray]:
        """Writes known here that the present generation does not hold yet: somebody will write them again."""
        return self._generations.strays(doc) if doc in self._store else ()

    @property
    def is_carrying(self) -> bool:
        """Writes that a root has not seen wait here for their turn to be written again."""
        return self._generations.is_carrying

    def is_live(self, doc: DocId) -> bool:
        """It exists, and is wanted here."""
        known = doc in self._store and not self._store.is_deleted(doc)
        return known and self.interests.wants(self._me, doc)

    def names(self, doc: DocId) -> tuple[str, str, str] | None:
        """Kind, namespace, name; ``None`` for an unknown one."""
        return self._store.names(doc) if doc in self._store else None

    def get(self, kind: str, namespace: str, name: str) -> Document | None:
        doc = doc_id_of(kind, namespace, name)
        return document_of(self._store, doc) if self.is_live(doc) else None

    def list(self, kind: str = "", namespace: str = "") -> tuple[Document, ...]:
        """Live documents, sorted by kind, namespace and name; empty arguments mean all."""
        return tuple(document_of(self._store, doc) for doc in self._live(kind, namespace))

    def declared(self, doc: DocId) -> Declared | None:
        """What a document wants; ``None``: there is none."""
        return declared_of(self._store, doc) if self.is_live(doc) else None

    def conflicts(self) -> tuple[Conflict, ...]:
        """Every field with concurrent, unequal values, of all live documents."""
        return tuple(
            conflict
            for doc in self._live()
            if self._store.is_divided(doc)
            for conflict in conflicts_of(self._store, doc)
        )

    def divided(self, now: Instant) -> Sequence[tuple[str, NodeId]]:
        """Resources of which nodes held different writes under one number these minutes, and who signed both."""
        return [("/".join(self._store.names(doc)), author) for doc, author in self._succession.divided(now)]

    def root(self) -> bytes:
        """8 bytes over the heads of all documents: equal on two nodes when all their documents are equal."""
        return self._intake.index.root()

    def count(self) -> int:
        """Live documents."""
        return len(self._live())

    def waiting(self) -> int:
        """Envelopes held back because something they stand on has not arrived."""
        return len(self._held)

    def awaiting(self) -> int:
        """Envelopes held back because what an admin said of their author has not arrived, or does not let them in."""
        return self._arrivals.awaiting

    # -- what stands behind

    def _meet(self, peer: NodeId, now: Instant) -> Effects:
        self._exchange.add(peer)
        self._arrivals.empowered(peer)
        self._rhythm.begin(now)
        told = [*self._succession.greeting(peer), *self._exchange.hand_over(peer)]
        # One of the two opens, so that a healed link carries each difference once.
        return [*told, self._exchange.open(peer)] if self._me < peer else told

    def _filed(self, draft: Draft, now: Instant) -> Change:
        if draft.admitted is None:
            left = self._persisting.kept(UNKNOWN_NODE, self._keeping.of(draft.doc), now, eager=False)
            return Change(draft.doc, left.records, left.then if left.records else (), unchanged=True)
        # What this write stands on must be durable with it: an earlier change may still wait for a disk that refused.
        unkept = self._keeping.of(draft.doc)
        placed = self._into_place(draft.admitted)
        persist = self._persisting.kept(UNKNOWN_NODE, [*unkept, *placed], now, eager=True)
        return Change(draft.doc, persist.records, persist.then, draft.created)

    def _all_of(
        self, outcomes: Sequence[Change | LocalError], placed: Mapping[bytes, Admitted], now: Instant, *, lazily: bool
    ) -> Changes:
        if not placed:
            return Changes(tuple(outcomes))
        persist = self._persisting.kept(UNKNOWN_NODE, list(placed.values()), now, eager=True, lazily=lazily)
        if not lazily:
            return Changes(tuple(outcomes), persist.records, persist.then)
        *at_once, later = spread(persist)
        assert isinstance(later, Persist)
        return Changes(tuple(outcomes), later.records, later.then, tuple(at_once))

    def _placed(self, draft: Draft | LocalError, placed: dict[bytes, Admitted], *, lazily: bool) -> Change | LocalError:
        """One of several writes, into its document; ``placed``: all that is to be kept, in order."""
        if isinstance(draft, LocalError):
            return draft
        if not lazily:
            placed.update({each.sealed.id: each for each in self._keeping.of(draft.doc)})
        if draft.admitted is None:
            return Change(draft.doc, unchanged=True)
        try:
            placed.update({each.sealed.id: each for each in self._into_place(draft.admitted)})
        except LocalError as error:
            return error
        return Change(draft.doc, created=draft.created)

    def _into_place(self, admitted: Admitted) -> Sequence[Admitted]:
        """Our own write, in its document. Raises ``Broken``, ``Full``."""
        placed = self._intake.place(admitted)
        for _, error in placed.refused:
            if error.reason == "engine-refused":
                raise Broken(f"{error}. Nothing changed.", next_step="meshnode state verify") from error
            raise Full(f"{error}. Nothing changed.", next_step="delete documents nobody needs") from error
        return placed.applied

    def _attests(self, rooted: Rooted) -> Sequence[tuple[bytes, bytes]]:
        return self._generations.attests(rooted)

    def _rest_until_freeze(self, now: Instant) -> None:
        if self._succession.freezes.has_work:
            self._rhythm.freeze(now)

    def _told(self) -> Effects:
        notes, self._notes = self._notes, []
        return notes

    def _live(self, kind: str = "", namespace: str = "") -> Sequence[DocId]:
        named = sorted((self._store.names(doc), doc) for doc in self._store.docs())
        return [
            doc for names, doc in named if kind in ("", names[0]) and namespace in ("", names[1]) and self.is_live(doc)
        ]


def _apart(writes: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """In their order; no document twice in one piece, for the second write stands on the first."""
    some: dict[tuple[str, str, str], Wanted] = {}
    for each in writes:
        if each.names in some:
            yield list(some.values())
            some = {}
        some[each.names] = each
    yield list(some.values())
