"""When a node is judged: at once while few are doubted, and many of them together.

A verdict is made of the words of many, and each verdict takes weight from the words of its node. Where thousands are
lost in one moment every word about one would have hundreds judged again, so from ``CROWD`` doubted ones on words are
taken as they come, and whoever they are about is judged some times a second; what time alone changes is looked at in
the same moments. Each verdict is the one it would have been, ``PAUSE_US`` later, and where hundreds are doubted at most
``PAUSE_MAX_US``: by then two words about one have come, and it is judged once for both.
"""

from collections.abc import Sized

from meshnode.gossip.subject import Subject
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

CROWD = 16
PAUSE_US = 50 * MS
PAUSE_EACH_US, PAUSE_MAX_US = 2 * MS, 500 * MS  # for each who is doubted


class Docket:
    """Who waits to be judged, for news or for a time. ``doubted``: all those something speaks against."""

    def __init__(self, doubted: Sized, crowd: int = CROWD) -> None:
        self._doubted, self._crowd = doubted, crowd
        self._news: dict[NodeId, None] = {}
        self._times: Timers[NodeId] = Timers()
        self._read_us = -PAUSE_MAX_US
        self._due_us: int | None = None

    @property
    def crowded(self) -> bool:
        """Many are doubted at once."""
        return len(self._doubted) >= self._crowd

    def _pause_us(self) -> int:
        """Each look at some is one at all who are doubted, too: the more these are, the rarer it is."""
        return min(max(PAUSE_US, len(self._doubted) * PAUSE_EACH_US), PAUSE_MAX_US)

    def puts_off(self, subject: Subject, now: Instant) -> bool:
        """There is news about it. False: judge it now."""
        if not self.crowded:
            return False
        if not subject.awaits_answer:
            self._news[subject.node] = None
            self._due_us = max(now.mono_us, self._read_us + self._pause_us()) if self._due_us is None else self._due_us
        return True

    def ripen(self, node: NodeId, at_us: int | None) -> None:
        """It may become something else then without a word of anybody."""
        if at_us is None:
            self._times.cancel(node)
            return
        pause_us = self._pause_us()
        at_us = -(-at_us // pause_us) * pause_us if self.crowded else at_us
        if self._times.at(node) != at_us:
            self._times.set(node, at_us)

    def cancel(self, node: NodeId) -> None:
        self._times.cancel(node)

    def news(self, now: Instant) -> list[NodeId]:
        """Taken out, once it is time."""
        if self._due_us is None or now.mono_us < self._due_us:
            return []
        news, self._news = list(self._news), {}
        self._due_us, self._read_us = None, now.mono_us
        return news

    def ripe(self, now: Instant) -> list[NodeId]:
        """Whose time has come, taken out."""
        return self._times.pop_due(now.mono_us)

    def deadline(self) -> int | None:
        return earliest(self._due_us, self._times.deadline())
