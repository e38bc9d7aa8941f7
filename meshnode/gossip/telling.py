"""When this node says what it lost: after a grace in which the loss may explain itself, and never the same twice.

What was told is told again only of a raised incarnation, and then ever more rarely: who answers is lost to us alone.
"""

from meshnode.gossip.alerts import Raise
from meshnode.gossip.subject import Subject
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

RETELL_US = 10 * SECOND  # an alert that was refuted is raised again no sooner, then twice as late each time
DOUBLINGS_MAX = 5


class Telling:
    """The alerts that wait for their time."""

    def __init__(self) -> None:
        self._due: Timers[NodeId] = Timers()

    def later(self, subject: Subject, grace_us: int, now: Instant) -> None:
        """Alert once a kind, in ``grace_us``; not at all about whom another one still hears."""
        silent = subject.left or not subject.observed or subject.helper is not None
        if silent or subject.own is None or subject.own is Evidence.NO_ROUTE:
            return
        current = (subject.boot, subject.incarnation, subject.own)
        if subject.told is not None and subject.told >= current:
            return
        at_us = now.mono_us + grace_us
        if subject.told is not None and subject.told[2] >= subject.own:
            at_us = max(at_us, subject.told_us + RETELL_US * 2 ** min(subject.tellings, DOUBLINGS_MAX))
        self._due.set(subject.node, at_us)

    def put_off(self, node: NodeId, until_us: int) -> None:
        """What waits to be told waits until then."""
        if node in self._due:
            self._due.set(node, until_us)

    def cancel(self, node: NodeId) -> None:
        self._due.cancel(node)

    def due(self, now: Instant) -> list[NodeId]:
        """Taken out."""
        return self._due.pop_due(now.mono_us)

    def deadline(self) -> int | None:
        return self._due.deadline()

    def tell(self, subject: Subject, now: Instant) -> list[Effect]:
        """Its time has come, if there is still something to tell."""
        if subject.own is None or subject.helper is not None:
            return []
        subject.told = (subject.boot, subject.incarnation, subject.own)
        subject.told_us = now.mono_us
        subject.tellings += 1
        return [Raise(subject.node, subject.boot, subject.incarnation, subject.own, tuple(subject.observers))]
