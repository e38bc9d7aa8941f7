"""A mesh in virtual time: machines, wires and one heap of what happens next, ordered by (time, sequence).

Everything is drawn from the seed, in streams of their own for each purpose. Nothing reads a clock, so an hour passes as
fast as the processor computes it, and the same seed gives the same run to the last byte.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.kinds import OURS
from meshnode.kernel import rng
from meshnode.kernel.instant import SECOND
from meshnode.kernel.rng import Random
from meshnode.model.commands import AnyCommand
from meshnode.model.views import AnyView
from meshnode.sim.clocks import ClockSpec
from meshnode.sim.network import Network
from meshnode.sim.node import Adapt, Plan, SimNode
from meshnode.sim.parcels import Parcels
from meshnode.sim.places import City, draw_places, one_way_us
from meshnode.sim.trace import Trace
from meshnode.sim.trust import make_identity, shared_verifier
from meshnode.sim.watching import Audience, Watcher
from meshnode.wire.codec import WIRE, Codec

PORT = 7700
# By tier. 1: whole nodes, real bytes; 2: whole nodes, frames as objects. The third tier is ``sim/fleet``.
NODES_MAX_OF = {1: 200, 2: 1_000}
NODES_MAX = NODES_MAX_OF[1]
SEEDS = 2  # the first nodes are the ones everybody is told of, and admins


class _Mailbox(Watcher):
    """Keeps replies until somebody takes them."""

    def __init__(self) -> None:
        self.replies: dict[tuple[str, int], AnyView] = {}
        self._waiting: dict[tuple[str, int], None] = {}

    def expect(self, node: str, number: int) -> None:
        self._waiting[(node, number)] = None

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        if self._waiting.pop((node.name, number), False) is None:
            self.replies[(node.name, number)] = view


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What a world is made of. ``nudge_us``: added to one wire, to show that the trace notices."""

    seed: int
    nodes: int
    nudge_us: int = 0
    clocks: tuple[ClockSpec, ...] = ()  # by node number; missing ones are right
    adapt: tuple[tuple[int, Adapt], ...] = ()  # by node number
    show: Callable[[str], None] | None = None
    tier: int = 1
    cities: tuple[City, ...] = ()  # where they stand, by turns; empty: the seed says
    wire_us: int | None = None  # every wire takes as long; None: as far as the cities are apart
    traced: bool = True  # without it a run goes faster and has no hash
    documents: DocumentsConfig = DocumentsConfig(kinds=OURS)
    relays: int = 0  # so many of the first machines carry for others
    hidden: int = 0  # so many of the last ones can be dialled by nobody
    knows: bool = True  # and were told so

    def __post_init__(self) -> None:
        most = NODES_MAX_OF.get(self.tier)
        if most is None:
            raise ValueError(f"worlds of whole nodes are of tier 1 or 2, not {self.tier}")
        if not 1 <= self.nodes <= most:
            raise ValueError(f"a world of tier {self.tier} has 1 to {most} nodes, not {self.nodes}")


