"""What peers say to the documents room, letter by letter: judged, placed, answered, asked on.

Nothing the gate has not judged gets into a document; what is refused is named, and the rest of its letter goes on.
"""

from collections.abc import Sequence
from typing import assert_never

from meshnode.crdt import envelope, letters
from meshnode.crdt.awaiting import Awaiting
from meshnode.crdt.backlog import ROWS, SLICE, Backlog, Waiting
from meshnode.crdt.gate import Admitted, Fork, Unfit
from meshnode.crdt.keeping import spread
from meshnode.crdt.letters import Clocks, Envelopes, Frozen, RootPart, Roots, RootsWanted
from meshnode.crdt.persisting import Persisting
from meshnode.crdt.rhythm import Rhythm
from meshnode.crdt.succession import Room, Succession
from meshnode.kernel.effects import Effect, Note, Persist, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import Trust
from meshnode.kernel.repair import RepairRoot, RepairRows, RepairSums
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

Effects = list[Effect]
# Refusals that time alone may turn: the allowance fills up again.
_PASSING = ("rate-peer", "rate-author")
# Refusals that an admin's word may turn which has not come yet, and under which name what waits for it is counted.
_AWAITING = {"unknown-member": "awaits-member", "denied": "awaits-role"}
TWICE = "all will hold one of the two; if its data directory was copied or set back, end the copy"
_NOTED_MAX, _NOTED_US = 256, 3600 * SECOND  # when there is no room, what was told longer ago is forgotten
_UNFIT_ROWS = ROWS // 4  # that an envelope counts for whose changes are refused
_DUG_MAX = 256
_DIG_AGAIN_US = 30 * SECOND


