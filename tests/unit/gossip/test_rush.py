"""Many who meet for the first time: one link each until the news calm down, then half of the links at a time."""

from meshnode.gossip.messages import MemberState, Publish
from meshnode.gossip.planning import HELD_MEMBERS_MIN as MANY
from meshnode.gossip.planning import PROMPT_US, RUSH_CALM_US, RUSH_MAX_US, Rush
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.model.ids import NodeId
from tests.unit.gossip.test_newcomers import Starved
from tests.unit.gossip.world import LATENCY_US, World

SIZE = 30
ASKED, OTHER = NodeId(bytes(31) + b"a"), NodeId(bytes(31) + b"b")


def at(us: int) -> Instant:
    return Instant(us, 0)


def test_while_the_known_ones_double_links_are_planned_after_the_last_of_them() -> None:
    rush = Rush()
    for members in range(2, 40):
        rush.count(members, at(SECOND + 10_000 * members))
    assert rush.after(SECOND, links=True) == SECOND + 390_000 + RUSH_CALM_US
    assert rush.after(SECOND, links=False) == SECOND, "who has no link waits for nobody"


def test_a_rush_without_end_is_waited_for_so_long_only() -> None:
    rush = Rush()
    for members in range(2, 4_000):
        rush.count(members, at(SECOND + 10_000 * members))
    assert rush.after(0, links=True) == SECOND + 20_000 + RUSH_MAX_US


def test_who_answers_late_may_have_more_news_and_is_asked_again() -> None:
    rush = Rush()
    for members in (2, MANY):
        rush.count(members, at(SECOND))
    calm_us = SECOND + RUSH_CALM_US
    assert rush.doubtful(at(calm_us)) and rush.ask(ASKED, at(calm_us)) and not rush.ask(ASKED, at(calm_us + 1))
    assert rush.answered(ASKED, at(calm_us + SECOND)) and rush.after(0, links=True) == calm_us + 2 * SECOND
    assert rush.doubtful(at(calm_us + 2 * SECOND)) and rush.ask(ASKED, at(calm_us + 2 * SECOND))
    assert rush.answered(ASKED, at(calm_us + 2 * SECOND + PROMPT_US))
    assert not rush.doubtful(at(calm_us + 2 * SECOND + PROMPT_US)), "it read at once, and had nothing"


def test_what_another_one_answers_says_nothing_of_who_brings_the_news() -> None:
    rush = Rush()
    rush.count(MANY, at(SECOND))
    rush.ask(ASKED, at(3 * SECOND))
    assert not rush.answered(OTHER, at(3 * SECOND + 1)) and rush.after(0, links=True) == SECOND + RUSH_MAX_US
    assert rush.answered(ASKED, at(4 * SECOND)) and rush.doubtful(at(4 * SECOND)), "it took a second"


def test_an_answer_to_what_was_asked_before_the_last_news_says_nothing() -> None:
    rush = Rush()
    rush.count(MANY, at(SECOND))
    rush.ask(ASKED, at(3 * SECOND))
    rush.count(MANY + 1, at(3 * SECOND + 1))
    assert not rush.answered(ASKED, at(3 * SECOND + 2)) and rush.doubtful(at(3 * SECOND + 3))


def test_nobody_is_waited_for_without_end() -> None:
    rush = Rush()
    rush.count(MANY, at(SECOND))
    rush.ask(ASKED, at(3 * SECOND))
    assert rush.after(0, links=True) == SECOND + RUSH_MAX_US and not rush.doubtful(at(SECOND + RUSH_MAX_US))
    assert rush.ask(OTHER, at(4 * SECOND)), "who was asked is gone, and another one brings the news"


def test_who_is_lost_is_awaited_no_more() -> None:
    rush = Rush()
    rush.count(MANY, at(SECOND))
    rush.ask(ASKED, at(3 * SECOND))
    rush.lost(OTHER, at(4 * SECOND))
    assert rush.after(0, links=True) == SECOND + RUSH_MAX_US, "it was not asked"
    rush.lost(ASKED, at(4 * SECOND))
    assert rush.after(0, links=True) == 4 * SECOND


