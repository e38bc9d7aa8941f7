"""When a node holds back: a boot listens before it speaks, and who just came is given a moment to tell what it has."""

from meshnode.kernel.instant import Instant
from meshnode.scheduler.config import SchedulerConfig
from meshnode.scheduler.messages import Want
from meshnode.scheduler.unit import Unit


class Quiet:
    """``listening``: not even this node's own units are claimed. ``from_us``: since when others' turns are counted."""

    def __init__(self, config: SchedulerConfig, name: str) -> None:
        self._config, self._name = config, name
        self._linked = False
        self._settled_us = 0
        self._contact_us: int | None = None
        self.until_us: int | None = None  # of listening; None = this boot is not counted yet

    def start(self, now: Instant, *, alone: bool) -> None:
        self.until_us = now.mono_us + (0 if alone else self._config.listen_us)
        self._settled_us = now.mono_us + (0 if alone else self._config.grace_us)
        if self._linked:
            self._linked = False
            self.linked(now)

    def linked(self, now: Instant) -> None:
        """A link is up; the first one brings what the mesh knows."""
        first, self._linked = not self._linked, True
        if not first or self.until_us is None:
            return
        self._settled_us = min(self._settled_us, now.mono_us + self._config.settle_us)
        if now.mono_us < self.until_us:
            self.until_us = now.mono_us + self._config.hear_us
        self.contact(now)

    def contact(self, now: Instant) -> None:
        """A node that was not there has come."""
        self._contact_us = now.mono_us

    def listening(self, now: Instant) -> bool:
        return self.until_us is None or now.mono_us < self.until_us

    def from_us(self, want: Want, unit: Unit) -> int:
        assert unit.open_us is not None
        if unit.fresh and unit.last is None and self._name in (want.near, want.on):
            return unit.open_us  # somebody wants it here, now
        from_us = max(unit.open_us, self._settled_us)
        if unit.last is None and self._contact_us is not None:
            from_us = max(from_us, self._contact_us + self._config.settle_us)
        return from_us
