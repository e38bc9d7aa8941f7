"""The scheduler's times and bounds."""

from dataclasses import dataclass

from meshnode.kernel.instant import MS, SECOND


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Times in microseconds.

    ``turn_us``: how long each node in order is waited for. ``listen_us``: how long a boot with known peers waits for a
    link, ``hear_us``: for claims after it. ``settle_us``: for what a node that just came may not have told yet.
    ``grace_us``: how long a node without any contact leaves others' units alone. ``linger_us``: how long a withdrawn
    claim is believed. ``move_after_us``: how long a unit may be where it does not belong. ``retry_us``: how long a node
    on which a unit failed does not try it again; doubled at every failure. ``turning_us``: how long one unit's restart
    holds up the next. ``gather_us``: how long claims are gathered while many units are open.
    ``flat_max``: up to so many nodes are drawn all at once; in a larger mesh of several regions the region comes first.
    All nodes of a mesh need the same.
    """

    turn_us: int = 1_200 * MS
    listen_us: int = 700 * MS
    hear_us: int = 200 * MS
    settle_us: int = SECOND
    grace_us: int = 5 * SECOND
    linger_us: int = SECOND
    move_after_us: int = 3 * SECOND
    retry_us: int = 60 * SECOND
    retry_us_max: int = 3600 * SECOND
    turning_us: int = 10 * SECOND
    gather_us: int = 20 * MS
    flat_max: int = 64
    units_max: int = 4_096  # of this node
    wanted_max: int = 65_536  # of one agent
    known_max: int = 262_144  # learned from others and from the journal

    def __post_init__(self) -> None:
        assert min(self.turn_us, self.listen_us, self.hear_us, self.settle_us, self.grace_us, self.gather_us) > 0
        assert 0 < self.retry_us <= self.retry_us_max
        assert 0 < self.units_max <= self.wanted_max <= self.known_max
