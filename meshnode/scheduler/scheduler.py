"""What runs on this node: judged by every node for itself, from wants, claims and what is known about nodes.

Invariants: a unit is opened here only under an epoch that is durable and was never used before; of two claims the lower
one yields once the higher one runs and can be reached; whoever cannot reach the winner goes on working.
"""

from collections.abc import Mapping, Sequence

from meshnode.kernel.effects import Effect
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.records import Record
from meshnode.kernel.timers import Timers
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.units import agent_of
from meshnode.scheduler.admission import Admission
from meshnode.scheduler.book import Book, Exact, Place, why
from meshnode.scheduler.config import SchedulerConfig
from meshnode.scheduler.fitting import misplaced, stopped_by
from meshnode.scheduler.land import Facts, Land
from meshnode.scheduler.messages import Claim, DrainsChanged, UnitChanged, UnitClaimed, UnitReleased, Want, Wanted
from meshnode.scheduler.outcome import Outcome, read_records
from meshnode.scheduler.ports import DOWN, LEFT, READY, Copies, NodeFacts, Nodes
from meshnode.scheduler.quiet import Quiet
from meshnode.scheduler.refusals import Refusals
from meshnode.scheduler.rules import SchedulerRules
from meshnode.scheduler.shelf import Shelf
from meshnode.scheduler.unit import Mine, Unit, name_of
from meshnode.scheduler.views import AgentStanding, Intended, UnitStanding, Viewer, drained

# So many open units are planned at once without a thought; more wait until the claims that pour in have ended.
_GATHER_FROM = 64
_GATHER_US = 2  # for each pair of unit and node that is looked at


