"""One slow link for a faster one, now and then: what brings a graph drawn by luck near to the ground it runs on.

In the spirit of Leitao et al., "X-BOT: a protocol for resilient optimization of unstructured overlay networks", 2009,
by trial: one candidate is linked for some seconds beside the others, and the slower of two goes. Only links inside the
region are compared; bridges and long links are what holds the mesh together, and stay. Where no link can be beaten
clearly, nothing is dialled; where trials fail, they become rare.
"""

from collections.abc import Mapping

from meshnode.kernel.backoff import Backoff
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.rng import Random
from meshnode.model.ids import NodeId

SHARE = 0.7  # of the slower one's time, at most
SAVING_US = 5 * MS  # and so much less, at least
TRIAL_US = 5 * SECOND  # until the round trip of the candidate is measured well enough
REACH_US = 15 * SECOND  # for the candidate to be linked at all
PACE = Backoff(first_us=60 * SECOND, cap_us=3600 * SECOND, jitter=0.2)


class Swaps:
    """At most one trial at a time, and at most one a minute."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._failures = 0
        self._due_us: int | None = None
        self.candidate: NodeId | None = None  # to be linked, or linked and on trial

    def deadline(self) -> int | None:
        return self._due_us

    def due(self, now: Instant) -> bool:
        """Something is to be decided: a trial to begin, or one to end."""
        if self._due_us is None:
            self._rest(now)
        return self._due_us is not None and self._due_us <= now.mono_us

    def worth(self, times: Mapping[NodeId, int], now: Instant) -> bool:
        """Whether any of these links could be beaten clearly. If none, the next look is in a minute."""
        if max(times.values(), default=0) > SAVING_US:
            return True
        self._failures = 0
        self._rest(now)
        return False

    def begin(self, candidate: NodeId | None, now: Instant) -> None:
        self.candidate = candidate
        if candidate is None:
            self._rest(now)
        else:
            self._due_us = now.mono_us + REACH_US

    def linked(self, now: Instant) -> None:
        """The candidate is: measure it for a while."""
        self._due_us = now.mono_us + TRIAL_US

    def lost(self, now: Instant) -> None:
        """It had no room for us, or is gone."""
        self.candidate = None
        self._rest(now)

    def judge(self, times: Mapping[NodeId, int], now: Instant) -> NodeId | None:
        """Which link goes: the slowest of these if the candidate, among them, beats it clearly; else the candidate."""
        candidate, self.candidate = self.candidate, None
        mine = times.get(candidate) if candidate is not None else None
        slowest = max(times, key=lambda peer: times[peer], default=None)
        better = mine is not None and slowest is not None and clearly_better(mine, times[slowest])
        self._failures = 0 if better else self._failures + 1
        self._rest(now)
        return slowest if better else candidate

    def _rest(self, now: Instant) -> None:
        self._due_us = now.mono_us + max(PACE.first_us, PACE.wait_us(self._failures + 1, self._rng))


def clearly_better(time_us: int, than_us: int) -> bool:
    return time_us <= SHARE * than_us and than_us - time_us >= SAVING_US
