"""Bounds and waits of the switch."""

from dataclasses import dataclass

from meshnode.kernel.instant import SECOND


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchConfig:
    """``calls_max`` and ``held_bytes_max`` bound what all callers together may have in flight."""

    calls_max: int = 10_000
    held_bytes_max: int = 64 * 1024 * 1024  # arguments of all calls in flight
    deadline_max_us: int = 3600 * SECOND
    payload_bytes_max: int = 512 * 1024
    reach_us: int = 3 * SECOND  # how long a call waits for a link
    orphan_us: int = 1 * SECOND  # how long a call in flight waits for its lost link to come back
    wait_us: int = 3 * SECOND  # how long a call that was lost, and may run twice, waits for somebody who answers it
    settle_us: int = SECOND // 2  # how long a call that nobody can take waits for news of a start; 0: not at all
    lately_us: int = 5 * SECOND  # who was heard within this and cannot be reached now was lost just now
    doubt_us: int = 2 * SECOND  # how long a key given up while its call ran counts as still at work
    runs_max: int = 4  # how often a call that may run twice is tried where it may have run
    retry_after_min_us: int = SECOND // 10  # what callers are asked to wait, at least, when there is no room
    retry_after_max_us: int = 2 * SECOND
    plans_max: int = 1024  # of the express lane; 0: every call takes the slow path

    def __post_init__(self) -> None:
        limits = (self.calls_max, self.held_bytes_max, self.deadline_max_us, self.payload_bytes_max, self.runs_max)
        waits = (self.reach_us, self.orphan_us, self.wait_us, self.lately_us, self.doubt_us)
        if min(*limits, *waits) <= 0 or min(self.settle_us, self.plans_max) < 0:
            raise ValueError(f"switch limits must be positive: {self}")
        if not 0 < self.retry_after_min_us <= self.retry_after_max_us:
            raise ValueError(f"the least wait must be positive, and no longer than the longest: {self}")
