"""Whether a skill that runs is found from everywhere: asked once a second in each region while nodes restart.

A node finds a skill if its own region offers it, or if the catalogue names a region one of whose bridges, asked in
turn, holds the offer: what ``node/beyond.py`` does with letters, without the time they take. A node that has not heard
of all regions yet says so, and does not say "not found".
"""

from dataclasses import dataclass, field

from meshnode.gossip.messages import Publish
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId
from meshnode.sim.fleet.fleet import Fleet
from meshnode.sim.fleet.ship import Ship
from meshnode.sim.fleet.sight import SKILL, Sight

RAN_US = 10 * SECOND  # so long a skill must have run to be found everywhere
WARM_US = 8 * SECOND
MOVE_S, OVERLAP_S = 15, 12  # half of the skills move: the new one runs so long before the old one goes
ASKERS = 2  # of each region and second
A_REGION = 2  # skills that run there at the beginning
RESTARTS_A_MINUTE = 0.01
ASKED_MAX = 3  # regions asked at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookups:
    """``unanswered``: regions were named, and none of the bridges asked knew. ``unsure``: not all heard of yet."""

    nodes: int
    skills: int
    asked: int
    not_found: int
    unanswered: int
    unsure: int
    restarts: int
    virtual_s: float
    trace: str
    first: str  # of what was not found


@dataclass(slots=True)
class _Skill:
    name: str
    owners: dict[int, int] = field(default_factory=dict[int, int])  # ships by number, and since when it runs there


def skills(seed: int, nodes: int, virtual_s: float, regions: int = 20) -> Lookups:
    """Nodes restart, spokesmen among them, and half of the skills move to another region."""
    fleet = Fleet(seed, nodes, regions, survey=True)
    fleet.start_all()
    fleet.run_for(WARM_US)
    market = _Market(fleet, regions)
    market.open()
    for second in range(round(virtual_s)):
        if second == MOVE_S:
            market.move()
        if second == MOVE_S + OVERLAP_S:
            market.withdraw()
        market.restart(nodes * RESTARTS_A_MINUTE / 60)
        fleet.run_for(SECOND)
        market.ask()
    return market.told(virtual_s)


class _Market:
    """Skills, where they run, and the questions."""

    def __init__(self, fleet: Fleet, regions: int) -> None:
        self._fleet, self._regions = fleet, regions
        self._skills: list[_Skill] = []
        self._leaving: list[tuple[_Skill, Ship]] = []
        self._seen: dict[int, frozenset[str]] = {}  # by ship, of this second
        self._due = 0.0
        self._asked = self._not_found = self._unanswered = self._unsure = self._restarts = 0
        self._first = ""

    # -- what happens -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        for number in range(A_REGION * self._regions):
            skill = _Skill(f"work.s{number}")
            self._skills.append(skill)
            self._publish(skill, self._drawn(number % self._regions))

    def move(self) -> None:
        """Every second skill begins to run in another region as well."""
        for number, skill in enumerate(self._skills[::2]):
            before = self._fleet.ships[next(iter(skill.owners))]
            self._leaving.append((skill, before))
            self._publish(skill, self._drawn((before.number + 1 + number) % self._regions))

    def withdraw(self) -> None:
        for skill, ship in self._leaving:
            skill.owners.pop(ship.number, None)
            self._fleet.tell(ship, Publish(SKILL + skill.name, b""))

    def restart(self, count: float) -> None:
        """Who offers a skill is left alone: whether it runs is not in question here."""
        self._due += count
        owners = {number for skill in self._skills for number in skill.owners}
        others = [ship for ship in self._fleet.running() if ship.number not in owners]
        while self._due >= 1.0:
            self._due, self._restarts = self._due - 1.0, self._restarts + 1
            ship = self._fleet.draws.choice(others)
            self._fleet.kill(ship)
            self._fleet.restart(ship)

    def _publish(self, skill: _Skill, ship: Ship) -> None:
        skill.owners[ship.number] = self._fleet.now_us
        self._fleet.tell(ship, Publish(SKILL + skill.name, b'{"v":1}'))

    def _drawn(self, region: int) -> Ship:
        taken = {number for skill in self._skills for number in skill.owners}
        inside = self._fleet.ships[region :: self._regions]
        return self._fleet.draws.choice([ship for ship in inside if ship.running and ship.number not in taken])

    # -- what is asked ------------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """A few nodes of each region, for all that ran long enough."""
        now_us = self._fleet.now_us
        self._seen.clear()
        ripe = [skill for skill in self._skills if any(now_us >= at_us + RAN_US for at_us in skill.owners.values())]
        for region in range(self._regions):
            inside = [ship for ship in self._fleet.ships[region :: self._regions] if ship.running]
            for ship in self._fleet.draws.sample(inside, min(ASKERS, len(inside))):
                for skill in ripe:
                    self._ask(ship, skill)

    def _ask(self, ship: Ship, skill: _Skill) -> None:
        self._asked += 1
        if skill.name in self._offered(ship):
            return
        catalogue, now_us = ship.room.catalogue, self._fleet.now_us
        offers = catalogue.regions_of(skill.name, now_us)
        if any(self._knows(bridge, skill) for offer in offers[:ASKED_MAX] for bridge in offer.bridges):
            return
        if catalogue.silent(now_us):
            self._unsure += 1
        elif offers:
            self._unanswered += 1
        else:
            self._not_found += 1
            self._first = self._first or f"{skill.name} from {ship.name} after {now_us / SECOND:.0f} s"

    def _knows(self, bridge: NodeId, skill: _Skill) -> bool:
        ship = self._fleet.by_id[bridge]
        return ship.running and skill.name in self._offered(ship)

    def _offered(self, ship: Ship) -> frozenset[str]:
        """As far as it knows by itself at this moment."""
        if ship.number not in self._seen:
            self._seen[ship.number] = Sight(ship.room).held()
        return self._seen[ship.number]

    def told(self, virtual_s: float) -> Lookups:
        return Lookups(
            nodes=len(self._fleet.ships), skills=len(self._skills), asked=self._asked, not_found=self._not_found,
            unanswered=self._unanswered, unsure=self._unsure, restarts=self._restarts, virtual_s=virtual_s,
            trace=self._fleet.trace(), first=self._first,
        )  # fmt: skip
