"""What a scenario is: what users do, what befalls them, what must be so in the end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.kinds import OURS
from meshnode.kernel.rng import Random
from meshnode.sim.clocks import ClockSpec
from meshnode.sim.faults import Fault, Kind, draw
from meshnode.sim.ledger import Accounts
from meshnode.sim.workloads import Pace

Plan = Callable[[Random, int], list[Fault]]
Clocks = Callable[[Random, int], tuple[ClockSpec, ...]]


def right_clocks(luck: Random, nodes: int) -> tuple[ClockSpec, ...]:
    return tuple(ClockSpec(rate_ppm=luck.randint(-50, 50)) for _ in range(nodes))


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """``kinds``: what must happen in every run; ``nodes``: sizes it is meant for; ``settle_s``: healed within.

    ``accounts``: a stateful agent whose clients keep their own books, if one is wanted.
    """

    name: str
    about: str
    kinds: tuple[Kind, ...]
    plan: Plan
    storm_s: float
    nodes: tuple[int, int] = (3, 200)
    settle_s: float = 30.0
    pace: Pace = field(default_factory=Pace)
    accounts: Accounts | None = None
    clocks: Clocks = right_clocks
    documents: DocumentsConfig = DocumentsConfig(kinds=OURS)
    generations: int = 0  # so many at least must a document have begun
    relays: int = 0  # so many of the first machines carry for others
    hidden: int = 0  # so many of the last ones can be dialled by nobody
    knows: bool = True  # and were told so; else they find out


def storm(*kinds: Kind, storm_s: float, times: int = 2) -> Plan:
    return lambda luck, nodes: draw(luck, kinds, nodes, storm_s, times)


def in_turn(*kinds: Kind, storm_s: float) -> Plan:
    """One after the other, for a mesh so small that two at once would hide each other."""
    slot_s = storm_s / len(kinds)

    def plan(luck: Random, nodes: int) -> list[Fault]:
        drawn = [draw(luck, [kind], nodes, 0.8 * slot_s, times=1)[0] for kind in luck.sample(kinds, len(kinds))]
        return [replace(fault, at_s=fault.at_s / 4 + slot * slot_s) for slot, fault in enumerate(drawn)]

    return plan
