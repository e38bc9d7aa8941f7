"""Generations of this node's documents: which roots are believed, what begins with one, what is still to be carried.

Order on the disk: the root's record (with the strays) first; when it is kept, the envelopes it sums up are forgotten.
Any part of either may be lost in a crash: the next start finds the old generation, or the new one with remains.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from meshnode.crdt import root as roots
from meshnode.crdt import shelf
from meshnode.crdt.fields import STAMP
from meshnode.crdt.folding import deleted_ms
from meshnode.crdt.gate import ATTEST_CONTEXT, Admitted, Gate
from meshnode.crdt.intake import Intake
from meshnode.crdt.keeping import Keeping
from meshnode.crdt.kinds import may_set
from meshnode.crdt.letters import ATTESTS_MAX, RootItem
from meshnode.crdt.registers import Registers
from meshnode.crdt.root import Rooted, judge_proofs
from meshnode.crdt.seen import HORIZON_MS, Seen
from meshnode.crdt.store import StateStore
from meshnode.crdt.strays import Stray, kept_of, left_of, not_here, strays_of
from meshnode.kernel.instant import SECOND, ClockTrust, Instant
from meshnode.kernel.ports import Signer
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

FORKERS_MAX = 256
CANDIDATES_MAX = 64  # roots that wait for somebody else to stand by them
BELIEVED_FROM = 2  # members who may not write the document; one who may suffices
GRACE_US = 20 * SECOND  # an author carries its own strays; after that their holders do
AGAIN_US = 5 * SECOND
AT_START = 0  # when our own are carried that a crash left
GRAVE_MS = 365 * 24 * 3600 * 1000  # after the deletion; a node that slept longer may bring its document back
BURY_SLACK_MS = 3_600_000  # a neighbour's clock may be this much ahead when it buries


class Begun(msgspec.Struct, frozen=True):
    """A generation that began here. ``differs``: the document reads otherwise than before.

    ``mine``: strays of our own, to be carried at once; ``told``: strays that a grave does not take back.
    """

    doc: DocId
    rooted: Rooted
    records: tuple[Record, ...]
    differs: bool
    mine: tuple[Stray, ...]
    told: int


class Generations:
    """Knows every document's root, who attests it, and what is on its way out of the journal."""

    def __init__(
        self, store: StateStore, intake: Intake, keeping: Keeping, gate: Gate, signer: Signer, others: Callable[[], int]
    ) -> None:
        """``others``: how many other members are in reach."""
        self._store = store
        self._intake = intake
        self._keeping = keeping
        self._gate = gate
        self._signer = signer
        self._others = others
        self._attests: dict[DocId, dict[bytes, bytes]] = {}
        self._strays: dict[DocId, list[Stray]] = {}
        self._due: dict[DocId, int] = {}  # when strays of others are carried
        self._leaving: dict[DocId, dict[bytes, None]] = {}  # journal keys of generations that are over
        self._unkept: dict[DocId, int] = {}  # root records whose commit was not reported, and when they were offered
        self._candidates: dict[bytes, dict[bytes, bytes]] = {}
        self._forkers: dict[tuple[DocId, bytes, int], None] = {}  # who signed two writes under one number, where
        self._orphans: dict[DocId, list[Admitted]] = {}  # envelopes of our journal whose root is not here

    # -- beginning one

    def begin(self, rooted: Rooted, attests: Sequence[tuple[bytes, bytes]], now: Instant) -> Begun:
        """Make ``rooted`` the document. Raises ``RemoteError``; then nothing changed."""
        doc = roots.doc_of(rooted.root)
        before = self._store.fields(doc).values()
        was_live = doc in self._store and not self._store.fields(doc).is_deleted()
        strays = self._strays_under(doc, rooted)
        gone = [*self._store.beyond(doc, {}), *(each.sealed for each in self._intake.stranded(doc))]
        remains = [doc + each.id for each in gone] + self._root_keys(doc)
        self._store.adopt(rooted)
        self._keeping.forget(doc)
        self._intake.rooted(doc)
        self._leaving.setdefault(doc, {}).update(dict.fromkeys(remains))
        self._attests[doc] = dict([self._own_attest(rooted), *attests][:ATTESTS_MAX])
        told = 0
        if rooted.root.grave_ms:
            told, strays = max(len(strays), was_live), []
        self._keep_strays(doc, strays, now)
        self._unkept[doc] = now.mono_us
        for key in self._root_keys(doc):
            self._leaving[doc].pop(key, None)
        self._candidates.pop(rooted.hash, None)
        self._adopt_orphans(doc)
        mine = tuple(each for each in strays if each.author == self._signer.node)
        if all(each.key == STAMP for each in mine):
            mine = ()
        differs = before != self._store.fields(doc).values()
        return Begun(doc, rooted, self.records(doc), differs, mine, told)

    def records(self, doc: DocId) -> tuple[Record, ...]:
        """Of the root that a document stands on."""
        rooted = self._store.rooted(doc)
        assert rooted is not None
        return tuple(
            shelf.root_records(doc, rooted, list(self._attests[doc].items()), self._strays.get(doc, []))
        )  # fmt: skip

    def _root_keys(self, doc: DocId) -> list[bytes]:
        """Keys of the present root in the journal."""
        return [] if self._store.rooted(doc) is None else [record.key for record in self.records(doc)]

    def _strays_under(self, doc: DocId, rooted: Rooted) -> list[Stray]:
        """Of what stands in the document, and of what the disk kept without all that it stands on."""
        stranded, fields = self._intake.stranded(doc), self._store.fields(doc)
        orphans = [each for each in self._orphans.get(doc, ()) if each.pin < rooted.pin]
        lost = strays_of(Registers(), Seen(), rooted, orphans) if orphans else []
        envelopes = self._store.beyond(doc, {})
        fresh = [*lost, *strays_of(fields, self._store.seen(doc), rooted, stranded, envelopes)]
        older = left_of(self.strays(doc), rooted)
        return kept_of([*older, *fresh])

    def _keep_strays(self, doc: DocId, strays: list[Stray], now: Instant) -> None:
        self._strays.pop(doc, None)
        self._due.pop(doc, None)
        if strays:
            self._strays[doc] = strays
            self._due[doc] = self._turn(now)

    def _turn(self, now: Instant) -> int:
        """When strays of others are carried: holders take turns by their ids, so that seldom two carry the same."""
        return now.mono_us + GRACE_US + int.from_bytes(self._signer.node[:1]) * GRACE_US // 256

    def _adopt_orphans(self, doc: DocId) -> None:
        for each in self._orphans.pop(doc, []):
            if each.pin == self._store.pin(doc):
                self._intake.place(each, restored=True)
            elif each.pin > self._store.pin(doc):  # its root is still to come
                self._orphans.setdefault(doc, []).append(each)
            else:
                self._file_remains(each)

    # -- strays

    def due(self, now: Instant) -> list[tuple[DocId, list[Stray]]]:
        """Strays that nobody else has carried; they are to be carried now, and not offered again unless that fails."""
        found: list[tuple[DocId, list[Stray]]] = []
        for doc in [doc for doc, at in self._due.items() if at <= now.mono_us]:
            left = [each for each in self.strays(doc) if may_set(each.key, self._signer.node)]
            if self._due.pop(doc) == AT_START:  # those of others may have been carried where we have not looked yet
                mine = [each for each in left if each.author == self._signer.node]
                if len(mine) < len(left):
                    self._due[doc] = self._turn(now)
                left = mine
            if any(each.key != STAMP for each in left):
                found.append((doc, left))
        return found

    @property
    def is_carrying(self) -> bool:
        """Some strays are still to be carried."""
        return bool(self._due)

    def again(self, doc: DocId, now: Instant) -> None:
        """They could not be carried now: who may not write a document may be given the role back."""
        if doc in self._strays:
            self._due[doc] = now.mono_us + AGAIN_US

    def strays(self, doc: DocId) -> list[Stray]:
        """Writes known here that the present generation does not hold yet."""
        return not_here(self._store, doc, self._strays.get(doc, ()))

    # -- believing one

    def judge(self, item: RootItem, now: Instant) -> tuple[Rooted, list[tuple[bytes, bytes]]] | None:
        """A peer's root: ``None`` when ours is as high. Raises ``RemoteError``: why it is not believed."""
        rooted = roots.read(item.data)
        doc = roots.doc_of(rooted.root)
        attests = [(node, s) for node, s in item.attests if self._gate.attests(NodeId(node), _attested(rooted), s)]
        if rooted.pin <= self._store.pin(doc):
            if rooted.pin == self._store.pin(doc):
                self._stand_by(doc, attests)
            return None
        if _is_spent(rooted, now):
            raise RemoteError("root-spent", "a grave that is to be forgotten")
        self._gate.judge_clock(rooted.root.newest(), now)
        if self._is_computed(doc, rooted, now):
            return rooted, attests
        if rooted.root.grave_ms and not _is_past(rooted.root.grave_ms + HORIZON_MS - BURY_SLACK_MS, now):
            raise RemoteError("root-grave", "its document was not deleted long enough ago")
        for each, data in zip(judge_proofs(rooted.root), rooted.root.proofs, strict=False):
            self._gate.prove(each)
            if self._gate.is_fork(each, data, self._store):
                self.forked(doc, NodeId(each.envelope.author), each.envelope.boot)
        self._judge_rollback(doc, rooted)
        known = self._candidates.setdefault(rooted.hash, {})
        known.update(attests)
        while len(self._candidates) > CANDIDATES_MAX:
            del self._candidates[next(iter(self._candidates))]
        if not self._is_believed(rooted, known):
            raise RemoteError("root-unattested", f"{len(known)} stand by it, nobody of them may write it")
        return rooted, list(known.items())

    def forked(self, doc: DocId, author: NodeId, boot: int) -> None:
        """Its times say nothing any more: of two writes under one number one is as new as the other."""
        self._forkers[doc, author, boot] = None
        if len(self._forkers) > FORKERS_MAX:
            del self._forkers[next(iter(self._forkers))]

    def attests(self, rooted: Rooted) -> list[tuple[bytes, bytes]]:
        return list(self._attests.get(roots.doc_of(rooted.root), {}).items())

    def may_bury(self, doc: DocId, grave_ms: int, now: Instant) -> bool:
        """Whether a document was deleted at this time, longer ago than the horizon, as far as clocks agree."""
        if doc not in self._store or deleted_ms(self._store.fields(doc)) != grave_ms:
            return False
        return _is_past(grave_ms + HORIZON_MS - BURY_SLACK_MS, now)

    def spent_ms(self, doc: DocId) -> int | None:
        """When a grave is older than anybody is waited for; ``None``: it is none, or somebody has written on it."""
        rooted = self._store.rooted(doc)
        if rooted is None or not rooted.root.grave_ms or self._store.changes(doc) > 1:
            return None
        return rooted.root.grave_ms + GRAVE_MS

    def end(self, doc: DocId) -> Record:
        """A grave goes, from the journal too."""
        self._store.drop(doc)
        self._intake.index.remove(doc)
        for held in (self._attests, self._strays, self._due, self._leaving, self._unkept):
            held.pop(doc, None)
        return Record(RecordKind.ENVELOPE, doc, b"")

    def _is_computed(self, doc: DocId, rooted: Rooted, now: Instant) -> bool:
        """Whether we hold the frozen heads and come to the same root."""
        root, (generation, pinned) = rooted.root, self._store.pin(doc)
        if (root.generation, root.before) != (generation + 1, pinned) or not root.heads or doc not in self._store:
            return False
        if self._store.missing(doc, root.heads):
            return False
        if root.grave_ms and not self.may_bury(doc, root.grave_ms, now):
            raise RemoteError("root-grave", "its document is not dead, or not for long")
        if self._store.fold(doc, root.heads, root.grave_ms).data != rooted.data:
            raise RemoteError("root-forged", "these heads come to another root")
        return True

    def _judge_rollback(self, doc: DocId, rooted: Rooted) -> None:
        """A write that gave way did so to a newer one."""
        context = rooted.root.context()
        there = dict(rooted.root.fields)
        for key, writes in self._store.fields(doc).items() if doc in self._store else ():
            newest = max((each.hlc for each in there.get(key, ())), default=0)
            values = {each.value: None for each in there.get(key, ())}
            for write in writes:
                known = context.includes(write.author, write.boot, write.at)
                if (doc, write.author, write.boot) in self._forkers:
                    continue
                if known and key in there and write.value not in values and write.hlc > newest:
                    raise RemoteError("root-rollback", f"field {key[:60]!r} would give way to an older value")

    def _is_believed(self, rooted: Rooted, attests: dict[bytes, bytes]) -> bool:
        others = [NodeId(node) for node in attests if node != self._signer.node]
        if any(self._gate.may_write(node, rooted.root.resource) for node in others):
            return True
        if len(others) >= BELIEVED_FROM:
            return True
        # The only other member in reach, and he may not write it: believed as far as he takes nothing away, here or,
        # with our word for it, from others. So is anybody where the author divided the document and nobody may hold
        # the same.
        doc = roots.doc_of(rooted.root)
        divided = any(of == doc for of, _, _ in self._forkers)
        lone = len(others) >= (1 if divided else max(1, self._others()))
        return lone and not self._takes_away(rooted) and not self._claims_more(rooted)

    def _takes_away(self, rooted: Rooted) -> bool:
        """Whether something that we show is said to be removed or overwritten there."""
        doc, context, there = roots.doc_of(rooted.root), rooted.root.context(), dict(rooted.root.fields)
        return any(
            write.value is not None
            and context.includes(write.author, write.boot, write.at)
            and all(each.origin != write.origin for each in there.get(key, ()))
            for key, writes in (self._store.fields(doc).items() if doc in self._store else ())
            for write in writes
            if key != STAMP
        )

    def _claims_more(self, rooted: Rooted) -> bool:
        """Whether it says to have seen writes that are not known here, and shows none as new: who holds them would
        take them for overwritten."""
        doc = roots.doc_of(rooted.root)
        if doc not in self._store:
            return False
        ours = self._store.seen(doc)
        shown = {(w.author, w.boot, w.at): None for _, writes in rooted.root.fields for w in writes}
        return any(
            (author, boot, at) not in shown and not ours.includes(NodeId(author), boot, at)
            for author, boot, at in rooted.root.seen
        )

    def _stand_by(self, doc: DocId, attests: Sequence[tuple[bytes, bytes]]) -> None:
        known = self._attests.setdefault(doc, {})
        for node, signature in attests:
            if len(known) < ATTESTS_MAX:
                known.setdefault(node, signature)

    def _own_attest(self, rooted: Rooted) -> tuple[bytes, bytes]:
        return self._signer.node, self._signer.sign(ATTEST_CONTEXT, _attested(rooted))

    # -- the journal

    def restore(self, record: Record, pieces: Mapping[bytes, bytes]) -> int:
        """Read a root that was kept; its newest time. Raises ``RemoteError``."""
        rooted, shelved = shelf.restored_root(record, pieces)
        doc = roots.doc_of(rooted.root)
        if rooted.pin <= self._store.pin(doc):
            return rooted.root.newest()
        self._store.adopt(rooted, proven=True)
        self._intake.rooted(doc)
        self._attests[doc] = dict(shelved.attests)
        self._strays.pop(doc, None)
        self._due.pop(doc, None)
        if shelved.strays:
            self._strays[doc] = shelved.strays
            self._due[doc] = AT_START
        return rooted.root.newest()

    def restored(self, keys: Iterable[bytes]) -> None:
        """All roots of the journal are read. ``keys``: of all records about roots; those of no present one may go."""
        for key in keys:
            doc = DocId(key[: shelf.DOC_BYTES])
            if self._store.rooted(doc) is not None and key not in self._root_keys(doc):
                self._leaving.setdefault(doc, {})[key] = None

    def place(self, admitted: Admitted) -> bool:
        """Whether a stored envelope belongs to the present generation; else it is put where it belongs."""
        pin = self._store.pin(admitted.doc)
        if admitted.pin > pin:
            self._orphans.setdefault(admitted.doc, []).append(admitted)
        elif admitted.pin < pin:
            self._file_remains(admitted)
        return admitted.pin == pin

    def kept(self, hashes: Sequence[bytes]) -> list[Record]:
        """Root records are durable: what their roots sum up may be forgotten."""
        gone: list[Record] = []
        for doc in [doc for doc in self._unkept if self._store.pin(doc)[1] in hashes]:
            del self._unkept[doc]
            gone += self._remains(doc)
        return gone

    def remains(self) -> list[Record]:
        """What a crash left of generations that are over."""
        return [record for doc in list(self._leaving) if doc not in self._unkept for record in self._remains(doc)]

    def unkept(self, doc: DocId, now: Instant) -> list[Record]:
        """The root's record, if its commit was not reported yet: nothing may be durable without what it stands on."""
        if doc not in self._unkept:
            return []
        self._unkept[doc] = now.mono_us
        return list(self.records(doc))

    def overdue(self, after_us: int, now: Instant) -> list[DocId]:
        return [doc for doc, at in self._unkept.items() if at + after_us <= now.mono_us]

    def deadline(self, after_us: int) -> int | None:
        times = [*self._due.values(), *(at + after_us for at in self._unkept.values())]
        return min(times, default=None)

    def _file_remains(self, admitted: Admitted) -> None:
        self._leaving.setdefault(admitted.doc, {})[admitted.doc + admitted.sealed.id] = None

    def _remains(self, doc: DocId) -> list[Record]:
        return [Record(RecordKind.ENVELOPE, key, b"") for key in self._leaving.pop(doc, {})]


def _is_spent(rooted: Rooted, now: Instant) -> bool:
    return rooted.root.grave_ms > 0 and _is_past(rooted.root.grave_ms + GRAVE_MS, now)


def _is_past(wall_ms: int, now: Instant) -> bool:
    return now.trust != ClockTrust.FLOOR and wall_ms <= now.wall_ms


def _attested(rooted: Rooted) -> bytes:
    return rooted.root.doc + rooted.root.generation.to_bytes(8) + rooted.hash
