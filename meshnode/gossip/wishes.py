"""Whom to link with next, in a mesh too large to link with all: drawn by luck, never by a walk over everybody.

Four of six slots are for the own region, one long link of our own is drawn from afar, so that no region hangs on its
bridges alone, and links of those elected as bridges come beyond the slots. What was drawn is kept until it is linked
or lost.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from meshnode.gossip.bridges import elected, on_duty
from meshnode.gossip.config import SLACK, GossipConfig
from meshnode.kernel.rng import Random
from meshnode.model.ids import NodeId

BRIDGE_SLOTS_MAX = 2  # beyond the slots
DRAWS = 8  # by luck, before looking through a stretch of the list
STRETCH_MAX = 64

Test = Callable[[NodeId], bool]


class Role(enum.IntEnum):
    """What a link is for, as whoever dialled it says."""

    PLAIN = 0
    BRIDGE = 1
    LONG = 2


class Mesh(Protocol):
    """What the overlay asks about all the others."""

    def others(self) -> int:
        """How many members there are beside this node."""
        ...

    def regions(self) -> Sequence[str]: ...
    def in_region(self, region: str) -> Sequence[NodeId]:
        """Sorted; this node among them."""
        ...

    def region_of(self, node: NodeId) -> str | None: ...
    def deserted(self, region: str) -> bool:
        """Nobody there is ready, as far as this node knows: it is not searched."""
        ...

    def dialable(self) -> bool:
        """Others can dial this node."""
        ...

    def open(self, node: NodeId) -> bool:
        """Another node, ready, with an address to dial."""
        ...

    def rtt_us(self, peer: NodeId) -> int | None:
        """Of a link that stands."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The links a node has, as far as they bear on what it wants."""

    taken: int  # slots
    near: int  # of them in the own region
    long: bool  # its own long link is among them
    bridges: int
    regions: Sequence[str]  # with a link of any kind


class Wishes:
    """Draws candidates for free slots."""

    def __init__(self, config: GossipConfig, rng: Random, mesh: Mesh) -> None:
        self._config, self._rng, self._mesh = config, rng, mesh
        self._kept: dict[NodeId, Role] = {}
        self._duties: list[str] | None = None

    def __contains__(self, node: NodeId) -> bool:
        return node in self._kept

    def near(self, barred: Test) -> NodeId | None:
        """Any other one of the own region."""
        return self._inside(self._config.region, lambda node: self._mesh.open(node) and not barred(node))

    def drop(self) -> None:
        """Nothing more is wanted."""
        self._kept.clear()

    def role(self, node: NodeId) -> Role:
        """What it was chosen for."""
        return self._kept.get(node, Role.PLAIN)

    def elect(self) -> None:
        """Who is usable in the own region has changed: duties may have moved."""
        self._duties = None

    def choose(self, held: Held, barred: Test) -> dict[NodeId, Role]:
        """Whom to dial, and what for. ``barred``: linked already, or not to be asked again yet."""
        chosen: dict[NodeId, Role] = {}

        def free(node: NodeId) -> bool:
            return node not in chosen and self._mesh.open(node) and not barred(node)

        kept = {node: role for node, role in self._kept.items() if free(node)}
        self._add_bridges(chosen, held, kept, free)
        if not held.long:
            self._add(chosen, Role.LONG, 1, kept, lambda: self._afar(free))
        near = self._config.near_slots - held.near
        room = held.taken + (not held.long)
        slots = max(self._config.slots - room, min(near, max(1, self._config.slots + SLACK - 1 - room)))

        def plain() -> NodeId | None:
            drawn = sum(role is Role.PLAIN for role in chosen.values())
            found = sum(role is Role.PLAIN and self._is_near(node) for node, role in chosen.items())
            node = self._inside(self._config.region, free) if found < near else None
            return node or (self._anywhere(free) if drawn < self._config.slots - room else None)

        self._add(chosen, Role.PLAIN, slots, kept, plain)
        self._kept = chosen
        return dict(chosen)

    def _add(
        self,
        chosen: dict[NodeId, Role],
        role: Role,
        count: int,
        kept: dict[NodeId, Role],
        draw: Callable[[], NodeId | None],
    ) -> None:
        """Those kept from before first."""
        waiting = [node for node, was in kept.items() if was is role]
        for _ in range(count):
            node = waiting.pop(0) if waiting else draw()
            if node is None:
                return
            chosen[node] = role

    # -- draws --------------------------------------------------------------------------------------------------------

    def _afar(self, free: Test) -> NodeId | None:
        """From another region, if there is one."""
        return self._anywhere(free, but=self._config.region) or self._anywhere(free)

    def _anywhere(self, free: Test, but: str | None = None) -> NodeId | None:
        """All members with one chance each; regions that hold nobody usable are left out one by one."""
        sizes = {region: len(self._mesh.in_region(region)) for region in self._mesh.regions() if region != but}
        while sizes:
            at = self._rng.randrange(sum(sizes.values()))
            for region, size in sizes.items():
                at -= size
                if at < 0:
                    node = self._inside(region, free)
                    if node is not None:
                        return node
                    del sizes[region]
                    break
        return None

    def _inside(self, region: str, free: Test) -> NodeId | None:
        members = () if self._mesh.deserted(region) else self._mesh.in_region(region)
        for _ in range(DRAWS if members else 0):
            node = members[self._rng.randrange(len(members))]
            if free(node):
                return node
        begin = self._rng.randrange(len(members)) if members else 0
        stretch = (members[(begin + step) % len(members)] for step in range(min(len(members), STRETCH_MAX)))
        return next((node for node in stretch if free(node)), None)

    def _is_near(self, node: NodeId) -> bool:
        return self._mesh.region_of(node) == self._config.region

    # -- bridges ------------------------------------------------------------------------------------------------------

    def _add_bridges(self, chosen: dict[NodeId, Role], held: Held, kept: dict[NodeId, Role], free: Test) -> None:
        """The other side's bridges, where this node is one towards a region it has no link to."""
        mine = self._config.region
        waiting = {self._mesh.region_of(node): node for node, role in kept.items() if role is Role.BRIDGE}
        for region in self.duties():
            if held.bridges + len(chosen) >= BRIDGE_SLOTS_MAX:
                return
            if region in held.regions or self._mesh.deserted(region):
                continue
            there = elected(mine, region, self._mesh.in_region(region), self._mesh.open)
            able = [waiting[region]] if region in waiting else [node for node in there if free(node)]
            if able:
                chosen[self._rng.choice(able)] = Role.BRIDGE

    def duties(self) -> list[str]:
        """The regions towards which this node is a bridge of its own."""
        if self._duties is None:
            mine = self._config.region
            others = [region for region in self._mesh.regions() if region != mine]
            inside = self._mesh.in_region(mine)
            self._duties = on_duty(self._config.node, mine, others, inside, self._mesh.open)
        return self._duties
