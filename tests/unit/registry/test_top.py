"""The best few, found without looking at all: they are those that looking at all would find."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.errors import Invalid
from meshnode.model.ids import NodeId
from meshnode.model.where import Attribute, parse_where, unfit
from meshnode.registry.best import Best, Place
from meshnode.registry.fits import KEPT_MAX, Fits
from meshnode.registry.index import GONE_MAX, Candidate, Index
from meshnode.registry.lanes import Part
from meshnode.registry.offers import SkillOffer, UnitOffer, decode_skill, encode_agent, encode_skill
from meshnode.registry.ranks import Ranks, closed, opened
from meshnode.wire.calls import SkillDescription
from tests.unit.registry.surroundings import Surroundings

NODES = [NodeId(bytes([n * 7 % 256]) * 32) for n in range(1, 25)]
ME = NODES[4]
SKILLS = ("count", "see", "sort")
AGENTS = ("words", "eyes")
TAGS = ("vision", "text")
WHERES = (
    "", "site=a", "site!=a", "mem>=2Gi", "mem<4Gi,site=b", "cpus>2", "cpus=4", "nothing=1", "node=n3", "cpus<=2,mem>1",
)  # fmt: skip


class Around(Surroundings):
    """Attributes, too, as a test sets them."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[NodeId, dict[str, Attribute]] = {}

    def members(self) -> Sequence[NodeId]:
        return NODES

    def heard_us(self, node: NodeId) -> int | None:
        return None if node[0] % 5 == 0 else node[0]

    def attributes(self, node: NodeId) -> Mapping[str, Attribute]:
        return self.told.get(node, {})


def drawn(luck: Random) -> dict[str, Attribute]:
    told: dict[str, Attribute] = {"site": luck.choice("abc"), "node": f"n{luck.randrange(9)}"}
    if luck.random() < 0.9:
        told["mem"] = luck.choice((0, 1 << 30, 2 << 30, 8 << 30))
    if luck.random() < 0.9:
        told["cpus"] = luck.choice((1, 2, 4, 2.5, "4", "many"))
    return told


class Room:
    """An index, what is around it, and luck: each step changes something."""

    def __init__(self, seed: int) -> None:
        self.luck = Random(seed)
        self.around = Around()
        self.index = Index(
            ME, self.around, self.around, heard_us=self.around.heard_us, attributes=self.around.attributes
        )
        self.now_us = 1_000 * SECOND
        self.said: dict[tuple[NodeId, str], bytes] = {}

    @property
    def now(self) -> Instant:
        return Instant(self.now_us, 0)

    def step(self) -> None:
        node = self.luck.choice(NODES)
        steps: tuple[Callable[[NodeId], None], ...] = (
            self.offer, self.offer, self.run, self.run, self.describe, self.link, self.doubt, self.measure, self.queue,
            self.rest,
        )  # fmt: skip
        self.luck.choice(steps)(node)

    def offer(self, node: NodeId) -> None:
        skill, agent, second = self.luck.choice(SKILLS), self.luck.choice(AGENTS), self.luck.choice(("", "", "@eyes"))
        tags = [tag for tag in TAGS if self.luck.random() < 0.5]
        value = encode_skill(agent, SkillDescription(skill, tags=tags)) if self.luck.random() < 0.8 else b""
        self.index.learn(node, f"skill/{skill}{second}", value)
        self.said[node, f"{skill}{second}"] = value

    def run(self, node: NodeId) -> None:
        agent = self.luck.choice(AGENTS)
        first, epoch = self.luck.randrange(2), self.luck.randrange(1, 4)
        units = [UnitOffer(first, 1, self.luck.choice(("running", "running", "backoff")), epoch)]
        value = encode_agent(units)[""] if self.luck.random() < 0.9 else b""
        self.index.learn(node, f"agent/{agent}", value)

    def describe(self, node: NodeId) -> None:
        self.around.told[node] = drawn(self.luck)
        self.index.described(node)

    def link(self, node: NodeId) -> None:
        if self.luck.random() < 0.3:
            self.around.rtt.pop(node, None)
        elif node != ME:
            self.around.rtt[node] = self.luck.choice((None, 0, 100, 100, 9_000, 11 * SECOND))

    def doubt(self, node: NodeId) -> None:
        if self.luck.random() < 0.6:
            self.around.lost.pop(node, None)
        else:
            self.around.lost[node] = None

    def measure(self, node: NodeId) -> None:
        skill, agent = self.luck.choice(SKILLS), self.luck.choice(AGENTS)
        took, ok = self.luck.choice((1, 50, 20_000)) * MS, self.luck.random() < 0.7
        self.index.observed(node, agent, skill, took, self.now, ok=ok)

    def queue(self, node: NodeId) -> None:
        agent = self.luck.choice(AGENTS)
        for _ in range(self.luck.choice((1, 9))):
            self.index.queued(node, agent, 1)

    def rest(self, _: NodeId) -> None:
        self.now_us += self.luck.choice((1, 10 * MS, 12 * SECOND))


