"""How long a link may be silent before that means something, learned from the link itself.

In the spirit of Hayashibara et al., "The phi accrual failure detector", 2004: mean and deviation of the gaps between
arrivals. Links ping after a second of quiet, so a healthy idle link shows gaps of a second. A gap counts when it ends:
a silence under way must not stretch the very limit it is measured by.
"""

from meshnode.kernel.instant import MS, SECOND

WEIGHT = 1 / 16
DEVIATIONS = 4.0
FIRST_MEAN_US = 1.0 * SECOND
FIRST_DEVIATION_US = 0.25 * SECOND
MARGIN_US = 500 * MS
CAP_US = 10 * SECOND


class Silence:
    """The gaps of one link."""

    def __init__(self, since_us: int, floor_us: int) -> None:
        self._floor_us = floor_us
        self._since_us = self._last_us = since_us
        self._mean_us, self._deviation_us = FIRST_MEAN_US, FIRST_DEVIATION_US

    def age_us(self, heard_us: int | None, now_us: int) -> int:
        """Silence counts from the last byte, but never from before the link stood or this machine was disturbed."""
        return max(0, now_us - max(self._since_us, heard_us or 0))

    def sample(self, heard_us: int | None) -> None:
        """Asked now and then: if something arrived since the last time, a gap has ended."""
        if heard_us is None or heard_us <= self._last_us:
            return
        off = min(heard_us - self._last_us, CAP_US) - self._mean_us
        self._last_us = heard_us
        self._mean_us += WEIGHT * off
        self._deviation_us += WEIGHT * (abs(off) - self._deviation_us)

    def limit_us(self) -> int:
        """Longer than this is suspicious, within floor and cap."""
        usual = self._mean_us + DEVIATIONS * self._deviation_us + MARGIN_US
        return round(min(CAP_US, max(self._floor_us, usual)))

    def void(self, until_us: int) -> None:
        """Forget what was seen, and start counting at ``until_us``."""
        self._since_us = self._last_us = max(self._since_us, until_us)
        self._mean_us, self._deviation_us = FIRST_MEAN_US, FIRST_DEVIATION_US
