"""Named scenarios of a mesh and its documents; those of agents that survive stand in ``survival.py``, of
emptied machines in ``drains.py``, of documents over generations in ``generations.py``."""

from meshnode.kernel.rng import Random
from meshnode.sim.clocks import ClockSpec
from meshnode.sim.drains import DRAINS
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.generations import GENERATIONS
from meshnode.sim.lanes import LANES
from meshnode.sim.relayed import RELAYED
from meshnode.sim.scenario import Scenario, in_turn, storm
from meshnode.sim.survival import SURVIVAL
from meshnode.sim.workloads import Pace


def _one_cut(luck: Random, nodes: int) -> list[Fault]:
    """Half of the machines against the other half."""
    side = tuple(sorted(luck.sample(range(nodes), max(1, nodes // 2))))
    return [Fault(Kind.CUT, 5.0, 20.0, side)]


def _flapping(luck: Random, nodes: int) -> list[Fault]:
    """The same cut comes and goes, ever more quickly, and one machine's connections with it."""
    side = tuple(sorted(luck.sample(range(nodes), max(1, nodes // 3))))
    plan, at_s = list[Fault](), 2.0
    for step in range(14):
        lasts_s = 0.2 + 4.0 * luck.random() / (1 + step / 3)
        kind = (Kind.CUT, Kind.RESET_CUT, Kind.BLIP)[step % 3]
        plan.append(Fault(kind, at_s, lasts_s, side))
        at_s += lasts_s + 0.1 + 2.5 * luck.random()
    return plan


def _flapping_one_way(luck: Random, nodes: int) -> list[Fault]:
    """The same few hear others who do not hear them, or the other way round, ever more briefly."""
    side = tuple(sorted(luck.sample(range(nodes), max(1, nodes // 3))))
    plan, at_s = list[Fault](), 2.0
    for step in range(12):
        lasts_s = 0.3 + 5.0 * luck.random() / (1 + step / 3)
        plan.append(Fault(Kind.ONE_WAY, at_s, lasts_s, side, luck.random()))
        at_s += lasts_s + 0.1 + 2.5 * luck.random()
    return plan


def _raised_in_turn(luck: Random, nodes: int) -> list[Fault]:
    """All machines run an earlier release, and are raised one after the other, in an order of luck's."""
    order, step_s = luck.sample(range(nodes), nodes), min(5.0, 30.0 / nodes)
    return [
        Fault(Kind.DOWNGRADE, 1.0 + 0.1 * place, 14.0 + step_s * place, (node,)) for place, node in enumerate(order)
    ]


def _wrong_clocks(luck: Random, nodes: int) -> tuple[ClockSpec, ...]:
    """Every third machine has no battery; the rest are off by up to three minutes and 200 ppm."""
    return tuple(
        ClockSpec(
            rate_ppm=luck.randint(-200, 200), skew_ms=luck.randint(-150_000, 150_000), rtc=number % 3 != 1,
            synced=luck.random() < 0.7,
        )
        for number in range(nodes)
    )  # fmt: skip


_WIRES = (Kind.CUT, Kind.ONE_WAY, Kind.RESET_CUT, Kind.REJECT, Kind.BLIP, Kind.UNPLUG, Kind.LOSS)
_PROCESSES = (Kind.KILL, Kind.RESTART, Kind.POWER, Kind.TORN, Kind.AGENT)
_DISKS = (Kind.TORN, Kind.FLIP, Kind.FULL, Kind.BROKEN, Kind.SLOW, Kind.POWER)
_CLOCKS = (Kind.JUMP, Kind.NO_CLOCK)
_STOPS = (Kind.PAUSE, Kind.SUSPEND)
_BUSY = Pace(writes_per_s=3.0, calls_per_s=4.0)

_TABLE = (
    Scenario(
        name="cut-and-heal", about="half of the mesh cannot reach the other half for 20 s, both go on working",
        kinds=(Kind.CUT,), plan=_one_cut, storm_s=25.0, nodes=(2, 200),
    ),
    Scenario(
        name="crash-and-return", about="processes are killed, machines lose power, agents crash; all come back",
        kinds=_PROCESSES, plan=storm(*_PROCESSES, storm_s=40.0, times=3), storm_s=40.0, pace=_BUSY,
    ),
    Scenario(
        name="one-way-cuts", about="some hear others who do not hear them",
        kinds=(Kind.ONE_WAY,), plan=storm(Kind.ONE_WAY, storm_s=40.0, times=5), storm_s=40.0,
    ),
    Scenario(
        name="slow-and-torn-disks", about="commits take long, fail or are torn; bits flip; disks fill up",
        kinds=_DISKS, plan=storm(*_DISKS, storm_s=45.0, times=3), storm_s=45.0, pace=_BUSY,
    ),
    Scenario(
        name="clocks", about="wall clocks are wrong, jump, or begin in 1970",
        kinds=_CLOCKS, plan=storm(*_CLOCKS, Kind.CUT, storm_s=40.0, times=3), storm_s=40.0, clocks=_wrong_clocks,
    ),
    Scenario(
        name="pauses", about="processes are stopped, machines sleep",
        kinds=_STOPS, plan=storm(*_STOPS, storm_s=45.0, times=5), storm_s=45.0,
    ),
    Scenario(
        name="flapping", about="a cut comes and goes",
        kinds=(Kind.CUT, Kind.RESET_CUT, Kind.BLIP), plan=_flapping, storm_s=60.0,
    ),
    Scenario(
        name="flapping-one-way", about="some hear others who do not hear them, again and again",
        kinds=(Kind.ONE_WAY,), plan=_flapping_one_way, storm_s=60.0,
    ),
    Scenario(
        name="behind-nat", about="machines that nobody can dial, while links break",
        kinds=(Kind.NAT, Kind.BLIP), storm_s=50.0,
        plan=storm(Kind.NAT, Kind.NAT, Kind.BLIP, Kind.BLIP, Kind.RESET_CUT, Kind.KILL, storm_s=50.0),
    ),
    Scenario(
        name="lost-disks", about="machines lose their disk and come back as other nodes",
        kinds=(Kind.LOST,), storm_s=40.0, plan=storm(Kind.LOST, Kind.CUT, Kind.KILL, storm_s=40.0), settle_s=45.0,
    ),
    Scenario(
        name="older-releases", about="some run a release that knows neither the newest letters nor the newest fields",
        kinds=(Kind.DOWNGRADE,), storm_s=60.0, settle_s=45.0,
        plan=storm(Kind.DOWNGRADE, Kind.DOWNGRADE, Kind.CUT, Kind.KILL, storm_s=60.0),
    ),
    Scenario(
        name="rolling-upgrade", about="all run an earlier release and are raised one after the other",
        kinds=(Kind.DOWNGRADE,), storm_s=55.0, settle_s=45.0, plan=_raised_in_turn,
    ),
    Scenario(
        name="two-nodes", about="a mesh of two, which has no majority",
        kinds=(Kind.CUT, Kind.KILL, Kind.POWER, Kind.PAUSE), nodes=(2, 2), storm_s=60.0,
        plan=storm(Kind.CUT, Kind.ONE_WAY, Kind.REJECT, Kind.BLIP, Kind.KILL, Kind.POWER, Kind.PAUSE, storm_s=60.0),
    ),
    Scenario(
        name="one-node", about="a mesh of one is a mesh",
        kinds=(Kind.KILL, Kind.POWER, Kind.PAUSE, Kind.SLOW), nodes=(1, 1), storm_s=50.0,
        plan=in_turn(Kind.KILL, Kind.POWER, Kind.TORN, Kind.PAUSE, Kind.SLOW, Kind.FULL, Kind.RESTART, storm_s=50.0),
    ),
    Scenario(
        name="three-nodes", about="a mesh of three: one against two",
        kinds=(Kind.CUT, Kind.KILL, Kind.UNPLUG), nodes=(3, 3), storm_s=60.0,
        plan=storm(Kind.CUT, Kind.UNPLUG, Kind.KILL, Kind.ONE_WAY, Kind.PAUSE, Kind.POWER, storm_s=60.0),
    ),
    Scenario(
        name="everything", about="all of it at once",
        kinds=(Kind.CUT, Kind.KILL, Kind.LOSS, Kind.BLIP), storm_s=60.0, pace=_BUSY, clocks=_wrong_clocks,
        plan=storm(*_WIRES, *_PROCESSES, *_DISKS, *_CLOCKS, *_STOPS, storm_s=60.0),
    ),
)  # fmt: skip

SCENARIOS = {scenario.name: scenario for scenario in (*_TABLE, *SURVIVAL, *DRAINS, *GENERATIONS, *RELAYED, *LANES)}
