"""How much is measured: in full, or in under a minute."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """``*_s``: how long each figure is taken, once the gateway stands."""

    paced_s: float
    saturated_s: float
    anchor_s: float
    kills: int
    kill_after_s: tuple[float, float]
    events: int  # in the history of the large fleet
    asks: int  # of every question
    changes_s: float
    readers: int
    feed_s: float
    views: int
    pan_s: float
    backlog_h: float
    full: bool


FULL = Effort(
    paced_s=30, saturated_s=20, anchor_s=5, kills=20, kill_after_s=(0.2, 3.0), events=300_000, asks=80,
    changes_s=120, readers=200, feed_s=30, views=5, pan_s=8, backlog_h=24, full=True,
)  # fmt: skip
QUICK = Effort(
    paced_s=3, saturated_s=2, anchor_s=0.7, kills=3, kill_after_s=(0.2, 0.8), events=300_000, asks=5,
    changes_s=3, readers=200, feed_s=2.5, views=1, pan_s=2, backlog_h=1.5, full=False,
)  # fmt: skip
