"""The catalogue in any weather: cuts, deaths and returns; a skill that exists and can be reached is found again.

Every node has a catalogue of its own and sees what its side of the cuts lets it see: who is there, what its region
offers, whose rumours reach it; what was missed is brought by repairs.
"""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.gossip.catalogue import CONTEXT, STAND_US, Catalogue, RowBody
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.letters import RegionRumour, SignedFact, decode_rumour
from meshnode.gossip.summaries import Gauge
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import Member
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from tests.unit.gossip.regions import CheapJudge, CheapKey, Roll

CALM_S = 45  # the slowest way: a spokesman believes a fall, the next ones wait for their turns, a repair brings it
REPAIR_S = 5


class Seen(Roll):
    """The world as one node sees it: the ports of its catalogue."""

    def __init__(self, weather: "Weather", me: NodeId) -> None:
        self.weather, self.me, self.members = weather, me, weather.members

    def reachable(self, node: NodeId) -> bool:
        return node not in self.weather.dead and self.weather.side[node] == self.weather.side[self.me]

    def gone(self, node: NodeId) -> bool:
        return node in self.weather.dead and self.weather.side[node] == self.weather.side[self.me]

    def peers(self) -> list[NodeId]:
        return []

    def last_heard_us(self, peer: NodeId) -> int | None:
        return None

    def rtt_us(self, peer: NodeId) -> int | None:
        return None

    def offers(self) -> list[tuple[str, tuple[str, ...], NodeId]]:
        """Of its own region, and of whom it hears."""
        region = self.members[self.me].region
        return [
            (skill, (), node) for node, skills in sorted(self.weather.offered.items())
            if self.members[node].region == region and self.reachable(node) for skill in sorted(skills)
        ]  # fmt: skip

    def best(self, _node: NodeId) -> str:
        return "cpu"

    def gauges(self) -> list[Gauge]:
        return [Gauge("cpu") for node in self.in_region(self.members[self.me].region) if self.reachable(node)]


