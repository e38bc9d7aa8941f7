"""Which links are wanted and which must go: small and large meshes, guests, clients, evictions."""

import hashlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.bridges import BRIDGES, elected, on_duty
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.letters import Greeting, post
from meshnode.gossip.overlay import GUEST_MAX_US, GUESTS_MAX, Overlay
from meshnode.gossip.wishes import BRIDGE_SLOTS_MAX, Role
from meshnode.kernel.effects import Effect, Hangup, Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import luck

NODES = [NodeId(hashlib.sha256(bytes([n])).digest()) for n in range(200)]
OTHERS = NODES[100:104]  # known, and no candidates: what most who come are linked with
ME = NodeId(hashlib.sha256(b"me").digest())
NOW = Instant(SECOND, 0)


class Town:
    """The ``Mesh`` port over a table: this node in the first region, ``gone`` are not ready."""

    def __init__(self, count: int, regions: Sequence[str] = ("east",), *, dialable: bool = True) -> None:
        self.where = {node: regions[n % len(regions)] for n, node in enumerate(NODES[:count])} | {ME: regions[0]}
        self.gone: dict[NodeId, None] = {}
        self.reachable = dialable
        self.times: dict[NodeId, int] = {}

    def others(self) -> int:
        return len(self.where) - 1

    def regions(self) -> Sequence[str]:
        return sorted({*self.where.values()})

    def in_region(self, region: str) -> Sequence[NodeId]:
        return sorted(node for node, where in self.where.items() if where == region)

    def region_of(self, node: NodeId) -> str | None:
        return "north" if node in OTHERS else self.where.get(node)

    def deserted(self, region: str) -> bool:
        return all(node in self.gone for node, where in self.where.items() if where == region and node != ME)

    def dialable(self) -> bool:
        return self.reachable

    def open(self, node: NodeId) -> bool:
        return node != ME and node in self.where and node not in self.gone

    def rtt_us(self, peer: NodeId) -> int | None:
        return self.times.get(peer, 1000)


def overlay(town: Town, profile: str = "default", region: str = "east") -> Overlay:
    config = GossipConfig(node=ME, name="me", region=region, boot=1, member=b"", profile=profile)
    return Overlay(config, luck(1), town)


def greet(
    room: Overlay, node: NodeId, links: Sequence[NodeId] = OTHERS, role: int = 0, *, client: bool = False
) -> list[Effect]:
    room.up(node, NOW)
    return room.greeted(node, Greeting(demanded=False, links=list(links), role=role, client=client), NOW)


def at(seconds: float) -> Instant:
    return Instant(round(seconds * SECOND), 0)


def test_in_a_mesh_of_seven_every_other_node_is_wanted() -> None:
    assert sorted(overlay(Town(6)).wanted([], NOW)) == sorted(NODES[:6])


def test_in_a_large_mesh_only_the_slots_are_filled_and_the_choice_is_kept() -> None:
    for profile, slots in (("edge", 4), ("default", 6), ("relay", 8)):
        room = overlay(Town(30), profile)
        chosen = room.wanted([], NOW)
        assert len(chosen) == slots
        assert room.wanted([], NOW) == chosen


def test_the_lost_are_looked_for_beside_the_slots() -> None:
    town = Town(30)
    town.gone = dict.fromkeys(NODES[:5])
    wanted = overlay(town).wanted(NODES[:5], NOW)
    assert wanted[:5] == NODES[:5]
    assert len(wanted) == 5 + 6 and not {*wanted[5:]} & {*NODES[:5]}


def test_four_of_six_links_stay_in_the_region_and_one_goes_far() -> None:
    town = Town(60, ("east", "west", "north"))
    room = overlay(town)
    chosen = room.wanted([], NOW)
    assert sum(town.where[node] == "east" for node in chosen) >= 4
    assert sum(town.where[node] != "east" for node in chosen) >= 1


