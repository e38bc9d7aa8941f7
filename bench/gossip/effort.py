"""How much of everything a run takes: ``make bench-gossip``, or QUICK=1 with under a minute of measuring a group."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """``nodes``: of the mesh that most figures come from. ``*_s``: how long each figure is taken; 0 leaves it out."""

    nodes: int
    few: int  # the ends of the growth of idle bytes
    many: int
    events: int
    anchor_events: int
    updates: int
    kills: int
    silences: int
    settle_s: float
    calm_s: float  # at most, for a machine at rest before an idle figure: that its load falls, each node tells all
    idle_s: float  # a round of refreshes, of which each node of a mesh of fifty tells one in 120 s, all at one time
    spin_s: float
    pulse_s: float
    cut_s: float
    rows: int  # in the directory of the one node whose memory is looked at
    full: bool


FULL = Effort(
    nodes=50, few=20, many=100, events=2_050, anchor_events=40, updates=60, kills=5, silences=3, settle_s=20,
    idle_s=120, spin_s=30, pulse_s=48, cut_s=45, calm_s=600, rows=10_000, full=True,
)  # fmt: skip
QUICK = Effort(
    nodes=12, few=0, many=0, events=60, anchor_events=20, updates=10, kills=2, silences=0, settle_s=15, idle_s=8,
    spin_s=0, pulse_s=0, cut_s=0, calm_s=0, rows=0, full=False,
)  # fmt: skip
