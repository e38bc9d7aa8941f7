"""Scenarios of a fleet, as functions that return figures: how fast, how many copies, how many bytes, who was missed."""

from dataclasses import dataclass

from meshnode.gossip.messages import Describe, Publish
from meshnode.kernel.instant import MS, SECOND
from meshnode.sim.fleet.fleet import FACTS, Fleet
from meshnode.sim.fleet.ship import Ship
from meshnode.sim.fleet.watch import IHAVE, Story
from meshnode.sim.fleet.wires import LETTER_BYTES, PIECE_BYTES

WARM_US = 8 * SECOND
SHAPING, SHAPING_US = 10, 300 * MS  # rumours that make a tree of the links
EVENTS, EVENT_US = 10, 500 * MS
LAST_US = 15 * SECOND
HALF, MOST = 0.5, 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How events reached everybody. ``missed`` pairs of ``pairs`` (event, node); ``copies`` in full, a node."""

    nodes: int
    pairs: int
    missed: int
    p50_us: int
    p99_us: int
    last_us: int
    copies: float
    ihaves: float  # letters with ids a node and event
    bytes_s: float  # a node, with what frames, TLS and TCP add; heartbeats are not among them
    events: int
    trace: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Killed:
    """After a part was killed at once. ``parts``: sizes of what hangs together then."""

    nodes: int
    survivors: int
    at_once: int  # of them, reached by a message sent at that instant
    at_once_us: int  # the last of those
    later: int  # reached by one sent 3 s later
    later_us: int
    parts: tuple[int, ...]
    events: int
    trace: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Steady:
    """A mesh with churn, events and soft state."""

    spread: Spread
    virtual_s: float
    restarts: int
    parts: tuple[int, ...]
    letters: dict[int, int]
    bytes: dict[int, int]


def urgent(seed: int, nodes: int, regions: int) -> Spread:
    return urgent_in(warmed(seed, nodes, regions))


def urgent_in(fleet: Fleet) -> Spread:
    """A change of a random node's row to the last of all, in a mesh where nothing else happens."""
    fleet.watch.reset()
    stories = [_event(fleet, number) for number in range(EVENTS)]
    fleet.run_for(2 * SECOND)
    return _spread(fleet, stories, (EVENTS * EVENT_US + 2 * SECOND) / SECOND)


def killed(seed: int, nodes: int, regions: int, share: float) -> Killed:
    return killed_in(warmed(seed, nodes, regions), share)


def half_killed_in(fleet: Fleet) -> Killed:
    return killed_in(fleet, HALF)


def most_killed_in(fleet: Fleet) -> Killed:
    return killed_in(fleet, MOST)


def killed_in(fleet: Fleet, share: float) -> Killed:
    """A part of all is killed at once; one message leaves at that instant, one three seconds later."""
    nodes = len(fleet.ships)
    victims = fleet.draws.sample(fleet.ships, round(nodes * share))
    for ship in victims:
        fleet.kill(ship)
    alive = fleet.running()
    first = describe(fleet, fleet.draws.choice(alive), 1_000)
    fleet.run_for(3 * SECOND)
    second = describe(fleet, fleet.draws.choice([ship for ship in alive if ship.id != first.origin]), 1_001)
    fleet.run_for(LAST_US - 3 * SECOND)
    return Killed(
        nodes=nodes, survivors=len(alive), at_once=_reached(first, alive), at_once_us=_last_us(first),
        later=_reached(second, alive), later_us=_last_us(second), parts=tuple(fleet.components()),
        events=fleet.events, trace=fleet.trace(),
    )  # fmt: skip


def steady(seed: int, nodes: int, virtual_s: float, regions: int = 20) -> Steady:
    return steady_in(warmed(seed, nodes, regions), virtual_s)


