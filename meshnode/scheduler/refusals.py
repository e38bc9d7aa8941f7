"""What this node does not take: for want of room until there is some, after failures for a while that grows."""

from collections.abc import Callable

from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import Instant
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.scheduler.admission import Admission
from meshnode.scheduler.config import SchedulerConfig
from meshnode.scheduler.messages import Claim
from meshnode.scheduler.outcome import Outcome
from meshnode.scheduler.ports import NodeFacts
from meshnode.scheduler.shelf import Shelf
from meshnode.scheduler.unit import Unit


class Refusals:
    """Marks units as refused here. ``own``: facts about this node."""

    def __init__(
        self, config: SchedulerConfig, me: NodeId, shelf: Shelf, admission: Admission, own: Callable[[], NodeFacts]
    ) -> None:
        self._config, self._me, self._shelf, self._admission, self._own = config, me, shelf, admission, own
        self._full: dict[InstanceId, Unit] = {}  # refused for want of room

    def told(self, agent: AgentName) -> list[Claim]:
        """To be published beside the claims."""
        book = self._shelf.books.get(agent)
        units = book.units.values() if book is not None else ()
        return [
            Claim(self._me, unit.id, Epoch(0, self._me), running=False, refusal=unit.refused)
            for unit in units
            if unit.refused and unit.mine is None
        ]

    def refuse(self, unit: Unit, reason: str, out: Outcome, *, full: bool) -> None:
        unit.refused, unit.full, unit.reason = reason, full, f"not here: {reason}"
        if full:
            self._full[unit.id] = unit
        out.tell(unit.agent)

    def failed(self, unit: Unit, reason: str, now: Instant, out: Outcome) -> None:
        """It failed here and another node may try: this one does not for a while, twice as long each time."""
        wait_us = min(self._config.retry_us << min(unit.failures, 16), self._config.retry_us_max)
        unit.failures += 1
        self.refuse(unit, reason, out, full=False)
        unit.refused_until_us = now.mono_us + wait_us
        self._shelf.touch(unit)

    def accept(self, unit: Unit) -> None:
        unit.refused, unit.full = "", False
        self._full.pop(unit.id, None)

    def due(self, unit: Unit, now: Instant, out: Outcome) -> int | None:
        """When a refusal ends by itself; one that has ended is taken back here."""
        if not unit.refused or unit.full:
            return None
        if unit.refused_until_us > now.mono_us:
            return unit.refused_until_us
        self.accept(unit)
        out.tell(unit.agent)
        return None

    def room_made(self) -> None:
        """What was refused for want of room is considered again."""
        for unit in list(self._full.values()):
            want = self._shelf.books[unit.agent].want
            if want is None or not self._admission.lack(unit, want, self._own()):
                self.accept(unit)
                self._shelf.touch(unit)
