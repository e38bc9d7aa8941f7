"""The only place where the core meets asyncio: events in, effects performed in order, one timer.

When this process stood still (suspended, stopped, starved), the silence of others proves nothing: the core is told, and
nothing is judged before what arrived meanwhile has been read. A machine that is busy all the time is told of that only
now and then, or its failure detection would never come to a verdict.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.links.messages import LinkBytes
from meshnode.links.tunnelwire import TunnelWritten
from meshnode.node.effects import Exit
from meshnode.node.inputs import Input, Slept
from meshnode.node.puts import gathered
from meshnode.node.transmits import coalesced
from meshnode.wire.bus import AgentFrames

log = logging.getLogger(__name__)

# A timer later than this: the process stood still.
LAG_US = 700_000
# Between two lags that are told of at least so many times the first one's length passes.
LAG_REST = 10
# After a standstill sockets are read for so long before any timer of the core fires.
READ_FIRST_US = 50_000
# One turn takes at most this many events before it lets the sockets have the loop again.
TURN_MAX = 512
# What effects bring about at once (bytes of a tunnel pass through the core twice) has its turn in the same round.
AGAIN_MAX = 8
# So many of these are a turn each: halves of a piece (see ``halves.py``) that came through a tunnel.
FEW = 2
# Part of a call that comes alone is handled where it is read; what follows so soon is gathered for one turn.
ALONE_US = 50
# Turns that follow so soon after each other are many.
BUSY_US = 2_000
EXIT_BROKEN = 1
_AT_ONCE = frozenset((AgentFrames, LinkBytes))
_ALONE = _AT_ONCE | {TunnelWritten}


class Clock(Protocol):
    """Reads the clocks of this machine."""

    def now(self) -> Instant: ...

    def mono_us(self) -> int:
        """Of ``now``, alone."""
        ...

    def suspended_us(self) -> int:
        """Microseconds of suspend since the last call."""
        ...


class Driven(Protocol):
    """What the loop drives: ``node.Core``."""

    def start(self, now: Instant) -> list[Effect]: ...

    def handle(self, event: Input, now: Instant) -> list[Effect]: ...

    def wake(self, now: Instant) -> list[Effect]: ...

    def deadline(self) -> int | None:
        """When it is to be woken; it may be early."""
        ...

    def is_due(self, now: Instant) -> bool:
        """Whether there is something to be woken for. What was early is reckoned anew."""
        ...


class CoreLoop:
    """Feeds one core. ``perform`` only starts work: whatever takes time answers later through ``tell``."""

    def __init__(self, core: Driven, perform: Callable[[Effect], None], clock: Clock) -> None:
        self._core, self._perform, self._clock = core, perform, clock
        self._inbox: deque[Input] = deque()
        self._written: deque[Input] = deque()  # to tunnels, in its order: it leaves before what waits is looked at
        self._loop = asyncio.get_running_loop()
        self._turn_due = False
        self._in_turn = False
        self._flooded = False  # more had come than the last turn took
        self._ended_us = 0  # the last turn
        self._deadline_us: int | None = None  # of the core, after the last turn
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us: int | None = None  # the deadline it was set for
        self._expected_us: int | None = None  # when it is to fire, which may be later than that
        self._read_first_us = 0  # no timer of the core fires before
        self._lag_again_us = 0  # no lag is told of before
        self._broken = False
        self.handle_max_us = 0
        self.turns = 0

    def start(self) -> None:
        self._act(self._core.start(self._clock.now()))
        self._deadline_us = self._core.deadline()
        self._arm(self._clock.now().mono_us)

    def tell(self, event: Input) -> None:
        """Queue one event for the next turn. Safe to call while effects are performed.

        Frames that come alone have their turn at once: a round of the event loop less for a call.
        """
        if type(event) in _AT_ONCE and not self._turn_due and not self._in_turn and not self._broken:
            now = self._clock.now()
            if self._is_alone(now):
                self._guarded(event, now)
                return
        (self._written if type(event) is TunnelWritten else self._inbox).append(event)
        if not self._in_turn:
            self._schedule()

    def now(self) -> Instant:
        return self._clock.now()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _is_alone(self, now: Instant) -> bool:
        """Nothing else seems to wait: no timer of the core, whose turn begins with what the sockets hold."""
        if now.mono_us - self._ended_us <= ALONE_US:
            return False
        due_us = self._deadline_us
        return due_us is None or max(due_us, self._read_first_us) > now.mono_us or not self._core.is_due(now)

    def _turn(self) -> None:
        self._turn_due = False
        if not self._broken:
            self._guarded()

    def _guarded(self, alone: Input | None = None, now: Instant | None = None) -> None:
        """A turn: of one event that came alone now, or of what waits."""
        self._in_turn = True
        try:
            if alone is None or now is None:
                self._take_turn(self._written or self._inbox)
            else:
                self._take_one(alone, now)
            for _ in range(AGAIN_MAX):
                waiting = self._written or self._inbox
                if not waiting or self._flooded:
                    break
                if len(waiting) <= FEW and type(waiting[0]) in _ALONE:  # timers had their turn just now
                    self._take_one(waiting.popleft(), self._clock.now())
                else:
                    self._take_turn(waiting)
            self._end_turns()
        except Exception as error:
            # Half a turn has happened, so what the core believes is not what was done: going on would spread that.
            self._broken = True
            log.exception("the core is broken, the node ends")
            self._perform(Exit(EXIT_BROKEN, f"the core is broken: {type(error).__name__}: {error}"))
        finally:
            self._in_turn = False
            if (self._inbox or self._written) and not self._broken:
                self._schedule()

    def _take_one(self, event: Input, now: Instant) -> None:
        self.turns += 1
        self._flooded = False
        effects, due_us = self._handled(event, now), self._core.deadline()
        if due_us is not None and due_us <= now.mono_us:
            effects = coalesced(effects + self._wake(due_us, now))
            due_us = self._core.deadline()
        self._deadline_us = due_us
        self._act(effects)

    def _take_turn(self, waiting: deque[Input]) -> None:
        self.turns += 1
        now = self._clock.now()
        effects: list[Effect] = list(self._woken(now))
        told = bool(waiting)
        for event in gathered(waiting, TURN_MAX):
            effects += self._handled(event, now)
        self._flooded = bool(waiting)
        if told:
            # What that made due leaves with it: as a turn of its own it would cost a round of the loop, and a write.
            effects += self._wake(self._core.deadline(), now)
        self._deadline_us = self._core.deadline()
        self._act(coalesced(effects))

    def _woken(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        still_us = self._stood_still(now)
        if still_us:
            log.warning("the loop stood still", extra={"for_us": still_us})
            self._read_first_us = now.mono_us + READ_FIRST_US
            effects += self._core.handle(Slept(still_us), now)
            self._deadline_us = self._core.deadline()
        return effects + self._wake(self._deadline_us, now)

    def _wake(self, deadline_us: int | None, now: Instant) -> list[Effect]:
        if deadline_us is None or max(deadline_us, self._read_first_us) > now.mono_us:
            return []
        if not self._core.is_due(now):
            return []
        began_ns = time.perf_counter_ns()
        effects = self._core.wake(now)
        took_us = (time.perf_counter_ns() - began_ns) // 1000
        if took_us > self.handle_max_us:
            self._took_longest(took_us, "wake")
        return effects

    def _stood_still(self, now: Instant) -> int:
        """For how long this process did nothing, as far as that is to be told."""
        suspended_us = self._clock.suspended_us()
        lag_us = 0 if self._expected_us is None else now.mono_us - self._expected_us
        if lag_us <= LAG_US or now.mono_us < self._lag_again_us:
            return suspended_us
        self._lag_again_us = now.mono_us + LAG_REST * lag_us
        return max(suspended_us, lag_us)

    def _handled(self, event: Input, now: Instant) -> list[Effect]:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("input", extra={"event": event})
        began_ns = time.perf_counter_ns()
        effects = self._core.handle(event, now)
        took_us = (time.perf_counter_ns() - began_ns) // 1000
        if took_us > self.handle_max_us:
            self._took_longest(took_us, type(event).__name__)
        return effects

    def _took_longest(self, took_us: int, what: str) -> None:
        self.handle_max_us = took_us
        log.debug("longest turn yet", extra={"what": what, "took_us": took_us})

    def _act(self, effects: list[Effect]) -> None:
        verbose = log.isEnabledFor(logging.DEBUG)
        for effect in effects:
            if verbose:
                log.debug("effect", extra={"effect": effect})
            self._perform(effect)

    def _end_turns(self) -> None:
        """Those of one round of the event loop."""
        now_us = self._clock.mono_us()
        self._arm(now_us)
        self._ended_us = now_us

    def _arm(self, now_us: int) -> None:
        """One timer for the earliest deadline; left alone when it is set already.

        Where one turn follows the other, deadlines come and go with each: then a timer that is early is left, and fires
        for nothing now and then, which costs less than setting it anew twice a call.
        """
        deadline = self._deadline_us
        if deadline is not None:
            deadline = max(deadline, self._read_first_us)
        if self._timer is not None and not self._timer.cancelled():
            if deadline == self._timer_us:
                return
            early = deadline is None or (self._timer_us is not None and self._timer_us < deadline)
            if early and now_us - self._ended_us < BUSY_US:
                return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_us, self._expected_us = None, deadline, None
        if deadline is not None:
            self._expected_us = max(deadline, now_us)
            self._timer = self._loop.call_later((self._expected_us - now_us) / 1_000_000, self._timer_fired)

    def _timer_fired(self) -> None:
        """Where one turn follows the other, a timer that was left early fires between two halves of a call: a turn for
        nothing would hold up the second."""
        self._timer = None
        if self._turn_due:
            return
        now = self._clock.now()
        if now.mono_us - self._ended_us < BUSY_US and not self._broken and not self._core.is_due(now):
            self._deadline_us = self._core.deadline()
            self._arm(now.mono_us)
            return
        self._turn_due = True
        self._turn()
