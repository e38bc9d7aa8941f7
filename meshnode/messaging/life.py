"""The life of a call: tried, lost, tried again where that is harmless, ended exactly once.

Invariants: a call ends at its deadline at the latest; it is in the table until it has ended, and never after; each row
has one timer, for its deadline or for what comes before it.
"""

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import StoredAnswer
from meshnode.kernel.timers import Timers
from meshnode.links.messages import Post
from meshnode.messaging import letters, replies, retry, streams
from meshnode.messaging.around import Around
from meshnode.messaging.calls import CREDIT, NO_CONN, Call, Calls, Ending, Peer, Phase, Waiter
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.keys import Keys
from meshnode.messaging.local import LocalUnits, Unit
from meshnode.messaging.messages import CallOverdue, Reach, Sought
from meshnode.messaging.routes import Routes, Target
from meshnode.model.ids import InstanceId, NodeId
from meshnode.wire.bus import ToAgent
from meshnode.wire.calls import CallHeader
from meshnode.wire.frame import Frame

# Codes this switch gives; others are an agent's own words and are counted together.
_CODES = (
    "", "agent-died", "denied", "invalid", "result-raw", "result-too-long", "stream-order", "stream-overdrawn",
    "stream-overrun", "stream-raw", "timeout", "unreachable", *retry.NOT_RUN,
)  # fmt: skip
_COUNTED = {code: f"calls-{code or 'ok'}" for code in _CODES}


