"""What this node tells others about its units: one soft fact an agent, made anew when something about it changed.

A burst of changes (a thousand units starting) becomes few facts: the first change is told at once, what follows within
``PAUSE_US`` together. In a large mesh the fact goes to every node, so that a state's version alone, which moves with
every call, is told every two seconds; this node's own view of it stays exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from meshnode.gossip.messages import Publish, SoftChanged
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.timers import Timers
from meshnode.registry.offers import AGENT_PREFIX, encode_agent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.model.ids import AgentName, NodeId
    from meshnode.registry.offers import UnitOffer

PAUSE_US = 50 * MS
VERSION_PAUSE_US = 2 * SECOND


class Offering:
    """``units_of`` gives what is so now; ``publish`` is gossip's door. ``large``: the mesh is, ask each time; ``me`` is
    needed for what is told to this node alone meanwhile."""

    def __init__(
        self,
        units_of: Callable[[AgentName], Sequence[UnitOffer]],
        publish: Callable[[Publish, Instant], Sequence[Effect]],
        *,
        me: NodeId | None = None,
        large: Callable[[], bool] = lambda: False,
    ) -> None:
        self._units_of, self._publish, self._me, self._large = units_of, publish, me, large
        self._pages: dict[AgentName, dict[str, bytes]] = {}
        self._bare: dict[AgentName, list[UnitOffer]] = {}  # what was told to others, without versions
        self._here: dict[AgentName, dict[str, bytes]] = {}  # what this node alone was told since
        self._told_us: dict[AgentName, int] = {}
        self._looked_us: dict[AgentName, int] = {}
        self._due: Timers[AgentName] = Timers()

    def changed(self, agent: AgentName, now: Instant) -> Sequence[Effect]:
        looked_us = self._looked_us.get(agent)
        if looked_us is not None and now.mono_us < looked_us + PAUSE_US:
            if agent not in self._due or self._waits_long(agent):
                self._due.set(agent, looked_us + PAUSE_US)
            return ()
        return self._tell(agent, now)

    def wake(self, now: Instant) -> list[Effect]:
        return [effect for agent in self._due.pop_due(now.mono_us) for effect in self._tell(agent, now)]

    def deadline(self) -> int | None:
        return self._due.deadline()

    def _waits_long(self, agent: AgentName) -> bool:
        """What is due is a version that others are told later."""
        return agent in self._here

    def _tell(self, agent: AgentName, now: Instant) -> list[Effect]:
        self._looked_us[agent] = now.mono_us
        self._due.cancel(agent)
        units = self._units_of(agent)
        pages = encode_agent(units)
        later_us = self._told_us.get(agent, now.mono_us - VERSION_PAUSE_US) + VERSION_PAUSE_US
        bare = [replace(unit, version=0) for unit in units] if self._me is not None and self._large() else []
        if bare and now.mono_us < later_us and bare == self._bare.get(agent):
            return self._tell_here(agent, pages, later_us)
        return self._tell_all(agent, pages, bare, now)

    def _tell_here(self, agent: AgentName, pages: dict[str, bytes], later_us: int) -> list[Effect]:
        assert self._me is not None
        published = self._pages.get(agent, {})
        before = self._here.get(agent, published)
        if pages != published:
            self._due.set(agent, later_us)
            self._here[agent] = pages
        return [
            SoftChanged(self._me, f"{AGENT_PREFIX}{agent}{page}", pages.get(page, b""), 0)
            for page in {**before, **pages}
            if before.get(page) != pages.get(page)
        ]

    def _tell_all(self, agent: AgentName, pages: dict[str, bytes], bare: list[UnitOffer], now: Instant) -> list[Effect]:
        before = self._pages.get(agent, {})
        effects: list[Effect] = []
        for page in {**before, **pages, **self._here.pop(agent, {})}:
            value = pages.get(page, b"")
            if before.get(page, b"") != value:
                effects += self._publish(Publish(f"{AGENT_PREFIX}{agent}{page}", value), now)
        self._told_us[agent] = now.mono_us
        if pages:
            self._pages[agent], self._bare[agent] = pages, bare
        else:
            for each in (self._pages, self._bare, self._told_us, self._looked_us):
                each.pop(agent, None)
        return effects
