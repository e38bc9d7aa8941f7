"""The documents of one node: written here, merged with everybody else's, never behind a quorum.

Invariants: an envelope is journalled before it is passed on or told about; nothing the gate has not judged is in a
document; two nodes that hold the same envelopes hold the same documents.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, assert_never

from meshnode.crdt import carrying, envelope, letters, shelf
from meshnode.crdt.carrying import Carried, Taken
from meshnode.crdt.chronicle import Chronicle, touch_of
from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.document import Change, Conflict, Declared, Document
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.exchange import Exchange
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.freeze import Limits
from meshnode.crdt.gate import Admitted, Fork, Gate, Until
from meshnode.crdt.held import Held
from meshnode.crdt.intake import Intake
from meshnode.crdt.interest import Interests
from meshnode.crdt.keeping import Keeping, spread
from meshnode.crdt.kinds import Kinds
from meshnode.crdt.letters import Clocks, Envelopes, Frozen, RootItem, RootPart, Roots, RootsWanted
from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.crdt.reading import conflicts_of, declared_of, document_of, versions_of
from meshnode.crdt.root import Rooted
from meshnode.crdt.stick import Item
from meshnode.crdt.store import AutomergeStore, StateStore
from meshnode.crdt.strays import Stray
from meshnode.crdt.succession import Room, Succession, forgotten
from meshnode.crdt.writing import Broken, Draft, Full, Pen
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Channel, Effect, Note, Persist, Reject
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import Authority, Liveness, Signer, Trust, Verifier
from meshnode.kernel.records import Record, RecordKind
from meshnode.kernel.repair import RepairRoot, RepairRows, RepairSums
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.links.messages import ControlReceived, PeerDown, PeerUp
from meshnode.model.errors import RemoteError
from meshnode.model.ids import UNKNOWN_NODE, DocId, NodeId
from meshnode.model.interest import Interest

Effects: TypeAlias = list[Effect]

_FREEZE = b"freeze"  # timer of generations that end
_ROUND = b""  # timer of the regular repair; those of single peers carry their NodeId
# Refusals that time alone may turn: the author's member record is still on its way, or the allowance fills up again.
_NOTES_MAX = 16
_FORKS_MAX = 256
_PASSING = ("unknown-member", "rate-peer", "rate-author")


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
        self._config = config
        self.counters = Counters()
        self._me = signer.node
        self._trust = trust
        self._rng = rng
        self._timers: Timers[bytes] = Timers()
        self._notes: list[Effect] = []
        self._hlc = Hlc()
        self._store = store()
        self.chronicle = Chronicle(self._store)
        self._keeping = Keeping(config.keep_again_after_us)
        self._held = Held(envelopes_max=config.held_max, per_author_max=config.held_per_author_max)
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
            kept=lambda applied, now: self._kept(UNKNOWN_NODE, applied, now, eager=True),
        )  # fmt: skip
        self._generations = self._succession.generations
        self._progress: dict[NodeId, None] = {}  # peers whose answers brought something since the last root
        self._forks: dict[str, None] = {}
        self._restore(restored)
        self.interests.pushed()

    def attend(self, liveness: Liveness) -> None:
        """Whom to wait for before a generation ends; without it the linked peers."""
        self._succession.liveness = liveness

    def heed(self, until: Until) -> None:
        """Whose authority has shrunk, and when."""
        self._gate.until = until

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
        self._succession.now = now
        match event:
            case PeerUp(peer):
                return [*self._told(), *self._meet(peer, now)]
            case PeerDown(peer):
                self._exchange.remove(peer)
                self._timers.cancel(peer)
                self._progress.pop(peer, None)
                return self._told()
            case ControlReceived(peer, Channel.STATE, body):
                return [*self._told(), *self._read(peer, body, now)]
            case ControlReceived():
                return self._told()
            case EnvelopesKept(envelopes, roots):
                self._keeping.kept(envelopes)
                return [*self._told(), *forgotten(self._generations.kept(roots))]

    def wake(self, now: Instant) -> Sequence[Effect]:
        self._succession.now = now
        effects = [*self._told(), *forgotten(self._generations.remains()), *self._succession.bury(now)]
        self._rest_until_freeze(now)
        peers = self._exchange.peers()
        for key in self._timers.pop_due(now.mono_us):
            if key == _FREEZE:
                effects += self._succession.turn(now)
            elif key != _ROUND:
                effects.append(self._exchange.open(NodeId(key)))
            elif peers:
                effects.append(self._exchange.open(self._rng.choice(peers)))
                self._rest_until_next_round(now)
        overdue = self._keeping.overdue(now)
        if overdue:
            self.counters.add("kept-again", len(overdue))
            effects.append(self._kept(UNKNOWN_NODE, overdue, now, eager=False))
        return [*effects, *self._succession.wake(now)]

    def deadline(self) -> int | None:
        if self._notes:
            return 0
        keeping = earliest(self._keeping.deadline(), self._succession.deadline())
        return earliest(self._timers.deadline(), keeping)

    # -- local writes

    def put(
        self, kind: str, namespace: str, name: str, fields: Mapping[str, JsonValue], now: Instant, *,
        lazily: bool = False,
    ) -> Change:  # fmt: skip
        """Make the document read ``fields``: changed ones are written, absent ones removed, conflicts thereby resolved.

        ``lazily``: peers are told at once, and the journal may take ``lazy_us``. A node that loses such a write in a
        crash gets it back from whoever was told; its next start is another boot, so no number is used twice.

        Raises ``Denied``, ``Invalid`` or another ``LocalError``; then nothing changed.
        """
        self.interests.judge(kind, namespace, name, fields)
        return self._filed(self._pen.put(kind, namespace, name, fields, now), now, lazily=lazily)

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
        for each in taken.applied:
            self._hlc.witness(each.sealed.hlc, now)
        records, then = tuple(taken.records), tuple(taken.then)
        if taken.applied:
            persist = self._kept(UNKNOWN_NODE, taken.applied, now, eager=False)
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

    def root(self) -> bytes:
        """8 bytes over the heads of all documents: equal on two nodes when all their documents are equal."""
        return self._intake.index.root()

    def count(self) -> int:
        """Live documents."""
        return len(self._live())

    def waiting(self) -> int:
        """Envelopes held back because something they stand on has not arrived."""
        return len(self._held)

    # -- what stands behind

    def _meet(self, peer: NodeId, now: Instant) -> Effects:
        self._exchange.add(peer)
        if _ROUND not in self._timers:
            self._rest_until_next_round(now)
        told = [*self._succession.greeting(peer), *self._exchange.hand_over(peer)]
        # One of the two opens, so that a healed link carries each difference once.
        return [*told, self._exchange.open(peer)] if self._me < peer else told

    def _read(self, via: NodeId, body: bytes, now: Instant) -> Effects:
        try:
            letter = letters.decode(body)
        except RemoteError as error:
            return [_rejection(via, error)]
        match letter:
            case Envelopes():
                return self._receive(via, letter, now)
            case Clocks():
                return self._exchange.answer(via, letter)
            case RepairRoot() | RepairSums() | RepairRows():
                return self._exchange.compare(via, letter)
            case Roots():
                effects = self._succession.receive(via, letter, now)
                if any(isinstance(each, Persist) for each in effects):
                    self._progress[via] = None
                self._rest_until_freeze(now)
                return effects
            case RootPart():
                effects = self._succession.receive_part(via, letter, now)
                self._rest_until_freeze(now)
                return [*effects, self._exchange.open(via)] if any(isinstance(e, Persist) for e in effects) else effects
            case RootsWanted():
                return self._exchange.parts(via, letter)
            case Frozen():
                self._succession.hear(letter, now)
                self._rest_until_freeze(now)
                return []
            case _:
                assert_never(letter)

    def _receive(self, via: NodeId, letter: Envelopes, now: Instant) -> Effects:
        effects: list[Effect] = []
        applied: list[Admitted] = []
        incomplete: dict[DocId, None] = {}
        for data in letter.items:
            try:
                admitted = self._gate.admit(data, via, self._store, now)
            except RemoteError as error:
                if error.reason == "root-unknown":  # no fault: it began its generation a moment earlier
                    self.counters.add("root-unknown")
                    if letter.eager:  # an answer brings its root before it: asking again would never end
                        incomplete[DocId(envelope.unseal(data).envelope.doc)] = None
                else:
                    effects += self._refused(via, error, now)
                continue
            if admitted is None:
                continue
            self._exchange.learn(via, admitted.sealed.id)
            placed = self._intake.place(admitted)
            applied += placed.applied
            effects += [_rejection(via, error) for _, error in placed.refused]
            if placed.waits:
                self.counters.add("held")
                incomplete[admitted.doc] = None
        if applied:
            for each in applied:
                self._hlc.witness(each.sealed.hlc, now)
            kept = self._kept(via, applied, now, eager=letter.eager, lazily=letter.lazy)
            effects += spread(kept) if kept.lazily else [kept]
        effects += self._exchange.ask(incomplete, via, last=True)
        return [*effects, *self._continued(via, letter, progress=bool(applied))]

    def _kept(
        self, via: NodeId, applied: Sequence[Admitted], now: Instant, *, eager: bool, lazily: bool = False
    ) -> Persist:
        """Everything that may only happen once ``applied`` is in the journal, behind its commit; ``lazily``: see
        ``spread``."""
        lazily = lazily and eager  # what comes by repair may be old, and long since promised
        self._keeping.offer(applied, now, patience_us=self._config.lazy_us if lazily else 0)
        self.counters.add("applied", len(applied))
        docs = list(dict.fromkeys(each.doc for each in applied))
        roots = self._succession.changed(docs, now)
        self._rest_until_freeze(now)
        sealed = [each.sealed for each in applied]
        onward = self._exchange.push(sealed, via, lazily=lazily) if eager else self._exchange.announce(docs, via)
        facts = [self._fact(each, lazily=lazily) for each in self._keeping.untold(applied)]
        if lazily:
            self._keeping.tell(applied)
        hashes = tuple(
            self._store.pin(DocId(record.key[: shelf.DOC_BYTES]))[1] for record in roots if shelf.is_root(record)
        )
        kept = EnvelopesKept(tuple(each.sealed.id for each in applied), hashes)
        return Persist((*roots, *(shelf.record_of(each) for each in applied)), (kept, *onward, *facts), lazily)

    def _continued(self, via: NodeId, letter: Envelopes, *, progress: bool) -> Effects:
        """After the last letter of an answer: ask for what had no room, else compare again while that gets us on."""
        if letter.eager:
            return []
        if progress:
            self._progress[via] = None
        if letter.more:
            return []
        moved = self._progress.pop(via, False) is None
        rest = letter.rest if moved else letter.rest[1:]  # the first was cut short: what was refused of it comes again
        if rest:
            return self._exchange.ask([DocId(doc) for doc in rest], via, last=True)
        return [self._exchange.open(via)] if moved else []

    def _refused(self, via: NodeId, error: RemoteError, now: Instant) -> Effects:
        if error.reason in _PASSING and via not in self._timers and via in self._exchange:
            self._timers.set(via, now.mono_us + self._config.retry_after_us)
        effects: list[Effect] = [_rejection(via, error)]
        if isinstance(error, Fork) and str(error) not in self._forks and len(self._forks) < _FORKS_MAX:
            self._forks[str(error)] = None  # told once: repair brings the evidence again every round
            member = self._trust.member(error.author)
            name = member.name if member else error.author.hex()[:12]
            effects.append(Note(f"node/{name}", f"signed two different writes under one number: {error}"))
        return effects

    def _filed(self, draft: Draft, now: Instant, *, lazily: bool = False) -> Change:
        if draft.admitted is None and lazily:
            return Change(draft.doc, unchanged=True)
        if draft.admitted is None:
            left = self._kept(UNKNOWN_NODE, self._keeping.of(draft.doc), now, eager=False)
            return Change(draft.doc, left.records, left.then if left.records else (), unchanged=True)
        # What this write stands on must be durable with it: an earlier change may still wait for a disk that refused.
        unkept = [] if lazily else self._keeping.of(draft.doc)
        placed = self._intake.place(draft.admitted)
        for _, error in placed.refused:
            if error.reason == "engine-refused":
                raise Broken(f"{error}. Nothing changed.", next_step="meshnode doctor") from error
            raise Full(f"{error}. Nothing changed.", next_step="delete documents nobody needs") from error
        persist = self._kept(UNKNOWN_NODE, [*unkept, *placed.applied], now, eager=True, lazily=lazily)
        if not lazily:
            return Change(draft.doc, persist.records, persist.then, draft.created)
        *at_once, later = spread(persist)
        assert isinstance(later, Persist)
        return Change(draft.doc, later.records, later.then, draft.created, at_once=tuple(at_once), lazily=True)

    def _fact(self, each: Admitted, *, lazily: bool) -> DocumentChanged:
        author, touch = each.sealed.author, touch_of(each)
        return DocumentChanged(
            each.doc, each.kind, each.namespace, each.name, author, remote=author != self._me, change=each.sealed.id,
            hlc=each.sealed.hlc, fields=touch.fields, deletes=touch.deletes, begins=touch.begins, lazily=lazily,
        )  # fmt: skip

    def _restore(self, records: Sequence[Record]) -> None:
        mine = [record for record in records if record.kind == RecordKind.ENVELOPE and record.body]
        pieces = {each.key: each.body for each in mine if shelf.is_piece(each)}
        for record in [each for each in mine if shelf.is_root(each)]:
            try:
                self._generations.restore(record, pieces)
            except RemoteError as error:
                self._quarantine(record.key, error)
        for record in mine:
            if not shelf.is_root(record) and not shelf.is_piece(record):
                try:
                    admitted = shelf.restored(record)
                except RemoteError as error:
                    self._quarantine(record.key, error)
                    continue
                self._hlc.last = max(self._hlc.last, admitted.sealed.hlc)
                if not self._generations.place(admitted):
                    continue
                for each, error in self._intake.place(admitted, restored=True).refused:
                    self._quarantine(each.doc + each.sealed.id, error)
        self._generations.restored(each.key for each in mine if shelf.is_piece(each) or shelf.is_root(each))
        self._succession.restored()

    def _attests(self, rooted: Rooted) -> Sequence[tuple[bytes, bytes]]:
        return self._generations.attests(rooted)

    def _rest_until_freeze(self, now: Instant) -> None:
        if self._succession.freezes.has_work and _FREEZE not in self._timers:
            self._timers.set(_FREEZE, now.mono_us + self._config.freeze_every_us)

    def _quarantine(self, key: bytes, error: RemoteError) -> None:
        self.counters.add("quarantined")
        if len(self._notes) < _NOTES_MAX:
            self._notes.append(Note(f"document/{key[:16].hex()}", f"a stored change is unreadable ({error}): left out"))

    def _told(self) -> Effects:
        notes, self._notes = self._notes, []
        return notes

    def _rest_until_next_round(self, now: Instant) -> None:
        spread = 1.0 + self._config.repair_jitter * (2.0 * self._rng.random() - 1.0)
        self._timers.set(_ROUND, now.mono_us + round(self._config.repair_every_us * spread))

    def _live(self, kind: str = "", namespace: str = "") -> Sequence[DocId]:
        named = sorted((self._store.names(doc), doc) for doc in self._store.docs())
        return [
            doc for names, doc in named if kind in ("", names[0]) and namespace in ("", names[1]) and self.is_live(doc)
        ]


def _rejection(peer: NodeId, error: RemoteError) -> Reject:
    return Reject(peer, error.reason, str(error))
