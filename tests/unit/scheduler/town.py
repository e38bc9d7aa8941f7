"""Several schedulers joined by gossip that takes its time, in virtual time: nodes die, boot, are cut off and come back.

What the rooms around do is played in the simplest honest way: a claimed unit's process answers a moment later, a
released one hands its state over while the winner can be reached.
"""

import heapq
import random
from collections.abc import Callable, Sequence

import msgspec

from meshnode.kernel.effects import Effect, Note, Persist
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.records import Record
from meshnode.model.ids import AgentName, InstanceId, NodeId
from meshnode.model.recipe import Recipe
from meshnode.model.resources import Resources
from meshnode.scheduler.messages import (
    Claim,
    ClaimsChanged,
    DrainsChanged,
    UnitChanged,
    UnitClaimed,
    UnitReleased,
    Want,
    Wanted,
)
from meshnode.scheduler.ports import DOWN, READY, UNREACHABLE, NodeFacts
from meshnode.scheduler.rules import SchedulerRules
from meshnode.scheduler.scheduler import Scheduler, SchedulerConfig

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon")
RECIPE = Recipe(("/bin/cat",))


def id_of(name: str) -> NodeId:
    return NodeId(name.encode().ljust(32, b"\0"))


def want(agent: str = "words", replicas: int = 1, **more: object) -> Want:
    return msgspec.structs.replace(Want(AgentName(agent), RECIPE, replicas), **more)


class Process(msgspec.Struct):
    epoch: Epoch
    running: bool = False
    leaving: NodeId | None = None


class House:
    """One node: its scheduler, its journal, its processes, and what it believes of the others."""

    def __init__(self, town: "Town", facts: NodeFacts) -> None:
        self.town, self.facts = town, facts
        self.journal: dict[bytes, Record] = {}
        self.seen: dict[NodeId, tuple[str, int]] = {}
        self.processes: dict[InstanceId, Process] = {}
        self.boot = self.commit_us = 0
        self.up = False
        self.scheduler: Scheduler | None = None
        self.linked = False
        self.told: dict[str, Resources] = {}  # by regions, of what they have left

    @property
    def node(self) -> NodeId:
        return self.facts.node

    def nodes(self) -> Sequence[NodeFacts]:
        found = [self.facts]
        for node, (state, since) in sorted(self.seen.items()):
            found.append(msgspec.structs.replace(self.town.houses[node].facts, state=state, lost_us=since))
        return found

    def facts_of(self, node: NodeId, /) -> NodeFacts | None:
        return next((facts for facts in self.nodes() if facts.node == node), None)

    def spare(self, region: str, /) -> Resources | None:
        return self.told.get(region)

    def version(self, unit: InstanceId) -> int:
        return 0

    def claims(self) -> list[Claim]:
        return [Claim(self.node, unit, p.epoch, p.running) for unit, p in self.processes.items()]


