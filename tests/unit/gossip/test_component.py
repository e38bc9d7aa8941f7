"""The graph of two thousand overlays of twenty regions: one component, whoever dies, and links that come to rest."""

from collections.abc import Sequence

import pytest

from meshnode.gossip.overlay import Overlay
from meshnode.gossip.wishes import BRIDGE_SLOTS_MAX
from meshnode.kernel.instant import Instant
from meshnode.model.ids import NodeId
from tests.unit.gossip.field import Field

SETTLED = 15  # rounds of a second


class Homely(Overlay):
    """A planted fault: links inside the own region only."""

    def wanted(self, lost: Sequence[NodeId], now: Instant) -> list[NodeId]:
        chosen = super().wanted(lost, now)
        return [node for node in chosen if self._mesh.region_of(node) == self._config.region]


@pytest.fixture(scope="module")
def field() -> Field:
    field = Field(2000, 20)
    field.run(SETTLED)
    return field


def test_two_thousand_nodes_are_one_component_with_bounded_links(field: Field) -> None:
    assert field.components() == [2000]
    links = [len(room.peers()) for room in field.rooms.values()]
    assert min(links) >= 5 and max(links) <= 8 + 3 * BRIDGE_SLOTS_MAX
    assert sum(links) / len(links) < 9


def test_most_links_lie_inside_the_region_and_all_have_a_long_one(field: Field) -> None:
    near = {
        node: sum(field.where[peer] == field.where[node] for peer in room.peers()) for node, room in field.rooms.items()
    }
    assert sum(count >= 4 for count in near.values()) >= 0.99 * len(near)
    assert all(near[node] < len(room.peers()) for node, room in field.rooms.items())


def test_every_pair_of_regions_has_a_link_of_its_own(field: Field) -> None:
    pairs = {
        tuple(sorted((field.where[node], field.where[peer])))
        for node, room in field.rooms.items()
        for peer in room.peers()
    }
    assert len([pair for pair in pairs if pair[0] != pair[1]]) == 20 * 19 // 2


def test_links_come_to_rest(field: Field) -> None:
    """Two full nodes do not push each other, or a third one, out for ever."""
    field.run(20)
    evictions, made = field.evictions, field.links_made
    field.run(30)
    assert field.evictions - evictions <= 20
    assert field.links_made - made <= 20


@pytest.mark.parametrize("share", [0.5, 0.8])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_survivors_of_a_catastrophe_are_one_component(seed: int, share: float) -> None:
    field = Field(2000, 20, seed)
    field.run(4)
    field.kill(field.luck.sample(list(field.alive), int(2000 * share)))
    field.run(5)
    assert field.components() == [round(2000 * (1 - share))]


def test_without_links_beyond_the_region_the_mesh_falls_into_its_regions() -> None:
    field = Field(2000, 20, kind=Homely)
    field.run(4)
    assert field.components() == [100] * 20


def test_two_full_nodes_that_dial_each_other_part_once() -> None:
    """Each refuses the other's link, and neither asks again while it is rich."""
    field = Field(60, 1)
    field.run(SETTLED)
    full = [node for node, room in field.rooms.items() if len(room.peers()) >= 8]
    one, two = next((a, b) for a in full for b in full if a < b and not field.rooms[a].linked(b))
    field.link(one, two)
    assert not field.rooms[one].linked(two)
    for _ in range(30):
        assert two not in field.rooms[one].wanted([], field.now)
        assert one not in field.rooms[two].wanted([], field.now)
        field.run(1)