class World:
    """Machines that do not run yet; see ``start_all``."""

    def __init__(self, setup: Setup) -> None:
        self.seed = _seed_bytes(setup.seed)
        self.trace = Trace(setup.show, hashed=setup.traced)
        self.verifier = shared_verifier()
        self.codec: Codec = WIRE if setup.tier == 1 else Parcels()
        self.events = 0
        self.audience = Audience()
        self.now_us = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0
        self._mailbox = _Mailbox()
        self.audience.gather([self._mailbox])
        self.network = Network(self, self.luck("network"), self._delay_us)
        self.nodes = self._machines(setup)
        self._named = {node.name: node for node in self.nodes}
        self._delays = self._wires(setup)

    # -- time ---------------------------------------------------------------------------------------------------------

    def at(self, t_us: int, act: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (max(t_us, self.now_us), self._sequence, act))

    def run_until(self, t_us: int) -> None:
        heap = self._heap
        while heap and heap[0][0] <= t_us:
            at_us, _, act = heapq.heappop(heap)
            self.now_us = max(at_us, self.now_us)  # after a leap what was due before is late
            self.events += 1
            act()
        self.now_us = max(self.now_us, t_us)

    def leap(self, seconds: float) -> None:
        """All clocks go on by this at once, and only then happens what was due meanwhile: late, in its order.

        Peers on links that stand would have been heard all the time: before anything else each hears the other once.
        So silence within a leap accuses nobody whom a wire reaches; all the rest (waits, back-offs, ages) is as old.
        """
        self.now_us += round(seconds * SECOND)
        links = self.network.standing()
        for node in self.nodes:
            node.heard_meanwhile(links.get(node.name, {}))
        self.run_until(self.now_us)

    def run_for(self, seconds: float) -> None:
        self.run_until(self.now_us + round(seconds * SECOND))

    def run_till(self, wanted: Callable[[], bool], within_s: float, every_s: float = 0.1) -> bool:
        """Look every ``every_s`` whether it is so; False when time is up."""
        give_up_us = self.now_us + round(within_s * SECOND)
        while not wanted():
            if self.now_us >= give_up_us:
                return False
            self.run_for(every_s)
        return True

    # -- luck ---------------------------------------------------------------------------------------------------------

    def luck(self, purpose: str) -> Random:
        return rng.fork(self.seed, purpose)

    # -- machines -----------------------------------------------------------------------------------------------------

    def __getitem__(self, number: int) -> SimNode:
        return self.nodes[number]

    def named(self, name: str) -> SimNode:
        return self._named[name]

    def start_all(self, within_s: float = 1.0) -> None:
        """Everybody boots, one after the other."""
        luck = self.luck("boot")
        for number, node in enumerate(self.nodes):
            wait_us = round(within_s * SECOND * luck.random()) if number else 0
            self.at(self.now_us + wait_us, node.start)

    def running(self) -> list[SimNode]:
        return [node for node in self.nodes if node.alive]

    def ask(self, node: SimNode, command: AnyCommand, within_s: float = 30.0) -> AnyView | None:
        """One question and its answer, with the world going on meanwhile. ``None``: no answer came."""
        number = node.ask(command)
        key = (node.name, number)
        self._mailbox.expect(*key)
        if not self.run_till(lambda: key in self._mailbox.replies, within_s, 0.02):
            return None
        return self._mailbox.replies.pop(key)

    def ask_all(self, questions: Sequence[tuple[SimNode, AnyCommand]], within_s: float) -> list[AnyView | None]:
        """Many questions at once; ``None`` where nobody can answer, or nobody did in time."""
        keys = [(node.name, node.ask(command)) if node.usable else None for node, command in questions]
        for key in keys:
            if key is not None:
                self._mailbox.expect(*key)
        replies = self._mailbox.replies
        self.run_till(lambda: all(key is None or key in replies for key in keys), within_s, 0.02)
        return [None if key is None else replies.pop(key, None) for key in keys]

    def _machines(self, setup: Setup) -> list[SimNode]:
        drawn, given = draw_places(self.luck("places"), setup.nodes), setup.cities
        cities = [given[number % len(given)] for number in range(setup.nodes)] if given else drawn
        adapts = dict(setup.adapt)
        width = len(str(setup.nodes - 1))
        nodes: list[SimNode] = []
        addresses = [(f"10.0.{number // 250}.{number % 250 + 1}", PORT) for number in range(setup.nodes)]
        for number, city in enumerate(cities):
            name = f"n{number:0{width}}"
            plan = Plan(
                identity=make_identity(self.seed, name, city.region, ("admin",) if number < SEEDS else ("member",)),
                machine=name,
                city=city,
                address=addresses[number],
                seeds=tuple(address for address in addresses[:SEEDS] if address != addresses[number]),
                clock=setup.clocks[number] if number < len(setup.clocks) else ClockSpec(),
                adapt=adapts.get(number, Adapt()),
                documents=setup.documents,
                profile="relay" if number < setup.relays else "default",
                hidden=number >= setup.nodes - setup.hidden,
                knows=setup.knows,
            )
            nodes.append(SimNode(self, plan))
            self.network.join(nodes[-1], plan.address)
            if plan.hidden:
                self.network.hidden[name] = None
        return nodes

    # -- wires --------------------------------------------------------------------------------------------------------

    def _wires(self, setup: Setup) -> dict[tuple[str, str], int]:
        """The same both ways but for the nudge: routes differ by what the seed says."""
        luck = self.luck("wires")
        delays: dict[tuple[str, str], int] = {}
        for number, a in enumerate(self.nodes):
            for b in self.nodes[:number]:
                way_us = one_way_us(a.plan.city, b.plan.city) if setup.wire_us is None else setup.wire_us
                delay_us = round(way_us * (1.0 + 0.2 * luck.random()))
                delays[a.name, b.name] = delays[b.name, a.name] = delay_us
        if setup.nudge_us and len(self.nodes) > 1:
            delays[self.nodes[0].name, self.nodes[1].name] += setup.nudge_us
        return delays

    def _delay_us(self, a: str, b: str) -> int:
        return self._delays[a, b] if a != b else 30


def stream(seed: int, purpose: str) -> Random:
    """Luck for what is decided before there is a world."""
    return rng.fork(_seed_bytes(seed), purpose)


def _seed_bytes(seed: int) -> bytes:
    return seed.to_bytes(16, signed=True)
