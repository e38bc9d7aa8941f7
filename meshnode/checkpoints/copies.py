"""Who keeps copies of the units that run here, and when a reply may leave.

One holder for all units of an agent, as long as it is there: rendezvous order by the agent's name. Acknowledgements are
cumulative. A holder that is silent for ``replica_wait_us`` while a reply waits is replaced by the next in order.
"""

from meshnode.checkpoints import letters
from meshnode.checkpoints.desk import Desk
from meshnode.checkpoints.entry import NO_HASH
from meshnode.checkpoints.letters import Ack, Append, Lead
from meshnode.checkpoints.messages import StateKept, StateRefused, VersionMoved
from meshnode.checkpoints.unit import Holder, Run, Unit, Write
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.model.durability import reached
from meshnode.model.ids import AgentConn, NodeId
from meshnode.wire.bus import ToAgent
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import KeptHeader, encode

APPEND_BYTES_MAX = 512 * 1024  # a larger entry is fetched as cells


class Copies:
    """The owner's side of replication."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- holders ------------------------------------------------------------------------------------------------------

    def choose(self, unit: Unit, now: Instant) -> list[Effect]:
        """Keep who is there; fill up in the order of rendezvous."""
        run = unit.run
        if run is None or not run.ready:
            return []
        for peer, until in list(run.shunned.items()):
            if until <= now.mono_us:
                del run.shunned[peer]
        eligible = self._desk.eligible(unit)
        there = dict.fromkeys(eligible)
        before = list(run.holders)
        run.holders = {peer: holder for peer, holder in run.holders.items() if peer in there}
        effects: list[Effect] = []
        for peer in eligible:
            if len(run.holders) >= max(1, run.durability.copies):
                break
            if peer not in run.holders:
                run.holders[peer] = Holder(now.mono_us)
                effects.append(letters.send(peer, self._lead(unit, run)))
        if run.shunned:
            self._desk.alarms.set(("choose", unit.name), min(run.shunned.values()))
        return effects + (self.moved(unit, now) if list(run.holders) != before else [])

    def peer_up(self, unit: Unit, peer: NodeId, now: Instant) -> list[Effect]:
        """Links are new: what was sent over the old one may be lost."""
        run = unit.run
        if run is None:
            return []
        run.shunned.pop(peer, None)
        run.rivals.pop(peer, None)
        if run.holders.pop(peer, None) is not None:
            run.holders[peer] = Holder(now.mono_us)
            return [letters.send(peer, self._lead(unit, run))]
        return self.choose(unit, now)

    def peer_down(self, unit: Unit, peer: NodeId, now: Instant) -> list[Effect]:
        run = unit.run
        if run is None:
            return []
        run.rivals.pop(peer, None)
        if run.holders.pop(peer, None) is None:
            return []
        return [*self.choose(unit, now), *self.settle(unit, now), *self.moved(unit, now)]

    def rival(self, unit: Unit, peer: NodeId, now: Instant, *, runs: bool) -> list[Effect]:
        """A neighbour says whether it runs the unit, too: then it cannot be a holder."""
        run = unit.run
        if run is None or runs == (peer in run.rivals):
            return []
        if not runs:
            del run.rivals[peer]
            run.shunned.pop(peer, None)
            return self.choose(unit, now)
        run.rivals[peer] = None
        run.holders.pop(peer, None)
        return [*self.choose(unit, now), *self.settle(unit, now)]

    def _lead(self, unit: Unit, run: Run) -> Lead:
        follow = unit.held.follows.get(run.epoch)
        head = follow.head if follow is not None else unit.held.head
        return Lead(unit.name, run.epoch, run.version, head or NO_HASH)

    def append(self, unit: Unit, sealed: bytes) -> list[Effect]:
        """Give a new entry to the holders."""
        run = unit.run
        if run is None or not run.holders:
            return []
        if len(sealed) > APPEND_BYTES_MAX:
            return [letters.send(peer, self._lead(unit, run)) for peer in run.holders]
        first, *others = run.holders
        send = letters.send(first, Append(unit.name, sealed))
        return [send, *(letters.send(peer, Append(unit.name, sealed)) for peer in others)]

    def acked(self, unit: Unit, peer: NodeId, ack: Ack, now: Instant) -> list[Effect]:
        run = unit.run
        holder = run.holders.get(peer) if run is not None else None
        if run is None or holder is None or ack.epoch != run.epoch or not holder.acked < ack.version <= run.version:
            return []
        first = holder.acked < 0
        holder.acked = ack.version
        return [*self.settle(unit, now), *(self.moved(unit, now) if first else [])]

    # -- replies ------------------------------------------------------------------------------------------------------

    def wait(self, unit: Unit, write: Write, now: Instant) -> list[Effect]:
        """A reply waits from now on; those that need not wait leave at once, in order."""
        run = unit.run
        assert run is not None
        run.pending.append(write)
        effects = self.settle(unit, now)
        if run.pending:
            alarm = ("wait", unit.name)
            if alarm not in self._desk.alarms:
                self._desk.alarms.set(alarm, run.pending[0].at_us + self._desk.config.replica_wait_us)
        return effects

    def settle(self, unit: Unit, now: Instant) -> list[Effect]:
        run = unit.run
        if run is None or not run.pending:
            return []
        effects: list[Effect] = []
        last: Write | None = None
        while run.pending:
            write = run.pending[0]
            copies = sum(holder.acked >= write.version for holder in run.holders.values())
            if not self._desk.rules.durable(
                run.durability, committed=run.committed >= write.version, copies=copies, alone=not run.holders,
                waited=now.mono_us - write.at_us >= self._desk.config.replica_wait_us,
            ):  # fmt: skip
                break
            run.pending.popleft()
            level = reached(lazy=run.durability.lazy, copies=copies)
            effects.append(StateKept(unit.name, write.call_id, level, write.total))
            if write.conn is not None and run.process is not None and write.conn == run.process.conn:
                last = write
        if last is not None and last.conn is not None:
            run.kept_seq = last.seq
            effects.append(kept(last.conn, last.seq, last.total))
        if effects:
            effects += self.moved(unit, now)
            self._rearm(unit, run)
        return effects

    def _rearm(self, unit: Unit, run: Run) -> None:
        if not run.pending:
            self._desk.alarms.cancel(("wait", unit.name))

    def waited(self, unit: Unit, now: Instant) -> list[Effect]:
        """The alarm of a reply: whoever has not acknowledged it by now makes room for another."""
        run = unit.run
        if run is None or not run.pending:
            return []
        wait_us = self._desk.config.replica_wait_us
        head = run.pending[0]
        if now.mono_us < head.at_us + wait_us:
            self._desk.alarms.set(("wait", unit.name), head.at_us + wait_us)
            return []
        silent = [
            peer
            for peer, holder in run.holders.items()
            if holder.acked < head.version and now.mono_us - max(holder.since_us, head.at_us) >= wait_us
        ]
        for peer in silent:
            del run.holders[peer]
            run.shunned[peer] = now.mono_us + self._desk.config.shun_us
        effects = [*self.choose(unit, now), *self.settle(unit, now)]
        if run.pending:
            next_us = run.pending[0].at_us + wait_us
            self._desk.alarms.set(("wait", unit.name), next_us if next_us > now.mono_us else now.mono_us + wait_us)
        return effects

    def refuse_all(self, unit: Unit, code: str, message: str) -> list[Effect]:
        """Nothing that waits will be kept."""
        run = unit.run
        if run is None:
            return []
        calls = [write.call_id for write in run.pending] or [b""]
        run.pending.clear()
        self._desk.alarms.cancel(("wait", unit.name))
        return [StateRefused(unit.name, call_id, code, message) for call_id in calls]

    # -- telling ------------------------------------------------------------------------------------------------------

    def moved(self, unit: Unit, now: Instant) -> list[Effect]:
        """The version or the holder changed: told at once, and then at most every ``moved_every_us``."""
        run = unit.run
        if run is None or run.moved:
            return []
        alarm = ("moved", unit.name)
        if alarm in self._desk.alarms:
            run.moved = True
            return []
        self._desk.alarms.set(alarm, now.mono_us + self._desk.config.moved_every_us)
        return [VersionMoved(unit.name)]

    def moved_due(self, unit: Unit, now: Instant) -> list[Effect]:
        run = unit.run
        if run is None or not run.moved:
            return []
        run.moved = False
        return self.moved(unit, now)


def kept(conn: AgentConn, seq: int, version: int) -> ToAgent:
    return ToAgent(conn, (Frame(Kind.KEPT, header=encode(KeptHeader(seq, version))),))
