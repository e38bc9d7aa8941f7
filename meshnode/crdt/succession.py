"""How one generation follows the other: what is frozen, re-rooted, believed and carried, and what is said about it."""

from collections.abc import Callable, Sequence

import msgspec

from meshnode.crdt import letters
from meshnode.crdt import root as roots
from meshnode.crdt.envelope import resource_of
from meshnode.crdt.exchange import Exchange, send
from meshnode.crdt.folding import deleted_ms
from meshnode.crdt.freeze import Freezes, Limits
from meshnode.crdt.gate import Admitted, Fork, Gate
from meshnode.crdt.generations import Begun, Generations
from meshnode.crdt.intake import Intake
from meshnode.crdt.interest import Interests
from meshnode.crdt.keeping import Keeping
from meshnode.crdt.letters import Frozen, RootItem, RootPart, Roots, RootsWanted
from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.crdt.parts import Heaps, Whole
from meshnode.crdt.reading import document_of
from meshnode.crdt.root import Rooted
from meshnode.crdt.seen import HORIZON_MS
from meshnode.crdt.store import StateStore
from meshnode.crdt.strays import Stray
from meshnode.crdt.writing import Pen
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect, Note, Persist, Reject
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import MS, SECOND, ClockTrust, Instant
from meshnode.kernel.ports import Liveness, Signer
from meshnode.kernel.records import Record
from meshnode.model.errors import LocalError, RemoteError
from meshnode.model.ids import UNKNOWN_NODE, DocId, NodeId

Effects = list[Effect]
BURY_EVERY_US, BURY_ON_US = 60 * SECOND, SECOND
LOOKED_MAX = 64  # deleted documents that one turn looks at: most rest, and are made anew for it
LOOK_AGAIN_US = 24 * 3600 * SECOND  # at the latest: clocks are set right
SPLITS_MAX = 256
OTHERS_FIRST_US = 15 * SECOND  # who may write a document that its author divided ends its generation
FORGOTTEN_US = 600 * SECOND  # a division seen later than this after the last time is another one
ENDS_MAX = 8  # generations that one node ends for one division


class Room(msgspec.Struct, frozen=True):
    """The parts of the documents room that a generation touches."""

    store: StateStore
    intake: Intake
    keeping: Keeping
    exchange: Exchange
    interests: Interests
    pen: Pen
    gate: Gate
    signer: Signer
    hlc: Hlc
    counters: Counters


class _Split(msgspec.Struct):
    """``ended``: generations of it that this node has ended."""

    author: NodeId
    since_us: int
    last_us: int
    ended: int = 0


