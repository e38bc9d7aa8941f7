"""What agents that survive promise: what was acknowledged counts once, never shrinks, and somebody answers in time."""

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import AnyCommand, CallSkill
from meshnode.model.ids import InstanceId
from meshnode.model.views import AnyView, CallView, Failure
from meshnode.sim.books import Books, read_books
from meshnode.sim.cells import Tally
from meshnode.sim.faults import Misfortune
from meshnode.sim.ledger import HOPELESS, Accounts, Ledger
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Checker, Violated
from meshnode.sim.weather import Weather
from meshnode.sim.world import World

# Noticing that a node is gone (4 s), its claim counting no more (1 s), two turns (2.4 s), state and process (1 s).
ANSWERS_WITHIN_US = 10 * SECOND
MERGED_WITHIN_US = 6 * SECOND


class AcknowledgedOnce(Checker):
    """Every acknowledged payment is in the state once, an unknown one at most once, and the counter is their sum: as
    nodes show it, as processes hold it and as it lies on the disks."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        super().__init__(world)
        self._ledger = ledger
        self.books: Books | None = None

    def finish(self) -> None:
        books = self.books
        assert books is not None, "the books were not read"
        if books.silent:
            self.wrong(None, f"no state is shown: {books.silent[0]}")
        for name, shown in books.shown.items():
            self._judge(self.world.named(name), "shows", shown)
        self._judge(None, "have on their disks", books.disks)
        self._judge(None, "hold in memory", books.memory)

    def _judge(self, node: SimNode | None, verb: str, states: dict[InstanceId, Tally]) -> None:
        held: dict[str, list[InstanceId]] = {}
        for unit, tally in states.items():
            for paid, n in tally.ids.items():
                held.setdefault(paid, []).append(unit)
                payment = self._ledger.payments.get(paid)
                if payment is None or payment.n != n:
                    self.wrong(node, f"{verb} {n} for {paid} in {unit}, which nobody paid")
            if tally.total != sum(tally.ids.values()):
                self.wrong(
                    node, f"{verb} a total of {tally.total} for {unit}; its payments make {sum(tally.ids.values())}"
                )
        for payment in self._ledger.acknowledged:
            if payment.id not in held:
                how = f"{payment.level}, version {payment.version} of {payment.unit} on {payment.node}"
                self.wrong(node, f"{verb} no {payment.id}, which was acknowledged ({how})")
        twice = next((paid for paid, units in held.items() if len(units) > 1), None)
        if twice is not None:
            self.wrong(node, f"{verb} {twice} in {' and '.join(held[twice])}: it ran twice")


class NeverBack(Checker):
    """While the mesh is whole and calm, whoever reads finds all that was acknowledged before; no version ever falls."""

    def __init__(self, world: World, ledger: Ledger, weather: Weather) -> None:
        super().__init__(world)
        self._ledger, self._weather = ledger, weather
        self._asked: dict[tuple[str, int], dict[str, int]] = {}
        self.books: Books | None = None
        self.read = 0

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        if isinstance(command, CallSkill) and command.skill == self._ledger.accounts.get:
            self._asked[node.name, number] = dict(self._ledger.sums)

    def died(self, node: SimNode) -> None:
        for key in [key for key in self._asked if key[0] == node.name]:
            del self._asked[key]

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        sums = self._asked.pop((node.name, number), None)
        if sums is None or not isinstance(view, CallView):
            return
        since_us = self._weather.calm_since_us(node)
        if since_us is None or self.world.now_us - since_us < MERGED_WITHIN_US or not self._weather.whole():
            return
        self.read += 1
        total, least = view.result["total"], sums.get(view.instance, 0)
        if total < least:
            self.wrong(node, f"reads {total} from {view.instance}, and {least} were acknowledged before")

    def finish(self) -> None:
        assert self.books is not None, "the books were not read"
        for payment in self._ledger.acknowledged:
            version = self.books.versions.get(InstanceId(payment.unit), 0)
            if version < payment.version:
                self.wrong(None, f"{payment.unit} is at version {version}; {payment.version} was acknowledged")


class AnsweredInTime(Checker):
    """Once nothing has happened for a while, every node on every side of every cut gets answers from the agent.

    ``slowest_us``: the longest after the last event at which a call that failed was made.
    """

    def __init__(self, world: World, ledger: Ledger, weather: Weather) -> None:
        super().__init__(world)
        self._skills = (ledger.accounts.add, ledger.accounts.get)
        self._weather = weather
        self._asked: dict[tuple[str, int], int] = {}
        self.slowest_us = 0
        self.judged = 0

    def look(self) -> None:
        self._weather.look()

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        if isinstance(command, CallSkill) and command.skill in self._skills:
            self._asked[node.name, number] = self.world.now_us

    def died(self, node: SimNode) -> None:
        for key in [key for key in self._asked if key[0] == node.name]:
            del self._asked[key]

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        asked_us = self._asked.pop((node.name, number), None)
        since_us = self._weather.calm_since_us(node)
        if asked_us is None or since_us is None or asked_us < since_us:
            return
        self.judged += 1
        if not isinstance(view, Failure) or view.code in HOPELESS:
            return
        self.slowest_us = max(self.slowest_us, asked_us - since_us)
        if asked_us - since_us > ANSWERS_WITHIN_US:
            calm = f"{(asked_us - since_us) / SECOND:.1f} s of calm"
            self.wrong(node, f"asked after {calm}, gets {view.code}: {view.message}")


class Audit:
    """The ledger of a run and all who judge by it."""

    def __init__(self, world: World, misfortune: Misfortune, accounts: Accounts) -> None:
        self._world = world
        self.ledger = Ledger(world, accounts)
        weather = Weather(world, misfortune)
        self._once = AcknowledgedOnce(world, self.ledger)
        self._back = NeverBack(world, self.ledger, weather)
        self._in_time = AnsweredInTime(world, self.ledger, weather)
        self.checkers: list[Checker] = [self._once, self._back, self._in_time]

    def close_books(self, within_s: float) -> None:
        """Whoever still asks gets an answer. Raises ``Violated``."""
        if not self.ledger.rest(within_s):
            raise Violated("Liveness", self._world.now_us, "all nodes", f"payments are open after {within_s:g} s")

    def read_books(self) -> None:
        self._once.books = self._back.books = read_books(self._world, self.ledger.accounts.agent)

    def sums(self) -> dict[str, int | float]:
        """For the report."""
        ledger = self.ledger
        levels: dict[str, int | float] = {}
        for payment in ledger.acknowledged:
            levels[payment.level] = levels.get(payment.level, 0) + 1
        return {
            "acknowledged": len(ledger.acknowledged), "unknown": len(ledger.unknown), "repeated": ledger.repeated,
            "replayed": ledger.replayed, **dict(sorted(levels.items())), "judged in time": self._in_time.judged,
            "slowest s": round(self._in_time.slowest_us / SECOND, 2), "read": self._back.read,
        }  # fmt: skip
