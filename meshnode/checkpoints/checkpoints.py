"""The state of agents on this node: own units, and copies kept for other nodes. (docs/adr/0004)

Invariants: a reply leaves only when its change is as durable as asked for, or names the lower level it reached; an
entry is applied whole or not at all; no dot is ever used twice; copies meet by merging, whoever they are.
"""

from collections.abc import Callable, Sequence
from typing import assert_never

from meshnode.checkpoints import letters, looking, shelf
from meshnode.checkpoints.copies import Copies
from meshnode.checkpoints.desk import CheckpointsConfig, Desk
from meshnode.checkpoints.following import Following
from meshnode.checkpoints.letters import (
    Ack,
    Append,
    Ask,
    Give,
    Holdings,
    Lead,
    Letter,
    More,
    Offer,
    TakenOver,
)
from meshnode.checkpoints.looking import Conflict
from meshnode.checkpoints.marks import claim_of, counter_of
from meshnode.checkpoints.messages import (
    AgentRestored,
    CommitFact,
    CommitLost,
    CopyKept,
    CopyLost,
    EntryKept,
    EntryLost,
    FoldKept,
    FoldLost,
)
from meshnode.checkpoints.process import Process
from meshnode.checkpoints.restoring import Restoring
from meshnode.checkpoints.reunion import Reunion
from meshnode.checkpoints.rules import Rules
from meshnode.checkpoints.storing import Storing, seen_in
from meshnode.checkpoints.transfers import Arrived, Purpose, Transfers
from meshnode.checkpoints.unit import Attached, Role, Unit
from meshnode.checkpoints.writing import Writing
from meshnode.kernel.blobs import BlobRead, BlobsKept
from meshnode.kernel.effects import Effect, Persist, Reject
from meshnode.kernel.epochs import NO_EPOCH, Epoch
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import LinkStats, Liveness, StoredAnswer
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import ControlReceived, PeerDown, PeerUp
from meshnode.messaging.messages import MergeDone, StateWritten
from meshnode.model.durability import Durability
from meshnode.model.errors import NotFound, RemoteError
from meshnode.model.ids import AgentConn, InstanceId, NodeId
from meshnode.model.unit_views import HistoryView, StateView, UnitStateView

CheckpointsInput = ControlReceived | PeerUp | PeerDown | BlobsKept | BlobRead | CommitFact | CommitLost


class NoSuchState(NotFound):
    """This node holds no state of that unit. Nothing changed."""

    code = "no-such-state"