class Town:
    """``delay_us``: how long a word may take between two nodes. ``failing``: (node, unit) that always fails there."""

    def __init__(
        self, count: int = 3, seed: int = 0, *, delay_us: int = 50 * MS, rules: SchedulerRules | None = None,
        config: SchedulerConfig | None = None, **facts: dict[str, object],
    ) -> None:  # fmt: skip
        self.luck = random.Random(seed)
        self.now_us = 0
        self.delay_us = delay_us
        self.rules, self.config = rules or SchedulerRules(), config or SchedulerConfig()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.wants: tuple[Want, ...] = ()
        self.notes: list[str] = []
        self.facts: list[tuple[NodeId, Effect]] = []
        self.epochs: dict[tuple[InstanceId, Epoch], None] = {}
        self.claimed = 0
        self.failing: dict[tuple[str, InstanceId], str] = {}
        self.cut: dict[NodeId, int] = {}  # which side of the cable a node is on
        self.houses: dict[NodeId, House] = {}
        for name in NAMES[:count]:
            about = NodeFacts(id_of(name), name, cpu_milli=4000, memory_bytes=2**33)
            self.houses[id_of(name)] = House(self, msgspec.structs.replace(about, **facts.get(name, {})))
        for house in self.houses.values():
            house.seen = {node: (READY, 0) for node in self.houses if node != house.node}
        for house in self.houses.values():
            self._boot(house)

    def house(self, name: str) -> House:
        return self.houses[id_of(name)]

    # -- what people and bad luck do ---------------------------------------------------------------------------------

    def want(self, *wants: Want, only: str = "") -> None:
        """Documents travel like everything else; ``only`` that node has them first."""
        self.wants = wants
        for house in self.houses.values():
            first = not only or house.facts.name == only
            self._later(0 if first else self._word_us(), lambda house=house: self._want(house))

    def drain(self, name: str, reason: str = "new disk", *, drained: bool = True) -> None:
        """The document arrives everywhere as fast as words do; who is cut off or dead reads it when they meet."""
        house = self.house(name)
        why = reason if drained else ""
        house.facts = msgspec.structs.replace(house.facts, drained=drained, drained_for=why)
        for other in self.houses.values():
            if self._reaches(other, house):
                self._later(self._word_us(), lambda other=other: self._drains(other, name))

    def resume(self, name: str) -> None:
        self.drain(name, drained=False)

    def _drains(self, house: House, name: str) -> None:
        if house.scheduler is not None:
            self.perform(house, house.scheduler.drains_changed(DrainsChanged((name,)), self.now))

    def kill(self, name: str, seen_us: int = 300 * MS) -> None:
        house = self.house(name)
        house.up, house.scheduler, house.linked = False, None, False
        house.processes.clear()
        for other in self.houses.values():
            if other is not house and self._reaches(other, house):
                boot = house.boot
                self._later(self.luck.randrange(seen_us), lambda o=other, b=boot: self._fell(o, house, b))

    def boot(self, name: str) -> None:
        self._boot(self.house(name))

    def sever(self, *names: str) -> None:
        """These nodes on one side, all others on the other."""
        self.cut = {node: int(house.facts.name in names) for node, house in self.houses.items()}
        for a in self.houses.values():
            for b in self.houses.values():
                if a is not b and a.up and b.up and not self._reaches(a, b):
                    self._later(400 * MS + self.luck.randrange(400 * MS), lambda a=a, b=b: self._lost(a, b))

    def heal(self) -> None:
        self.cut = {}
        for a in self.houses.values():
            for b in self.houses.values():
                if a is not b:
                    self._later(self._word_us(), lambda a=a, b=b: self._met(a, b))

    def run_for(self, seconds: float, check: Callable[[], None] | None = None) -> None:
        end = self.now_us + round(seconds * SECOND)
        while True:
            woken = [
                (at, no) for no, house in enumerate(self.houses.values())
                if house.scheduler is not None and (at := house.scheduler.deadline()) is not None
            ]  # fmt: skip
            next_at = min([self._queue[0][0] if self._queue else end + 1, *(at for at, _ in woken)])
            if next_at > end:
                self.now_us = end
                return
            self.now_us = max(self.now_us, next_at)
            while self._queue and self._queue[0][0] <= self.now_us:
                heapq.heappop(self._queue)[2]()
            for house in self.houses.values():
                if house.scheduler is not None:
                    due = house.scheduler.deadline()
                    if due is not None and due <= self.now_us:
                        self.perform(house, house.scheduler.wake(self.now))
            if check is not None:
                check()

    # -- what is so --------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 0)

    def running(self) -> dict[InstanceId, list[str]]:
        """Units whose process answers, and where."""
        found: dict[InstanceId, list[str]] = {}
        for house in self.houses.values():
            for unit, process in house.processes.items():
                if process.running:
                    found.setdefault(unit, []).append(house.facts.name)
        return dict(sorted(found.items()))

    def claimants(self, unit: str) -> list[str]:
        return [house.facts.name for house in self.houses.values() if InstanceId(unit) in house.processes]

    # -- the rooms around --------------------------------------------------------------------------------------------

    def perform(self, house: House, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self.facts.append((house.node, effect))
            match effect:
                case Persist(records, then):
                    self._commit(house, records, then)
                case UnitClaimed():
                    self._open(house, effect)
                case UnitReleased():
                    self._release(house, effect)
                case UnitChanged(unit):
                    self._restart(house, unit)
                case ClaimsChanged(agent):
                    self._publish(house, agent)
                case Note(_, text):
                    self.notes.append(f"{house.facts.name}: {text}")
                case _:
                    raise AssertionError(effect)

    def _commit(self, house: House, records: tuple[Record, ...], then: tuple[Effect, ...]) -> None:
        boot = house.boot

        def done() -> None:
            if house.up and house.boot == boot:
                for record in records:
                    house.journal[record.key] = record
                self.perform(house, then)

        house.commit_us = max(house.commit_us, self.now_us + 1 * MS + self.luck.randrange(4 * MS))  # in order
        self._later(house.commit_us - self.now_us, done)

    def _open(self, house: House, fact: UnitClaimed) -> None:
        assert (fact.unit, fact.epoch) not in self.epochs, "an epoch was used twice"
        self.epochs[fact.unit, fact.epoch] = None
        self.claimed += 1
        process = house.processes[fact.unit] = Process(fact.epoch)
        self._publish(house, fact.want.agent)
        self._later(20 * MS + self.luck.randrange(60 * MS), lambda: self._started(house, fact.unit, process))

    def _started(self, house: House, unit: InstanceId, process: Process) -> None:
        if house.processes.get(unit) is not process or house.scheduler is None or process.leaving:
            return
        why = self.failing.get((house.facts.name, unit))
        if why is not None:
            self.perform(house, house.scheduler.failed(unit, why, self.now))
            return
        process.running = True
        self.perform(house, house.scheduler.unit_running(unit, running=True, now=self.now))
        self._publish(house, AgentName(unit.partition("/")[0]))

    def _restart(self, house: House, unit: InstanceId) -> None:
        process = house.processes[unit]
        assert house.scheduler is not None
        process.running = False
        self.perform(house, house.scheduler.unit_running(unit, running=False, now=self.now))
        self._later(50 * MS, lambda: self._started(house, unit, process))

    def _release(self, house: House, fact: UnitReleased) -> None:
        process = house.processes.get(fact.unit)
        if fact.winner is None:
            house.processes.pop(fact.unit, None)
        else:
            if process is not None:
                process.leaving = fact.winner
            self._later(self._word_us(), lambda: self._hand_over(house, fact.unit, fact.winner, process))

    def _hand_over(self, house: House, unit: InstanceId, winner: NodeId | None, process: Process | None) -> None:
        assert winner is not None
        if house.scheduler is None or house.processes.get(unit) is not process:
            return
        if process is not None and process.leaving != winner:
            return
        other = self.houses[winner]
        if not (other.up and self._reaches(house, other)):
            self._later(200 * MS, lambda: self._hand_over(house, unit, winner, process))
            return
        house.processes.pop(unit, None)
        self.perform(house, house.scheduler.handed_over(unit, self.now))
        self._publish(house, AgentName(unit.partition("/")[0]))

    def _publish(self, house: House, agent: AgentName) -> None:
        for other in self.houses.values():
            if other is not house:
                self._later(self._word_us(), lambda o=other: self._hear(o, house, agent))

    def _hear(self, house: House, other: House, agent: AgentName) -> None:
        """What one says now reaches the other: gossip brings the newest, and nothing through a cut."""
        if house.scheduler is None or other.scheduler is None or not self._reaches(house, other):
            return
        claims = [claim for claim in other.claims() if claim.unit.startswith(f"{agent}/")]
        claims += other.scheduler.refusals(agent)
        self.perform(house, house.scheduler.claims(other.node, agent, claims, self.now))

    def _want(self, house: House) -> None:
        if house.scheduler is not None:
            self.perform(house, house.scheduler.wanted(Wanted(self.wants), self.now))

    def _boot(self, house: House) -> None:
        house.boot, house.up = house.boot + 1, True
        house.seen = dict.fromkeys(house.seen, (UNREACHABLE, self.now_us) if house.boot > 1 else (READY, 0))
        house.scheduler = Scheduler(
            self.config, me=house.node, name=house.facts.name, nodes=house, copies=house, rules=self.rules,
            restored=list(house.journal.values()),
        )  # fmt: skip
        self.perform(house, house.scheduler.start(self.now))
        self.perform(house, house.scheduler.wanted(Wanted(self.wants), self.now))
        for node in house.seen:
            other = self.houses[node]
            for a, b in ((house, other), (other, house)):
                self._later(self._word_us(), lambda a=a, b=b: self._met(a, b))

    def _met(self, a: House, b: House) -> None:
        if a.scheduler is None or not b.up or not self._reaches(a, b):
            return
        if not a.linked:
            a.linked = True
            self.perform(a, a.scheduler.linked(self.now))
        if a.seen[b.node][0] != READY:
            a.seen[b.node] = (READY, 0)
            self.perform(a, a.scheduler.member_changed(b.node, self.now))
        self._later(self._word_us(), lambda: self._want(a))
        for agent in sorted({want.agent for want in self.wants}):
            self._later(self._word_us(), lambda agent=agent: self._hear(a, b, agent))

    def _fell(self, a: House, b: House, boot: int) -> None:
        if a.scheduler is not None and b.boot == boot and not b.up and a.seen[b.node][0] != DOWN:
            a.seen[b.node] = (DOWN, self.now_us)
            self.perform(a, a.scheduler.member_changed(b.node, self.now))

    def _lost(self, a: House, b: House) -> None:
        if a.scheduler is None or self._reaches(a, b) or a.seen[b.node][0] != READY:
            return
        a.seen[b.node] = (UNREACHABLE, self.now_us)
        self.perform(a, a.scheduler.member_changed(b.node, self.now))
        self._later(3 * SECOND, lambda: self._expire(a, b))

    def _expire(self, a: House, b: House) -> None:
        """Soft facts of a node that is not heard perish."""
        if a.scheduler is not None and a.seen[b.node][0] != READY:
            for agent in sorted({want.agent for want in self.wants}):
                self.perform(a, a.scheduler.claims(b.node, agent, (), self.now))

    def _reaches(self, a: House, b: House) -> bool:
        return self.cut.get(a.node, 0) == self.cut.get(b.node, 0)

    def _word_us(self) -> int:
        return 1 * MS + self.luck.randrange(max(1, self.delay_us))

    def _later(self, wait_us: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_us + wait_us, self._count, act))


def resources(**amounts: int) -> Resources:
    return Resources(**amounts)