class Life:
    """All calls in flight through this node."""

    def __init__(self, config: SwitchConfig, around: Around, counters: Counters) -> None:
        self._config, self._around, self._counters = config, around, counters
        self._timers: Timers[bytes] = Timers()
        self.calls = Calls(self._timers)
        self.units = LocalUnits(around.name)
        self.routes = Routes(around, self.units)
        self._keys = Keys(config.calls_max)
        self._prefix, self._last_call = around.call_prefix, 0

    # -- begin --------------------------------------------------------------------------------------------------------

    def new(
        self, waiter: Waiter, header: CallHeader, payload: bytes, where: NodeId | None, now: Instant, caller: str
    ) -> Call:
        """A row, not yet in the table."""
        call_id = self.next_id()
        due_us = now.mono_us + min(header.deadline_ms * MS, self._config.deadline_max_us)
        idempotent = header.idempotent
        return Call(call_id, header, payload, waiter, now.mono_us, due_us, caller, where, idempotent=idempotent)

    def next_id(self) -> bytes:
        self._last_call += 1
        return self._prefix + self._last_call.to_bytes(8)

    def skip_ids(self, count: int) -> None:
        """As many calls that need none."""
        self._last_call += count

    def id_of(self, number: int) -> bytes:
        return self._prefix + number.to_bytes(8)

    def begin(self, call: Call, now: Instant) -> list[Effect]:
        target = self.routes.pick(call, now)
        if target is not None:
            self.calls.add(call)
            return self._try(call, target, now)
        ending = Ending(*self.routes.nobody(call, now))
        if not self._may_settle(call, ending, now) and self._seeks(call, now) is None:
            return [replies.refusal(call.waiter, self._around.me, ending)]
        self.calls.add(call)
        return self._settle(call, now)

    def _may_settle(self, call: Call, ending: Ending, now: Instant) -> bool:
        """What was just started elsewhere, or starts again, is heard of in a moment: it is not missing. Nor is what ran
        on a node that was lost a moment ago."""
        if isinstance(call.waiter, Peer) or not self._config.settle_us:
            return False
        if ending.code == "unreachable":
            return self.routes.lost_lately(call, self._config.lately_us, now)
        return ending.code == "unavailable" or (ending.code == "not-found" and bool(self._around.links.peers()))

    def _settle(self, call: Call, now: Instant) -> list[Effect]:
        return self._await(call, "settle", call.started_us + self._config.settle_us, now)

    def _seeks(self, call: Call, now: Instant) -> Sought | None:
        """What may still be asked beyond the region for it: who offers the skill, then the node where its slot runs.
        What a peer asks of us goes no further."""
        if isinstance(call.waiter, Peer):
            return None
        beyond, skill = self._around.beyond, call.header.skill
        if beyond.open(skill, call.where, now):
            return Sought(skill, call.where)
        home = self.routes.home(call)
        return Sought(skill, home) if home is not None and beyond.open(skill, home, now) else None

    def _await(self, call: Call, what: str, until_us: int, now: Instant) -> list[Effect]:
        """Wait for somebody who takes it; as long as it may take where regions beyond are asked for one."""
        call.phase = Phase.WAITING
        self.calls.unsettle(call)
        sought = self._seeks(call, now)
        self._arm(call, what, until_us if sought is None else call.due_us)
        return [] if sought is None else [sought]

    def straight(self, call: Call, node: NodeId, now: Instant) -> list[Effect]:
        """To the daemon of that node itself, which is nobody's agent."""
        self.calls.add(call)
        return self._try(call, Target(node, "", call.header.skill, -1, idempotent=False), now)

    def hold(self, call: Call) -> int:
        """This node's own daemon works on it, and knows it under the number that is returned."""
        self.calls.add(call)
        call.node, call.skill, call.phase, call.attempts = self._around.me, call.header.skill, Phase.RUNNING, 1
        self._arm(call, "due", call.due_us)
        return int.from_bytes(call.call_id[len(self._around.call_prefix) :])

    def _try(self, call: Call, target: Target, now: Instant) -> list[Effect]:
        around = self._around
        call.node, call.agent, call.skill, call.slot = target.node, target.agent, target.skill, target.slot
        call.idempotent = call.idempotent or target.idempotent
        call.attempts += 1
        call.conn, call.unit, call.instance = NO_CONN, InstanceId(""), ""
        call.unkept, call.durability, call.version, call.replayed = 0, "", 0, False
        if target.unit is not None:
            return self._send_here(call, target.unit, now)
        if around.links.last_heard_us(target.node) is not None:
            return self.send_there(call, now)
        call.phase = Phase.REACHING
        self.calls.unsettle(call)
        self._arm(call, "reach", now.mono_us + self._config.reach_us)
        return [Reach(target.node)]

    def send_there(self, call: Call, now: Instant) -> list[Effect]:
        """To a peer with a link."""
        self._running(call, now)
        rtt = self._around.links.rtt_us(call.node) or 0
        self._arm(call, "overdue", now.mono_us + overdue_us(rtt))
        return [Post(call.node, self._frames(call, now))]

    def _send_here(self, call: Call, unit: Unit, now: Instant) -> list[Effect]:
        key = call.header.idempotency_key
        call.unit, call.conn = unit.name, unit.conn
        if key:
            stored = self._around.answers.answered(unit.name, key)
            if stored is not None:
                return self._replay(call, unit, stored, now)
            if not self._keys.take((unit.name, key), call.call_id):
                call.phase = Phase.FOLLOWING
                self.calls.settle(call)
                self._arm(call, "due", call.due_us)
                return []
        if call.slot < 0 and unit.slots > 1:
            call.slot = unit.next_slot()
        call.instance = unit.instance(call.slot)
        self._running(call, now)
        self.units.took(unit)
        self._arm(call, "due", call.due_us)
        return [ToAgent(unit.conn, self._frames(call, now))]

    def _running(self, call: Call, now: Instant) -> None:
        call.phase, call.sent_us = Phase.RUNNING, now.mono_us
        self.calls.settle(call)
        if call.agent:
            call.queued = True
            self._around.index.queued(call.node, call.agent, 1)

    def _frames(self, call: Call, now: Instant) -> tuple[Frame, ...]:
        asked = call.header
        header = CallHeader(
            call.call_id, call.skill, max(1, (call.due_us - now.mono_us) // MS), call.agent, call.caller,
            asked.idempotency_key, asked.trace, asked.hlc, call.slot, asked.session, asked.stream, call.idempotent,
            asked.batch, asked.raw, asked.as_bytes,
        )  # fmt: skip
        frame = letters.call_frame(header, call.payload)
        return (frame, streams.told(call)) if call.granted > CREDIT or call.granted_bytes or call.raw else (frame,)

    def _replay(self, call: Call, unit: Unit, stored: StoredAnswer, now: Instant) -> list[Effect]:
        call.instance = unit.instance(call.slot)
        call.durability, call.version, call.replayed = stored.durability, stored.version, True
        self._counters.add("calls-replayed")
        if not stored.kept:
            message = "the call under this key has run, and its answer was too big or is too old to be kept"
            return self.end(call, Ending("answer-not-kept", message), now)
        return self.end(call, Ending(payload=stored.payload), now)

    # -- news about nodes ---------------------------------------------------------------------------------------------

    def linked(self, call: Call, now: Instant) -> list[Effect]:
        """There is a link to the target of this unsettled call."""
        if call.phase is Phase.REACHING:
            return self.send_there(call, now)
        self.calls.settle(call)
        self._arm(call, "due", call.due_us)
        return []

    def orphaned(self, call: Call, now: Instant) -> None:
        """The link to its target is lost while it runs there."""
        self.calls.unsettle(call)
        self._arm(call, "orphan", now.mono_us + self._config.orphan_us)

    def reconsider(self, call: Call, now: Instant) -> list[Effect]:
        """The index learned something: an unsettled call may have a better place now."""
        if call.phase is Phase.WAITING:
            return self._again(call, now)
        running = call.phase is Phase.RUNNING
        if not call.agent or not self._around.index.excluded(call.node, now):
            return []
        if running and not retry.may_run_again(call, self._config.runs_max):
            return []
        if call.node not in call.passed:
            call.passed[call.node] = self.routes.news(call.node)
        target = self.routes.pick(call, now)
        if target is None or target.node == call.node:
            return []
        effects = self.cancel_callee(call)
        if running:
            self._lose(call, now)
            self._unqueue(call)
        return [*effects, *self._try(call, target, now)]

    # -- tried again --------------------------------------------------------------------------------------------------

    def next(self, call: Call, ending: Ending, now: Instant) -> list[Effect]:
        """The call surely has not run at its target: try the next one, or end with the last reason."""
        call.passed[call.node] = self.routes.news(call.node)
        effects = self._leave(call, ending, now)
        if not call.agent:
            return [*effects, *self.end(call, ending, now)]
        target = self.routes.pick(call, now)
        if target is not None:
            return [*effects, *self._try(call, target, now)]
        if call.lost_us < 0 and ending.code == "unreachable" and self._seeks(call, now) is not None:
            call.lost, call.lost_us = ending, now.mono_us  # it has run nowhere, and nobody else here takes it
        if call.lost_us < 0 and call.where is None and self._may_settle(call, ending, now):
            # It was handed over to somebody of whom the news is on its way: the call was faster.
            call.lost, call.lost_us, call.settles = ending, now.mono_us, True
        if call.lost_us >= 0:
            return [*effects, *self._wait(call, now)]
        return [*effects, *self.end(call, ending, now)]

    def lost(self, call: Call, ending: Ending, now: Instant) -> list[Effect]:
        """The call may have run: try it again only if running twice is running once."""
        if not call.agent or not retry.may_run_again(call, self._config.runs_max):
            return self.end(call, ending, now)
        self._lose(call, now)
        call.lost = ending
        return [*self._leave(call, ending, now), *self._again(call, now)]

    def _lose(self, call: Call, now: Instant) -> None:
        self._observe(call, now, ok=False)
        call.settles = False
        call.runs += 1
        if call.node not in call.former:
            call.former.append(call.node)
        call.lost_us = now.mono_us
        self._counters.add("calls-again")

    def _again(self, call: Call, now: Instant) -> list[Effect]:
        target = self.routes.pick(call, now)
        if target is not None:
            return self._try(call, target, now)
        return self._wait(call, now) if call.attempts else self._settle(call, now)

    def _wait(self, call: Call, now: Instant) -> list[Effect]:
        if isinstance(call.waiter, Peer):
            return self.end(call, call.lost, now)  # whoever made it knows of others
        patience_us = self._config.settle_us if call.settles else self._config.wait_us
        return self._await(call, "wait", call.lost_us + patience_us, now)

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        self.calls.look(now.mono_us)
        while due := self._timers.pop_due(now.mono_us):  # one that ends may free another that is due as well
            for call_id in due:
                call = self.calls.get(call_id)
                effects += self._release(call_id, now) if call is None else self._due(call, now)
        return effects

    def deadline(self) -> int | None:
        return earliest(self._timers.deadline(), self.calls.deadline())

    def _due(self, call: Call, now: Instant) -> list[Effect]:
        node = self._around.name_of(call.node)
        waited = f"after {(now.mono_us - call.started_us) / SECOND:.2f} s"
        if now.mono_us >= call.due_us:
            message = f"deadline passed {waited}: {_standing(call, node)}"
            if call.phase is Phase.RUNNING:
                self._observe(call, now, ok=False)
            return [*self.cancel_callee(call), *self.end(call, Ending("timeout", message), now, given_up=True)]
        match call.what:
            case "reach":
                return self.next(call, Ending("unreachable", f"no link to {node} {waited}"), now)
            case "orphan":
                # The cancel waits for the link with the call: if it comes back, nobody works for nobody.
                effects = self.cancel_callee(call)
                call.passed[call.node] = self.routes.news(call.node)
                message = f"the link to {node} was lost during the call; it may have run"
                return [*effects, *self.lost(call, Ending("unreachable", message), now)]
            case "wait":
                _, why = self.routes.nobody(call, now)
                message = f"{call.lost.message}; tried {call.attempts} times, and now {why}"
                return self.end(call, Ending(call.lost.code, message), now)
            case "settle":
                return self.end(call, Ending(*self.routes.nobody(call, now)), now)
            case "again":
                return self._again(call, now)
            case "overdue":
                self._arm(call, "due", call.due_us)
                heard = self._around.links.last_heard_us(call.node)
                return [CallOverdue(call.node)] if heard is None or heard < call.sent_us else []
            case _:
                return []

    def _arm(self, call: Call, what: str, at_us: int) -> None:
        call.what = what
        self._timers.set(call.call_id, min(at_us, call.due_us))

    # -- end ----------------------------------------------------------------------------------------------------------

    def answered(self, call: Call, ending: Ending, now: Instant) -> list[Effect]:
        """Its target has answered. What it changed may have to become durable first."""
        self._observe(call, now, ok=retry.speaks_well(ending.code))
        if not call.unkept:
            return self.end(call, ending, now)
        call.held, call.phase = ending, Phase.KEEPING
        self._unqueue(call)
        return []

    def drop(self, call: Call, now: Instant) -> list[Effect]:
        """End a call nobody waits for."""
        effects = self.cancel_callee(call)
        self._counters.add("calls-dropped")
        return [*effects, *self._forget(call, Ending("cancelled"), now, given_up=True)]

    def end(self, call: Call, ending: Ending, now: Instant, *, given_up: bool = False) -> list[Effect]:
        """``given_up``: its target may still be at work on it."""
        self._counters.add(_COUNTED.get(ending.code, "calls-failed"))
        followers = self._forget(call, ending, now, given_up=given_up)
        return [replies.answer(call, ending, now.mono_us), *followers]

    def cancel_callee(self, call: Call) -> list[Effect]:
        if call.phase is not Phase.RUNNING:
            return []
        frame = letters.cancel_frame(call.call_id)
        if call.node != self._around.me:
            return [Post(call.node, (frame,))]
        return [ToAgent(call.conn, (frame,))] if call.conn != NO_CONN else []

    def laid(self, call_id: bytes, unit: InstanceId, now: Instant) -> list[Effect]:
        """A unit has answered a call that was given up: its key is free."""
        return self._release(call_id, now) if self._keys.haunted(call_id) == unit else []

    def unit_gone(self, unit: InstanceId, now: Instant) -> list[Effect]:
        """Nobody works on what was given up there."""
        return [effect for ghost in self._keys.ghosts_of(unit) for effect in self._release(ghost, now)]

    def _forget(self, call: Call, ending: Ending, now: Instant, *, given_up: bool = False) -> list[Effect]:
        self._timers.cancel(call.call_id)
        self.calls.remove(call)
        self._unqueue(call)
        if not call.header.idempotency_key:
            return []
        if given_up and call.phase is Phase.RUNNING and self._keys.haunt(call.call_id):
            self._timers.set(call.call_id, now.mono_us + self._config.doubt_us)
            return []
        return self._free_key(call, ending, now)

    def _leave(self, call: Call, ending: Ending, now: Instant) -> list[Effect]:
        """It goes on elsewhere."""
        self._unqueue(call)
        return self._free_key(call, ending, now) if call.header.idempotency_key else []

    def _free_key(self, call: Call, ending: Ending, now: Instant) -> list[Effect]:
        """Who followed gets the same answer if it is one, else its own turn."""
        effects: list[Effect] = []
        for follower in self._following(call.call_id):
            if ending.code:
                self._resume(follower, now)
                continue
            follower.instance, follower.replayed = call.instance, True
            follower.durability, follower.version = call.durability, call.version
            effects += self.end(follower, ending, now)
        return effects

    def _release(self, call_id: bytes, now: Instant) -> list[Effect]:
        self._timers.cancel(call_id)
        for follower in self._following(call_id):
            self._resume(follower, now)
        return []

    def _following(self, call_id: bytes) -> list[Call]:
        rows = [self.calls.get(follower) for follower in self._keys.release(call_id)]
        return [call for call in rows if call is not None and call.phase is Phase.FOLLOWING]

    def _resume(self, call: Call, now: Instant) -> None:
        """In the next turn: what the other call changed is on its way to those who keep it."""
        call.lost_us = now.mono_us
        call.lost = Ending("unavailable", f"the call before it under the same key did not end at {call.unit}")
        call.phase = Phase.WAITING
        self._arm(call, "again", now.mono_us + 1)

    def _unqueue(self, call: Call) -> None:
        if not call.queued:
            return
        call.queued = False
        self._around.index.queued(call.node, call.agent, -1)
        if call.node == self._around.me:
            self.units.gave_back(call.conn)

    def _observe(self, call: Call, now: Instant, *, ok: bool) -> None:
        """Streams last as long as their reader takes: they say nothing about speed."""
        if call.agent and not call.header.stream:
            took = now.mono_us - call.sent_us
            self._around.index.observed(call.node, call.agent, call.skill, took, now, ok=ok)


def overdue_us(rtt_us: int) -> int:
    """A peer that has said nothing for so long since a call went to it is doubted."""
    return 3 * rtt_us + 100 * MS


def _standing(call: Call, node: str) -> str:
    """Where a call stands whose deadline has passed."""
    match call.phase:
        case Phase.REACHING:
            return f"no link to {node} came up"
        case Phase.RUNNING:
            return f"no answer from {node}"
        case Phase.KEEPING:
            return f"it ran on {node}, and what it changed is being kept"
        case Phase.WAITING:
            return f"{call.lost.message}, and nobody else answered"
        case Phase.FOLLOWING:
            return f"another call under the same key is still at work on {call.unit}"
