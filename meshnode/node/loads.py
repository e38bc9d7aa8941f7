"""When this node tells its load: what rises at once, what only falls at a pace that the whole of its hearers can bear.

Loads fall on many machines for the same reason at the same time, and each word goes to everybody who places by it. So
a fall waits until as long has passed since the last word as there are nodes that hear it, ``EACH_US`` for each: what a
node hears of loads that fall does not grow with the mesh. Meanwhile others believe it busier than it is.
"""

from collections.abc import Callable, Sequence

from meshnode.gossip.messages import Publish
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.node.inputs import LoadSampled
from meshnode.registry.offers import LOAD_KEY

EACH_US = 300 * MS  # up to fifty hear of falls as fast as the host tells them
PAUSE_MAX_US = 120 * SECOND


class Loads:
    """``hearers``: how many nodes hold the load of this one, asked each time; ``publish`` is gossip's door."""

    def __init__(self, hearers: Callable[[], int], publish: Callable[[Publish, Instant], Sequence[Effect]]) -> None:
        self._hearers, self._publish = hearers, publish
        self.now = b""  # the vector as it is here; others may still know the one before
        self._told_us: int | None = None
        self._due_us: int | None = None

    def sampled(self, event: LoadSampled, now: Instant) -> Sequence[Effect]:
        self.now = event.vector
        if event.falls and self._told_us is not None:
            due_us = self._told_us + min(EACH_US * self._hearers(), PAUSE_MAX_US)
            if due_us > now.mono_us:
                self._due_us = due_us
                return ()
        return self._tell(now)

    def wake(self, now: Instant) -> Sequence[Effect]:
        return self._tell(now) if self._due_us is not None and self._due_us <= now.mono_us else ()

    def deadline(self) -> int | None:
        return self._due_us

    def _tell(self, now: Instant) -> Sequence[Effect]:
        self._told_us, self._due_us = now.mono_us, None
        return self._publish(Publish(LOAD_KEY, self.now), now)
