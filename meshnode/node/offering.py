"""What this node tells others about its units: one soft fact an agent, made anew when something about it changed.

A burst of changes (a thousand units starting) becomes few facts: the first change is told at once, what follows within
``PAUSE_US`` together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.gossip.messages import Publish
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.timers import Timers
from meshnode.registry.offers import AGENT_PREFIX, encode_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.model.ids import AgentName
    from meshnode.registry.offers import UnitOffer

PAUSE_US = 50 * MS


class Offering:
    """``units_of`` gives what is so now; ``publish`` is gossip's door."""

    def __init__(
        self,
        units_of: Callable[[AgentName], Sequence[UnitOffer]],
        publish: Callable[[Publish, Instant], Sequence[Effect]],
    ) -> None:
        self._units_of, self._publish = units_of, publish
        self._pages: dict[AgentName, dict[str, bytes]] = {}
        self._told_us: dict[AgentName, int] = {}
        self._due: Timers[AgentName] = Timers()

    def changed(self, agent: AgentName, now: Instant) -> Sequence[Effect]:
        if agent in self._due:
            return ()
        told_us = self._told_us.get(agent)
        if told_us is not None and now.mono_us < told_us + PAUSE_US:
            self._due.set(agent, told_us + PAUSE_US)
            return ()
        return self._tell(agent, now)

    def wake(self, now: Instant) -> list[Effect]:
        return [effect for agent in self._due.pop_due(now.mono_us) for effect in self._tell(agent, now)]

    def deadline(self) -> int | None:
        return self._due.deadline()

    def _tell(self, agent: AgentName, now: Instant) -> list[Effect]:
        self._told_us[agent] = now.mono_us
        units = self._units_of(agent)
        pages = encode_agent(units)
        before = self._pages.get(agent, {})
        effects: list[Effect] = []
        for page in {**before, **pages}:
            value = pages.get(page, b"")
            if before.get(page) != value:
                effects += self._publish(Publish(f"{AGENT_PREFIX}{agent}{page}", value), now)
        if pages:
            self._pages[agent] = pages
        else:
            self._pages.pop(agent, None)
            self._told_us.pop(agent, None)
        return effects
