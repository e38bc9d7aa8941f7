"""How often links ping: a node of many of them asks most peers to be quiet for long, and both ends keep to it."""

from meshnode.kernel.instant import MS, SECOND
from meshnode.links.config import PACE_MAX_US
from meshnode.links.messages import LinkRejected
from tests.unit.links.pipe import Place, World, node_id
from tests.unit.links.test_stories import linked, ups_and_downs


def test_links_beyond_the_first_ones_of_a_crowded_node_keep_a_slow_pace() -> None:
    """A thousand peers that ping once a second would take a tenth of a core."""
    middle, others = Place(1, quick_links=3), [Place(number) for number in range(2, 9)]
    world = World(middle, *others)
    for number, other in enumerate(others):
        world.dial(other, middle, later_us=number * 10 * MS)
    world.run(10 * SECOND)
    paces = [middle.hub.pace_us(other.node) for other in others]
    assert paces == [3 * SECOND] * 3 + [PACE_MAX_US] * 4
    assert paces == [other.hub.pace_us(middle.node) for other in others], "both ends know"
    assert middle.hub.pace_us(node_id(99)) == 0
    writes = [other.writes for other in others]
    world.run(100 * SECOND)
    spent = [other.writes - before for other, before in zip(others, writes, strict=True)]
    assert min(spent[:3]) >= 30 and max(spent[3:]) <= 7, spent
    assert ups_and_downs(middle) == ["up"] * 7
    world.silent = True
    world.run(4 * PACE_MAX_US + SECOND)
    assert ups_and_downs(middle).count("down") == 7, "silence ends all of them, the slow ones later"


def test_a_link_that_takes_over_keeps_the_pace_it_was_told_itself() -> None:
    middle, other = Place(1, quick_links=1), Place(2)
    world = World(middle, other, Place(3))
    first, _ = world.dial(other, middle)
    world.run(1 * SECOND)
    assert middle.hub.pace_us(other.node) == 3 * SECOND
    world.dial(world.places[2], middle)
    world.run(1 * SECOND)
    world.blacken(first)  # and only its dialler knows
    world.run(1 * SECOND)
    world.dial(other, middle, dial_no=2)
    world.run(1 * SECOND)
    assert middle.hub.pace_us(other.node) == other.hub.pace_us(middle.node) == PACE_MAX_US
    assert ups_and_downs(middle) == ["up", "up"]


def test_a_dial_beside_a_slow_link_that_was_quiet_for_a_while_replaces_it() -> None:
    """Somebody missed a word on it: it may be dead, and nothing would tell for twenty seconds."""
    middle, other = Place(1, quick_links=1), Place(2)
    world = World(Place(3), middle, other)
    world.dial(world.places[0], middle)
    world.run(1 * SECOND)
    world.dial(other, middle)
    world.run(8 * SECOND)
    world.dial(other, middle, dial_no=7)
    world.run(1 * SECOND)
    assert [fact.bye for fact in other.told(LinkRejected) if isinstance(fact, LinkRejected)] == ["duplicate-link"]
    assert other.hub.counters["link-replaced"] == middle.hub.counters["link-replaced"] == 1
    assert ups_and_downs(other) == ["up"]


def test_pings_without_an_answer_are_counted() -> None:
    world, a, b = linked()
    world.run(20 * SECOND)
    stats = a.hub.stats(b.node)
    assert stats is not None and stats.pings > 5 and stats.unanswered == 0
    world.silent = True
    world.run(6 * SECOND)
    silent = a.hub.stats(b.node)
    assert silent is not None and 3 <= silent.unanswered < silent.pings - stats.pings + 1