class Weather:
    """Regions of so many nodes each. ``kind``: of catalogue; a planted fault takes its place."""

    def __init__(self, seed: int, sizes: tuple[int, ...], kind: type[Catalogue] = Catalogue) -> None:
        self.luck, self.kind, self.now_s = random.Random(seed), kind, 100
        self.members: dict[NodeId, Member] = {}
        self.keys: dict[NodeId, CheapKey] = {}
        for at, size in enumerate(sizes):
            for number in range(size):
                key = CheapKey(f"{seed}/{at}/{number}")
                self.members[key.node] = Member(key.node, "n", key.public_key, ("member",), f"r{at}", {}, b"")
                self.keys[key.node] = key
        self.nodes = sorted(self.members)
        self.side = dict.fromkeys(self.nodes, 0)
        self.dead: dict[NodeId, None] = {}
        self.offered: dict[NodeId, dict[str, None]] = {node: {} for node in self.nodes}
        self.refused: dict[str, None] = {}
        self.changed_s = 0  # when anything last changed
        self.catalogues = {node: self._booted(node) for node in self.nodes}

    @property
    def now(self) -> Instant:
        return Instant(self.now_s * SECOND, 1)

    def _booted(self, node: NodeId) -> Catalogue:
        seen, region = Seen(self, node), self.members[node].region
        made = self.kind(
            GossipConfig(node=node, name="n", region=region, boot=1, member=b""), seen, seen, self.keys[node],
            CheapJudge(), seen, holds=lambda other: other == region, small=lambda: False,
        )  # fmt: skip
        made.surveyed(seen, self.now_s * SECOND)
        return made

    def step(self) -> None:
        """Something happens, and a while passes."""
        node = self.luck.choice(self.nodes)
        match self.luck.randrange(7):
            case 0 | 1:
                self.offered[node][self.luck.choice("abc")] = None
            case 2:
                self.offered[node].pop(self.luck.choice("abc"), None)
            case 3 if len(self.dead) < len(self.nodes) - 1:
                self.dead[node] = None
                self.offered[node] = {}
            case 4 if self.dead:
                back = self.luck.choice(sorted(self.dead))
                del self.dead[back]
                self.catalogues[back] = self._booted(back)
            case 5:
                cut = self.luck.choice(["region", "halves"])
                region = self.members[node].region
                for each in self.nodes:
                    apart = self.members[each].region == region if cut == "region" else self.luck.random() < 0.5
                    self.side[each] = int(apart)
            case _:
                self.side = dict.fromkeys(self.nodes, 0)
        self.changed_s = self.now_s
        self.pass_(self.luck.choice((1, 4, 15, 70)))

    def pass_(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_s += 1
            for node in self.nodes:
                if node not in self.dead:
                    for rumour in self.catalogues[node].wake(self.now):
                        self.spread(node, rumour)
            if self.now_s % REPAIR_S == 0:
                self.repair()

    def spread(self, source: NodeId, rumour: bytes) -> None:
        told = decode_rumour(rumour)
        assert isinstance(told, RegionRumour)
        for node in self.nodes:
            if node != source and self.side[node] == self.side[source] and node not in self.dead:
                try:
                    self.catalogues[node].rumour(told, self.now)
                except RemoteError as error:
                    self.refused[error.reason] = None

    def repair(self) -> None:
        """Two who hear each other even out what differs."""
        alive = [node for node in self.nodes if node not in self.dead]
        for one in alive:
            two = self.luck.choice(alive)
            if self.side[one] == self.side[two]:
                for a, b in ((one, two), (two, one)):
                    keys = [key for number in range(256) for key, _ in self.catalogues[a].index.bucket(number)]
                    for row in self.catalogues[a].pack(keys, self.now):
                        self.catalogues[b].receive(row, self.now)

    # -- what must hold -----------------------------------------------------------------------------------------------

    def lost(self) -> list[tuple[str, str]]:
        """Skills that exist within reach of a node of another region which cannot find them."""
        return [
            (skill, self.members[hearer].region)
            for hearer, catalogue in self.catalogues.items() if hearer not in self.dead
            for owner, skills in self.offered.items() if self.members[owner].region != self.members[hearer].region
            and owner not in self.dead and self.side[owner] == self.side[hearer] for skill in skills
            if self.members[owner].region not in [o.region for o in catalogue.regions_of(skill, self.now.mono_us)]
        ]  # fmt: skip

    def ghosts(self) -> list[str]:
        """Skills said to be in a region of which nobody within reach has them, all being within reach."""
        found: list[str] = []
        for hearer, catalogue in self.catalogues.items():
            for skill in "abc" if hearer not in self.dead else "":
                for offer in catalogue.regions_of(skill, self.now.mono_us):
                    owners = [n for n in self.nodes if self.members[n].region == offer.region and n not in self.dead]
                    if owners and not any(skill in self.offered[n] for n in owners):
                        found.append(skill)
                    assert 0 <= offer.age_us <= self.now.mono_us
        return found

    def calm(self) -> None:
        """The cuts heal, and nothing happens for as long as it takes."""
        self.side = dict.fromkeys(self.nodes, 0)
        self.pass_(CALM_S)


SIZES = st.sampled_from([(1, 1), (1, 3), (3, 2, 1), (5, 1, 2)])


def played(seed: int, sizes: tuple[int, ...], kind: type[Catalogue] = Catalogue) -> Weather:
    weather = Weather(seed, sizes, kind)
    weather.pass_(5)
    for _ in range(10):
        weather.step()
    weather.calm()
    return weather


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), sizes=SIZES)
def test_a_skill_that_exists_is_found_and_one_that_is_gone_is_not_whatever_happened(
    seed: int, sizes: tuple[int, ...]
) -> None:
    weather = played(seed, sizes)
    assert weather.lost() == [] and weather.ghosts() == [] and list(weather.refused) in ([], ["catalogue-stale"])
    told = {catalogue.index.root() for node, catalogue in weather.catalogues.items() if node not in weather.dead}
    assert len(told) == 1


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), sizes=SIZES)
def test_a_skill_that_goes_on_is_never_lost_to_those_within_its_reach(seed: int, sizes: tuple[int, ...]) -> None:
    """One node of a region runs a skill for good; others come, go, and are cut off from each other."""
    weather = Weather(seed, sizes)
    owner = weather.luck.choice(weather.nodes)
    weather.offered[owner]["kept"] = None
    weather.pass_(CALM_S)
    for _ in range(8):
        weather.step()
        if owner in weather.dead:
            return
        assert ("kept", "r9") not in weather.lost()
        hearers = [
            node for node, catalogue in weather.catalogues.items()
            if node not in weather.dead and weather.side[node] == weather.side[owner]
            and weather.members[node].region != weather.members[owner].region
            and weather.now_s >= weather.changed_s + CALM_S
            and not catalogue.regions_of("kept", weather.now.mono_us)
        ]  # fmt: skip
        assert hearers == []


class Mute(Catalogue):
    """Planted fault: only the first on the circle ever speaks, alive or not."""

    def _rank(self) -> int | None:
        region = self._config.region
        return 0 if self._map.in_region(region)[0] == self._config.node else None


class Hasty(Catalogue):
    """Planted fault: a region's rows are thrown away as soon as nobody of it is heard."""

    def regions_of(self, skill: str, now_us: int) -> list[object]:  # type: ignore[override]
        return [offer for offer in super().regions_of(skill, now_us) if offer.bridges]


