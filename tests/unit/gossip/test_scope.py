"""Facts by region: members agree whatever is lost or comes twice, nobody else holds them; growth, holders of all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.gossip import soft
from meshnode.gossip.letters import Greeting, RegionRows, SignedFact, encode
from meshnode.gossip.messages import MemberState, Publish
from meshnode.gossip.scope import MESH, Scope
from meshnode.kernel.effects import Channel
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import NodeId
from tests.unit.gossip.regions import Lands, Place, lands
from tests.unit.gossip.world import World, mesh

KEYS = ("load", "skill/see", "skill/hear", "agent/eyes")


class Open(Scope):
    """A planted fault: everybody is told everything, and keeps it."""

    def holds(self, part: str) -> bool:
        return True

    def wants(self, peer: NodeId, part: str) -> bool:
        return True


class Closed(Scope):
    """A planted fault: neighbours of the own region are taken for strangers."""

    def wants(self, peer: NodeId, part: str) -> bool:
        return part == MESH

    def holds(self, part: str) -> bool:
        return super().holds(part)


def story(seed: int, loss: float, twice: float, steps: list[tuple[int, int, int]], scopes: type[Scope]) -> Lands:
    """Two regions over a bad network, which then is well for a minute. ``steps``: who says what under which key."""
    world = lands({"east": 5, "west": 4}, seed, 3, whole_mesh_max=4, scopes=scopes)
    world.loss, world.twice = loss, twice
    places = list(world.places.values())
    for who, key, value in steps:
        world.publish(places[who % len(places)], KEYS[key % len(KEYS)], b"%d" % value if value else b"")
        world.run_for(0.07)
    world.run_for(3.0)
    world.loss = world.twice = 0.0
    world.run_for(60.0)
    return world


def told_alike(world: Lands) -> bool:
    """Every node holds what every node of its region says, and what all say of scope mesh."""
    return all(_seen(place, owner) == _said(place, owner) for place in _all(world) for owner in _all(world))


def kept_apart(world: Lands) -> bool:
    """Nobody holds the region facts of another region."""
    return all(
        key == "agent/eyes"
        for place in _all(world)
        for owner in _all(world)
        if owner.region != place.region
        for key in place.soft.facts(owner.id)
    )


def _all(world: Lands) -> list[Place]:
    return list(world.places.values())


def _seen(place: Place, owner: Place) -> dict[str, bytes]:
    return {key: value for key, (value, _, _) in place.soft.facts(owner.id).items()}


def _said(place: Place, owner: Place) -> dict[str, bytes]:
    said = _seen(owner, owner)
    return said if owner.region == place.region else {k: v for k, v in said.items() if k == "agent/eyes"}


steps = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=25)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), loss=st.floats(0.0, 0.6), twice=st.floats(0.0, 0.6), said=steps)
def test_members_of_a_region_agree_and_nobody_else_holds_its_facts(
    seed: int, loss: float, twice: float, said: list[tuple[int, int, int]]
) -> None:
    world = story(seed, loss, twice, said, Scope)
    assert told_alike(world), f"seed {seed}"
    assert kept_apart(world), f"seed {seed}"
    assert all(len({p.soft.index.part(place.region).root() for p in world.near(place)}) == 1 for place in _all(world))


def test_who_tells_everybody_everything_is_found_out() -> None:
    assert not kept_apart(story(1, 0.1, 0.1, [(0, 0, 1), (3, 1, 2)], Open))


def test_who_takes_its_own_region_for_strangers_is_found_out() -> None:
    assert not told_alike(story(1, 0.1, 0.1, [(0, 0, 1), (3, 1, 2)], Closed))


def test_a_small_mesh_of_two_regions_holds_everything_everywhere() -> None:
    world = lands({"east": 3, "west": 3}, whole_mesh_max=6)
    for place in _all(world):
        world.publish(place, "load", b"1")
    world.run_for(10.0)
    assert all(_seen(place, owner) == {"load": b"1"} for place in _all(world) for owner in _all(world))


def test_what_a_grown_mesh_holds_of_other_regions_expires_and_a_shrunk_one_gets_it_back() -> None:
    world = lands({"east": 3, "west": 3}, whole_mesh_max=6)
    for place in _all(world):
        world.publish(place, "load", b"1")
        world.publish(place, "agent/eyes", b"1")
    world.run_for(10.0)
    late = world.place("east9", "east")
    world.link(late, _all(world)[0])
    world.run_for(400.0)
    assert told_alike(world)
    assert kept_apart(world)
    east = _all(world)[0]
    gone = [c for c in east.changes if not c.value]
    assert sorted((c.node, c.key) for c in gone) == sorted((p.id, "load") for p in _all(world) if p.region == "west")
    world.unlink(late, _all(world)[0])
    del world.places[late.id], world.members[late.id]
    world.run_for(20.0)
    assert all(len(_seen(place, owner)) == 2 for place in _all(world) for owner in _all(world))


def test_a_placement_outlives_its_refreshes_abroad_until_its_node_is_gone() -> None:
    world = lands({"east": 3, "west": 3}, whole_mesh_max=4)
    places = _all(world)
    world.publish(places[0], "agent/eyes", b"1")
    world.run_for(1_000.0)
    assert all(_seen(place, places[0]) == {"agent/eyes": b"1"} for place in places)
    for other in list(places[0].links):
        world.unlink(places[0], world.places[other])
    world.away[places[0].id] = None
    world.run_for(400.0)
    assert all(_seen(place, places[0]) == {} for place in places[1:])


def test_who_holds_all_regions_is_told_all_by_a_neighbour_in_each() -> None:
    world = lands({"east": 4, "west": 4}, whole_mesh_max=4)
    for place in _all(world):
        world.publish(place, "load", b"1")
    world.run_for(5.0)
    gate = world.place("gate", "east", ("gateway",))
    for region in ("east", "west"):
        world.link(gate, next(p for p in _all(world) if p.region == region))
    world.run_for(8.0)
    owners = [place for place in _all(world) if place is not gate]
    assert all(_seen(gate, owner) == {"load": b"1"} for owner in owners)
    world.publish(owners[-1], "load", b"2")
    world.run_for(0.5)
    assert _seen(gate, owners[-1]) == {"load": b"2"}
    assert kept_apart_but(world, gate)


def kept_apart_but(world: Lands, gate: Place) -> bool:
    others = Lands()
    others.places = {node: place for node, place in world.places.items() if node != gate.id}
    return kept_apart(others)


def test_a_dead_path_is_replaced_at_once_and_facts_still_reach_all() -> None:
    world = lands({"east": 30, "west": 5}, whole_mesh_max=4, degree=5)
    east = [p for p in _all(world) if p.region == "east"]
    for turn in range(20):
        world.publish(east[turn], "load", b"%d" % turn)
        world.run_for(1.0)
    for dead in east[20:25]:
        for other in list(dead.links):
            world.unlink(dead, world.places[other])
        del world.places[dead.id]
    world.publish(east[0], "load", b"after")
    took = world.run_until(lambda: all(_seen(p, east[0])["load"] == b"after" for p in world.near(east[0])), 8.0)
    assert took < 8.0


def test_a_mesh_of_whole_rooms_keeps_regions_apart_and_its_gateway_sees_all() -> None:
    world = World()
    names = [world.box(f"n{n}", ("east", "west")[n % 2], ["n0"] if n else [], whole_mesh_max=4) for n in range(10)]
    world.run_until(world.all_ready, 30.0)
    for box in names:
        world.tell(box, Publish("load", b"1"))
        world.tell(box, Publish("agent/eyes", b"1"))
    world.run_for(30.0)
    for box in names:
        for other in names:
            keys = sorted(box.gossip.soft(other.id))
            assert keys == (["agent/eyes", "load"] if box.region == other.region else ["agent/eyes"])
    world.run_for(600.0)
    assert all(world.state(a, b) is MemberState.READY for a in names for b in names)
    assert not any(box.rejects for box in names)


def test_who_asks_for_all_regions_without_a_role_is_refused_and_told_its_own_only() -> None:
    world, boxes = mesh(2)
    greeting = Greeting(demanded=False, links=[], whole=True)
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, encode(greeting)))
    assert [reject.reason for reject in boxes[0].rejects] == ["whole-without-role"]


@pytest.mark.parametrize("body", [b"\x90", b"junk"])
def test_a_malformed_row_of_the_catalogue_is_refused(body: bytes) -> None:
    world, boxes = mesh(2)
    letter = encode(RegionRows([SignedFact(0, body, b"s" * 64)]))
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, letter))
    assert [reject.reason for reject in boxes[0].rejects] == ["catalogue-malformed"]


@pytest.mark.parametrize("whole_mesh_max", [2, 64])
def test_a_busy_node_refreshes_half_as_often_and_its_facts_live(whole_mesh_max: int) -> None:
    busy, idle, changes = _twenty_minutes(whole_mesh_max)
    assert 6 <= busy <= 11
    assert idle >= 18
    assert b"" not in changes, "what one said does not end while it says other things"


def test_of_many_nodes_each_refreshes_half_as_often_and_its_facts_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft, "FEW_OWNERS", 1)
    busy, idle, changes = _twenty_minutes(64)
    assert 6 <= busy <= idle <= 13
    assert b"" not in changes


def _twenty_minutes(whole_mesh_max: int) -> tuple[int, int, list[bytes]]:
    """Refreshes of one of three nodes that says something new every 20 s and of one that does not; what changed."""
    world = lands({"east": 2, "west": 1}, whole_mesh_max=whole_mesh_max)
    busy, idle = _all(world)[:2]
    for place in (busy, idle):
        world.publish(place, "skill/see", b"1")
    for turn in range(60):
        world.publish(busy, "load", b"%d" % turn)
        world.run_for(20.0)
    assert "skill/see" in _seen(idle, busy) and "skill/see" in _seen(busy, idle)
    owners = [place.soft._mine for place in (busy, idle)]  # pyright: ignore[reportPrivateUsage]
    return owners[0].beat, owners[1].beat, [change.value for place in (busy, idle) for change in place.changes]
