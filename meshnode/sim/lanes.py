"""Calls that bring much along, and the second connections they go by, while either connection of a pair breaks."""

from meshnode.kernel.rng import Random
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.ledger import Accounts
from meshnode.sim.scenario import Scenario
from meshnode.sim.workloads import Pace

LADEN = Pace(writes_per_s=0.5, calls_per_s=12.0, luggage_bytes=500_000)


def _lanes_break(luck: Random, nodes: int) -> list[Fault]:
    """One machine's lanes after another's; the links beside them stand."""
    return [
        Fault(Kind.LANE_BLIP, 1.0 + 0.5 * n + 0.3 * luck.random(), 0.0, (luck.randrange(nodes),)) for n in range(50)
    ]


def _either_breaks(luck: Random, nodes: int) -> list[Fault]:
    kinds = (Kind.LANE_BLIP, Kind.LANE_BLIP, Kind.BLIP)
    plan = [
        Fault(kinds[n % 3], 1.0 + 1.2 * n + luck.random(), 0.0, (luck.randrange(nodes),)) for n in range(24)
    ]  # fmt: skip
    return sorted(plan, key=lambda fault: fault.at_s)


LANES = (
    Scenario(
        name="lanes-break", about="calls with much luggage, while the second connections they go by break",
        kinds=(Kind.LANE_BLIP,), plan=_lanes_break, storm_s=30.0, nodes=(3, 7), pace=LADEN,
    ),
    Scenario(
        name="lanes-and-links-break", about="calls with much luggage, while either connection of two machines breaks",
        kinds=(Kind.LANE_BLIP, Kind.BLIP), plan=_either_breaks, storm_s=32.0, nodes=(3, 7), settle_s=45.0, pace=LADEN,
        accounts=Accounts(agent="meter"),
    ),
)  # fmt: skip
