"""How long a link may be silent before that means something, learned from the link itself and from this machine.

In the spirit of Hayashibara et al., "The phi accrual failure detector", 2004, and no more: no distribution is fitted.
Links ping after a while of quiet, so a gap up to that says nothing however the gaps before it were; what is learned is
by how much gaps exceed it, as mean and deviation. A gap counts when it ends: a silence under way must not stretch the
very limit it is measured by. That a slow machine must not blame others is from Dadgar et al., "Lifeguard", 2018.
"""

from meshnode.kernel.instant import MS, SECOND

WEIGHT = 1 / 16
DEVIATIONS = 4.0
MARGIN_US = 500 * MS
CAP_US = 10 * SECOND
ASK_US = 400 * MS  # before the limit the peer itself is asked
PONG_US = 50 * MS


class Silence:
    """The gaps of one link. ``ping_us``: after so much quiet it pings; ``boot``: of the process at its other end."""

    def __init__(self, since_us: int, floor_us: int, ping_us: int, boot: int = 0) -> None:
        self.boot = boot
        self._floor_us = floor_us
        self._told_us = self._ping_us = ping_us
        self._since_us = self._last_us = since_us
        self._mean_us = self._deviation_us = 0.0
        self._asked_us = -1

    def keep_pace(self, ping_us: int) -> None:
        """What the slower of the two ends tells of all its links."""
        self._told_us = ping_us
        self._ping_us = max(ping_us, self._ping_us)

    def link_pace(self, link_us: int) -> None:
        """What they agreed on for the link that stands now, which may be another one than a moment ago."""
        self._ping_us = max(self._told_us, link_us)

    def age_us(self, heard_us: int | None, now_us: int) -> int:
        """Silence counts from the last byte, but never from before the link stood or this machine was disturbed."""
        return max(0, now_us - max(self._since_us, heard_us or 0))

    def sample(self, heard_us: int | None) -> None:
        """Asked now and then: if something arrived since the last time, a gap has ended."""
        if heard_us is None or heard_us <= self._last_us:
            return
        excess_us = min(max(0, heard_us - self._last_us - self._ping_us), CAP_US)
        self._last_us = heard_us
        off = excess_us - self._mean_us
        self._mean_us += WEIGHT * off
        self._deviation_us += WEIGHT * (abs(off) - self._deviation_us)

    def limit_us(self, patience: float = 1.0, rtt_us: int = 0) -> int:
        """Longer than this is suspicious, within floor and cap. ``patience``: of a machine that is slow itself.

        There is time for a ping, for a question of ours after it (``asks_at_us``), and for the answers to both.
        """
        asked = self._ping_us + 4 * rtt_us + 5 * PONG_US
        usual = self._ping_us + self._mean_us + DEVIATIONS * self._deviation_us + MARGIN_US
        cap_us = max(CAP_US, self._ping_us + CAP_US // 2)  # above the slowest pace
        return round(min(cap_us, max(self._floor_us, asked, usual) * patience))

    def asks_at_us(self, limit_us: int, rtt_us: int) -> int:
        """So old a silence is asked about: our letters put off the pings of the peer, it may have nothing to say."""
        return max(limit_us - 2 * rtt_us - ASK_US, self._ping_us + rtt_us + PONG_US)

    def asks(self, heard_us: int | None) -> bool:
        """True once for each silence."""
        first = self._asked_us != (heard_us or 0)
        self._asked_us = heard_us or 0
        return first

    def void(self, until_us: int) -> None:
        """Forget what was seen, and start counting at ``until_us``."""
        self._since_us = self._last_us = max(self._since_us, until_us)
        self._mean_us = self._deviation_us = 0.0


LATE_US = 250 * MS  # a timer of our own so late is a missed one
ABSENT_US = SECOND  # so late, and this machine was away
SCORE_MAX = 6
HEAL_US = 5 * SECOND  # a point is forgotten after so long without another


class Health:
    """How slow this machine is itself, by its own missed timers: from 1 to 4 times as patient with others."""

    def __init__(self) -> None:
        self._score = 0
        self._since_us = 0

    def late(self, late_us: int, now_us: int) -> None:
        """A timer fired so long after it was due."""
        self._recover(now_us)
        if late_us >= LATE_US:
            self._score = min(SCORE_MAX, self._score + 1 + late_us // ABSENT_US)
            self._since_us = now_us

    def patience(self, now_us: int) -> float:
        self._recover(now_us)
        return 1 + self._score / 2

    def _recover(self, now_us: int) -> None:
        points = (now_us - self._since_us) // HEAL_US
        self._score = max(0, self._score - points)
        self._since_us += points * HEAL_US
