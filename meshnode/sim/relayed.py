"""Machines that nobody can dial, and the relays through which they reach each other."""

from meshnode.kernel.rng import Random
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.ledger import Accounts
from meshnode.sim.scenario import Scenario

RELAYS = HIDDEN = 2


def _relays_die(luck: Random, nodes: int) -> list[Fault]:
    """One relay after the other is killed, and connections of somebody break while both are there."""
    plan = [Fault(Kind.KILL, 4.0 + 13.0 * n + luck.random(), 4.0, (n % RELAYS,)) for n in range(3)]
    plan += [Fault(Kind.BLIP, 12.0 + 13.0 * n, 0.0, (luck.randrange(nodes),)) for n in range(3)]
    return sorted(plan, key=lambda fault: fault.at_s)


def _ways_open(_luck: Random, nodes: int) -> list[Fault]:
    """Nobody reaches a machine for a while either: those that hide reach it through a relay until it can be dialled."""
    return [Fault(Kind.NAT, 2.0, 25.0, (nodes - HIDDEN - 1,)), Fault(Kind.BLIP, 5.0, 1.0, (nodes - HIDDEN - 1,))]


def _shut_later(_luck: Random, nodes: int) -> list[Fault]:
    """One that could be dialled cannot for a while, and loses the links it had."""
    shut = nodes - HIDDEN - 1
    return [Fault(Kind.NAT, 2.0, 100.0, (shut,)), Fault(Kind.KILL, 4.0, 1.0, (shut,))]


RELAYED = (
    Scenario(
        name="found-out", about="machines that nobody can dial find that out by themselves, and one that it is over",
        kinds=(Kind.NAT, Kind.KILL), plan=_shut_later, storm_s=105.0, nodes=(5, 7), settle_s=60.0, relays=RELAYS,
        hidden=HIDDEN, knows=False,
    ),
    Scenario(
        name="relays-die", about="two machines reach each other through relays alone, which are killed in turn",
        kinds=(Kind.KILL, Kind.BLIP), plan=_relays_die, storm_s=45.0, nodes=(5, 7), settle_s=45.0,
        relays=RELAYS, hidden=HIDDEN, accounts=Accounts(agent="meter"),
    ),
    Scenario(
        name="ways-open", about="a machine behind a NAT is reached through relays until it can be dialled",
        kinds=(Kind.NAT,), plan=_ways_open, storm_s=35.0, nodes=(5, 7), settle_s=45.0, relays=RELAYS, hidden=HIDDEN,
    ),
)  # fmt: skip
