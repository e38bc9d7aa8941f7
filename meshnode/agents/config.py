"""How a node treats its agents."""

from dataclasses import dataclass

from meshnode.kernel.backoff import Backoff
from meshnode.kernel.instant import MS, SECOND


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentsConfig:
    """Times in microseconds.

    More than ``intensity_max`` ends within ``intensity_window_us`` and a unit has failed. A run shorter than
    ``healthy_us`` is a crash in a row: the first ``quick_restarts`` of a row wait by ``quick``, whose first wait is
    hardly any, since callers wait, too; the others by ``slow``. A longer run forgives all before it.

    ``start_us``: who has to register (an SDK file, or a unit that once did) has so long for it, else it is stopped and
    started again. ``settle_us``: any other process counts as running without skills from then on. ``mute_us``: a
    process that lost its connection has this long to come back or end by itself. ``adopt_us``: what a former daemon
    left running is stopped unless it is wanted by then.
    """

    node: str
    units_max: int = 4096
    intensity_max: int = 10
    intensity_window_us: int = 300 * SECOND
    quick_restarts: int = 3
    quick: Backoff = Backoff(first_us=50 * MS, cap_us=1 * SECOND, growth=4.0)
    slow: Backoff = Backoff(first_us=2 * SECOND, cap_us=60 * SECOND)
    healthy_us: int = 60 * SECOND
    start_us: int = 30 * SECOND
    settle_us: int = 10 * SECOND
    mute_us: int = 5 * SECOND
    grace_us: int = 5 * SECOND
    adopt_us: int = 5 * SECOND

    def __post_init__(self) -> None:
        counts = (self.units_max, self.intensity_max, self.quick_restarts)
        times = (self.intensity_window_us, self.healthy_us, self.start_us, self.settle_us, self.mute_us, self.grace_us)
        if not self.node or "/" in self.node or min(*counts, *times, self.adopt_us) < 1:
            raise ValueError(f"agents config out of range: {self}")
