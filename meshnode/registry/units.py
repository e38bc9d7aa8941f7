"""The units of one agent on one node, as that node tells of them."""

import bisect
from collections.abc import Iterator

import msgspec

from meshnode.model.ids import NodeId
from meshnode.registry.offers import RUNNING, AgentOffer, UnitRange


class UnitSeen(msgspec.Struct, frozen=True):
    """One unit on one node. ``epoch``: the counter. ``holder``: first 8 bytes of the NodeId of who has a copy of its
    state, b"" = nobody; ``version`` and ``pid`` 0 = not told."""

    node: NodeId
    agent: str
    first_slot: int
    slots: int
    state: str
    epoch: int
    version: int
    holder: bytes
    reason: str
    restarts: int
    pid: int


class AgentUnits:
    """Pages of one agent, put together."""

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._pages: dict[int, AgentOffer] = {}
        self._ranges: list[UnitRange] = []
        self._firsts: list[int] = []
        self.running = 0  # units

    def __bool__(self) -> bool:
        return bool(self._pages)

    def learn(self, page: int, offer: AgentOffer | None) -> None:
        if offer is None:
            self._pages.pop(page, None)
        else:
            self._pages[page] = offer
        ranges = [item for _, known in sorted(self._pages.items()) for item in known.ranges]
        self._ranges = sorted(ranges, key=lambda item: item.first)
        self._firsts = [item.first for item in self._ranges]
        self.running = sum(item.count for item in self._ranges if item.state == RUNNING)

    def runs(self, slot: int) -> bool:
        held = self._of(slot)
        return held is not None and held.state == RUNNING

    def epoch_of(self, slot: int) -> int:
        """Counter of who claims the slot, 0 if nobody here does."""
        held = self._of(slot)
        return held.epoch if held is not None else 0

    def why_not(self) -> str:
        """In words, of an agent that does not run: state and reason of its first unit."""
        if not self._ranges:
            return "it has no units"
        first = self._ranges[0]
        return f"{first.state}, {first.reason}" if first.reason else first.state

    def units(self, node: NodeId) -> Iterator[UnitSeen]:
        for held in self._ranges:
            for unit in held.units():
                yield UnitSeen(
                    node, self._agent, unit.first_slot, unit.slots, unit.state, unit.epoch, unit.version, unit.holder,
                    unit.reason, unit.restarts, unit.pid,
                )  # fmt: skip

    def _of(self, slot: int) -> UnitRange | None:
        at = bisect.bisect_right(self._firsts, slot) - 1
        if at < 0:
            return None
        held = self._ranges[at]
        return held if slot < held.end else None
