"""Who of our direct peers gets which letter: new envelopes at once, everything else by repair.

A new envelope is pushed to every linked peer not known to hold it, nor said to be given it by whom we have it from
(``hearsay.py``). What arrived by repair (after a cut, a restart) is only announced by its clock, so that a region that
heals over many links does not send each change over each of them.
"""

from collections.abc import Callable, Iterable, Sequence

from meshnode.crdt import envelope, letters
from meshnode.crdt.cold import Cold, Record
from meshnode.crdt.envelope import UNROOTED, Pin
from meshnode.crdt.gate import Admitted
from meshnode.crdt.hearsay import Claim, Hearsay
from meshnode.crdt.history import Clock, Sealed
from meshnode.crdt.interest import Interests
from meshnode.crdt.keeping import Keeping
from meshnode.crdt.letters import PARTS_ASKED_MAX, TOLD_BYTES, Clocks, Letter, RootItem, RootPart, RootsWanted
from meshnode.crdt.parts import HEAPS_OF_PEER_MAX, WHOLE_BYTES_MAX, count_of, part_of
from meshnode.crdt.root import Rooted
from meshnode.crdt.store import StateStore
from meshnode.kernel import repair
from meshnode.kernel.effects import Channel, Effect, Send
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.instant import SECOND
from meshnode.kernel.repair import Difference, RepairMessage, RepairRoot
from meshnode.model.ids import DocId, NodeId

_KNOWN_MAX = 4096  # envelopes remembered per peer; forgetting one costs a repeated send
_ANSWER_BYTES_MAX = 512 * 1024
_WOKEN_BYTES_MAX = 1024 * 1024  # of documents at rest that an answer makes anew: some 40 ms
_CLOCK_LETTERS_MAX = 8
_FIRST_PARTS_MAX = HEAPS_OF_PEER_MAX  # more than these the peer would not put together at once
_OPEN_US = SECOND // 2  # a comparison without an answer for so long is over

Attests = Callable[[Rooted], Sequence[tuple[bytes, bytes]]]


