"""The holder's side: copies of units that run on other nodes, entry by entry.

An entry is taken only where its chain fits. Where it does not, the holder asks its owner for what it lacks, as cells;
entries that arrive meanwhile wait.
"""

from meshnode.checkpoints import letters, merge, shelf
from meshnode.checkpoints.desk import Desk, note
from meshnode.checkpoints.entry import NO_HASH, Entry, unseal
from meshnode.checkpoints.held import Taken
from meshnode.checkpoints.letters import Ack, Append, Copy, Holding, Holdings, Lead
from meshnode.checkpoints.merge import Joined
from meshnode.checkpoints.messages import CopyKept, CopyLost
from meshnode.checkpoints.shelf import Logged
from meshnode.checkpoints.storing import Storing, seen_in
from meshnode.checkpoints.transfers import Arrived, Purpose, Transfers
from meshnode.checkpoints.unit import Role, Sync, Unit
from meshnode.kernel.effects import Effect, Persist, Reject
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId


class Following:
    """A unit that runs here is never followed: two owners meet by merging."""

    def __init__(self, desk: Desk, storing: Storing, transfers: Transfers) -> None:
        self._desk = desk
        self._storing = storing
        self._transfers = transfers

    def lead(self, unit: Unit, peer: NodeId, lead: Lead, now: Instant) -> list[Effect]:
        """An owner wants its copy here."""
        if unit.run is not None:
            return [self._own(unit, peer)]
        if lead.epoch.node != peer:
            return [Reject(peer, "checkpoint-foreign-epoch", unit.name)]
        unit.role = Role.COPY
        if not unit.loaded:
            unit.led = (peer, lead)
            return self._storing.load(unit)
        known = unit.held.follows.get(lead.epoch)
        if known is not None and known.whole and (known.version, known.head) == (lead.version, lead.head):
            return self._ack(unit, peer, lead.epoch)
        return self._sync(unit, peer, lead, now)

    def append(self, unit: Unit, peer: NodeId, append: Append, now: Instant) -> list[Effect]:
        try:
            entry = unseal(append.sealed)
        except RemoteError as error:
            return [Reject(peer, error.reason, str(error))]
        if entry.epoch.node != peer:
            return [Reject(peer, "checkpoint-foreign-epoch", unit.name)]
        if unit.run is not None:
            return [self._own(unit, peer)]
        sync = unit.syncs.get(peer)
        if sync is not None:
            self._hold_back(sync, append.sealed)
            return []
        return self._take(unit, peer, entry, append.sealed, now)

    def _own(self, unit: Unit, peer: NodeId) -> Effect:
        """Who runs a unit keeps no copy for another owner: they merge."""
        return letters.send(peer, Holdings([Holding(unit.name, seen_in(unit).digest(), own=True)]))

    def _hold_back(self, sync: Sync, sealed: bytes) -> None:
        sync.waiting_bytes += len(sealed)
        if sync.waiting_bytes <= self._desk.config.waiting_bytes_max:
            sync.waiting.append(sealed)  # beyond it the chain will not fit, and is asked for again

    def _take(self, unit: Unit, peer: NodeId, entry: Entry, sealed: bytes, now: Instant) -> list[Effect]:
        known = unit.held.follows.get(entry.epoch) if unit.loaded else None
        if known is not None and known.whole and entry.version <= known.version:
            return self._ack(unit, peer, entry.epoch)
        if known is None or not known.whole or not unit.held.fits(entry, sealed):
            lead = Lead(unit.name, entry.epoch, entry.version, NO_HASH)
            refused: list[Effect] = [Reject(peer, "checkpoint-chain", unit.name)] if known is not None else []
            return [*refused, *self.lead(unit, peer, lead, now)]
        self._touch(unit, unit.held.enter(entry, sealed))
        record = shelf.entry_record(unit.name, entry, sealed)
        self._storing.logged(unit, Logged(record.key, record.body, entry))
        unit.unstored[record.key] = None
        then = CopyKept(unit.name, peer, entry.epoch, entry.version, (record.key,))
        return [Persist((record,), then=(then,)), *self._storing.fold_if_due(unit, now)]

    def _sync(self, unit: Unit, peer: NodeId, lead: Lead, now: Instant, *, everything: bool = False) -> list[Effect]:
        if peer in unit.syncs:
            return []
        number, effects = self._transfers.ask(unit, peer, Purpose.FOLLOW, now, everything=everything)
        unit.syncs[peer] = Sync(lead, number, [])
        return effects

    def arrived(self, unit: Unit, arrived: Arrived, now: Instant) -> list[Effect]:
        """The cells that were lacking. Without them the owner hears nothing from us, and chooses somebody else."""
        peer, copy = arrived.peer, arrived.copy
        sync = unit.syncs.pop(peer, None)
        if sync is None or copy is None or not copy.own or unit.run is not None or not unit.loaded:
            return []
        if copy.epoch.node != peer:
            return [Reject(peer, "checkpoint-foreign-epoch", unit.name)]
        if merge.lacking(unit.state, copy.delta):
            return self._sync(unit, peer, sync.lead, now, everything=True)
        effects = self._bring_up(unit, peer, copy)
        for sealed in sync.waiting:
            if peer in unit.syncs:
                self._hold_back(unit.syncs[peer], sealed)
            elif (entry := unseal(sealed)).version > copy.version or entry.epoch != copy.epoch:
                effects += self._take(unit, peer, entry, sealed, now)
        return [*effects, *self._storing.fold_if_due(unit, now)]

    def _bring_up(self, unit: Unit, peer: NodeId, copy: Copy) -> list[Effect]:
        records: list[Record] = []
        for piece in merge.split(merge.explicit(unit.state, copy.delta)):
            taken = Taken(copy.epoch, copy.version, copy.head, piece)
            self._touch(unit, unit.held.take(taken))
            unit.piece_no += 1
            record = shelf.taken_record(unit.name, taken, unit.piece_no)
            self._storing.logged(unit, Logged(record.key, record.body, taken))
            unit.unstored[record.key] = None
            records.append(record)
        keys = tuple(record.key for record in records)
        return [Persist(tuple(records), then=(CopyKept(unit.name, peer, copy.epoch, copy.version, keys),))]

    def _touch(self, unit: Unit, done: Joined) -> None:
        if unit.touched is not None:
            unit.touched.update(done.touched)

    def kept(self, unit: Unit, fact: CopyKept) -> list[Effect]:
        if any(key not in unit.unstored for key in fact.keys):
            # Something before it was lost, and it was given up together with that.
            return [Persist(tuple(shelf.forgotten(RecordKind.STATE, key) for key in fact.keys))]
        for key in fact.keys:
            del unit.unstored[key]
        unit.copies_kept[fact.epoch] = max(unit.copies_kept.get(fact.epoch, 0), fact.version)
        for oldest in sorted(unit.copies_kept)[:-8]:
            del unit.copies_kept[oldest]
        return self._ack(unit, fact.owner, fact.epoch)

    def _ack(self, unit: Unit, peer: NodeId, epoch: Epoch) -> list[Effect]:
        version = unit.copies_kept.get(epoch)
        if version is None or peer not in self._desk.linked:
            return []
        return [letters.send(peer, Ack(unit.name, epoch, version))]

    def lost(self, unit: Unit, fact: CopyLost) -> list[Effect]:
        """The journal did not take it: what is in memory and not on the disk must not be acknowledged later."""
        if unit.run is not None or not unit.loaded:
            return []
        self._storing.unlogged(unit, [each for each in unit.log if each.key not in unit.unstored])
        unit.loaded, unit.syncs, unit.unstored = False, {}, {}
        return [note(unit, f"a copy for {self._desk.name_of(fact.owner)} was not stored: {fact.error}")]

    def peer_down(self, unit: Unit, peer: NodeId) -> None:
        unit.syncs.pop(peer, None)
        if unit.led is not None and unit.led[0] == peer:
            unit.led = None
