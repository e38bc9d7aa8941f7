"""Scenarios of agents that survive: clients keep a ledger while nodes die, are cut off and come back alone."""

from meshnode.kernel.rng import Random
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.ledger import Accounts
from meshnode.sim.scenario import Plan, Scenario, in_turn, storm
from meshnode.sim.workloads import Pace

_METER = "meter"
_QUIET = Pace(writes_per_s=0.3, calls_per_s=0.7, skills=("words.count",))
_ONE = Accounts(agent=_METER)
_FOLDED = Accounts(agent=_METER, folds_per_s=0.5)
_CLUSTER = Accounts(agent=_METER, replicas=3, clients=5, cluster=True)


def _owners(*kinds: Kind, every_s: float, lasts_s: tuple[float, float]) -> Plan:
    """One after the other befalls whoever runs the agent then."""

    def plan(luck: Random, nodes: int) -> list[Fault]:
        shortest, longest = lasts_s
        return [
            Fault(
                kind, every_s * (number + 0.3 * luck.random()) + 3.0, shortest + (longest - shortest) * luck.random(),
                (luck.randrange(nodes),), luck.random(), _METER,
            )
            for number, kind in enumerate(kinds)
        ]  # fmt: skip

    return plan


def _both_work(luck: Random, nodes: int) -> list[Fault]:
    """Twice who runs it and some others on one side, the rest on the other."""
    plan: list[Fault] = []
    for number in range(2):
        side = tuple(sorted(luck.sample(range(nodes), max(1, nodes // 2))))
        plan.append(Fault(Kind.CUT, 4.0 + 26.0 * number, 16.0, side, 0.0, _METER))
    return plan


def _alone(luck: Random, _nodes: int) -> list[Fault]:
    """The first machine, near which the agent is wanted, loses its cable and then its power; it boots alone."""
    at_s = 6.0 + 3.0 * luck.random()
    return [Fault(Kind.UNPLUG, 4.0, 30.0, (0,)), Fault(Kind.POWER, at_s, 2.0 + luck.random(), (0,))]


_DISKS = (Kind.SLOW, Kind.FULL, Kind.BROKEN, Kind.TORN, Kind.POWER)
_SMALL = (Kind.CUT, Kind.KILL, Kind.NODE_KILL, Kind.POWER, Kind.AGENT, Kind.PAUSE, Kind.UNPLUG)
_ALL = (
    Kind.CUT, Kind.ONE_WAY, Kind.RESET_CUT, Kind.BLIP, Kind.UNPLUG, Kind.LOSS, Kind.KILL, Kind.NODE_KILL, Kind.RESTART,
    Kind.POWER, Kind.TORN, Kind.FULL, Kind.BROKEN, Kind.SLOW, Kind.PAUSE, Kind.SUSPEND, Kind.JUMP, Kind.AGENT,
)  # fmt: skip

SURVIVAL = (
    Scenario(
        name="kill-and-move", about="whoever runs the agent is killed with all its processes, three times",
        kinds=(Kind.NODE_KILL,), plan=_owners(*[Kind.NODE_KILL] * 3, every_s=18.0, lasts_s=(6.0, 14.0)), storm_s=54.0,
        pace=_QUIET, accounts=_ONE,
    ),
    Scenario(
        name="cut-both-work", about="a cut with calls on both sides of it, twice; both sides go on, and meet again",
        kinds=(Kind.CUT,), plan=_both_work, storm_s=50.0, nodes=(2, 200), pace=_QUIET, accounts=_ONE,
    ),
    Scenario(
        name="reboot-alone", about="the owner's cable is out, its power fails, it boots alone, and is plugged in again",
        kinds=(Kind.UNPLUG, Kind.POWER), plan=_alone, storm_s=40.0, nodes=(2, 200), pace=_QUIET, accounts=_ONE,
    ),
    Scenario(
        name="daemon-restart", about="the owner's daemon is killed, its processes are not; the next one adopts them",
        kinds=(Kind.KILL,), plan=_owners(*[Kind.KILL] * 4, every_s=10.0, lasts_s=(0.1, 4.0)), storm_s=42.0,
        nodes=(1, 200), pace=_QUIET, accounts=_ONE,
    ),
    Scenario(
        name="slow-disk", about="commits take long or fail under who runs the agent",
        kinds=(Kind.SLOW,), storm_s=46.0, nodes=(1, 200), pace=_QUIET, accounts=_FOLDED,
        plan=_owners(Kind.SLOW, Kind.FULL, Kind.BROKEN, Kind.SLOW, every_s=11.0, lasts_s=(4.0, 9.0)),
    ),
    Scenario(
        name="lost-writes", about="power fails in the middle of commits, under owners and copies",
        kinds=(Kind.POWER, Kind.TORN), plan=storm(Kind.POWER, Kind.TORN, storm_s=45.0, times=4), storm_s=45.0,
        nodes=(1, 200), pace=_QUIET, accounts=_FOLDED,
    ),
    Scenario(
        name="spoilt-checkpoints", about="bits of checkpoint files turn over, and the state is read again after a kill",
        kinds=(Kind.BLOB, Kind.NODE_KILL), storm_s=48.0, pace=_QUIET, accounts=_FOLDED,
        plan=_owners(
            Kind.BLOB, Kind.NODE_KILL, Kind.BLOB, Kind.POWER, Kind.BLOB, Kind.NODE_KILL, every_s=7.0, lasts_s=(1.0, 5.0)
        ),
    ),
    Scenario(
        name="stateful-one", about="a node alone keeps what was acknowledged, whatever befalls it",
        kinds=(Kind.NODE_KILL, Kind.POWER, Kind.KILL), nodes=(1, 1), storm_s=60.0, pace=_QUIET, accounts=_FOLDED,
        plan=in_turn(
            Kind.KILL, Kind.NODE_KILL, Kind.POWER, Kind.TORN, Kind.RESTART, Kind.AGENT, Kind.PAUSE, Kind.FULL,
            storm_s=60.0,
        ),
    ),
    Scenario(
        name="stateful-two", about="two nodes, no majority: both go on alone, and agree again",
        kinds=(Kind.CUT, Kind.NODE_KILL, Kind.POWER), nodes=(2, 2), storm_s=60.0, pace=_QUIET, accounts=_ONE,
        plan=storm(*_SMALL, storm_s=60.0, times=1),
    ),
    Scenario(
        name="stateful-three", about="three nodes, two replicas: one against two, and every pair alone",
        kinds=(Kind.CUT, Kind.NODE_KILL, Kind.UNPLUG), nodes=(3, 3), storm_s=60.0, pace=_QUIET,
        accounts=Accounts(agent=_METER, replicas=2), plan=storm(*_SMALL, storm_s=60.0, times=2),
    ),
    Scenario(
        name="everything-stateful", about="three replicas of a cluster, and all of it at once",
        kinds=(Kind.CUT, Kind.NODE_KILL, Kind.KILL, Kind.POWER), storm_s=60.0, pace=_QUIET, accounts=_CLUSTER,
        plan=storm(*_ALL, storm_s=60.0),
    ),
)  # fmt: skip
