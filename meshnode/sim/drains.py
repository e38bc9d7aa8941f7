"""What is promised of drained machines, and the scenarios that try it: machines are emptied while clients pay.

A drain is no misfortune: nothing that is promised in calm weather may suffer from it.
"""

from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import Random
from meshnode.model.commands import AnyCommand, Drain, Resume
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.ledger import Accounts
from meshnode.sim.node import SimNode
from meshnode.sim.scenario import Scenario
from meshnode.sim.watching import Checker
from meshnode.sim.weather import Weather
from meshnode.sim.workloads import Pace
from meshnode.sim.world import World

# The document's way (1 s), a claim and its turns (2.4 s), state and process (1 s), handing over and stopping (1 s); all
# of it after the last misfortune has been noticed.
EMPTY_WITHIN_US = 10 * SECOND
# A machine that boots takes what was its own again, drained or not, and gives it away then.
BOOTED_US = 3 * SECOND
_METER = "meter"


class Drained(Checker):
    """A drained machine that is not alone is soon without processes of agents, and gets none until it is resumed.

    ``emptied``: how often one was found empty while it was drained; ``slowest_us``: the longest that took (it is looked
    at once a second).
    """

    def __init__(self, world: World, weather: Weather) -> None:
        super().__init__(world)
        self._weather = weather
        self._since_us: dict[str, int] = {}
        self._empty: dict[str, None] = {}
        self.emptied = self.slowest_us = 0

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:  # noqa: ARG002  # whoever was asked
        if isinstance(command, Drain):
            self._since_us.setdefault(command.node, self.world.now_us)
        elif isinstance(command, Resume):
            self._since_us.pop(command.node, None)
            self._empty.pop(command.node, None)

    def look(self) -> None:
        for name, asked_us in self._since_us.items():
            self._judge(self.world.named(name), asked_us)

    def _judge(self, node: SimNode, asked_us: int) -> None:
        calm_us = self._weather.calm_since_us(node)
        if calm_us is None or not node.usable or not self._weather.whole() or not self._others_take(node):
            self._empty.pop(node.name, None)
            return
        runs = [unit for unit, _ in node.agents.running()]
        if not runs and self.world.now_us - node.started_us < BOOTED_US:
            return
        waited_us = self.world.now_us - max(asked_us, calm_us)
        if not runs:
            if node.name not in self._empty:
                self.emptied, self.slowest_us = self.emptied + 1, max(self.slowest_us, waited_us)
            self._empty[node.name] = None
            return
        if node.name in self._empty:
            self.wrong(node, f"was drained and empty, and runs {runs[0]} now")
        if waited_us > EMPTY_WITHIN_US:
            self.wrong(node, f"is drained, and still runs {runs[0]} after {waited_us / SECOND:.1f} s")

    def _others_take(self, node: SimNode) -> bool:
        return any(other is not node and other.name not in self._since_us for other in self.world.nodes)


def _owners_in_turn(count: int, every_s: float, lasts_s: float) -> "list[Fault]":
    return [Fault(Kind.DRAIN, 3.0 + every_s * n, lasts_s, (0,), 0.4, _METER) for n in range(count)]


def _under_load(luck: Random, nodes: int) -> list[Fault]:
    """Whoever runs the agent then is drained, again and again; and twice another machine beside it."""
    plan = _owners_in_turn(4, 13.0, 11.0)
    plan += [Fault(Kind.DRAIN, 9.0 + 26.0 * n, 9.0, (luck.randrange(nodes),), luck.random()) for n in range(2)]
    return sorted(plan, key=lambda fault: fault.at_s)


def _while_cut(luck: Random, _nodes: int) -> list[Fault]:
    """Who runs it is cut off, drained by the others meanwhile, and comes back; then the drain itself is cut short."""
    amount = 0.5 + 0.5 * luck.random()
    return [
        Fault(Kind.CUT, 4.0, 12.0, (0,), 0.0, _METER),
        Fault(Kind.DRAIN, 7.0, 30.0, (0,), amount),
        Fault(Kind.DRAIN, 44.0, 20.0, (0,), amount, _METER),
        Fault(Kind.CUT, 44.2 + luck.random(), 6.0, (0,), 0.0, _METER),
    ]  # fmt: skip


def _last_one(luck: Random, nodes: int) -> list[Fault]:
    """All machines are drained, one after the other: what runs stays on the last one."""
    order = luck.sample(range(nodes), nodes)
    return [Fault(Kind.DRAIN, 3.0 + 6.0 * n, 6.0 * (nodes - n) + 9.0, (number,)) for n, number in enumerate(order)]


def _and_die(luck: Random, nodes: int) -> list[Fault]:
    """Who runs it is drained, and somebody dies before it is empty; drained machines boot again."""
    plan: list[Fault] = []
    for number, kind in enumerate((Kind.NODE_KILL, Kind.KILL, Kind.POWER)):
        at_s = 3.0 + 18.0 * number
        plan.append(Fault(Kind.DRAIN, at_s, 16.0, (0,), luck.random(), _METER))
        plan.append(Fault(kind, at_s + luck.random(), 2.0 + 2.0 * luck.random(), (luck.randrange(nodes),), 0.0, _METER))
    return plan


_QUIET = Pace(writes_per_s=0.3, calls_per_s=0.7, skills=("words.count",))
DRAINS = (
    Scenario(
        name="drain-under-load", about="whoever runs the agent is drained, again and again, while clients pay",
        kinds=(Kind.DRAIN,), plan=_under_load, storm_s=58.0, nodes=(2, 200), pace=_QUIET,
        accounts=Accounts(agent=_METER, replicas=2, clients=5, adds_per_s=8.0, gets_per_s=5.0),
    ),
    Scenario(
        name="drain-and-cut", about="a machine is drained while it is cut off, and one is cut off while it empties",
        kinds=(Kind.DRAIN, Kind.CUT), plan=_while_cut, storm_s=66.0, pace=_QUIET, accounts=Accounts(agent=_METER),
    ),
    Scenario(
        name="drain-the-last", about="all machines are drained in turn; the last one keeps what runs",
        kinds=(Kind.DRAIN,), plan=_last_one, storm_s=40.0, nodes=(1, 5), pace=_QUIET, accounts=Accounts(agent=_METER),
    ),
    Scenario(
        name="drain-and-die", about="machines die and boot again while they, or others, are emptied",
        kinds=(Kind.DRAIN, Kind.NODE_KILL, Kind.KILL, Kind.POWER), plan=_and_die, storm_s=58.0, pace=_QUIET,
        accounts=Accounts(agent=_METER),
    ),
)  # fmt: skip
