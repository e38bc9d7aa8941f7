"""Which links are wanted: small and large meshes, bridges, evictions."""

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.letters import Greeting
from meshnode.gossip.overlay import Candidate, Overlay, elected
from meshnode.kernel.effects import Hangup
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import luck

NODES = [NodeId(bytes([n]) * 32) for n in range(1, 41)]
ME = NodeId(b"m" * 32)
NOW = Instant(SECOND, 0)


def overlay(region: str = "east", profile: str = "default") -> Overlay:
    config = GossipConfig(node=ME, name="me", region=region, boot=1, member=b"", profile=profile)
    return Overlay(config, luck(1))


def candidates(count: int, regions: tuple[str, ...] = ("east",)) -> list[Candidate]:
    return [Candidate(node, regions[n % len(regions)]) for n, node in enumerate(NODES[:count])]


def test_in_a_mesh_of_seven_every_other_node_is_wanted() -> None:
    assert overlay().wanted(candidates(6), NOW) == NODES[:6]


def test_in_a_large_mesh_only_the_slots_are_filled_and_the_choice_is_kept() -> None:
    for profile, slots in (("edge", 4), ("default", 6), ("relay", 8)):
        room = overlay(profile=profile)
        chosen = room.wanted(candidates(30), NOW)
        assert len(chosen) == slots
        assert room.wanted(candidates(30), NOW) == chosen


def test_own_lost_neighbours_are_looked_for_beside_the_slots_and_only_a_few_strays() -> None:
    found = candidates(30)
    lost = [Candidate(c.node, c.region, lost=True, ours=n < 2) for n, c in enumerate(found)]
    wanted = overlay().wanted(lost, NOW)
    assert wanted[:2] == NODES[:2]
    assert len(wanted) == 2 + 4


def test_most_links_stay_in_the_region_and_a_bridge_is_kept_by_the_elected() -> None:
    nodes = candidates(30, ("east", "west"))
    regions = {c.node: c.region for c in nodes} | {ME: "east"}
    chosen = overlay().wanted(nodes, NOW)
    assert sum(regions[node] == "east" for node in chosen) >= 4
    if ME in elected("east", "west", "east", regions):
        assert any(node in elected("east", "west", "west", regions) for node in chosen)


def test_all_nodes_elect_the_same_bridges_and_one_node_more_moves_few() -> None:
    regions = {node: "east" if n % 2 else "west" for n, node in enumerate(NODES)}
    before = elected("east", "west", "east", regions)
    assert before == elected("west", "east", "east", dict(reversed(regions.items())))
    after = elected("east", "west", "east", {**regions, ME: "east"})
    assert len(set(before) & set(after)) >= 2


def test_a_newcomer_with_links_is_turned_away_and_one_without_is_let_in() -> None:
    room = overlay()
    for node in NODES[:9]:
        room.up(node, NOW)
        room.neighbours_told(node, NODES[10:12])
    (refused,) = room.greeted(NODES[8], Greeting(demanded=False, links=NODES[10:12]), NOW, small=False)
    assert refused == Hangup(NODES[8], Bye.EVICTED)
    (evicted,) = room.greeted(NODES[8], Greeting(demanded=False, links=[]), NOW, small=False)
    assert isinstance(evicted, Hangup) and evicted.peer in NODES[:8]
    assert room.greeted(NODES[8], Greeting(demanded=False, links=[]), NOW, small=True) == []


def test_an_evicted_node_does_not_come_back_at_once_unless_it_is_poor() -> None:
    room = overlay()
    for node in NODES[:4]:
        room.up(node, NOW)
    room.up(NODES[4], NOW)
    room.down(NODES[4], Bye.EVICTED, NOW)
    only = [Candidate(node, "east") for node in NODES[:5]] + [
        Candidate(NODES[39], "east", lost=True),
        Candidate(NODES[38], "east"),
    ]
    assert NODES[4] not in room.wanted(only, NOW)
    assert NODES[4] in room.wanted(only, Instant(NOW.mono_us + 21 * SECOND, 0))
    for node in NODES[1:4]:
        room.down(node, "", NOW)
    room.down(NODES[4], Bye.EVICTED, NOW)
    assert NODES[4] in room.wanted(only, NOW)


def test_a_demanded_link_takes_no_slot() -> None:
    room = overlay()
    assert not room.reach(NODES[0], NOW)
    room.up(NODES[0], NOW)
    assert room.reach(NODES[0], NOW)
    assert len(room.wanted(candidates(30), NOW)) == 6
    due = min(at for at in room.deadlines() if at is not None)
    assert due <= NOW.mono_us + 60 * SECOND
    assert Hangup(NODES[0], Bye.IDLE) in room.wake(Instant(NOW.mono_us + 60 * SECOND, 0))