def looked_at_all(room: Room, found: list[Candidate], where: str, k: int) -> list[Candidate]:
    constraints = parse_where(where)
    fits = [c for c in found if not c.excluded and not unfit(constraints, room.around.attributes(c.node))]
    return fits[:k]


@given(seed=st.integers(0, 2**32), steps=st.integers(1, 250))
def test_the_index_holds_the_last_word_of_every_node(seed: int, steps: int) -> None:
    room = Room(seed)
    for _ in range(steps):
        room.offer(room.luck.choice(NODES))
    for address in (*SKILLS, "cap/vision"):
        by_tag = address.startswith("cap/")
        found = (room.index.resolve if by_tag else room.index.candidates)(address, now=room.now)
        said = [(node, key.partition("@")[0], decode_skill(value)) for (node, key), value in room.said.items() if value]
        wanted = [
            (node, skill, offer)
            for node, skill, offer in said
            if offer is not None and ("vision" in offer.tags if by_tag else skill == address)
        ]
        assert sorted((c.node, c.skill, c.offer.agent, c.offer.tags) for c in found) == sorted(
            (node, skill, offer.agent, offer.tags) for node, skill, offer in wanted
        )


def differences(seed: int, steps: int) -> list[str]:
    """Where the quick way and a walk over all candidates disagree."""
    room, found = Room(seed), list[str]()
    for number in range(steps):
        room.step()
        if number % 10 and number < steps - 1:
            continue
        for address in (*SKILLS, "cap/vision", "cap/text", "cap/none"):
            look = room.index.resolve if address.startswith("cap/") else room.index.candidates
            every = look(address, now=room.now)
            for where in WHERES:
                k = room.luck.choice((1, 3, 10, 100))
                best = room.index.top(address, where, k=k, now=room.now)
                if best != looked_at_all(room, every, where, k):
                    found.append(f"seed={seed} {address} {where!r} {k}")
    return found


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 250))
def test_the_best_few_are_the_first_of_all(seed: int, steps: int) -> None:
    assert differences(seed, steps) == []


def _deaf(_fits: Fits, _node: NodeId) -> None:
    """Planted fault: what is told of a machine after it was first read is not heard."""


def _forgetful(_best: Best, parts: list[Part], _found: list[Place], _now: Instant) -> list[Part]:
    """Planted fault: what calls have taught about nodes is left out."""
    return parts


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("meshnode.registry.fits.Fits.described", _deaf),
        ("meshnode.registry.best.Best._recorded", _forgetful),
    ],
)
def test_a_planted_fault_in_the_quick_way_is_seen(
    what: str, fault: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what, fault)
    assert any(differences(seed, 120) for seed in range(4))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 250))
def test_what_a_few_nodes_run_and_offer_is_theirs_of_all_there_is(seed: int, steps: int) -> None:
    room = Room(seed)
    for _ in range(steps):
        room.step()
    offered = sorted(room.index.offered())
    few = room.luck.sample(NODES, 7)
    assert sorted(room.index.offered(few)) == [each for each in offered if each[2] in few]
    for agent in AGENTS:
        every = list(room.index.units(agent))
        for node in NODES:
            assert list(room.index.units_on(node, agent)) == [unit for unit in every if unit.node == node]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 250))
def test_who_has_a_slot_is_who_comes_first_for_it(seed: int, steps: int) -> None:
    room = Room(seed)
    for _ in range(steps):
        room.step()
    for skill in SKILLS:
        for agent in AGENTS:
            for slot in (0, 1, 2):
                every = room.index.candidates(skill, now=room.now, agent=agent, slot=slot)
                usable = [candidate for candidate in every if not candidate.excluded]
                assert room.index.at_slot(skill, agent, slot, room.now) == usable


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 250))
def test_what_people_find_is_the_same_if_they_read_only_some_of_it(seed: int, steps: int) -> None:
    room = Room(seed)
    for _ in range(steps):
        room.step()
    for wanted in ("", "count", "words", "vision", "cap/text", "*", "s*", "cap/?ext", "nobody"):
        for where in WHERES:
            whole = room.index.find(wanted, where, now=room.now)
            for most in (1, 4, 500):
                assert room.index.find(wanted, where, now=room.now, most=most)[:most] == whole[:most]