def test_a_node_full_of_links_of_others_still_draws_its_own_long_one() -> None:
    town = Town(60, ("east", "west"))
    room = overlay(town)
    for node in town.in_region("east")[:7]:
        if node != ME:
            assert greet(room, node) == []
    (long,) = room.wanted([], NOW)
    assert town.where[long] == "west"
    assert greet(room, long) == []
    assert room.wanted([], NOW) == []


def test_bridges_are_elected_the_same_from_both_sides_and_one_node_more_moves_few() -> None:
    east = sorted(NODES[:50])
    before = elected("east", "west", east)
    assert len(before) == BRIDGES and before == elected("west", "east", east)
    for newcomer in NODES[50:]:
        assert len({*before} & {*elected("east", "west", sorted([*east, newcomer]))}) >= BRIDGES - 1
    without = [node for node in east if node != before[0]]
    assert elected("east", "west", east, lambda node: node != before[0]) == elected("east", "west", without)


@given(st.lists(st.sampled_from(NODES), min_size=1, max_size=40, unique=True), st.integers(0, 2**40 - 1))
def test_a_node_sees_its_duties_as_the_election_does(nodes: list[NodeId], mask: int) -> None:
    members, me = sorted(nodes), nodes[0]
    down = {node for bit, node in enumerate(members) if mask >> bit & 1} - {me}
    others = [f"r{n}" for n in range(12)]
    duties = on_duty(me, "east", others, members, lambda node: node not in down)
    assert duties == [o for o in others if me in elected("east", o, members, lambda node: node not in down)]


def test_the_duties_of_many_pairs_are_spread_over_the_region() -> None:
    members = sorted(NODES)
    duties = [node for other in range(19) for node in elected("r", f"r{other}", members)]
    assert max(duties.count(node) for node in duties) <= 3 * BRIDGE_SLOTS_MAX


def test_a_bridge_of_many_pairs_takes_two_links_beyond_its_slots() -> None:
    town = Town(100, ("east", *(f"r{n}" for n in range(19))))
    town.gone = dict.fromkeys(node for node, where in town.where.items() if where == "east" and node != ME)
    room = overlay(town)
    room.elect()
    chosen = room.wanted([], NOW)
    assert len(chosen) == 6 + BRIDGE_SLOTS_MAX, "alone in its region it is elected for all 19 pairs"


def test_a_full_node_turns_away_who_has_links_and_hosts_who_has_none() -> None:
    room = overlay(Town(60))
    for node in NODES[:7]:
        assert greet(room, node) == []
    assert greet(room, NODES[7]) == [Hangup(NODES[7], Bye.EVICTED)], "the last place is for a long link"
    assert greet(room, NODES[8], role=Role.LONG) == []
    assert greet(room, NODES[9]) == [Hangup(NODES[9], Bye.EVICTED)]
    assert greet(room, NODES[10], links=[]) == []
    room.neighbours_told(NODES[3], NODES[100:120])
    room.neighbours_told(NODES[10], NODES[100:102])
    assert [e for e in room.wake(at(3.9)) if isinstance(e, Hangup)] == []
    (evicted,) = [e for e in room.wake(at(4.1)) if isinstance(e, Hangup)]
    assert evicted == Hangup(NODES[3], Bye.EVICTED), "then the one goes that can do without us best"


def test_a_guest_without_another_link_is_not_sent_away_while_it_may_be_slow() -> None:
    room = overlay(Town(60))
    for node in NODES[:8]:
        greet(room, node, role=Role.LONG)
    assert greet(room, NODES[10], links=[]) == []
    for second in range(4, int(GUEST_MAX_US / SECOND)):
        assert [e for e in room.wake(at(second + 0.1)) if isinstance(e, Hangup)] == []
    assert any(isinstance(e, Hangup) for tenth in range(80) for e in room.wake(at(12 + tenth / 10))), "but not for ever"