class Checkpoints:
    """The room's one door. Implements ``kernel.ports.Answers``."""

    def __init__(
        self,
        config: CheckpointsConfig,
        *,
        me: NodeId,
        boot: int,
        liveness: Liveness,
        links: LinkStats,
        name_of: Callable[[NodeId], str],
        rules: Rules,
        restored: Sequence[Record],
        region_of: Callable[[NodeId], str] = lambda _node: "",
    ) -> None:
        self._desk = desk = Desk(
            config, me=me, boot=boot, liveness=liveness, links=links, name_of=name_of, region_of=region_of, rules=rules
        )
        self._storing = Storing(desk)
        self._transfers = Transfers(desk)
        self._copies = Copies(desk)
        self._writing = Writing(desk, self._storing, self._copies)
        self._process = Process(desk, self._copies, self._writing)
        self._following = Following(desk, self._storing, self._transfers)
        self._reunion = Reunion(desk, self._storing, self._transfers, self._copies, self._writing, self._process)
        self._restoring = Restoring(desk, self._storing, self._writing, self._process)
        self.unreadable: list[str] = []
        self._restore(restored)

    def _restore(self, records: Sequence[Record]) -> None:
        found = shelf.read_records(records)
        self.unreadable = found.unreadable
        for name in found.units():
            unit = self._desk.units[name] = Unit(name)
            unit.manifests = found.manifests.get(name, [])
            unit.fold_no = unit.manifests[-1].number if unit.manifests else 0
            self._storing.unlogged(unit, found.logs.get(name, []))
            if not unit.manifests:
                self._storing.load(unit)  # there is no chunk to wait for

    # -- doors for the scheduler --------------------------------------------------------------------------------------

    def start(self, now: Instant) -> list[Effect]:
        """Begin to read all states, first of the units that ran here last."""
        effects: list[Effect] = []
        units = [unit for unit in self._desk.units.values() if not unit.loaded]
        for unit in sorted(units, key=lambda each: not (each.manifests and each.manifests[-1].own)):
            effects += self._storing.load(unit)
            effects += self._loaded(unit, now) if unit.loaded else []
        return effects

    def open(self, name: InstanceId, epoch: Epoch, durability: Durability, now: Instant) -> list[Effect]:
        """This node claimed the unit. Ends in ``StateReady``. Again: another durability."""
        return self._reunion.open(self._desk.unit(name), epoch, durability, now)

    def known(self, name: InstanceId, version: int) -> None:
        """Somebody tells of this version: a restore that does not reach it has a gap."""
        unit = self._desk.units.get(name)
        if unit is None and len(self._desk.units) < self._desk.config.units_max:
            unit = self._desk.unit(name)
        if unit is not None:
            unit.known = max(unit.known, version)

    def close(self, name: InstanceId, now: Instant) -> list[Effect]:
        """The unit does not run here any more; its state stays, folded."""
        unit = self._desk.units.get(name)
        if unit is None or unit.run is None:
            return []
        effects = self._copies.settle(unit, now)
        if unit.run.pending:
            effects += self._copies.refuse_all(unit, "closed", f"{name} stopped before its change was durable")
        for alarm in ("wait", "gather", "choose", "moved", "reopen"):
            self._desk.alarms.cancel((alarm, name))
        unit.run, unit.role, unit.process = None, Role.RESTING, None
        return [*effects, *self._reunion.closed(unit), *self._storing.fold(unit, now)]

    def forget(self, name: InstanceId) -> list[Effect]:
        """Nobody wants the unit any more: nothing of it stays here."""
        unit = self._desk.units.pop(name, None)
        if unit is None:
            return []
        for alarm in ("wait", "gather", "choose", "moved", "reopen", "hand"):
            self._desk.alarms.cancel((alarm, name))
        return self._storing.erase(unit)

    def hand_over(self, name: InstanceId, winner: NodeId, now: Instant) -> list[Effect]:
        """Give this node's work on the unit to ``winner``, as often as it takes. Ends in ``HandedOver``."""
        unit = self._desk.units.get(name)
        return [] if unit is None else self._reunion.hand_over(unit, winner, now)

    def hand_later(self, name: InstanceId, after_us: int, now: Instant) -> None:
        """``HandedOver`` came too early: tell it again, for there may be more to give by then."""
        self._desk.alarms.set(("hand", name), now.mono_us + after_us)

    def fold(self, name: InstanceId, now: Instant) -> list[Effect]:
        """Write a checkpoint now. Raises ``NoSuchState``."""
        return self._storing.fold(self._found(name), now, forced=True)

    # -- doors for agents ---------------------------------------------------------------------------------------------

    def attached(
        self, name: InstanceId, conn: AgentConn, hooks: Sequence[str], now: Instant, *, resumed: bool, merge_no: int
    ) -> list[Effect]:
        """The process of a unit registered: it gets its state, or, if it held it all the time, what it lacks."""
        process = Attached(conn, tuple(hooks), resumed, merge_no)
        return self._process.attached(self._desk.unit(name), process, now)

    def detached(self, name: InstanceId) -> None:
        unit = self._desk.units.get(name)
        if unit is not None:
            self._process.detached(unit)

    def wrote(self, fact: StateWritten, now: Instant) -> list[Effect]:
        """Ends in ``StateKept`` or ``StateRefused`` for its call."""
        unit = self._desk.units.get(fact.instance)
        return self._process.wrote(unit, fact, now)

    def merge_done(self, fact: MergeDone, now: Instant) -> list[Effect]:
        return self._process.merge_done(self._desk.units.get(fact.instance), fact, now)

    def folding(self, name: InstanceId) -> bool:
        """A checkpoint of it is being written."""
        unit = self._desk.units.get(name)
        return unit is not None and unit.folding is not None

    def answered(self, unit: InstanceId, key: str) -> StoredAnswer | None:
        return self._restoring.answered(self._desk.units.get(unit), key)

    # -- machine ------------------------------------------------------------------------------------------------------

    def handle(self, event: CheckpointsInput, now: Instant) -> list[Effect]:
        match event:
            case ControlReceived(peer, _, body):
                return self._letter(peer, body, now)
            case PeerUp(peer):
                return self._peer_up(peer, now)
            case PeerDown(peer):
                return self._peer_down(peer, now)
            case BlobRead():
                return self._blob_read(event, now)
            case BlobsKept():
                return self._storing.blobs_kept(event)
            case _:
                return self._commit(event, now)

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for kind, name in self._desk.alarms.pop_due(now.mono_us):
            if kind == "ask":
                effects += self._arrived(self._transfers.overdue(int(name)), now)
                continue
            unit = self._desk.units.get(InstanceId(name))
            if unit is not None:
                effects += self._alarm(kind, unit, now)
        return effects

    def deadline(self) -> int | None:
        return self._desk.alarms.deadline()

    def _alarm(self, kind: str, unit: Unit, now: Instant) -> list[Effect]:
        match kind:
            case "wait":
                return self._copies.waited(unit, now)
            case "gather":
                return self._reunion.gathered(unit, now)
            case "choose":
                return self._copies.choose(unit, now)
            case "moved":
                return self._copies.moved_due(unit, now)
            case "reopen":
                return self._reunion.reopen_due(unit, now)
            case "hand":
                return self._reunion.hand_again(unit, now)
            case _:
                raise AssertionError(kind)

    def _commit(self, fact: CommitFact | CommitLost, now: Instant) -> list[Effect]:
        unit = self._desk.units.get(fact.unit)
        if unit is None:
            return []
        match fact:
            case EntryKept():
                return self._entry_kept(unit, fact, now)
            case EntryLost():
                run = unit.run
                if run is None or fact.epoch != run.epoch or fact.version <= run.committed:
                    return []
                return self._reunion.reopen(unit, fact.error, now)
            case CopyKept():
                return [*self._following.kept(unit, fact), *self._reunion.pay(unit)]
            case CopyLost(_, _, error):
                if unit.run is not None and not unit.run.paused:
                    return self._reunion.reopen(unit, error, now)
                return self._following.lost(unit, fact)
            case FoldKept(_, number):
                return self._with_load(unit, self._storing.fold_kept(unit, number, now), now)
            case FoldLost(_, number, error):
                return self._storing.fold_lost(unit, number, error)
            case AgentRestored(_, conn):
                return self._process.restore(unit, conn, now)
            case _:
                assert_never(fact)

    def _entry_kept(self, unit: Unit, fact: EntryKept, now: Instant) -> list[Effect]:
        run = unit.run
        if fact.version > unit.refused.get(fact.epoch, fact.version):
            key = shelf.entry_key(unit.name, fact.epoch, fact.version)
            return [Persist((Record(RecordKind.STATE, key, b""),))]  # its call was refused
        if run is None or fact.epoch != run.epoch:
            return []
        run.committed = max(run.committed, fact.version)
        effects = self._copies.settle(unit, now)
        effects += self._process.push(unit, now) if run.merges else []
        effects += self._reunion.pay(unit) if run.owed else []
        if unit.winner is not None:
            effects += self._reunion.hand_again(unit, now)
        return [*effects, *self._storing.fold_if_due(unit, now)]

    def _blob_read(self, event: BlobRead, now: Instant) -> list[Effect]:
        reading, effects = self._storing.blob_read(event)
        if reading is None:
            return effects
        if reading.ticket:
            return [*effects, *self._restoring.read(reading, now)]
        return [*effects, *self._loaded(self._desk.units[reading.unit], now)]

    def _with_load(self, unit: Unit, effects: list[Effect], now: Instant) -> list[Effect]:
        return [*effects, *self._loaded(unit, now)] if unit.loaded and unit.run and not unit.run.ready else effects

    def _loaded(self, unit: Unit, now: Instant) -> list[Effect]:
        """A state was read: whoever waited for it goes on."""
        asked, unit.asked = unit.asked, []
        led, unit.led = unit.led, None
        effects: list[Effect] = []
        for peer, ask in asked:
            effects += self._transfers.give(unit, peer, ask) if peer in self._desk.linked else []
        if led is not None and led[0] in self._desk.linked:
            effects += self._following.lead(unit, *led, now)
        if unit.winner is not None:
            effects += self._reunion.hand_again(unit, now)
        return [*effects, *self._reunion.gather(unit, now)]

    # -- neighbours ---------------------------------------------------------------------------------------------------

    def _peer_up(self, peer: NodeId, now: Instant) -> list[Effect]:
        self._desk.linked[peer] = None
        effects: list[Effect] = []
        for arrived in self._transfers.peer_gone(peer):
            effects += self._arrived(arrived, now)
        for unit in list(self._desk.units.values()):
            self._following.peer_down(unit, peer)
        effects += self._reunion.peer_up(peer, now)
        for unit in list(self._desk.units.values()):
            effects += self._copies.peer_up(unit, peer, now)
        return effects

    def reachable_again(self, now: Instant) -> list[Effect]:
        """A node may be relied on again, perhaps a while after its link came up: units without a holder ask it."""
        return [effect for unit in list(self._desk.units.values()) for effect in self._copies.choose(unit, now)]

    def _peer_down(self, peer: NodeId, now: Instant) -> list[Effect]:
        self._desk.linked.pop(peer, None)
        effects: list[Effect] = []
        for unit in list(self._desk.units.values()):
            self._following.peer_down(unit, peer)
            unit.asked = [each for each in unit.asked if each[0] != peer]
            effects += self._copies.peer_down(unit, peer, now)
        for arrived in self._transfers.peer_gone(peer):
            effects += self._arrived(arrived, now)
        return effects

    def _letter(self, peer: NodeId, body: bytes, now: Instant) -> list[Effect]:
        if peer not in self._desk.linked:
            return [Reject(peer, "checkpoint-not-linked")]
        try:
            letter = letters.decode(body)
        except RemoteError as error:
            return [Reject(peer, error.reason, str(error))]
        return self._read(peer, letter, now)

    def _read(self, peer: NodeId, letter: Letter, now: Instant) -> list[Effect]:
        match letter:
            case Give():
                arrived, effects = self._transfers.given(peer, letter, now)
                return [*effects, *self._arrived(arrived, now)]
            case More():
                return self._transfers.more(peer, letter)
            case Holdings():
                return self._reunion.holdings(peer, letter, now)
            case Ask():
                return self._asked(peer, letter)
            case Lead(name):
                if name not in self._desk.units and len(self._desk.units) >= self._desk.config.units_max:
                    return [Reject(peer, "checkpoint-units-full", name)]
                effects = self._following.lead(self._desk.unit(name), peer, letter, now)
                return self._after_load(name, effects, now)
            case Append() | Ack() | Offer() | TakenOver():
                unit = self._desk.units.get(letter.unit)
                return [] if unit is None else self._of_unit(unit, peer, letter, now)
            case _:
                assert_never(letter)

    def _of_unit(
        self, unit: Unit, peer: NodeId, letter: Append | Ack | Offer | TakenOver, now: Instant
    ) -> list[Effect]:
        match letter:
            case Append():
                return self._after_load(unit.name, self._following.append(unit, peer, letter, now), now)
            case Ack():
                return self._copies.acked(unit, peer, letter, now)
            case Offer():
                return self._reunion.offered(unit, peer, letter, now)
            case TakenOver():
                return self._reunion.taken_over(unit, peer, letter, now)

    def _after_load(self, name: InstanceId, effects: list[Effect], now: Instant) -> list[Effect]:
        """A state without chunks is read at once."""
        unit = self._desk.units[name]
        return [*effects, *self._loaded(unit, now)] if unit.led is not None and unit.loaded else effects

    def _asked(self, peer: NodeId, ask: Ask) -> list[Effect]:
        unit = self._desk.units.get(ask.unit)
        if unit is None or unit.loaded:
            return self._transfers.give(unit, peer, ask)
        unit.asked.append((peer, ask))
        effects = self._storing.load(unit)
        if not unit.loaded:
            return effects
        unit.asked.pop()
        return [*effects, *self._transfers.give(unit, peer, ask)]

    def _arrived(self, arrived: Arrived | None, now: Instant) -> list[Effect]:
        unit = self._desk.units.get(arrived.unit) if arrived is not None else None
        if arrived is None or unit is None:
            return []
        if arrived.purpose is Purpose.FOLLOW:
            return self._following.arrived(unit, arrived, now)
        return self._reunion.arrived(unit, arrived, now)

    # -- questions ----------------------------------------------------------------------------------------------------

    def units(self) -> list[InstanceId]:
        """All that are held here, own and copies."""
        return [unit.name for unit in self._desk.units.values() if unit.run is not None or seen_in(unit).upto]

    def version(self, name: InstanceId) -> int:
        unit = self._desk.units.get(name)
        return 0 if unit is None else seen_in(unit).total()

    def epoch(self, name: InstanceId) -> Epoch:
        """Of a unit that runs here the epoch it writes under, else the newest whose chain is held; as claimed."""
        unit = self._desk.units.get(name)
        if unit is None:
            return NO_EPOCH
        return claim_of(unit.run.epoch if unit.run is not None and unit.run.ready else unit.held.epoch)

    def counter(self, name: InstanceId) -> int:
        """The highest epoch counter seen of a unit: the next claim has to be above it."""
        unit = self._desk.units.get(name)
        if unit is None:
            return 0
        return max(unit.used, *(counter_of(epoch) for epoch in (*seen_in(unit).upto, unit.held.epoch)))

    def holder_of(self, name: InstanceId) -> NodeId | None:
        """Who has a copy of a unit that runs here."""
        unit = self._desk.units.get(name)
        run = unit.run if unit is not None else None
        if run is None:
            return None
        return next((peer for peer, holder in run.holders.items() if holder.acked >= 0), None)

    def values(self, name: InstanceId) -> dict[str, bytes]:
        """Keys in force, as JSON. Raises ``NoSuchState``."""
        return self._found(name).state.values()

    def rows(self, node: str, now: Instant, agent: str = "") -> list[UnitStateView]:
        return [
            looking.row_of(unit, node, self._desk.name_of, now)
            for name, unit in sorted(self._desk.units.items())
            if (not agent or name.partition("/")[0] == agent) and (unit.run is not None or seen_in(unit).upto)
        ]

    def view(self, name: InstanceId, node: str, now: Instant, *, key: str = "", session: str = "") -> StateView:
        """Raises ``NoSuchState``."""
        unit = self._found(name)
        return looking.state_of(unit, node, self._desk.name_of, now, key=key, session=session)

    def history(self, name: InstanceId, node: str) -> HistoryView:
        """Raises ``NoSuchState``."""
        unit = self._found(name)
        return HistoryView(unit=name, node=node, items=looking.history_of(unit, self._desk.name_of))

    def conflicts(self) -> list[Conflict]:
        return [each for _, unit in sorted(self._desk.units.items()) for each in looking.conflicts_of(unit)]

    def read_version(self, ticket: int, name: InstanceId, version: int, now: Instant) -> list[Effect]:
        """The keys of a checkpoint, or of now (0). Ends in ``VersionRead``. Raises ``NoSuchState``."""
        return self._restoring.look(self._found(name), ticket, version, now)

    def restore_to(self, ticket: int, name: InstanceId, version: int, now: Instant) -> list[Effect]:
        """Set a unit that runs here to what it was. Ends in ``VersionRestored``. Raises ``NoSuchState``."""
        return self._restoring.restore(self._found(name), ticket, version, now)

    def _found(self, name: InstanceId) -> Unit:
        unit = self._desk.units.get(name)
        if unit is None or (unit.run is None and not seen_in(unit).upto):
            raise NoSuchState(
                f"this node holds no state of {name}", next_step="meshnode state list shows what is held where"
            )
        return unit
