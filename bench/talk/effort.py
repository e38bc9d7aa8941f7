"""How much of everything a run takes: ``make bench-talk``, or QUICK=1 with under 50 s of measuring."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """``rounds``: in each, every contestant has its turn; ``*_s``: how long one turn takes."""

    rounds: int
    lone_s: float
    window_s: float
    stream_s: float
    samples: int  # of calls between agents, one at a time
    breaks: int  # of a connection under load
    full: bool


FULL = Effort(rounds=7, lone_s=1.0, window_s=2.0, stream_s=1.0, samples=1500, breaks=1000, full=True)
QUICK = Effort(rounds=3, lone_s=0.3, window_s=0.5, stream_s=0.4, samples=300, breaks=50, full=False)