class Exchange:
    """The peers we are linked with, and what they are known to hold."""

    def __init__(
        self, store: StateStore, index: Fingerprints, keeping: Keeping, attests: Attests, interests: Interests
    ) -> None:
        """``attests``: who stands by a root; ``interests``: who is told of which documents."""
        self.now_us = 0
        self._attests = attests
        self._interests = interests
        self._store = store
        self._index = index
        self._keeping = keeping
        self._known: dict[NodeId, dict[bytes, None]] = {}
        self._by_head: dict[bytes, NodeId] = {}
        self._hearsay = Hearsay()
        self._opened: dict[NodeId, int] = {}  # peers whose answer to our root is awaited, and since when
        self._compared: dict[NodeId, int] = {}  # when a peer last said something of a comparison

    def peers(self) -> list[NodeId]:
        return list(self._known)

    def at_rest(self) -> list[NodeId]:
        """Those with whom no comparison is under way."""
        return [peer for peer in self._known if self.now_us - self._compared.get(peer, -_OPEN_US) >= _OPEN_US]

    def __contains__(self, peer: NodeId) -> bool:
        return peer in self._known

    def add(self, peer: NodeId) -> None:
        self._known[peer] = {}
        self._by_head[peer[:TOLD_BYTES]] = peer

    def remove(self, peer: NodeId) -> None:
        for held in (self._known, self._opened, self._compared):
            held.pop(peer, None)
        self._by_head.pop(peer[:TOLD_BYTES], None)
        self._hearsay.forget(peer)

    def learn(self, peer: NodeId, envelopes: Iterable[bytes]) -> None:
        """``peer`` holds these envelopes: it sent them to us, is being sent them, or others say that they send them."""
        known = self._known.get(peer)
        if known is not None:
            known.update(dict.fromkeys(envelopes))
            while len(known) > _KNOWN_MAX:
                del known[next(iter(known))]

    def named(self, heads: Iterable[bytes]) -> list[NodeId]:
        """Those of our peers whose ids begin like this."""
        return [self._by_head[head] for head in heads if head in self._by_head]

    def brought(self, envelopes: Sequence[Admitted], via: NodeId, told: Sequence[NodeId]) -> None:
        """A peer has given us these; he, or others, give them to all who were ``told``."""
        for peer in (via, *told):
            self.learn(peer, [each.sealed.id for each in envelopes])
        for each in envelopes if told else ():
            self._hearsay.leave(told, each.doc)

    @property
    def has_left(self) -> bool:
        """Something was left to others, or announced by them: ``remind`` is due a moment later."""
        return bool(self._hearsay)

    def remind(self) -> list[Effect]:
        """What others were to give our peers, to those who have not said since that they hold it; and a question to
        whoever announced what has not come since."""
        lacking: dict[NodeId, list[DocId]] = {}
        for doc, claim in self._hearsay.take_claims().items():
            if _is_behind(self._store.look(doc), claim.pin, claim.clock):
                lacking.setdefault(claim.peer, []).append(doc)
        return [
            *(each for peer, docs in lacking.items() for each in self.ask(docs, peer, last=True)),
            *(
                send(peer, letter)
                for peer, docs in self._hearsay.take().items()
                for letter in self._clocks([doc for doc in docs if self._interests.is_for(peer, doc)], told=True)
            ),
        ]

    def push(self, envelopes: Sequence[Sealed], via: NodeId, *, lazily: bool = False) -> list[Effect]:
        """New envelopes, to all peers but the one they came from."""
        lacked: dict[NodeId, list[Sealed]] = {}
        told: list[bytes] = []
        for peer, known in self._known.items():
            lacking = [each for each in envelopes if each.id not in known] if peer != via else []
            wanted = lacking
            if lacking and self._interests.is_narrow(peer):
                wanted = [each for each in lacking if self._interests.is_for(peer, doc_of(each))]
            if wanted:
                self.learn(peer, [each.id for each in wanted])
                lacked[peer] = wanted
            if len(wanted) == len(lacking):
                told.append(peer[:TOLD_BYTES])
        self._interests.pushed()
        return [
            send(peer, letter)
            for peer, wanted in lacked.items()
            for letter in letters.eager_letters([each.data for each in wanted], lazily=lazily, told=told)
        ]

    def announce(self, docs: Iterable[DocId], via: NodeId) -> list[Effect]:
        """Clocks of changed documents, to all peers but the one the changes came from."""
        changed, sends = list(docs), list[Effect]()
        batch = self._clocks(changed) if any(peer != via for peer in self._known) else []
        for peer in self._known:
            if peer != via and self._interests.is_narrow(peer):
                sends += self.ask([doc for doc in changed if self._interests.is_for(peer, doc)], peer)
            elif peer != via:
                sends += [send(peer, letter) for letter in batch]
        self._interests.pushed()
        return sends

    def open(self, peer: NodeId, *, patient: bool = False) -> Effect:
        """``patient``: nothing says that there is a difference, so the question may wait for something to ride on."""
        if peer in self._known and not patient:
            self._opened[peer] = self.now_us
        return send(peer, repair.opening(self._interests.share(peer)), patient=patient)

    def narrowed(self, name: str) -> list[Effect]:
        """A node wants other documents than before: what it lacks of them, or holds beyond, is compared at once."""
        named = self._interests.is_called
        peers = [peer for peer in self._known if named(self._interests.me, name) or named(peer, name)]
        return [each for peer in peers for each in (*self.hand_over(peer), self.open(peer))]

    def fetch(self, doc: DocId) -> list[Effect]:
        """Ask everybody, whether it is wanted or not."""
        return [each for peer in self._known for each in self.ask([doc], peer)]

    def give(self, peer: NodeId, doc: DocId) -> list[Effect]:
        """All of one document, unasked: for a peer who will not have the time to ask."""
        return self.answer(peer, Clocks([(doc, b"", {})], last=True))

    def hand_over(self, peer: NodeId) -> list[Effect]:
        """What is here and not wanted here, to a peer who wants it: he asks for what he lacks."""
        return self.ask(self._interests.unwanted(peer), peer)

    def compare(self, peer: NodeId, message: RepairMessage) -> list[Effect]:
        """The next step of the repair dialogue; at its end, what we hold of every document that differs."""
        self._is_comparing(peer)
        if isinstance(message, RepairRoot) and self._crosses(peer):
            return []
        self._opened.pop(peer, None)
        match repair.answer(self._interests.share(peer), message):
            case None:
                return []
            case Difference(push, pull):
                return self.ask([DocId(doc) for doc in sorted({**dict.fromkeys(push), **dict.fromkeys(pull)})], peer)
            case answer:
                return [send(peer, answer)]

    def _crosses(self, peer: NodeId) -> bool:
        """Both ends of an answer began to compare again: that of the lower id goes on, or each would bring two more."""
        opened_us = self._opened.get(peer)
        return self._interests.me < peer and opened_us is not None and self.now_us - opened_us < _OPEN_US

    def _is_comparing(self, peer: NodeId) -> None:
        if peer in self._known:
            self._compared[peer] = self.now_us

    def ask(
        self, docs: Iterable[DocId], peer: NodeId, *, last: bool = False, part: bool = False, more: bool = False
    ) -> list[Effect]:
        return [send(peer, letter) for letter in self._clocks(docs, last=last, part=part, more=more)]

    def ask_whole(self, docs: Iterable[DocId], peer: NodeId) -> list[Effect]:
        """All that ``peer`` holds of these, as if nothing were here."""
        rows: list[tuple[DocId, bytes, Clock]] = [(doc, b"", {}) for doc in docs]
        pins: dict[bytes, Pin] = {doc: pin for doc, _, _ in rows if (pin := self._store.pin(doc)) != UNROOTED}
        return [send(peer, each) for each in letters.clock_letters(rows, _CLOCK_LETTERS_MAX, last=True, pins=pins)]

    def answer(self, peer: NodeId, theirs: Clocks) -> list[Effect]:
        """What ``peer`` lacks and is kept here; before it, our clocks where ``peer`` is ahead: both travel at once."""
        self._is_comparing(peer)
        given: list[Sealed] = []
        behind: list[DocId] = []
        older: list[DocId] = []  # it is in an earlier generation of these
        rest: list[DocId] = []
        begun: list[DocId] = []  # its turn is over: what did not come at all comes before the rest of it
        room, awake = _ANSWER_BYTES_MAX, _WOKEN_BYTES_MAX
        for key, version, clock in theirs.docs:
            doc, pin = DocId(key), theirs.pins.get(key, UNROOTED)
            here = self._store.look(doc)
            if not theirs.last and _is_behind(here, pin, clock):
                behind.append(doc)
            if here is not None and pin < here.pin:
                older.append(doc)
            lacking = self._beyond(doc, here, pin, version, clock) if here is not None and room > 0 else ()
            if lacking and isinstance(here, Cold):
                awake -= here.envelope_bytes + here.root_bytes
            for each in lacking:
                if room > 0 and each.id not in self._keeping:
                    given.append(each)
                    room -= len(each.data)
            if room <= 0:
                (begun if lacking else rest).append(doc)
            elif awake <= 0:
                room = 0
        self.learn(peer, [each.id for each in given])
        asks = [] if theirs.last else self.ask(behind, peer, last=True, part=theirs.part, more=theirs.more)
        answer = letters.answer_letters([each.data for each in given], [*rest, *begun], theirs)
        return [*asks, *self._roots_for(peer, older), *(send(peer, letter) for letter in answer)]

    def heed(self, peer: NodeId, told: Clocks) -> None:
        """``peer`` announces what it holds: no question."""
        for doc, version, clock in told.docs:
            pin = told.pins.get(doc, UNROOTED)
            if version == self._index.version(DocId(doc)):
                self._hearsay.confirm(peer, [DocId(doc)])
            elif peer in self._known and _is_behind(self._store.look(DocId(doc)), pin, clock):
                self._hearsay.claim(DocId(doc), Claim(peer, pin, clock))

    def _roots_for(self, peer: NodeId, docs: Iterable[DocId]) -> list[Effect]:
        """Roots of documents where ``peer`` is in an earlier generation, or holds the losing one of two."""
        items: list[RootItem] = []
        parts: list[RootPart] = []
        for doc in docs:
            rooted = self._store.rooted(doc)
            assert rooted is not None, "its generation is not the first"
            if len(rooted.data) > WHOLE_BYTES_MAX:
                parts.append(part_of(doc, rooted.data, rooted.hash, 0, self._attests(rooted)))
            else:
                items.append(RootItem(rooted.data, list(self._attests(rooted))))
        return [send(peer, letter) for letter in (*letters.root_letters(items), *parts[:_FIRST_PARTS_MAX])]

    def tell_root(self, doc: DocId) -> list[Effect]:
        """The root of a document and who stands by it, to all peers."""
        rooted = self._store.rooted(doc)
        if rooted is None or len(rooted.data) > WHOLE_BYTES_MAX:
            return []
        told = letters.root_letters([RootItem(rooted.data, list(self._attests(rooted)))])
        return [send(peer, each) for peer in self._known for each in told]

    def parts(self, peer: NodeId, wanted: RootsWanted) -> list[Effect]:
        """Parts of roots that are still ours."""
        found: list[RootPart] = []
        for row in wanted.rows:
            rooted = self._store.rooted(DocId(row.doc))
            if rooted is not None and rooted.hash == row.root:
                found += [
                    part_of(DocId(row.doc), rooted.data, rooted.hash, number, self._attests(rooted))
                    for number in row.parts
                    if 0 <= number < count_of(rooted.data)
                ]
        return [send(peer, letter) for letter in found[:PARTS_ASKED_MAX]]

    def _beyond(self, doc: DocId, here: Record | Cold, pin: Pin, version: bytes, clock: Clock) -> Sequence[Sealed]:
        if pin != here.pin:  # what stands on a root that travels in parts is asked for when it has come
            return self._store.beyond(doc, {}) if pin < here.pin and here.root_bytes <= WHOLE_BYTES_MAX else ()
        lacking = self._store.beyond(doc, clock)
        if lacking or here.is_behind(clock) or version == self._index.version(doc):
            return lacking
        # Equal clocks over unequal heads: an author signed two writes under one number. The peer gets the evidence.
        return self._store.beyond(doc, {})

    def _clocks(
        self, docs: Iterable[DocId], *, last: bool = False, part: bool = False, more: bool = False, told: bool = False
    ) -> list[Clocks]:
        rows: list[tuple[DocId, bytes, Clock]] = []
        pins: dict[bytes, Pin] = {}
        for doc in docs:
            here = self._store.look(doc)
            rows.append((doc, self._index.version(doc) or b"", {} if here is None else here.clock))
            if here is not None and here.pin != UNROOTED:
                pins[doc] = here.pin
        return letters.clock_letters(rows, _CLOCK_LETTERS_MAX, last=last, pins=pins, part=part, more=more, told=told)


def doc_of(sealed: Sealed) -> DocId:
    return DocId(envelope.unseal(sealed.data).envelope.doc)


def _is_behind(here: Record | Cold | None, pin: Pin, clock: Clock) -> bool:
    """Whether somebody in this generation, with this clock, has something that is not here."""
    if here is None:
        return pin > UNROOTED or any(seq > 0 for seq in clock.values())
    return pin > here.pin or (pin == here.pin and here.is_behind(clock))


def send(peer: NodeId, letter: Letter, *, patient: bool = False) -> Send:
    return Send(peer, Channel.STATE, letters.encode(letter), patient)