def steady_in(fleet: Fleet, virtual_s: float) -> Steady:
    """One node in a hundred restarts every minute, one event a second, each node's load every 30 s."""
    fleet.watch.reset()
    stories: list[Story] = []
    nodes, restarts, due, loads = len(fleet.ships), 0, 0.0, _Loads(fleet)
    begin_us = fleet.now_us
    for tenth in range(round(virtual_s * 10)):
        if tenth % 10 == 0:
            stories.append(describe(fleet, fleet.draws.choice(fleet.running()), tenth))
        due += nodes * 0.01 / 600
        while due >= 1.0:
            due, restarts = due - 1.0, restarts + 1
            ship = fleet.draws.choice(fleet.running())
            fleet.kill(ship)
            fleet.restart(ship)
        loads.run(SECOND // 10)
    seconds = (fleet.now_us - begin_us) / SECOND
    fleet.run_for(2 * SECOND)
    figures = _spread(fleet, stories, seconds)
    watch = fleet.watch
    return Steady(
        spread=figures, virtual_s=seconds, restarts=restarts, parts=tuple(fleet.components()),
        letters={tag: n for tag, n in enumerate(watch.letters) if n},
        bytes={tag: n for tag, n in enumerate(watch.bytes) if n},
    )  # fmt: skip


class _Loads:
    """Each node publishes its load every 30 s, at a moment of its own."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._turn = 0

    def run(self, for_us: int) -> None:
        fleet, slots = self._fleet, 300
        for ship in fleet.ships[self._turn % slots :: slots]:
            fleet.tell(ship, Publish("load", b'{"cpu":%d,"mem":%d}' % (self._turn % 100, ship.number % 100)))
        self._turn += 1
        fleet.run_for(for_us)


def warmed(seed: int, nodes: int, regions: int) -> Fleet:
    """Started, linked, and with a tree that some rumours have shaped."""
    fleet = Fleet(seed, nodes, regions)
    fleet.start_all()
    fleet.run_for(WARM_US)
    for number in range(SHAPING):
        fleet.watch.close(describe(fleet, fleet.draws.choice(fleet.ships), 10_000 + number))
        fleet.run_for(SHAPING_US)
    fleet.run_for(2 * SECOND)
    return fleet


def describe(fleet: Fleet, ship: Ship, number: int) -> Story:
    """A node's row changes: an urgent rumour."""
    story = fleet.watch.open(ship.id, fleet.now_us, len(fleet.running()) - 1)
    facts = FACTS[:-1] + b',"change":%d}' % number
    fleet.tell(ship, Describe(facts, (ship.address,)))
    return story


def _event(fleet: Fleet, number: int) -> Story:
    story = describe(fleet, fleet.draws.choice(fleet.running()), number)
    fleet.run_for(EVENT_US)
    return story


def _spread(fleet: Fleet, stories: list[Story], seconds: float) -> Spread:
    nodes, watch = len(fleet.ships), fleet.watch
    pairs = [(story, ship.id) for story in stories for ship in fleet.ships if _counts(story, ship)]
    delays = sorted(s.heard_us[node] - s.since_us for s, node in pairs if node in s.heard_us)
    copies = sum(story.copies for story in stories) / max(1, sum(story.others for story in stories))
    octets = sum(watch.bytes) + LETTER_BYTES * sum(watch.letters) + PIECE_BYTES * watch.pieces
    return Spread(
        nodes=nodes, pairs=len(pairs), missed=len(pairs) - len(delays), p50_us=_at(delays, 0.5),
        p99_us=_at(delays, 0.99), last_us=_at(delays, 1.0), copies=copies,
        ihaves=watch.letters[IHAVE] / max(1, len(pairs)), bytes_s=octets / nodes / seconds, events=fleet.events,
        trace=fleet.trace(),
    )  # fmt: skip


def _counts(story: Story, ship: Ship) -> bool:
    """Who was there when it happened, and still is."""
    return ship.running and ship.started_us < story.since_us and ship.id != story.origin


def _at(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else -1


def _reached(story: Story, alive: list[Ship]) -> int:
    return sum(ship.id in story.heard_us or ship.id == story.origin for ship in alive)


def _last_us(story: Story) -> int:
    return max((at - story.since_us for at in story.heard_us.values()), default=-1)
