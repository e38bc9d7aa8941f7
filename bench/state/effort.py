"""How much of everything a run takes: ``make bench-state``, or QUICK=1 with under 50 s of measuring."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """``*_s``: how long a figure is taken; 0 leaves it to the full run."""

    puts: int
    rate_s: float
    reads: int
    changes: int  # through the gate
    documents: int
    cut_s: float
    day_s: float  # one write a second, for the bytes of a day
    lazy_s: float  # the same, lazily: two generations of its one document and more
    idle_s: float
    peers: int
    single_changes: int
    heal: int  # changes on each side
    year: int  # updates of one record
    fuzz_s: float
    full: bool


FULL = Effort(
    puts=2_000, rate_s=6, reads=20_000, changes=20_000, documents=10_000, cut_s=60, day_s=60, lazy_s=200, idle_s=60,
    peers=8, single_changes=60, heal=10_000, year=1_000_000, fuzz_s=30, full=True,
)  # fmt: skip
QUICK = Effort(
    puts=300, rate_s=2, reads=4_000, changes=3_000, documents=1_000, cut_s=10, day_s=0, lazy_s=0, idle_s=0,
    peers=3, single_changes=12, heal=1_000, year=0, fuzz_s=0, full=False,
)  # fmt: skip