class Scheduler:
    """The scheduler room. ``name``: of this node, for people."""

    def __init__(
        self, config: SchedulerConfig, *, me: NodeId, name: str, nodes: Nodes, copies: Copies, rules: SchedulerRules,
        restored: Sequence[Record] = (),
    ) -> None:  # fmt: skip
        self._config, self._me, self._name = config, me, name
        self._copies, self._rules = copies, rules
        self._shelf = Shelf(config.known_max)
        self._mine: dict[InstanceId, Unit] = {}
        self._admission = Admission(config.units_max)
        self._refusals = Refusals(config, me, self._shelf, self._admission, self._own_facts)
        self._quiet = Quiet(config, name)
        self._land = Land(nodes, flat_max=config.flat_max)
        self._states: dict[NodeId, str] = {}  # as membership last told
        self._timers: Timers[str] = Timers()  # by unit: look at its claims; by agent: somebody's turn
        self._turning: Timers[AgentName] = Timers()
        self._told_wants = False
        for unit_id, kept in read_records(restored):
            unit = self._shelf.learn(unit_id)
            if unit is not None:
                unit.counter, unit.recorded = kept.counter, kept.mine

    # -- what happens ------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Sequence[Effect]:
        """This boot is counted. Alone nothing is waited for; with known peers they are heard first."""
        self._land.walk()
        self._states = {facts.node: facts.state for facts in self._land.all()}
        peers = (node for node, state in self._states.items() if node != self._me and state != LEFT)
        self._quiet.start(now, alone=next(peers, None) is None)
        return self._turn(now)

    def linked(self, now: Instant) -> Sequence[Effect]:
        """A link to a peer is up."""
        self._quiet.linked(now)
        return self._turn(now)

    def wanted(self, fact: Wanted, now: Instant) -> Sequence[Effect]:
        wants = {want.agent: want for want in fact.wants}
        for agent in [*self._shelf.books, *(agent for agent in wants if agent not in self._shelf.books)]:
            book, want = self._shelf.book(agent), wants.get(agent)
            if book.want != want:
                book.set_want(want, self._config.wanted_max, fresh=self._told_wants)
                self._shelf.dirty[agent] = book
        self._told_wants = True
        return self._turn(now)

    def claims(self, node: NodeId, agent: AgentName, claims: Sequence[Claim], now: Instant) -> Sequence[Effect]:
        """All that a node tells of an agent's units, replacing what it told before. What this node tells is known."""
        if node != self._me:
            facts = self._land.get(node)
            believed = facts is not None and facts.state not in (DOWN, LEFT)
            self._shelf.hear(node, agent, claims, now.mono_us, believed=believed)
        return self._turn(now, gather=True)

    def member_changed(self, node: NodeId, now: Instant) -> Sequence[Effect]:
        """A node is in another state, or something else is known about it. Of the others nothing is read: after a cut
        half a mesh changes, one node after the other."""
        facts = self._land.look(node)
        before, after = self._states.pop(node, ""), facts.state if facts is not None else ""
        if after:
            self._states[node] = after
        came = after == READY and before != READY
        if came and node != self._me:
            self._quiet.contact(now)
        for unit in self._shelf.of_node(node):
            if came and node in unit.gone:
                unit.gone[node] = now.mono_us
            self._shelf.touch(unit)
        for book in self._shelf.books.values():
            if book.open:
                self._shelf.dirty[book.agent] = book
        for unit in self._mine.values():
            if node == self._me or (unit.mine is not None and unit.mine.failed):
                self._shelf.touch(unit)
        if node == self._me:
            self._refusals.room_made()
        return self._turn(now)

    def drains_changed(self, fact: DrainsChanged, now: Instant) -> Sequence[Effect]:
        """Some nodes are drained from now on, or are so no more."""
        named = sorted({node for name in fact.names for node in self._land.named(name)})
        for node in named:
            self._land.look(node)
        return [effect for node in named for effect in self.member_changed(node, now)]

    def described(self, node: NodeId) -> None:
        """Its row says something else of its machine: the next decision reads it."""
        self._land.described(node)

    def unit_running(self, unit: InstanceId, *, running: bool, now: Instant) -> Sequence[Effect]:
        """The process of a unit of this node does, or does not, answer calls."""
        held = self._mine.get(unit)
        if held is None or held.mine is None or held.mine.running == running:
            return ()
        held.mine.running, held.mine.opened = running, True
        out = Outcome()
        out.tell(held.agent)
        if running:
            held.mine.failed = ""
            self._turned(held)
        return [*out.effects(), *self._turn(now)]

    def failed(self, unit: InstanceId, reason: str, now: Instant) -> Sequence[Effect]:
        """The agents room gave up. Another node may have more luck; this one does not try again for a while."""
        held = self._mine.get(unit)
        if held is None or held.mine is None:
            return ()
        held.mine.opened, held.mine.running, held.mine.failed = True, False, reason or "it kept ending"
        held.reason = f"failed: {held.mine.failed}"
        self._turned(held)
        self._shelf.touch(held)
        return self._turn(now)

    def handed_over(self, unit: InstanceId, now: Instant) -> Sequence[Effect]:
        """The winner has all of this node's work."""
        held = self._shelf.unit(unit)
        if held is None or held.leaving is None:
            return ()
        held.leaving, held.recorded = None, False
        out = Outcome()
        out.record(unit, held.counter, mine=False)
        out.tell(held.agent)
        self._shelf.touch(held)
        return [*out.effects(), *self._turn(now)]

    def wake(self, now: Instant) -> Sequence[Effect]:
        """Fire whatever is due. A spurious call does nothing."""
        for key in self._timers.pop_due(now.mono_us):
            agent = agent_of(key)
            book = self._shelf.books.get(agent)
            if book is None:
                continue
            self._shelf.dirty[agent] = book
            unit = book.units.get(InstanceId(key))
            if unit is not None:
                book.dirty[unit.id] = unit
        for agent in self._turning.pop_due(now.mono_us):
            self._next_turning(self._shelf.books[agent])
        return self._turn(now)

    def deadline(self) -> int | None:
        if self._shelf.dirty:
            return self._quiet.until_us if self._told_wants else None
        return earliest(self._timers.deadline(), self._turning.deadline())

    # -- what is so --------------------------------------------------------------------------------------------------

    def claim_of(self, unit: InstanceId) -> Epoch | None:
        """The epoch under which this node has a unit; ``None``: it has it no more, or never had."""
        held = self._mine.get(unit)
        return held.mine.epoch if held is not None and held.mine is not None else None

    def refusals(self, agent: AgentName) -> Sequence[Claim]:
        """Units that this node does not take, to be published beside its claims."""
        return self._refusals.told(agent)

    def reason(self, unit: InstanceId) -> str:
        """The last decision about a unit on this node, in words."""
        held = self._shelf.unit(unit)
        return held.reason if held is not None else ""

    def keepers(self, unit: InstanceId) -> list[NodeId]:
        """Who had a unit last, and who held a copy of its state, as far as that was told."""
        held = self._shelf.unit(unit)
        last = held.last if held is not None else None
        return [] if last is None else [node for node in (last.holder, last.node) if node not in (None, self._me)]

    def predecessor(self, unit: InstanceId) -> NodeId | None:
        """Another node within reach that still has a unit which is this node's by a higher epoch."""
        held = self._mine.get(unit)
        return held.predecessor(self._land) if held is not None else None

    def standing(self, agent: AgentName, now: Instant) -> AgentStanding:
        """How an agent's units stand, as far as this node knows."""
        return self._viewer(now).standing(self._shelf.books.get(agent) or Book(agent))

    def standing_on(self, name: str, now: Instant) -> Sequence[UnitStanding]:
        """How the units of one node stand, as far as this node knows."""
        viewer = self._viewer(now)
        told = [unit for node in viewer.named(name) for unit in self._shelf.of_node(node)]
        return viewer.standing_on(name, [*self._mine.values(), *told], self._shelf.books)

    def intended(
        self, agent: AgentName, want: Want | None, now: Instant, drains: Mapping[str, str] | None = None
    ) -> Sequence[Intended]:
        """What would happen to an agent's units if it were wanted so, and these nodes (name -> reason) were drained
        instead of those that are. Nothing changes."""
        viewer, book = self._viewer(now, drains), self._shelf.books.get(agent) or Book(agent)
        return viewer.intended(book, want, self._config.wanted_max)

    # -- one turn ----------------------------------------------------------------------------------------------------

    def _turn(self, now: Instant, *, gather: bool = False) -> Sequence[Effect]:
        """``gather``: more of the same is likely to follow; a plan for many units can wait a moment."""
        if not self._shelf.dirty or not self._told_wants or self._quiet.listening(now):
            return ()
        out = Outcome()
        while self._shelf.dirty:  # room that is made lets other agents in
            agent = next(iter(self._shelf.dirty))
            book = self._shelf.dirty.pop(agent)
            dirty, book.dirty = book.dirty, {}
            for unit in dirty.values():
                self._judge(book, unit, now, out)
            if gather and len(book.open) > _GATHER_FROM:
                self._place_later(book, now)
            else:
                self._place(book, now, out)
            if not book.units and book.want is None:
                del self._shelf.books[agent]
        return out.effects()

    def _judge(self, book: Book, unit: Unit, now: Instant, out: Outcome) -> None:
        """Who has this unit; whether this node is to step down or go back to it."""
        want = book.want
        if want is None or not unit.wanted:
            self._unwanted(book, unit, out)
            return
        standing = unit.standing(self._land, want.lost_after_us, self._config.linger_us, now.mono_us)
        theirs, due = standing.claim, standing.due_us
        due = earliest(due, self._refusals.due(unit, now, out))
        if unit.mine is not None:
            self._judge_mine(book, want, unit, theirs, now, out)
        elif theirs is not None and unit.recorded and self._ready(theirs.node):
            self._release(unit, f"{self._named(theirs.node)} has taken it on in epoch {theirs.epoch.counter}",
                          theirs.node, out)  # fmt: skip
        elif theirs is not None and unit.leaving not in (None, theirs.node) and self._goes_on(theirs):
            self._release(unit, f"its work goes to {self._named(theirs.node)}: it has been passed on",
                          theirs.node, out)  # fmt: skip
        mine = unit.mine
        if mine is not None and (theirs is None or not self._rules.yields(mine.epoch, theirs)):
            book.govern(unit, self._me)
        else:
            book.govern(unit, theirs.node if theirs is not None else None)
        if unit.governor is None and unit.recorded:
            self._take_again(book, want, unit, out)
        holder = self._land.get(unit.governor) if unit.governor is not None else None
        due = earliest(due, book.openness(unit, holder, now.mono_us, self._config.move_after_us))
        if due is None:
            self._timers.cancel(unit.id)
        else:
            self._timers.set(unit.id, due)

    def _judge_mine(
        self, book: Book, want: Want, unit: Unit, theirs: Claim | None, now: Instant, out: Outcome
    ) -> None:  # fmt: skip
        mine, ends = unit.mine, stopped_by(want, self._own_facts())
        assert mine is not None
        if ends:
            self._release(unit, ends, None, out)
        elif theirs is not None and self._rules.yields(mine.epoch, theirs):
            if self._goes_on(theirs):
                reason = f"{self._named(theirs.node)} runs it in epoch {theirs.epoch.counter}, which is newer than"
                self._release(unit, f"{reason} {mine.epoch.counter} here", theirs.node, out)
        elif mine.failed and (self._others(want, unit) or (theirs is not None and self._goes_on(theirs))):
            self._give_up(unit, now, out)
        elif mine.outdated and (book.turning is None or not mine.running):
            mine.outdated = False
            if mine.running:
                book.turning = unit.id
                self._turning.set(book.agent, now.mono_us + self._config.turning_us)
            mine.running, mine.failed, unit.failures = False, "", 0
            if not mine.opened:
                out.record(unit.id, unit.counter, mine=True)
            out.change(UnitChanged(unit.id, want, unit.part.slots), opened=mine.opened)
            unit.reason = f"restarts as {want.source or 'its document'} wants it now"
            self._admission.take(unit, want)

    def _place(self, book: Book, now: Instant, out: Outcome) -> None:
        """Claim what is this node's turn to claim."""
        self._timers.cancel(book.agent)
        book.place_us = None
        want = book.want
        if want is None or not book.open:
            return
        exact = Exact({unit.id: self._turns_passed(want, unit, now) for unit in book.open.values()})
        due: int | None = None
        for place in book.places(want, book.open.values(), self._land, self._me, exact=exact):
            at_us = self._consider(book, want, place, now, out)
            due = earliest(due, at_us)
        if due is not None:
            book.place_us = due
            self._timers.set(book.agent, due)

    def _place_later(self, book: Book, now: Instant) -> None:
        wait_us = self._config.gather_us + _GATHER_US * len(book.open) * self._land.breadth
        book.place_us = earliest(book.place_us, now.mono_us + wait_us)
        assert book.place_us is not None
        self._timers.set(book.agent, book.place_us)

    def _consider(self, book: Book, want: Want, place: Place, now: Instant, out: Outcome) -> int | None:
        """Take a unit if it is this node's turn; else when it will be."""
        unit = place.unit
        unit.planned, unit.planned_in = place.first, place.region if place.first is None else ""
        if place.ahead < 0 or unit.mine is not None:
            return None
        ahead = place.ahead
        if ahead > 1 and self._copies.version(unit.id) and (unit.last is None or unit.last.holder is None):
            ahead = 1  # nobody is known to hold a copy, and this node does
        at_us = self._quiet.from_us(want, unit) + ahead * self._config.turn_us
        if at_us > now.mono_us:
            return at_us
        lack = self._admission.lack(unit, want, self._own_facts())
        if lack:
            self._refusals.refuse(unit, lack, out, full=True)
            self._shelf.dirty[book.agent] = book
            return None
        self._take(book, want, unit, why(place, ahead, self._land, now.mono_us), out)
        return None

    def _goes_on(self, theirs: Claim) -> bool:
        """Whoever claims it runs it, and can be reached."""
        return theirs.running and self._ready(theirs.node)

    def _ready(self, node: NodeId) -> bool:
        facts = self._land.get(node)
        return facts is not None and facts.state == READY

    # -- small steps -------------------------------------------------------------------------------------------------

    def _turns_passed(self, want: Want, unit: Unit, now: Instant) -> int:
        passed_us = now.mono_us - self._quiet.from_us(want, unit)
        return passed_us // self._config.turn_us if passed_us >= 0 else -1

    def _take_again(self, book: Book, want: Want, unit: Unit, out: Outcome) -> None:
        """What ran here before this boot goes on here, in a new epoch."""
        unit.recorded = False
        own = self._own_facts()
        fits = not misplaced(want, unit.part.region, own) and not stopped_by(want, own)
        if fits and not self._admission.lack(unit, want, own):
            self._take(book, want, unit, "it ran here before this boot", out)
        else:
            out.record(unit.id, unit.counter, mine=False)

    def _take(self, book: Book, want: Want, unit: Unit, why: str, out: Outcome) -> None:
        unit.counter += 1
        unit.mine = Mine(Epoch(unit.counter, self._me))
        self._admission.take(unit, want)
        self._mine[unit.id] = unit
        unit.leaving, unit.recorded, unit.open_us, unit.reason = None, False, None, why
        self._refusals.accept(unit)
        book.open.pop(unit.id, None)
        book.govern(unit, self._me)
        out.record(unit.id, unit.counter, mine=True)
        out.claim(UnitClaimed(unit.id, want, unit.part.slots, unit.mine.epoch))
        out.tell(unit.agent)
        out.note(unit.agent, unit.id, f"goes to {self._name}: {why}")

    def _release(self, unit: Unit, reason: str, winner: NodeId | None, out: Outcome) -> None:
        opened = unit.mine is None or unit.mine.opened
        if unit.mine is not None:
            self._admission.give_back(unit.id)
            del self._mine[unit.id]
            unit.mine = None
            self._turned(unit)
            self._refusals.room_made()
        unit.leaving, unit.recorded, unit.reason = winner, False, reason
        out.record(unit.id, unit.counter, mine=winner is not None)
        out.release(UnitReleased(unit.id, reason, winner), opened=opened)
        out.tell(unit.agent)

    def _unwanted(self, book: Book, unit: Unit, out: Outcome) -> None:
        self._refusals.accept(unit)
        unit.open_us = unit.astray_us = None
        self._timers.cancel(unit.id)
        book.open.pop(unit.id, None)
        book.govern(unit, None)
        if unit.mine is not None or unit.recorded or unit.leaving is not None:
            self._release(unit, "it is not wanted any more", None, out)
        if unit.idle() and not unit.counter:
            self._shelf.forget(unit)

    def _give_up(self, unit: Unit, now: Instant, out: Outcome) -> None:
        """It failed here and another node may try."""
        assert unit.mine is not None
        reason = f"it failed here: {unit.mine.failed}"
        self._release(unit, f"{reason}; another node is to try", None, out)
        self._refusals.failed(unit, reason, now, out)

    def _others(self, want: Want, unit: Unit) -> bool:
        """Whether another node could try."""
        pool = self._land.pool(want, unit.part)
        return len(pool) > sum(node in pool for node in {**unit.refusals, self._me: None})

    def _turned(self, unit: Unit) -> None:
        book = self._shelf.books[unit.agent]
        if book.turning == unit.id:
            self._turning.cancel(book.agent)
            self._next_turning(book)

    def _next_turning(self, book: Book) -> None:
        """One after the other: an agent with several units goes on answering while it is restarted."""
        book.turning = None
        for unit in book.units.values():
            if unit.mine is not None and unit.mine.outdated:
                self._shelf.touch(unit)

    def _own_facts(self) -> NodeFacts:
        return self._land.get(self._me) or NodeFacts(self._me, self._name)

    def _named(self, node: NodeId) -> str:
        return name_of(node, self._land)

    def _viewer(self, now: Instant, drains: Mapping[str, str] | None = None) -> Viewer:
        land: Facts = self._land
        if drains is not None:
            land = Facts(drained(self._land.all(), drains), flat_max=self._config.flat_max)
        return Viewer(land, self._me, now.mono_us)
