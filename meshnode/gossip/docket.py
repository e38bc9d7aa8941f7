"""When a node is judged: at once while few are doubted, and many of them together.

A verdict is made of the words of many, and each verdict takes weight from the words of its node. Where thousands are
lost in one moment every word about one would have hundreds judged again, so from ``CROWD`` doubted ones on words are
taken as they come, and whoever they are about is judged some times a second; what time alone changes is looked at in
the same moments. Each verdict is the one it would have been, ``PAUSE_US`` later at most.
"""

from collections.abc import Sized

from meshnode.gossip.subject import Subject
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

CROWD = 16
PAUSE_US = 50 * MS


class Docket:
    """Who waits to be judged, for news or for a time. ``doubted``: all those something speaks against."""

    def __init__(self, doubted: Sized, crowd: int = CROWD) -> None:
        self._doubted, self._crowd = doubted, crowd
        self._news: dict[NodeId, None] = {}
        self._times: Timers[NodeId] = Timers()
        self._read_us = -PAUSE_US
        self._due_us: int | None = None

    def puts_off(self, subject: Subject, now: Instant) -> bool:
        """There is news about it. False: judge it now."""
        if len(self._doubted) < self._crowd:
            return False
        if not subject.awaits_answer:
            self._news[subject.node] = None
            self._due_us = max(now.mono_us, self._read_us + PAUSE_US) if self._due_us is None else self._due_us
        return True

    def ripen(self, node: NodeId, at_us: int | None) -> None:
        """It may become something else then without a word of anybody."""
        if at_us is None:
            self._times.cancel(node)
            return
        at_us = at_us if len(self._doubted) < self._crowd else -(-at_us // PAUSE_US) * PAUSE_US
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