def test_a_link_that_is_no_more_is_told_at_once_and_a_new_one_when_there_is_something_to_ride_on() -> None:
    room = overlay(Town(60))
    for node in NODES[:3]:
        greet(room, node)
    assert room.wake(at(1.5)) == []
    assert {send.patient for send in room.wake(at(3.1)) if isinstance(send, Send)} == {True}
    room.down(NODES[0], "", at(4))
    told = [send for send in room.wake(at(4.3)) if isinstance(send, Send)]
    assert len(told) == 2 and not any(send.patient for send in told)


def test_guests_are_bounded() -> None:
    room = overlay(Town(400))
    kept = sum(greet(room, node, links=[]) == [] for node in crowd(300))
    assert kept == 7 + GUESTS_MAX


def test_who_returns_from_beyond_a_cut_is_not_turned_away_at_once() -> None:
    room = overlay(Town(60))
    for node in NODES[:8]:
        greet(room, node, role=Role.LONG)
    room.up(NODES[9], NOW, returned=True)
    assert room.greeted(NODES[9], Greeting(demanded=False, links=NODES[50:54]), NOW) == []


def test_a_relay_takes_clients_beside_its_slots_and_others_count_them() -> None:
    relay, other = overlay(Town(60), "relay"), overlay(Town(60))
    for room, refused in ((relay, 0), (other, 13)):
        answers = [greet(room, node, client=True) for node in NODES[:20]]
        assert sum(bool(answer) for answer in answers) == refused
    assert len(relay.wanted([], NOW)) == 8, "clients take no slot"


def crowd(count: int) -> list[NodeId]:
    return [NodeId(hashlib.sha256(n.to_bytes(2)).digest()) for n in range(count)]


def test_a_relay_takes_only_so_many_clients() -> None:
    relay = overlay(Town(10), "relay")
    nodes = crowd(300)
    refused = [node for node in nodes if greet(relay, node, client=True)]
    assert refused == nodes[256 + 9 :]


def test_a_node_without_an_address_says_that_it_is_a_client() -> None:
    for dialable in (True, False):
        said = overlay(Town(10, dialable=dialable)).up(NODES[0], NOW)
        assert said == [
            post(NODES[0], Greeting(demanded=False, links=[], client=not dialable, pace_ms=2_000, dials_back=True))
        ]


def test_an_evicted_node_does_not_come_back_at_once_unless_it_is_poor() -> None:
    town = Town(8)
    room = overlay(town)
    for node in NODES[:5]:
        greet(room, node)
    room.down(NODES[4], Bye.EVICTED, NOW)
    town.gone = dict.fromkeys(NODES[5:8])
    assert NODES[4] not in room.wanted([], NOW)
    assert NODES[4] in room.wanted([], at(22))
    for node in NODES[1:4]:
        town.gone[node] = None
        room.down(node, "", NOW)
    room.down(NODES[4], Bye.EVICTED, NOW)
    assert NODES[4] in room.wanted([], NOW)


def test_a_demanded_link_takes_no_slot() -> None:
    room = overlay(Town(30))
    assert not room.reach(NODES[0], NOW)
    room.up(NODES[0], NOW)
    assert room.reach(NODES[0], NOW)
    assert len(room.wanted([], NOW)) == 6
    due = min(at for at in room.deadlines() if at is not None)
    assert due <= NOW.mono_us + 60 * SECOND
    assert Hangup(NODES[0], Bye.IDLE) in room.wake(Instant(NOW.mono_us + 60 * SECOND, 0))


def test_who_comes_from_a_half_of_the_mesh_that_nobody_here_knows_stays_until_it_has_told_of_it() -> None:
    room = overlay(Town(60))
    for node in NODES[:7]:
        assert greet(room, node) == []
    assert greet(room, NODES[7], links=[*OTHERS[:3], *NODES[150:153]]) == [Hangup(NODES[7], Bye.EVICTED)]
    assert greet(room, NODES[8], links=[*OTHERS[:2], *NODES[150:153]]) == []
    assert room.greeted(NODES[8], Greeting(demanded=False, links=OTHERS), at(5)) == [Hangup(NODES[8], Bye.EVICTED)]
