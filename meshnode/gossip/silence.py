"""How long a link may be silent before that means something, learned from the link itself.

In the spirit of Hayashibara et al., "The phi accrual failure detector", 2004: mean and deviation of what was seen. The
sample is the age of the last byte at each poll; links ping after a second of quiet, so a healthy link shows a second.
"""

from meshnode.kernel.instant import SECOND

WEIGHT = 1 / 16
DEVIATIONS = 4.0
CAP_US = 10 * SECOND


class Silence:
    """The ages of one link."""

    def __init__(self, since_us: int, floor_us: int) -> None:
        self._since_us = since_us
        self._floor_us = floor_us
        self._mean_us = 0.5 * SECOND
        self._deviation_us = 0.25 * SECOND

    def age_us(self, heard_us: int | None, now_us: int) -> int:
        """Silence counts from the last byte, but never from before the link stood or this machine was disturbed."""
        return max(0, now_us - max(self._since_us, heard_us or 0))

    def sample(self, age_us: int) -> None:
        off = age_us - self._mean_us
        self._mean_us += WEIGHT * off
        self._deviation_us += WEIGHT * (abs(off) - self._deviation_us)

    def limit_us(self) -> int:
        """Longer than this is suspicious: one ping interval over what is usual, within floor and cap."""
        usual = self._mean_us + DEVIATIONS * self._deviation_us
        return round(min(CAP_US, max(self._floor_us, usual + SECOND)))

    def void(self, until_us: int) -> None:
        """Forget what was seen, and start counting at ``until_us``."""
        self._since_us = max(self._since_us, until_us)
        self._mean_us, self._deviation_us = 0.5 * SECOND, 0.25 * SECOND
