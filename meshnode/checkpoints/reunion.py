"""Copies that come together: at the opening of a unit, when a cut heals, when one of two owners leaves."""

from meshnode.checkpoints import letters, merge
from meshnode.checkpoints.copies import Copies
from meshnode.checkpoints.desk import Desk, note
from meshnode.checkpoints.entry import Entry
from meshnode.checkpoints.letters import HOLDINGS_MAX, Copy, Holding, Holdings, Offer, TakenOver, past_of
from meshnode.checkpoints.marks import counter_of, mark
from meshnode.checkpoints.messages import HandedOver, StateMerged, StateReady
from meshnode.checkpoints.process import Process
from meshnode.checkpoints.storing import Storing, seen_in
from meshnode.checkpoints.transfers import Arrived, Purpose, Transfers
from meshnode.checkpoints.unit import Holder, Role, Run, Unit
from meshnode.checkpoints.writing import Writing
from meshnode.kernel.effects import Effect
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import Instant
from meshnode.messaging.messages import Reach
from meshnode.model.durability import Durability
from meshnode.model.ids import NodeId


class Reunion:
    """One operation, ``take``, whatever the occasion."""

    def __init__(
        self, desk: Desk, storing: Storing, transfers: Transfers, copies: Copies, writing: Writing, process: Process
    ) -> None:
        self._desk = desk
        self._storing = storing
        self._transfers = transfers
        self._copies = copies
        self._writing = writing
        self._process = process

    # -- opening ------------------------------------------------------------------------------------------------------

    def open(self, unit: Unit, epoch: Epoch, durability: Durability, now: Instant) -> list[Effect]:
        """This node claimed the unit. Ends in ``StateReady``."""
        run = unit.run
        if run is not None:
            run.durability, unit.winner = durability, None
            return [*self._copies.choose(unit, now), self._ready(unit, run, now)] if run.ready else []
        unit.role, unit.syncs, unit.led, unit.winner = Role.OWNER, {}, None, None
        unit.run = Run(epoch, durability)
        effects = self._storing.load(unit)
        return [*effects, *self.gather(unit, now)] if unit.loaded else effects

    def gather(self, unit: Unit, now: Instant) -> list[Effect]:
        """The own copy is read: ask everybody for what it lacks."""
        run = unit.run
        if run is None or run.ready or run.asks or run.paused:
            return []
        run.epoch = _unused(unit, run.epoch, self._desk.boot)
        effects: list[Effect] = []
        for peer in self._desk.peers():
            effects += self._ask_at_opening(unit, run, peer, now)
        if not run.asks:
            return [*effects, *self._open(unit, run, now)]
        self._desk.alarms.set(("gather", unit.name), now.mono_us + self._desk.config.gather_us)
        return effects

    def _ask_at_opening(
        self, unit: Unit, run: Run, peer: NodeId, now: Instant, *, everything: bool = False
    ) -> list[Effect]:
        number, effects = self._transfers.ask(unit, peer, Purpose.OPEN, now, everything=everything)
        run.asks[number] = None
        return effects

    def gathered(self, unit: Unit, now: Instant) -> list[Effect]:
        """Long enough waited."""
        run = unit.run
        return [] if run is None or run.ready or not unit.loaded else self._open(unit, run, now)

    def _open(self, unit: Unit, run: Run, now: Instant) -> list[Effect]:
        run.ready = True
        self._desk.alarms.cancel(("gather", unit.name))
        state = unit.state
        run.gap = max(0, max(unit.known, unit.held.known) - state.version)
        run.source = _source(unit, run)
        effects: list[Effect] = [self._ready(unit, run, now), *self._copies.choose(unit, now)]
        if unit.process is not None:
            effects += self._process.attached(unit, unit.process, now)
        return effects

    def _ready(self, unit: Unit, run: Run, now: Instant) -> StateReady:
        state = unit.state
        age_ms = max(0, now.wall_ms - state.at_ms) if state.version else -1
        return StateReady(unit.name, state.version, age_ms, run.gap, run.source)

    # -- a copy is here -----------------------------------------------------------------------------------------------

    def arrived(self, unit: Unit, arrived: Arrived, now: Instant) -> list[Effect]:
        run = unit.run
        if run is None:
            return []
        run.asks.pop(arrived.ask_no, None)
        effects: list[Effect] = []
        copy = arrived.copy
        if copy is not None and unit.loaded:
            if merge.lacking(unit.state, copy.delta):
                if not run.ready:
                    return self._ask_at_opening(unit, run, arrived.peer, now, everything=True)
                return self._transfers.ask(unit, arrived.peer, Purpose.TAKE, now, everything=True)[1]
            if run.ready or self._desk.rules.reads_entries:
                effects += self.take(unit, arrived.peer, copy, now)
            if not run.ready:
                run.sources.append(_described(self._desk.name_of(arrived.peer), copy))
        if copy is not None and arrived.purpose is Purpose.TAKE:
            effects += self._owe(unit, run, arrived.peer)
        if not run.ready and not run.asks and unit.loaded:
            effects += self._open(unit, run, now)
        return effects

    def take(self, unit: Unit, sender: NodeId, copy: Copy, now: Instant) -> list[Effect]:
        """Merge another copy's work into the unit that runs here. One or more entries; the process is told."""
        run = unit.run
        assert run is not None
        theirs = copy.delta
        if not merge.brings(unit.state, theirs):
            return []
        taken = self._desk.rules.merged(unit.state, theirs)
        if taken is None:
            unit.state.seen.join(merge.seen_of(theirs))
            return []
        taken = merge.explicit(unit.state, taken)
        new_answers = merge.answers_in(unit.state, taken)
        # Joined in one go for the report; the entries below do the same again, which changes nothing here, and on
        # replicas what is needed there.
        done = merge.join(unit.state, taken)
        if not done.changed and not new_answers:
            # Only merges of other owners, of what is here already. An entry for it would be one more of that kind, and
            # two owners would answer each other for ever.
            self._writing.noted(unit, run, taken)
            return []
        effects: list[Effect] = []
        merge_no = unit.state.merge_no + 1
        for piece in merge.split(taken):
            number = merge_no if piece.final else 0
            entry = Entry(run.epoch, run.version + 1, at_ms=now.wall_ms, merge_no=number, merged=piece)
            effects += self._writing.enter(unit, run, entry, touched=done.touched)[1]
        self._process.merged(unit, {key: done.new.get(key, ()) for key in done.touched})
        asked = sum(self._process.asks(unit, key) for key in done.touched)
        told = StateMerged(unit.name, sender, done.taken, done.added, asked, max(0, done.siblings - asked), done.undone)
        return [*effects, told, *self._process.push(unit, now), *self._copies.moved(unit, now)]

    # -- two owners ---------------------------------------------------------------------------------------------------

    def hand_over(self, unit: Unit, winner: NodeId, now: Instant) -> list[Effect]:
        """Give this node's work to who goes on with the unit. Ends in ``HandedOver``."""
        unit.winner = winner
        return self.hand_again(unit, now)

    def hand_again(self, unit: Unit, now: Instant) -> list[Effect]:
        winner = unit.winner
        if winner is None:
            return []
        self._desk.alarms.set(("hand", unit.name), now.mono_us + self._desk.config.hand_again_us)
        if not unit.loaded:
            return self._storing.load(unit)
        if winner not in self._desk.linked:  # in a large mesh most nodes are not
            return [Reach(winner)] if self._desk.liveness.reachable(winner) else []
        return [letters.send(winner, Offer(unit.name, past_of(unit.state.seen)))]

    def offered(self, unit: Unit, peer: NodeId, offer: Offer, now: Instant) -> list[Effect]:
        """A loser wants to leave. Who does not run the unit (yet) says nothing: the loser asks again."""
        run = unit.run
        if run is None or not run.ready:
            return []
        if unit.state.seen.covers(offer.past.seen()):
            return self._owe(unit, run, peer)
        if self._transfers.asks(unit, peer):
            return []
        return self._transfers.ask(unit, peer, Purpose.TAKE, now)[1]

    def _owe(self, unit: Unit, run: Run, peer: NodeId) -> list[Effect]:
        """Our word that the peer's work is durable here, as soon as it is."""
        run.owed[peer] = run.version
        return self.pay(unit)

    def pay(self, unit: Unit) -> list[Effect]:
        run = unit.run
        if run is None or not run.owed or unit.unstored:
            return []
        due = [peer for peer, version in run.owed.items() if version <= run.committed]
        for peer in due:
            del run.owed[peer]
        past = past_of(unit.state.seen) if due else letters.Past()
        return [letters.send(peer, TakenOver(unit.name, past)) for peer in due if peer in self._desk.linked]

    def taken_over(self, unit: Unit, peer: NodeId, letter: TakenOver, now: Instant) -> list[Effect]:
        if peer != unit.winner or not unit.loaded:
            return []
        run, past = unit.run, letter.past.seen()
        effects: list[Effect] = []
        if run is not None:  # it is as good as a copy
            holder = run.holders.setdefault(peer, Holder(now.mono_us))
            holder.acked = max(holder.acked, past.upto.get(run.epoch, 0))
            effects = self._copies.settle(unit, now)
        if not past.covers(unit.state.seen):
            before, unit.handed = unit.handed, past.digest()
            return effects + (self.hand_again(unit, now) if unit.handed != before else [])
        if run is not None and run.pending:
            return effects
        self._desk.alarms.cancel(("hand", unit.name))
        return [*effects, HandedOver(unit.name, peer)]

    def closed(self, unit: Unit) -> list[Effect]:
        """The unit does not run here any more: this node may keep a copy of it."""
        letter = Holdings([Holding(unit.name, seen_in(unit).digest(), own=False)])
        return [letters.send(peer, letter) for peer in self._desk.peers()]

    # -- neighbours ---------------------------------------------------------------------------------------------------

    def peer_up(self, peer: NodeId, now: Instant) -> list[Effect]:
        """Tell what is held here; whoever owns one of the units asks for what it lacks."""
        rows = [
            Holding(unit.name, seen.digest(), own=unit.run is not None)
            for unit in self._desk.units.values()
            if (seen := seen_in(unit)).upto
        ]
        effects: list[Effect] = [
            letters.send(peer, Holdings(rows[start : start + HOLDINGS_MAX]))
            for start in range(0, len(rows), HOLDINGS_MAX)
        ]
        for unit in list(self._desk.units.values()):
            run = unit.run
            if run is not None and not run.ready and run.asks:
                effects += self._ask_at_opening(unit, run, peer, now)
            if unit.winner == peer:
                effects += self.hand_again(unit, now)
        return effects

    def holdings(self, peer: NodeId, letter: Holdings, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for holding in letter.units:
            unit = self._desk.units.get(holding.unit)
            run = unit.run if unit is not None else None
            if unit is None or run is None:
                continue
            effects += self._copies.rival(unit, peer, now, runs=holding.own)
            if not run.ready or unit.state.seen.digest() == holding.digest:
                continue
            if not self._transfers.asks(unit, peer):
                effects += self._transfers.ask(unit, peer, Purpose.TAKE, now)[1]
        return effects

    # -- bad luck -----------------------------------------------------------------------------------------------------

    def reopen(self, unit: Unit, reason: str, now: Instant) -> list[Effect]:
        """Entries were lost on their way to the disk. Holders may have them: go on as after a crash, in a new epoch."""
        run = unit.run
        assert run is not None
        effects = self._copies.refuse_all(unit, "journal-failed", _LOST.format(unit.name, reason))
        self._storing.unlogged(
            unit, [each for each in unit.log if each.key not in unit.unstored and _is_kept(each.item, run)]
        )
        unit.unstored = {}
        self._storing.forget(unit)
        unit.refused = {run.epoch: run.committed}
        self._desk.alarms.cancel(("gather", unit.name))
        unit.loaded, unit.process, unit.role = False, None, Role.OWNER
        unit.run = Run(Epoch(unit.used + 1, self._desk.me), run.durability, shunned=run.shunned, paused=True)
        effects.append(note(unit, f"changes were not stored ({reason}): its state is read again"))
        self._desk.alarms.set(("reopen", unit.name), now.mono_us + self._desk.config.reopen_us)
        return effects

    def reopen_due(self, unit: Unit, now: Instant) -> list[Effect]:
        """Not at once: a full disk stays full for a while."""
        if unit.run is None or unit.run.ready:
            return []
        unit.run.paused = False
        effects = self._storing.load(unit)
        return [*effects, *self.gather(unit, now)] if unit.loaded else effects


_LOST = (
    "the journal did not take a change of {}: {}. It was not kept; free disk space or mend the disk, then call again"
)


def _is_kept(item: object, run: Run) -> bool:
    return not isinstance(item, Entry) or item.epoch != run.epoch or item.version <= run.committed


def _unused(unit: Unit, claim: Epoch, boot: int) -> Epoch:
    """An epoch above all that is known here, which this boot has not written under: the claim's, as a rule."""
    known = (*unit.state.seen.upto, *unit.held.follows, unit.held.epoch)
    counter = max(claim.counter, unit.used + 1)
    if any(mark(counter, boot, claim) <= epoch for epoch in known):
        counter = max(counter_of(epoch) for epoch in known) + 1
    unit.used = counter
    return mark(counter, boot, claim)


def _source(unit: Unit, run: Run) -> str:
    words = ["own journal"] if unit.log or unit.manifests else []
    words += run.sources
    if unit.held.damaged:
        words.append(f"damaged: {'; '.join(unit.held.damaged[:2])}")
    return ", ".join(words[:4]) if words and unit.state.version else "nothing kept: a first start"


def _described(name: str, copy: Copy) -> str:
    return f"copy of {name}, version {merge.seen_of(copy.delta).total()}, hash {copy.head.hex()[:6]}"