def room_of_all() -> Room:
    room = Room(0)
    for node in NODES:
        room.around.told[node] = {"site": "a", "cpus": 4}
        room.index.learn(node, "skill/count", encode_skill("words", SkillDescription("count", tags=["text"])))
        room.index.learn(node, "agent/words", encode_agent([UnitOffer(0, 1, "running", 1)])[""])
    return room


def found(room: Room, where: str = "") -> list[NodeId]:
    return [c.node for c in room.index.top("count", where, k=100, now=room.now)]


def test_a_label_that_changes_counts_from_when_it_is_told() -> None:
    room = room_of_all()
    assert len(found(room, "site=a")) == len(NODES) and found(room, "site=b") == []
    room.around.told[NODES[2]] = {"site": "b"}
    room.index.described(NODES[2])
    assert found(room, "site=b") == [NODES[2]]
    assert NODES[2] not in found(room, "site=a") and NODES[2] not in found(room, "cpus>=1")
    room.index.described(NodeId(b"stranger" * 4))


def test_constraints_that_cannot_be_read_are_refused_by_the_quick_way_too() -> None:
    room = room_of_all()
    for look in (lambda: room.index.top("count", "fast", k=1, now=room.now), lambda: found(room, "cpus>>2")):
        with pytest.raises(Invalid, match="is no constraint"):
            look()


def test_many_different_constraints_take_no_more_room() -> None:
    room = room_of_all()
    for number in range(3_000):
        assert len(found(room, f"cpus<{number}")) == (len(NODES) if number > 4 else 0)
        fits = room.index._fits
        assert max(len(fits._texts), len(fits._sets)) <= KEPT_MAX
        found(room, f"label{number}=1")
    assert len(room.index._fits._values) <= KEPT_MAX


def test_a_liar_with_a_hundred_tags_is_found_by_sixteen() -> None:
    room = room_of_all()
    tags = tuple(f"t{number}" for number in range(100))
    value = msgspec.msgpack.encode(SkillOffer("words", tags=tags))
    room.index.learn(NODES[3], "skill/count", value)
    assert len(room.index.resolve("cap/t15", now=room.now)) == 1
    assert room.index.resolve("cap/t16", now=room.now) == []


def test_who_is_gone_loses_its_place_and_nobody_is_mistaken_for_it() -> None:
    room = room_of_all()
    for number in range(4 * GONE_MAX):
        node = NodeId(number.to_bytes(2) + bytes(30))
        room.around.told[node] = {"site": f"s{number}"}
        room.index.learn(node, "skill/count", encode_skill("words", SkillDescription("count")))
        room.index.learn(node, "agent/words", encode_agent([UnitOffer(0, 1, "running", 1)])[""])
        assert found(room, f"site=s{number}") == [node]
        for key in ("skill/count", "agent/words"):
            room.index.learn(node, key, b"")
        assert found(room, f"site=s{number}") == []
    assert len(room.index._ranks) <= 3 * (len(NODES) + GONE_MAX)
    assert sorted(found(room)) == sorted(NODES)


@given(st.lists(st.integers(0, 60)), st.integers(0, 60))
def test_a_set_makes_room_and_closes_again(members: list[int], rank: int) -> None:
    bits = sum(1 << member for member in set(members))
    wider = opened(bits, rank)
    assert wider == sum(1 << (member + (member >= rank)) for member in set(members))
    assert closed(wider, rank) == bits


@given(st.lists(st.binary(min_size=1, max_size=2), unique=True), st.randoms())
def test_nodes_stand_in_the_order_of_their_ids(names: list[bytes], luck: Random) -> None:
    ranks = Ranks()
    for name in names:
        assert NodeId(name) not in ranks
        ranks.enter(NodeId(name))
    every = list(ranks.nodes((1 << len(names)) - 1))
    assert every == [(name, 1 << rank) for rank, name in enumerate(sorted(names))] and list(ranks) == sorted(names)
    luck.shuffle(names)
    for name in names:
        bit = ranks.bit(NodeId(name))
        assert list(ranks.nodes(bit)) == [(name, bit)] and 1 << ranks.leave(NodeId(name)) == bit
    assert len(ranks) == 0