def test_a_few_starve_nobody_and_are_asked_nothing() -> None:
    rush = Rush()
    rush.count(MANY - 1, at(SECOND))
    assert not rush.doubtful(at(3 * SECOND))
    rush.count(MANY, at(3 * SECOND))
    assert rush.doubtful(at(3 * SECOND))


def test_one_more_member_of_a_mesh_is_no_rush() -> None:
    rush = Rush()
    rush.count(30, at(SECOND))
    rush.over(30, at(3 * SECOND))
    for members in range(31, 60):
        rush.count(members, at(5 * SECOND))
        assert rush.after(5 * SECOND, links=True) == 5 * SECOND
    rush.count(60, at(6 * SECOND))
    assert rush.after(6 * SECOND, links=True) == 6 * SECOND + RUSH_CALM_US


def test_all_who_join_one_seed_at_once_know_each_other_over_it_and_dial_others_later() -> None:
    world = World(seed=3)
    world.box("n0")
    boxes = [world.box(f"n{number}", seeds=["n0"]) for number in range(1, SIZE)]
    assert world.run_until(world.all_ready, 2.0) < 1.0
    assert sum(len(box.dials) for box in boxes) <= SIZE + 2, "one dial each is enough to know all others"
    world.run_for(20.0)
    assert world.all_ready()
    assert all(4 <= len(box.links) <= 9 for box in world.boxes.values())
    assert sum(len(box.dials) for box in boxes) <= 6 * SIZE, "evictions and second tries among them"


def arrival_us(nodes: int, at: str) -> int:
    """How long a fact that the last node tells as it joins needs to reach another one."""
    world = World(seed=3)
    world.box("n0")
    others = [world.box(f"n{number}", seeds=["n0"]) for number in range(1, nodes)]
    assert world.run_until(lambda: bool(others[-1].links), 2.0) < 1.0
    world.tell(others[-1], Publish("skill/words", b"new"))
    began_us = world.now_us
    hearer = world.boxes[at]
    world.run_until(lambda: "skill/words" in hearer.gossip.soft(others[-1].id), 20.0)
    return world.now_us - began_us


def test_a_fact_of_a_small_mesh_waits_for_no_rush() -> None:
    assert arrival_us(2, "n0") < SECOND // 4
    assert arrival_us(MANY - 1, "n1") < SECOND // 4, "who did not bring the news hears it as soon"
    assert arrival_us(20, "n1") > RUSH_CALM_US // 2, "of many who meet facts follow when it is over"


def test_where_who_brings_the_news_of_a_rush_hangs_up_another_neighbour_is_asked() -> None:
    world = Starved(seed=3, late_us=LATENCY_US)
    seed = world.box("n0")
    boxes = [world.box(f"n{number}", seeds=["n0"]) for number in range(1, 12)]
    world.run_until(world.all_ready, 2.0)
    world.late_us = 2 * RUSH_MAX_US
    world.run_for(2.5)
    left, other = boxes[:2]

    def hosts() -> dict[str, None]:
        return dict.fromkeys(host for _, host in left.dials)

    world._perform(left, left.gossip.reach(other.id, world.now()))
    world.run_for(0.1)
    assert list(left.links) == [seed.id, other.id] and len(hosts()) == 2, "it waits for what the first one says"
    world._hang_up(seed, left.id, Bye.EVICTED)
    world.run_for(1.5)
    assert len(hosts()) > 2


def test_who_is_cut_off_in_a_rush_does_not_wait_for_its_end_to_look_for_the_others() -> None:
    world = World(seed=3)
    world.box("n0")
    boxes = [world.box(f"n{number}", seeds=["n0"]) for number in range(1, 12)]
    world.run_until(world.all_ready, 2.0)
    lonely, others = boxes[-1], [world.boxes["n0"], *boxes[:-1]]
    assert len(lonely.links) == 1, "it knows ten others through the first one only"
    world.cut([lonely], others)
    world.run_until(lambda: all(world.state(lonely, each) is not MemberState.READY for each in others), 30.0)
    cut_off_us = world.now_us - lonely.dials[0][0]
    assert cut_off_us < RUSH_MAX_US + SECOND, "a silence found, then dials that come to nothing"
