"""A planned move: the successor's process gets its state only when the one before has let go of the unit.

Without it there would be a moment in which the successor answers already and what its predecessor acknowledged last is
still on the way: whoever reads then would find less than was there before. Calls that come meanwhile wait in the
process, as they do for every state that is being read. Who is out of reach is not waited for, and nobody for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.timers import Timers
from meshnode.model.ids import AgentConn, InstanceId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.agents.messages import SkillsOffered
    from meshnode.kernel.effects import Effect
    from meshnode.node.core import Core

# Handing over takes a few round trips, and a process that was asked to stop a moment; a longer call of it may go on.
WAIT_US = 3 * SECOND


class Waiting(msgspec.Struct, frozen=True):
    """A process that has registered and waits for its state."""

    conn: AgentConn
    hooks: tuple[str, ...]
    merge_no: int


class Succession:
    """Processes of this node whose predecessors have not let go yet: at most one a unit."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: dict[InstanceId, Waiting] = {}
        self._until: Timers[InstanceId] = Timers()

    def attached(self, fact: SkillsOffered, now: Instant) -> Sequence[Effect]:
        """A process of this node has registered."""
        unit = fact.instance
        self.detached(unit)
        if not fact.resumed and self._core.scheduler.predecessor(unit) is not None:
            self._waiting[unit] = Waiting(fact.conn, tuple(fact.hooks), fact.merge_no)
            self._until.set(unit, now.mono_us + WAIT_US)
            return ()
        return self._core.checkpoints.attached(
            unit, fact.conn, fact.hooks, now, resumed=fact.resumed, merge_no=fact.merge_no
        )

    def detached(self, unit: InstanceId) -> None:
        """It is gone, or another one has come."""
        if self._waiting.pop(unit, None) is not None:
            self._until.cancel(unit)

    def look(self, now: Instant) -> list[Effect]:
        """Somebody may have let go, or be gone."""
        free = [unit for unit in self._waiting if self._core.scheduler.predecessor(unit) is None]
        return [effect for unit in free for effect in self._go(unit, now)]

    def wake(self, now: Instant) -> list[Effect]:
        return [effect for unit in self._until.pop_due(now.mono_us) for effect in self._go(unit, now)]

    def deadline(self) -> int | None:
        return self._until.deadline()

    def _go(self, unit: InstanceId, now: Instant) -> list[Effect]:
        waiting = self._waiting.pop(unit)
        self._until.cancel(unit)
        return list(
            self._core.checkpoints.attached(
                unit, waiting.conn, waiting.hooks, now, resumed=False, merge_no=waiting.merge_no
            )
        )