class Arrivals:
    """One door for all letters."""

    def __init__(
        self, room: Room, succession: Succession, persisting: Persisting, rhythm: Rhythm, trust: Trust
    ) -> None:
        self._store, self._intake, self._exchange, self._gate = room.store, room.intake, room.exchange, room.gate
        self._hlc, self._counters = room.hlc, room.counters
        self._succession, self._persisting, self._rhythm, self._trust = succession, persisting, rhythm, trust
        self._progress: dict[NodeId, None] = {}  # peers whose answers brought something since the last root
        self._noted: dict[str, int] = {}  # told once, and when: repair brings the same again every round
        self._dug: dict[DocId, int] = {}  # documents that were asked for as a whole, and when
        self._backlog = Backlog()
        self._awaiting = Awaiting()
        self._read_us, self._read = -1, 0  # the turn in which envelopes were read last, and how many
        self._sated: dict[NodeId, None] = {}  # peers that brought more than they may: nothing is asked of them for now

    @property
    def has_more(self) -> bool:
        """Something that came waits to be read."""
        return bool(self._backlog)

    @property
    def awaiting(self) -> int:
        """Envelopes that wait for an admin's word about their author."""
        return len(self._awaiting)

    def empowered(self, node: NodeId | None) -> None:
        """What is known of a member may let in what it wrote or brought: judged anew in the next turns. ``None``: of
        some members."""
        for via, items in self._awaiting.release(node).items() if self._awaiting else ():
            # Not the end of an answer where nobody is there to be asked for more.
            self._backlog.put(via, Envelopes(items, more=via not in self._exchange))

    def deadline(self) -> int | None:
        """When to read on: in another turn, for the core wakes a room as often in one as it is due."""
        return self._read_us + 1 if self._backlog else None

    def read_on(self, now: Instant) -> Effects:
        """A slice of what waits."""
        return self._read_on(*self._backlog.next(), now) if self._backlog else []

    def is_reading(self, peer: NodeId) -> bool:
        """Something that this one brought waits."""
        return peer in self._backlog

    def forget(self, peer: NodeId) -> None:
        self._backlog.forget(peer)
        self.rested(peer)
        self._progress.pop(peer, None)

    def read(self, via: NodeId, body: bytes, now: Instant) -> Effects:
        try:
            letter = letters.decode(body)
        except RemoteError as error:
            return [rejection(via, error)]
        match letter:
            case Envelopes():
                return self._take(via, letter, now)
            case Clocks():
                return self._told_of(via, letter, now)
            case RepairRoot() if via in self._backlog:
                self._backlog.put(via, letter)
                return []
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

    def rested(self, peer: NodeId) -> None:
        """It may bring something again."""
        self._sated.pop(peer, None)

    def _told_of(self, via: NodeId, letter: Clocks, now: Instant) -> Effects:
        if not letter.told:
            return self._exchange.answer(via, letter)
        self._exchange.heed(via, letter)
        if self._exchange.has_left:
            self._rhythm.remind(now)
        return []

    def _take(self, via: NodeId, letter: Envelopes, now: Instant) -> Effects:
        """As much of it as a turn bears, unless there is something before it. What waited on a link that was cut comes
        all at once, a letter for each change."""
        is_read = self._read >= SLICE and self._read_us == now.mono_us
        is_first = via not in self._backlog and not is_read
        self._backlog.put(via, letter)
        effects: list[Effect] = list(self._read_on(via, self._backlog.take(via), now)) if is_first else []
        while self._backlog.is_full(via):
            effects += self._read_on(via, self._backlog.take(via), now)
        return effects

    def _read_on(self, via: NodeId, letter: Waiting, now: Instant) -> Effects:
        if isinstance(letter, RepairRoot):
            return self._exchange.compare(via, letter)
        if self._read_us != now.mono_us:
            self._read_us, self._read = now.mono_us, 0
        self._read += len(letter.items)
        return self._receive(via, letter, now)

    def _receive(self, via: NodeId, letter: Envelopes, now: Instant) -> Effects:
        effects: list[Effect] = []
        applied: list[Admitted] = []
        brought: list[Admitted] = []
        incomplete: dict[DocId, None] = {}
        whole: dict[DocId, None] = {}
        told = self._exchange.named(letter.told) if letter.eager else []
        rows = 0
        for place, data in enumerate(letter.items):
            if rows >= ROWS:
                letter = self._backlog.cut(via, letter, place)
                break
            try:
                admitted = self._gate.admit(data, via, self._store, now)
            except RemoteError as error:
                # An answer brings a root before what stands on it: asking again would never end.
                effects += self._unread(via, error, data, incomplete if letter.eager else {}, now)
                rows += _UNFIT_ROWS * isinstance(error, Unfit)
                continue
            if admitted is None:
                continue
            brought.append(admitted)
            rows += sum([each.rows for each in admitted.changes])
            placed = self._intake.place(admitted)
            applied += placed.applied
            effects += [rejection(via, error) for _, error in placed.refused]
            if placed.waits:
                self._counters.add("held")
                if letter.eager:  # an answer brings what it stands on before it, and that was refused just now
                    incomplete[admitted.doc] = None
            elif not letter.eager and not placed.applied and self._is_to_dig(admitted, now):
                whole[admitted.doc] = None
        self._read += rows * SLICE // ROWS
        self._exchange.brought(brought, via, told)
        if self._exchange.has_left:
            self._rhythm.remind(now)
        if applied:
            for each in applied:
                self._hlc.witness(each.sealed.hlc, now)
            kept = self._persisting.kept(via, applied, now, eager=letter.eager, lazily=letter.lazy)
            effects += spread(kept) if kept.lazily else [kept]
        effects += self._exchange.ask(incomplete, via, last=True)
        effects += self._exchange.ask_whole(whole, via) if whole else []
        return [*effects, *self._continued(via, letter, progress=bool(applied))]

    def _continued(self, via: NodeId, letter: Envelopes, *, progress: bool) -> Sequence[Effect]:
        """After the last letter of an answer: ask for what had no room, else compare again while that gets us on."""
        if letter.eager:
            return []
        if via in self._sated:  # what was asked for now would be refused as well: see ``Rhythm.again``
            self._progress.pop(via, None)
            return []
        if progress:
            self._progress[via] = None
        moved = via in self._progress
        rest = letter.rest if moved else letter.rest[1:]  # the first was cut short: what was refused of it comes again
        if letter.more:
            return self._exchange.ask([DocId(doc) for doc in rest], via, last=True)
        self._progress.pop(via, None)
        if rest:
            return self._exchange.ask([DocId(doc) for doc in rest], via, last=True)
        if not moved or self._backlog.asks(via):  # its own question is answered next, and does as well
            return []
        return [self._exchange.open(via)]

    def _is_to_dig(self, admitted: Admitted, now: Instant) -> bool:
        """It waits here, its author's writes before it are here, and repair brought it again without what it waits
        for: under that number we may hold something else. Whoever sent it has it, so all of its document is asked for.
        """
        first, doc = admitted.changes[0], admitted.doc
        if not self._intake.waits(admitted.sealed.id) or now.mono_us < self._dug.get(doc, 0):
            return False
        if first.seq > 1 and self._store.envelope_at(doc, first.actor, first.seq - 1) is None:
            return False
        self._dug.pop(doc, None)
        if len(self._dug) >= _DUG_MAX:
            del self._dug[next(iter(self._dug))]
        self._dug[doc] = now.mono_us + _DIG_AGAIN_US
        return True

    def _unread(
        self, via: NodeId, error: RemoteError, data: bytes, incomplete: dict[DocId, None], now: Instant
    ) -> Effects:
        if error.reason != "root-unknown":
            return self._refused(via, error, data, now)
        self._counters.add("root-unknown")  # no fault: it began its generation a moment earlier
        incomplete[DocId(envelope.unseal(data).envelope.doc)] = None
        return []

    def _refused(self, via: NodeId, error: RemoteError, data: bytes, now: Instant) -> Effects:
        if error.reason in _AWAITING:
            return self._held_back(via, error, data)
        if error.reason in _PASSING and via in self._exchange:
            self._rhythm.again(via, now)
            if error.reason == "rate-peer":
                self._sated[via] = None
        effects: list[Effect] = [rejection(via, error)]
        if isinstance(error, Fork):
            self._succession.forked(error, now)
            self._rest_until_freeze(now)
            effects += self._noted_once(
                error.author, f"signed two different writes under one number: {error}; {TWICE}", error, now
            )
        elif error.reason == "hlc-ahead":
            effects += self._note_clock(data, error, now)
        return effects

    def _held_back(self, via: NodeId, error: RemoteError, data: bytes) -> Effects:
        """Until an admin's word about its author comes. That it may not be written is told at once, and once."""
        if self._awaiting.holds(via, data):
            return []
        self._counters.add(_AWAITING[error.reason])
        gone = self._awaiting.hold(via, envelope.author_of(envelope.unseal(data).envelope), data)
        if gone:
            self._counters.add("awaiting-dropped", gone)
        return [rejection(via, error)] if error.reason == "denied" else []

    def _note_clock(self, data: bytes, error: RemoteError, now: Instant) -> Effects:
        """Its people must hear of it: where it writes all looks well."""
        unsealed = envelope.unseal(data)
        author = envelope.author_of(unsealed.envelope)
        try:
            self._gate.prove(unsealed)
        except RemoteError:
            return []  # whoever brings it made it up
        said = f"its clock is ahead of this one's ({error}): what it wrote then comes in when that time has come"
        return self._noted_once(author, said, error.reason, now)

    def _noted_once(self, author: NodeId, said: str, what: object, now: Instant) -> Effects:
        key = f"{author.hex()} {what}"
        if key in self._noted:
            return []
        if len(self._noted) >= _NOTED_MAX:
            oldest = next(iter(self._noted))
            if now.mono_us - self._noted[oldest] < _NOTED_US:
                return []
            del self._noted[oldest]
        self._noted[key] = now.mono_us
        member = self._trust.member(author)
        return [Note(f"node/{member.name if member else author.hex()[:12]}", said)]

    def _rest_until_freeze(self, now: Instant) -> None:
        if self._succession.freezes.has_work:
            self._rhythm.freeze(now)


def rejection(peer: NodeId, error: RemoteError) -> Reject:
    return Reject(peer, error.reason, str(error))
