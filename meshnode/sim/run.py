"""One run: boot, work, storm, heal, judge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshnode.kernel.instant import SECOND
from meshnode.sim.authority import SameAuthority
from meshnode.sim.drains import Drained
from meshnode.sim.faults import Fault, Kind, Misfortune
from meshnode.sim.liveness import answer_calls, carry, settle
from meshnode.sim.node import Adapt
from meshnode.sim.promises import Audit
from meshnode.sim.safety import Bounds, ComesToRest, GenuineRows, NoFalseDeath, NoTwins, OneAnswer, RisingBoots
from meshnode.sim.scenario import Scenario
from meshnode.sim.skew import KeepsUnknown
from meshnode.sim.watching import Checker, Violated, look_on
from meshnode.sim.weather import Weather
from meshnode.sim.workloads import Users
from meshnode.sim.world import Setup, World, stream
from meshnode.sim.writes import KeptWrites

JOIN_S = 30.0
WARM_S = 3.0
REST_S = 5.0


@dataclass(kw_only=True, slots=True)
class Report:
    """What a run did. ``violation`` is empty if it passed."""

    scenario: str
    seed: int
    nodes: int
    violation: str = ""
    trace: str = ""
    seconds: float = 0.0
    events: int = 0
    inputs: int = 0
    wakes: int = 0
    effects: int = 0
    faults: dict[Kind, int] = field(default_factory=dict[Kind, int])
    answers: dict[str, int] = field(default_factory=dict[str, int])
    writes: int = 0
    excused: int = 0
    generations: int = 0  # the highest one that a document reached
    joined_s: float = 0.0
    healed_s: dict[str, float] = field(default_factory=dict[str, float])
    calls_s: float = 0.0
    bytes_sent: dict[str, int] = field(default_factory=dict[str, int])
    payments: dict[str, int | float] = field(default_factory=dict[str, "int | float"])

    @property
    def passed(self) -> bool:
        return not self.violation


class Run:
    """A scenario in a world. ``play`` may be called once."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int,
        nodes: int,
        only: Sequence[int] | None = None,
        nudge_us: int = 0,
        tier: int = 1,
        adapt: Sequence[tuple[int, Adapt]] = (),
        judges: Sequence[type[Checker]] = (),
        show: Callable[[str], None] | None = None,
    ) -> None:
        """``only``: numbers of the faults to keep, all if ``None``; ``judges``: checkers to listen to, all if empty."""
        self.scenario = scenario
        clocks = scenario.clocks(stream(seed, "clocks"), nodes)
        self.world = World(
            Setup(
                seed=seed,
                nodes=nodes,
                nudge_us=nudge_us,
                clocks=clocks,
                adapt=tuple(adapt),
                show=show,
                tier=tier,
                documents=scenario.documents,
                relays=scenario.relays,
                hidden=scenario.hidden,
                knows=scenario.knows,
            )
        )
        plan = scenario.plan(self.world.luck("faults"), nodes)
        self.plan: list[Fault] = [fault for number, fault in enumerate(plan) if only is None or number in only]
        self._whole = only is None
        self.users = Users(self.world, scenario.pace)
        self.misfortune = Misfortune(self.world, self.plan, self.users.write_on)
        self.answers = OneAnswer(self.world)
        self.writes = KeptWrites(self.world)
        self.skew = KeepsUnknown(self.world)
        everyone: list[Checker] = [
            RisingBoots(self.world), self.answers, NoFalseDeath(self.world), GenuineRows(self.world),
            Bounds(self.world), ComesToRest(self.world), NoTwins(self.world), self.writes,
            self.skew, SameAuthority(self.world),
        ]  # fmt: skip
        self.audit = Audit(self.world, self.misfortune, scenario.accounts) if scenario.accounts else None
        if self.audit is not None:
            everyone += self.audit.checkers
            self.world.audience.gather([self.audit.ledger])
        self.drained = Drained(self.world, Weather(self.world, self.misfortune))
        everyone.append(self.drained)
        self.checkers = [checker for checker in everyone if not judges or type(checker) in judges]
        self.world.audience.gather(self.checkers)
        self.report = Report(scenario=scenario.name, seed=seed, nodes=nodes)

    def play(self) -> Report:
        """Never raises for what a checker found: that stands in the report."""
        look_on(self.world, self.checkers)
        try:
            self._play()
        except Violated as violated:
            self.report.violation = str(violated)
        self._sum_up()
        return self.report

    def _play(self) -> None:
        world, scenario, report = self.world, self.scenario, self.report
        world.start_all()
        world.run_for(1.0)
        report.joined_s = 1.0 + settle(world, JOIN_S)["ready"]
        self._begin_work()
        self.misfortune.begin()
        world.run_for(scenario.storm_s)
        self.misfortune.heal()
        self._healed()
        report.healed_s = settle(world, scenario.settle_s)
        report.calls_s = answer_calls(world, self._skills(), scenario.settle_s)
        if self.audit is not None:
            self.audit.close_books(scenario.settle_s)
        carry(world)
        world.run_for(REST_S)
        settle(world, 0.0)
        if self.audit is not None:
            self.audit.read_books()
        for checker in self.checkers:
            checker.finish()
        self._all_happened()

    def _healed(self) -> None:
        """What people do before all is to be as it was."""

    def _begin_work(self) -> None:
        world, scenario = self.world, self.scenario
        self.users.run_agents()
        if self.audit is not None:
            self.audit.ledger.open_accounts()
        world.run_for(WARM_S)
        settle(world, scenario.settle_s)
        self.users.start(scenario.storm_s)
        if self.audit is not None:
            self.audit.ledger.start(scenario.storm_s)

    def _skills(self) -> tuple[str, ...]:
        accounts = self.scenario.accounts
        return self.scenario.pace.skills if accounts is None else (*self.scenario.pace.skills, accounts.get)

    def _all_happened(self) -> None:
        missing = [kind for kind in self.scenario.kinds if not self.misfortune.happened.get(kind)]
        if missing and self._whole:
            raise Violated("Coverage", self.world.now_us, "world", f"never happened: {', '.join(missing)}")
        if self.writes.generations < self.scenario.generations and self._whole:
            raise Violated("Coverage", self.world.now_us, "world", f"only {self.writes.generations} generations")

        if self.scenario.hidden > 1 and self._whole and not self.world.network.tunnels.opened:
            raise Violated("Coverage", self.world.now_us, "world", "nobody was reached through a relay")

    def _sum_up(self) -> None:
        world, report = self.world, self.report
        report.trace = world.trace.digest()
        report.seconds = world.now_us / SECOND
        report.events, report.inputs, report.effects = world.events, world.trace.inputs, world.trace.effects
        report.wakes = world.trace.wakes
        report.faults = self.misfortune.happened
        report.answers = dict(sorted(self.answers.answered.items()))
        report.writes, report.excused = len(self.writes.acknowledged), self.writes.excused
        report.generations = self.writes.generations
        report.bytes_sent = world.network.sent_bytes
        if self.audit is not None:
            report.payments = self.audit.sums()