def test_planted_faults_in_who_speaks_and_in_what_is_kept_are_seen() -> None:
    for kind, lost in ((Catalogue, False), (Mute, True)):
        weather = Weather(0, (3, 1), kind)
        first, other = [node for node in weather.nodes if weather.members[node].region == "r0"][:2]
        weather.dead[first] = None
        weather.offered[other]["a"] = None
        weather.calm()
        assert bool(weather.lost()) is lost
    weather = Weather(1, (1, 2), Hasty)
    owner = next(node for node in weather.nodes if weather.members[node].region == "r0")
    weather.offered[owner]["a"] = None
    weather.pass_(CALM_S)
    assert weather.lost() == []
    weather.side[owner] = 1
    hearer = next(node for node in weather.nodes if node != owner)
    assert weather.catalogues[hearer].regions_of("a", weather.now.mono_us) == []
    assert Catalogue.regions_of(weather.catalogues[hearer], "a", weather.now.mono_us)


def test_a_region_whose_last_node_dies_is_forgotten_with_its_rows_and_found_again_when_it_is_back() -> None:
    weather = Weather(2, (1, 2))
    owner = next(node for node in weather.nodes if weather.members[node].region == "r0")
    hearer = next(node for node in weather.nodes if node != owner)
    weather.offered[owner]["a"] = None
    weather.pass_(CALM_S)
    weather.dead[owner] = None
    weather.pass_(270)
    (offer,) = weather.catalogues[hearer].regions_of("a", weather.now.mono_us)
    assert offer.age_us >= 220 * SECOND and offer.bridges == ()
    weather.pass_(60)
    assert weather.catalogues[hearer].regions_of("a", weather.now.mono_us) == []
    assert weather.catalogues[hearer].silent(weather.now.mono_us) == ["r0"]
    del weather.dead[owner]
    weather.catalogues[owner] = weather._booted(owner)
    weather.pass_(CALM_S)
    assert weather.lost() == []


def test_a_holder_of_all_regions_asks_the_catalogue_of_none() -> None:
    weather = Weather(3, (2, 2))
    seen = Seen(weather, weather.nodes[0])
    holder = Catalogue(
        GossipConfig(node=weather.nodes[0], name="n", region="r0", boot=1, member=b""), seen, seen,
        weather.keys[weather.nodes[0]], CheapJudge(), seen, holds=lambda _: True, small=lambda: False,
    )  # fmt: skip
    assert holder.regions_of("a", weather.now.mono_us) == [] and holder.silent(weather.now.mono_us) == []


# -- a spokesman that lies ---------------------------------------------------------------------------------------------


def lie(weather: Weather, liar: NodeId, name: str, amount: int) -> None:
    """It says so of its own region, as newest word, to everybody."""
    region = weather.members[liar].region
    held = weather.catalogues[liar]._rows.get((region, name))
    body = RowBody(liar, held.body.sequence + 1 if held is not None else 1, region, name, amount, "cpu")
    encoded = msgspec.msgpack.encode(body)
    told = RegionRumour(encoded, weather.keys[liar].sign(CONTEXT, encoded))
    for node in weather.nodes:
        weather.catalogues[node].receive(SignedFact(0, told.body, told.signature), weather.now)


def village() -> tuple[Weather, NodeId, NodeId]:
    """Three spokesmen of one region, one of which lies, and one hearer."""
    weather = Weather(4, (4, 1))
    liar, *others = [node for node in weather.nodes if weather.members[node].region == "r0"]
    weather.offered[others[0]]["a"] = None
    weather.pass_(CALM_S)
    hearer = next(node for node in weather.nodes if weather.members[node].region == "r1")
    return weather, liar, hearer


def test_a_spokesman_that_denies_a_skill_is_put_right_by_the_next_that_looks() -> None:
    weather, liar, hearer = village()
    lie(weather, liar, "a", 0)
    assert weather.lost() == [("a", "r1")]
    weather.pass_(9)
    assert weather.lost() == []
    (offer,) = weather.catalogues[hearer].regions_of("a", weather.now.mono_us)
    assert offer.amount == "some"


def test_a_spokesman_that_promises_what_nobody_has_is_put_right_and_speaks_for_no_other_region() -> None:
    weather, liar, hearer = village()
    lie(weather, liar, "b", 2)
    assert weather.ghosts()
    weather.pass_(30)
    assert weather.ghosts() == []
    assert not [
        each
        for each in weather.catalogues[hearer]._rows.values()
        if each.body.region == "r1" and each.body.author == liar
    ]


def test_a_summary_that_lies_is_replaced_within_its_minute() -> None:
    weather, liar, hearer = village()
    weather.kind._say(weather.catalogues[liar], "", 0, "", b"\x96\xcd\x27\x0f\x00\x00\x80\x00\x00", weather.now)
    held = weather.catalogues[liar]._rows["r0", ""]
    weather.catalogues[hearer].receive(held.signed, weather.now)
    for node in weather.nodes:
        weather.catalogues[node].receive(held.signed, weather.now)
    told = weather.catalogues[hearer].told("r0")
    assert told is not None and told.nodes == 9999
    weather.dead[liar] = None
    weather.pass_(STAND_US // SECOND + 10)
    told = weather.catalogues[hearer].told("r0")
    assert told is not None and told.nodes == 3