class Succession:
    """``kept``: what the room does with envelopes that are newly in a document."""

    def __init__(
        self,
        room: Room,
        limits: Limits,
        *,
        acks_max: int,
        keep_again_after_us: int,
        kept: Callable[[Sequence[Admitted], Instant], Persist],
    ) -> None:
        self.liveness: Liveness | None = None  # without it the linked peers are waited for
        self.now = Instant(0, 0, ClockTrust.FLOOR)
        self._store, self._intake, self._exchange = room.store, room.intake, room.exchange
        self._interests = room.interests
        self._pen, self._gate, self._hlc, self._counters = room.pen, room.gate, room.hlc, room.counters
        self._me = room.signer.node
        self._acks_max = acks_max
        self._keep_again_after_us = keep_again_after_us
        self._dead: dict[DocId, int] = {}  # deleted documents and graves, and when each is looked at
        self._bury_us = 0
        self._splits: dict[DocId, _Split] = {}  # documents that their authors divided, as far as that is seen here
        self._left: dict[DocId, None] = {}  # writes that wait for somebody else, as people were told
        self._kept = kept
        self._heaps = Heaps()
        self.generations = Generations(
            room.store, room.intake, room.keeping, room.gate, room.signer, lambda: len(self._reachable()) - 1
        )  # fmt: skip
        self.freezes = Freezes(
            room.store, limits, self._me, may_propose=self._may_propose, live=self.awaited,
            wants=room.interests.wants,
            may_bury=lambda doc, grave_ms: self.generations.may_bury(doc, grave_ms, self.now),
        )  # fmt: skip

    def hear(self, letter: Frozen, now: Instant) -> None:
        for row in letter.rows:
            self.freezes.hear(row, now)

    def forked(self, fork: Fork, now: Instant) -> None:
        """An author signed two writes under one number, and nodes that hold one of them refuse the other for ever: a
        new generation begins, of whichever. Those who lose carry what honest members wrote.

        Whoever may write the document ends its generation; the author may be the only one, and gone. So after a while
        in which repair brought the evidence again, anybody does: a root says what was signed, and two stand by it.
        """
        self.generations.forked(fork.doc, fork.author, fork.boot)
        split = self._splits.pop(fork.doc, None)
        if split is None or now.mono_us - split.last_us > FORGOTTEN_US:
            split = _Split(fork.author, now.mono_us, now.mono_us)
        self._splits[fork.doc] = split
        if len(self._splits) > SPLITS_MAX:
            del self._splits[next(iter(self._splits))]
        self._end_divided(fork.doc, split, now)

    def divided(self, now: Instant) -> list[tuple[DocId, NodeId]]:
        """Documents that were seen divided these minutes, and who signed them twice."""
        late = [(doc, each) for doc, each in self._splits.items() if now.mono_us - each.last_us <= FORGOTTEN_US]
        return [(doc, each.author) for doc, each in late if doc in self._store]

    def _end_divided(self, doc: DocId, split: "_Split", now: Instant) -> None:
        split.last_us = now.mono_us
        anyway = now.mono_us - split.since_us >= OTHERS_FIRST_US and split.ended < ENDS_MAX
        split.ended += self.freezes.divided(doc, now, anyway=anyway)

    def _unbelieved(self, data: bytes, now: Instant) -> None:
        """Somebody is in another generation of a document that is divided here, and takes away what is here: the next
        one may be ours, and take nothing away there."""
        doc = roots.doc_of(roots.read(data).root)
        split = self._splits.get(doc)
        if split is not None:
            self._end_divided(doc, split, now)

    def greeting(self, peer: NodeId) -> Effects:
        """What a new neighbour should know of what is to be frozen."""
        return [send(peer, each) for each in letters.frozen_letters(self.freezes.untold(all_of_them=True))]

    def wake(self, now: Instant) -> Effects:
        """Records of roots that the disk refused, strays that nobody carried."""
        effects: Effects = []
        for doc in self.generations.overdue(self._keep_again_after_us, now):
            records = self.generations.unkept(doc, now)
            effects.append(Persist(tuple(records), (EnvelopesKept((), (self._store.pin(doc)[1],)),)))
        for doc, strays in self.generations.due(now):
            effects += self.carried(doc, strays, now)
        return effects

    def bury(self, now: Instant) -> Effects:
        """Propose an empty root for what was deleted longer ago than the horizon; forget graves nobody needs."""
        if now.mono_us < self._bury_us or now.trust == ClockTrust.FLOOR:
            return []
        due = [doc for doc, at_us in self._dead.items() if at_us <= now.mono_us]
        self._bury_us = now.mono_us + (BURY_ON_US if len(due) > LOOKED_MAX else BURY_EVERY_US)
        gone = [record for doc in due[:LOOKED_MAX] for record in self._buried(doc, now)]
        return [Persist(tuple(gone))] if gone else []

    def _buried(self, doc: DocId, now: Instant) -> list[Record]:
        """What leaves the journal. A document whose time has not come is looked at again then."""
        died_ms = deleted_ms(self._store.fields(doc))
        due_ms = died_ms + HORIZON_MS if died_ms else self.generations.spent_ms(doc)
        wait_us = LOOK_AGAIN_US if due_ms is None else min((due_ms - now.wall_ms) * MS, LOOK_AGAIN_US)
        self._dead[doc] = now.mono_us + max(wait_us, BURY_EVERY_US)
        if wait_us > 0:
            return []
        if died_ms:
            self.freezes.propose(doc, died_ms, now)
            return []
        del self._dead[doc]
        self._interests.dropped(doc)
        return [self.generations.end(doc)]

    def restored(self) -> None:
        """All of the journal is read."""
        for doc in self._store.docs():
            self._look(doc)

    def _look(self, doc: DocId) -> None:
        self._dead.pop(doc, None)
        if self._store.is_deleted(doc):
            self._dead[doc] = 0

    def deadline(self) -> int | None:
        return self.generations.deadline(self._keep_again_after_us)

    def changed(self, docs: Sequence[DocId], now: Instant) -> list[Record]:
        """These documents have new changes. Records that must be durable with them: roots they stand on."""
        for doc in docs:
            self.freezes.changed(doc, now)
            self._look(doc)
        return [record for doc in docs for record in self.generations.unkept(doc, now)]

    def turn(self, now: Instant) -> Effects:
        """Tell neighbours what is to be frozen, and re-root what all of them hold."""
        effects: list[Effect] = []
        ripe = self.freezes.ripe()
        for letter in letters.frozen_letters(self.freezes.untold()):
            effects += [send(peer, letter) for peer in self._exchange.peers()]
        for doc, frozen in ripe:
            try:
                rooted = self._store.fold(doc, frozen.heads, frozen.grave_ms, frozen.fields)
                effects += self._begun(rooted, [], UNKNOWN_NODE, now)
            except RemoteError as error:
                self._counters.add(error.reason)
                self.freezes.end(doc, folded=False)
        return effects

    def _begun(self, rooted: Rooted, attests: Sequence[tuple[bytes, bytes]], via: NodeId, now: Instant) -> Effects:
        """A generation begins. Raises ``RemoteError``; then nothing changed."""
        begun = self.generations.begin(rooted, attests, now)
        self._counters.add("re-rooted")
        self._look(begun.doc)
        self.freezes.end(begun.doc, folded=True)
        self._heaps.forget(begun.doc)
        self._hlc.witness(max((row[2] for row in rooted.root.seen), default=0), now)
        facts: list[Effect] = []
        if begun.differs:
            by = document_of(self._store, begun.doc).updated_by
            facts.append(DocumentChanged(begun.doc, *rooted.root.names, by, remote=by != self._me, change=rooted.hash))
        if begun.told:
            facts.append(self._note_lost(begun))
        kept = EnvelopesKept((), (rooted.hash,))
        announced = self._exchange.announce([begun.doc], via)
        if begun.doc in self._splits:  # who has made the same of it would not ask, and each word for it counts
            announced += self._exchange.tell_root(begun.doc)
        effects: list[Effect] = [Persist(begun.records, (kept, *announced, *facts))]
        return [*effects, *self.carried(begun.doc, begun.mine, now)] if begun.mine else effects

    def _note_lost(self, begun: Begun) -> Note:
        self._counters.add("strays-buried", begun.told)
        return Note(
            f"document/{begun.rooted.root.resource}",
            "deleted elsewhere more than 30 days ago, while this node was away: its copy, and what was written to it "
            "here since, is not brought back; write it anew if it is still wanted",
        )

    def carried(self, doc: DocId, strays: Sequence[Stray], now: Instant) -> Effects:
        """Strays, written again in our own name on top of the root."""
        try:
            envelopes = self._pen.carry(doc, strays, now)
        except LocalError as error:
            self._counters.add("strays-left")
            self.generations.again(doc, now)
            if doc in self._left:
                return []
            self._left[doc] = None
            return [Note(f"document/{'/'.join(self._store.names(doc))}", f"writes wait for somebody else: {error}")]
        self._left.pop(doc, None)
        placed = [self._intake.place(each) for each in envelopes]
        self._counters.add("carried", len(strays))
        effects: Effects = [Reject(self._me, error.reason, str(error)) for each in placed for _, error in each.refused]
        return [*effects, self._kept([applied for each in placed for applied in each.applied], now)]

    def receive(self, via: NodeId, letter: Roots, now: Instant) -> Effects:
        effects: list[Effect] = []
        for item in letter.items:
            try:
                self._gate.charge(via, now)
                judged = self.generations.judge(item, now)
                if judged is not None:
                    effects += self._begun(*judged, via, now)
            except RemoteError as error:
                if error.reason == "root-unattested":
                    self._unbelieved(item.data, now)
                effects.append(Reject(via, error.reason, str(error)))
        return effects

    def receive_part(self, via: NodeId, part: RootPart, now: Instant) -> Effects:
        """A piece of a root that is too large for one letter; the last one makes it a root like any other."""
        try:
            self._gate.charge(via, now)
            if self._store.pin(DocId(part.doc))[1] == part.root:
                return []  # it came from somebody else meanwhile
            found = self._heaps.add(via, part)
        except RemoteError as error:
            return [Reject(via, error.reason, str(error))]
        match found:
            case None:
                return []
            case RootsWanted():
                return [send(via, found)] if via in self._exchange else []
            case Whole(data, attests):
                return self.receive(via, Roots([RootItem(data, attests)]), now)

    def _reachable(self) -> list[NodeId]:
        """Members in reach, this one included."""
        if self.liveness is None:
            return [self._me, *self._exchange.peers()]
        liveness = self.liveness
        return [node for node in liveness.members() if node == self._me or liveness.reachable(node)]

    def awaited(self) -> list[NodeId]:
        """Whose acknowledgement is waited for."""
        live = self._reachable()
        return live if len(live) <= self._acks_max else [self._me, *self._exchange.peers()]

    def _may_propose(self, doc: DocId) -> bool:
        return self._gate.may_write(self._me, resource_of(*self._store.names(doc)))


def forgotten(records: Sequence[Record]) -> Effects:
    """Records that are to leave the journal, with whatever is written next: a crash before it finds them again."""
    return [Persist(tuple(records), lazily=True)] if records else []
