"""What regions have: spokesmen tell it without flapping, liars are refused by name, and it outlives a silent region."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from meshnode.gossip import catalogue as room
from meshnode.gossip.catalogue import CONTEXT, Catalogue, RowBody
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.letters import RegionRumour, SignedFact, decode_rumour
from meshnode.gossip.soundings import MANY, NONE, SOME, Soundings
from meshnode.gossip.summaries import (
    CLASSES_MAX,
    SUMMARY_BYTES_MAX,
    Gauge,
    class_rank,
    encode_summary,
    machine_class,
    summed,
)
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import Member
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId
from tests.unit.gossip.regions import CheapJudge, CheapKey, Roll
from tests.unit.gossip.world import Box, World

Offer = tuple[str, tuple[str, ...], NodeId]


@dataclass
class Country(Roll):
    """Members of regions, and what they offer. ``Trust``, ``Map``, ``LinkStats`` and ``Survey`` of its catalogues."""

    members: dict[NodeId, Member] = field(default_factory=dict[NodeId, Member])
    keys: dict[NodeId, CheapKey] = field(default_factory=dict[NodeId, CheapKey])
    away: dict[NodeId, None] = field(default_factory=dict[NodeId, None])
    dead: dict[NodeId, None] = field(default_factory=dict[NodeId, None])
    offered: dict[str, list[Offer]] = field(default_factory=dict[str, list[Offer]])
    classes: dict[NodeId, str] = field(default_factory=dict[NodeId, str])
    small: bool = False

    def join(self, name: str, region: str) -> NodeId:
        key = CheapKey(name)
        self.members[key.node] = Member(key.node, name, key.public_key, ("member",), region, {}, b"")
        self.keys[key.node] = key
        return key.node

    def reachable(self, node: NodeId) -> bool:
        return node not in self.away and node not in self.dead

    def gone(self, node: NodeId) -> bool:
        return node in self.dead

    def peers(self) -> Sequence[NodeId]:
        return ()

    def last_heard_us(self, peer: NodeId) -> int | None:
        return None

    def rtt_us(self, peer: NodeId) -> int | None:
        return None

    def catalogue(self, node: NodeId, now_s: float = 0.0) -> Catalogue:
        region = self.members[node].region
        config = GossipConfig(node=node, name="x", region=region, boot=1, member=b"")
        made = Catalogue(
            config, self, self, self.keys[node], CheapJudge(), self,
            holds=lambda other: other == region, small=lambda: self.small,
        )  # fmt: skip
        made.surveyed(_Survey(self, region), round(now_s * SECOND))
        return made


@dataclass
class _Survey:
    country: Country
    region: str

    def offers(self) -> Iterable[Offer]:
        return self.country.offered.get(self.region, [])

    def best(self, node: NodeId) -> str:
        return self.country.classes.get(node, "cpu")

    def gauges(self) -> Iterable[Gauge]:
        return [Gauge("gpu-24g", 500, 1000, 2000, 1, 50) for _ in self.country.in_region(self.region)]


def at(seconds: float) -> Instant:
    return Instant(round(seconds * SECOND), 1)


def tell(speakers: Sequence[Catalogue], hearers: Sequence[Catalogue], begin_s: float, end_s: float) -> int:
    """Let time pass by seconds; every rumour reaches everybody at once. How many rows there were."""
    rows = 0
    for second in range(round(begin_s), round(end_s)):
        for speaker in speakers:
            for rumour in speaker.wake(at(second)):
                told = decode_rumour(rumour)
                assert isinstance(told, RegionRumour)
                rows += bool(room.decode_row(told.body).name)
                for other in hearers:
                    if other is not speaker:
                        other.rumour(told, at(second))
    return rows


def world() -> tuple[Country, list[Catalogue], Catalogue]:
    """Three spokesmen of the east, one listener in the west."""
    country = Country()
    east = [country.join(f"e{n}", "east") for n in range(3)]
    west = country.join("w", "west")
    return country, [country.catalogue(node) for node in east], country.catalogue(west)


def signed(
    country: Country, author: NodeId, sequence: int = 1, region: str = "east", name: str = "see"
) -> RegionRumour:
    body = msgspec.msgpack.encode(RowBody(author, sequence, region, name, SOME, "cpu"))
    return RegionRumour(body, country.keys[author].sign(CONTEXT, body))


# -- spokesmen ---------------------------------------------------------------------------------------------------------


def test_a_skill_is_known_abroad_within_seconds_by_name_and_by_capability() -> None:
    country, east, west = world()
    node = country.in_region("east")[0]
    country.offered["east"] = [("see", ("vision",), node)]
    country.classes[node] = "gpu-24g"
    assert tell(east, [*east, west], 0, 6) == 2
    for name in ("see", "cap/vision"):
        (offer,) = west.regions_of(name, at(6).mono_us)
        assert (offer.region, offer.amount, offer.best) == ("east", "some", "gpu-24g")
        assert offer.bridges == tuple(offer.bridges) and set(offer.bridges) <= set(country.in_region("east"))
    assert west.regions_of("hear", at(6).mono_us) == []
    assert east[0].regions_of("see", at(6).mono_us) == []
    assert west.silent(at(6).mono_us) == []


def test_three_that_speak_say_one_thing_once() -> None:
    country, east, west = world()
    country.offered["east"] = [("see", (), node) for node in country.in_region("east")]
    assert tell(east, [*east, west], 0, 120) == 1


def test_the_next_one_speaks_when_the_first_is_silent() -> None:
    country, east, west = world()
    country.offered["east"] = [("see", (), country.in_region("east")[0])]
    ranks = sorted(east, key=lambda each: each._rank() or 0)
    assert tell(ranks[1:], [*east, west], 0, 10) == 1
    assert west.regions_of("see", at(10).mono_us)


def test_what_ran_is_not_gone_because_a_new_spokesman_has_not_heard_of_it_yet() -> None:
    country, east, west = world()
    country.offered["east"] = [("see", (), country.in_region("east")[0])]
    tell(east, [*east, west], 0, 20)
    country.offered["east"] = []
    assert tell(east, [*east, west], 20, 29) == 0
    country.offered["east"] = [("see", (), country.in_region("east")[0])]
    assert tell(east, [*east, west], 29, 60) == 0
    country.offered["east"] = []
    assert tell(east, [*east, west], 60, 80) == 1
    assert west.regions_of("see", at(80).mono_us) == []


def test_a_wrong_row_of_a_dead_spokesman_is_put_right() -> None:
    country, east, west = world()
    rumour = signed(country, country.in_region("east")[2], sequence=7)
    for each in (*east, west):
        each.rumour(rumour, at(0))
    assert west.regions_of("see", 0)
    tell(east, [*east, west], 0, 40)
    assert west.regions_of("see", at(40).mono_us) == []


def test_a_small_mesh_says_and_answers_nothing() -> None:
    country, east, west = world()
    country.small = True
    country.offered["east"] = [("see", (), country.in_region("east")[0])]
    assert tell(east, [*east, west], 0, 30) == 0
    assert west.regions_of("see", at(30).mono_us) == [] and west.silent(at(30).mono_us) == []


# -- what flaps --------------------------------------------------------------------------------------------------------


def test_amounts_have_hysteresis_and_falls_must_last() -> None:
    soundings, told = Soundings(), {}
    nodes = [NodeId(bytes([n]) * 32) for n in range(6)]

    def look(count: int, second: float) -> int:
        offers = [("see", (), node) for node in nodes[:count]]
        told.update(soundings.look(offers, lambda _: "cpu", told, at(second).mono_us))
        return told["see"][0]

    assert [look(1, 0), look(4, 2), look(3, 4), look(3, 30)] == [SOME, MANY, MANY, MANY]
    assert [look(2, 40), look(2, 49), look(3, 49.5), look(2, 50), look(2, 59), look(2, 61)] == [MANY] * 5 + [SOME]
    assert [look(0, 70), look(0, 79), look(0, 81)] == [SOME, SOME, NONE]


def test_a_better_machine_counts_at_once_and_a_worse_one_later() -> None:
    soundings = Soundings()
    node = NodeId(b"n" * 32)
    told = {"see": (SOME, "gpu-8g")}
    better = soundings.look([("see", (), node)], lambda _: "gpu-24g", told, 0)
    assert better == {"see": (SOME, "gpu-24g")}
    assert soundings.look([("see", (), node)], lambda _: "cpu", better, 1) == better
    assert soundings.look([("see", (), node)], lambda _: "cpu", better, 12 * SECOND) == {"see": (SOME, "cpu")}


# -- liars -------------------------------------------------------------------------------------------------------------


def stranger(country: Country) -> RegionRumour:
    other = Country()
    return signed(other, other.join("who", "east"))


def foreign(country: Country) -> RegionRumour:
    return signed(country, country.in_region("west")[0])


def forged(country: Country) -> RegionRumour:
    rumour = signed(country, country.in_region("east")[0])
    return RegionRumour(rumour.body, b"s" * 64)


def unknown_region(country: Country) -> RegionRumour:
    node = country.in_region("east")[0]
    country.regions = lambda: ["west"]  # type: ignore[method-assign]
    return signed(country, node)


@pytest.mark.parametrize(("reason", "make"), [
    ("catalogue-unknown-author", stranger),
    ("catalogue-foreign-author", foreign),
    ("catalogue-forged", forged),
    ("catalogue-unknown-region", unknown_region),
    ("catalogue-malformed", lambda _: RegionRumour(b"\x90", b"s" * 64)),
])  # fmt: skip
def test_a_row_nobody_may_write_is_refused_and_not_held(reason: str, make: Callable[[Country], RegionRumour]) -> None:
    country, _, west = world()
    with pytest.raises(RemoteError, match=reason):
        west.rumour(make(country), at(1))
    assert len(west.index) == 0


def test_an_old_row_is_late_for_a_minute_and_then_a_replay() -> None:
    country, _, west = world()
    author = country.in_region("east")[0]
    assert west.rumour(signed(country, author, 5), at(1)) == []
    assert west.rumour(signed(country, author, 4), at(2)) is None
    with pytest.raises(RemoteError, match="catalogue-stale"):
        west.rumour(signed(country, author, 4), at(100))
    old = signed(country, author, 4)
    assert west.receive(SignedFact(0, old.body, old.signature), at(100)) == []


def test_a_sequence_that_leaps_is_refused() -> None:
    country, _, west = world()
    author = country.in_region("east")[0]
    west.rumour(signed(country, author, 1), at(1))
    with pytest.raises(RemoteError, match="catalogue-sequence-leap"):
        west.rumour(signed(country, author, 2 + room.LEAP_MAX), at(2))


def test_a_region_may_fill_only_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "REGION_ROWS_MAX", 3)
    country, _, west = world()
    author = country.in_region("east")[0]
    for number in range(3):
        west.rumour(signed(country, author, name=f"s{number}"), at(1))
    with pytest.raises(RemoteError, match="catalogue-full"):
        west.rumour(signed(country, author, name="s3"), at(1))


# -- time and repair ---------------------------------------------------------------------------------------------------


def test_a_cut_region_keeps_its_rows_with_their_age_and_a_dead_one_loses_them() -> None:
    country, east, west = world()
    country.offered["east"] = [("see", (), country.in_region("east")[0])]
    tell(east, [*east, west], 0, 10)
    country.away = dict.fromkeys(country.in_region("east"))
    tell([west], [], 10, 1000)
    (offer,) = west.regions_of("see", at(1000).mono_us)
    assert offer.age_us > 900 * SECOND and offer.bridges == ()
    country.dead = dict.fromkeys(country.in_region("east"))
    tell([west], [], 1000, 1290)
    assert west.regions_of("see", at(1290).mono_us)
    tell([west], [], 1290, 1310)
    assert west.regions_of("see", at(1310).mono_us) == [] and len(west.index) == 0
    assert west.silent(at(1310).mono_us) == ["east"]


def test_equal_rows_have_equal_roots_whatever_the_order() -> None:
    country, _, west = world()
    other = country.catalogue(country.in_region("west")[0])
    authors = country.in_region("east")
    rumours = [signed(country, authors[n % 3], n // 3 + 1, name=f"s{n % 2}") for n in range(9)]
    for rumour in rumours:
        west.rumour(rumour, at(1))
    for rumour in reversed(rumours):
        other.rumour(rumour, at(1))
    assert west.index.root() == other.index.root() and len(west.index) == 2


def test_a_node_that_was_told_nothing_gets_the_rows_with_their_age() -> None:
    country, east, west = world()
    country.offered["east"] = [("see", (), country.in_region("east")[0])]
    tell(east, [*east, west], 0, 10)
    keys = [key for n in range(256) for key, _ in west.index.bucket(n)]
    late = country.catalogue(country.in_region("west")[0])
    for row in west.pack(keys, at(30)):
        late.receive(row, at(31))
    (offer,) = late.regions_of("see", at(31).mono_us)
    assert 20 * SECOND <= offer.age_us <= 32 * SECOND


# -- summaries ---------------------------------------------------------------------------------------------------------


def test_a_summary_comes_every_minute_and_sooner_if_it_changed() -> None:
    country, east, west = world()
    tell(east, [*east, west], 0, 30)
    ((region, summary),) = [each for each in west.summaries() if each[0] == "east"]
    assert (region, summary.nodes, summary.agents, summary.queue_centi) == ("east", 3, 3, 50)
    assert summary.gpu_free_mib == {"gpu-24g": 6000}
    country.join("e9", "east")
    tell(east, [*east, west], 30, 45)
    assert dict(west.summaries())["east"].nodes == 4


def test_the_fullest_summary_fits_into_its_bytes() -> None:
    gauges = [Gauge(f"gpu-{10**9 + n}-xx"[:16], 2**40, 2**45, 2**45 + n, 2**40, 2**40) for n in range(50)]
    summary = summed(gauges)
    assert len(summary.gpu_free_mib) == CLASSES_MAX and len(encode_summary(summary)) <= SUMMARY_BYTES_MAX
    assert summed([]).nodes == 0


def test_classes_of_machines_have_an_order() -> None:
    names = [machine_class([]), machine_class([None]), machine_class([8 * 2**30]), machine_class([80 * 2**30, 1])]
    assert names == ["cpu", "cpu", "gpu-8g", "gpu-80g"]
    assert [class_rank(name) for name in names] == [0, 0, 9, 81]


# -- whole rooms -------------------------------------------------------------------------------------------------------


@dataclass
class _Fixed:
    """A survey of what one box's region offers."""

    node: NodeId
    skills: list[str]

    def offers(self) -> Iterable[Offer]:
        return [(skill, (), self.node) for skill in self.skills]

    def best(self, node: NodeId) -> str:
        return "cpu"

    def gauges(self) -> Iterable[Gauge]:
        return [Gauge()]


def test_rooms_of_two_regions_learn_of_each_other_and_a_latecomer_by_repair() -> None:
    mesh = World()
    boxes: list[Box] = [
        mesh.box(f"n{n}", ("east", "west")[n % 2], ["n0"] if n else [], whole_mesh_max=4) for n in range(8)
    ]
    mesh.run_until(mesh.all_ready, 30.0)
    for box in boxes:
        box.gossip.catalogue.surveyed(
            _Fixed(boxes[0].id if box.region == "east" else boxes[1].id, [box.region]), mesh.now_us
        )
    mesh.run_for(10.0)
    late = mesh.box("late", "west", ["n1"], whole_mesh_max=4)
    mesh.run_for(30.0)
    for box in (*boxes, late):
        other = "west" if box.region == "east" else "east"
        (offer,) = box.gossip.catalogue.regions_of(other, mesh.now_us)
        assert offer.region == other and offer.bridges
        assert not box.rejects
    roots = {box.gossip.catalogue.index.root() for box in (*boxes, late)}
    assert len(roots) == 1
