"""Drained nodes: what leaves, what stays, what ends, and what comes back."""

import pytest

from meshnode.model.ids import AgentName, InstanceId
from meshnode.model.resources import Resources
from meshnode.scheduler.views import UnitStanding
from tests.unit.scheduler.town import NAMES, Town, want

WORDS = InstanceId("words/0")


def settled(count: int, *wants: object, **facts: dict[str, object]) -> Town:
    town = Town(count, **facts)
    town.run_for(2)
    town.want(*wants)
    town.run_for(3)
    return town


def standing(town: Town, on: str, agent: str = "words") -> list[UnitStanding]:
    scheduler = town.house(on).scheduler
    assert scheduler is not None
    return list(scheduler.standing(AgentName(agent), town.now).units)


def test_all_units_of_a_drained_node_leave_it_at_once_and_none_stands_still() -> None:
    town = settled(3, want(replicas=6), want("near", near="alpha"))
    gaps: list[int] = []
    town.drain("alpha")
    town.run_for(1.5, lambda: gaps.append(len(town.running())))
    assert min(gaps) == 7, "every unit answered all the time"
    homes = [where for places in town.running().values() for where in places]
    assert "alpha" not in homes and len(homes) == 7
    assert any("alpha is drained (new disk)" in note for note in town.notes)


def test_a_drained_node_takes_nothing_new_and_takes_part_again_when_it_is_resumed() -> None:
    town = settled(2)
    town.drain("alpha")
    town.run_for(1)
    town.want(want(replicas=4, near="alpha"))
    town.run_for(5)
    assert {where for places in town.running().values() for where in places} == {"beta"}
    town.resume("alpha")
    town.run_for(3)
    assert {where for places in town.running().values() for where in places} == {"beta"}, "nothing moves back by itself"
    town.want(want(replicas=6, near="alpha"))
    town.run_for(3)
    assert sum(places == ["alpha"] for places in town.running().values()) == 2


def test_the_last_node_keeps_what_it_runs_and_says_why() -> None:
    town = settled(1, want())
    town.drain("alpha")
    town.run_for(10)
    assert town.running() == {WORDS: ["alpha"]} and town.claimed == 1
    (unit,) = standing(town, "alpha")
    assert (unit.state, unit.stays) == ("running", "alpha is drained (new disk), and there is no other node")
    scheduler = town.house("alpha").scheduler
    assert scheduler is not None
    (row,) = scheduler.intended(AgentName("words"), want(), town.now)
    assert (row.action, row.node) == ("keep", "alpha") and row.reason == f"it stays: {unit.stays}"


def test_all_nodes_drained_keep_what_they_run_and_start_nothing() -> None:
    town = settled(2, want(replicas=2))
    for name in NAMES[:2]:
        town.drain(name, reason="")
    town.run_for(5)
    assert len(town.running()) == 2
    town.want(want(replicas=3))
    town.run_for(5)
    waiting = standing(town, "beta")[-1]
    assert (waiting.state, waiting.obstacle) == ("pending", "NodesDrained")
    assert waiting.reason == "alpha is drained; beta is drained, and no other node fits"


@pytest.mark.parametrize(
    ("why", "more", "facts"),
    [
        ("no known node has 1 gpu", {"resources": Resources(gpu_milli=1000)}, {"alpha": {"gpus": 1}}),
        ("no known node has disk=ssd", {"labels": {"disk": "ssd"}}, {"alpha": {"labels": {"disk": "ssd"}}}),
        ("region eu has no known node", {"region": "eu"}, {"alpha": {"region": "eu"}, "beta": {"region": "us"}}),
    ],
)
def test_a_unit_that_fits_nowhere_else_stays_until_a_node_fits(
    why: str, more: dict[str, object], facts: dict[str, dict[str, object]]
) -> None:
    town = settled(2, want(**more), **facts)
    town.drain("alpha")
    town.run_for(5)
    assert town.running() == {WORDS: ["alpha"]}
    (unit,) = standing(town, "beta")
    assert unit.stays == f"alpha is drained (new disk), and {why}"


def test_a_unit_whose_other_node_refuses_it_stays_and_leaves_when_there_is_room() -> None:
    need = Resources(cpu_milli=3000)
    town = settled(2, want(on="", near="alpha", resources=need), want("big", on="beta", resources=need))
    assert town.running()[WORDS] == ["alpha"]
    town.drain("alpha")
    town.run_for(5)
    assert town.running()[WORDS] == ["alpha"]
    (unit,) = standing(town, "alpha")
    assert "no node takes it: beta: it has no 3 cpu left" in unit.stays
    town.want(want(on="", near="alpha", resources=need))
    town.run_for(3)
    assert town.running() == {WORDS: ["beta"]}


def test_a_pinned_unit_stops_with_the_reason_and_begins_again_when_its_node_is_resumed() -> None:
    town = settled(2, want(on="alpha"))
    town.drain("alpha")
    town.run_for(2)
    assert town.running() == {} and town.claimants("words/0") == []
    (unit,) = standing(town, "beta")
    assert (unit.state, unit.obstacle) == ("pending", "NodesDrained")
    assert unit.reason == "it may only run on alpha, and alpha is drained (new disk)"
    town.kill("alpha")
    town.boot("alpha")
    town.run_for(4)
    assert town.running() == {}, "a boot does not begin it"
    town.resume("alpha")
    town.run_for(2)
    assert town.running() == {WORDS: ["alpha"]}


def test_a_drained_node_that_boots_goes_on_until_another_one_has_its_unit() -> None:
    town = settled(2, want(near="alpha"))
    town.sever("alpha")
    town.run_for(0.1)
    town.kill("alpha")
    town.drain("alpha")
    town.boot("alpha")
    town.run_for(8)
    assert town.running() == {WORDS: ["alpha", "beta"]}, "cut off, both work"
    town.heal()
    town.run_for(4)
    assert town.running() == {WORDS: ["beta"]}


def test_a_node_that_is_cut_off_reads_of_its_drain_after_the_heal() -> None:
    town = settled(3, want(near="alpha"), want("pinned", on="alpha"))
    town.sever("alpha")
    town.run_for(0.2)
    town.drain("alpha")
    town.run_for(6)
    town.heal()
    town.house("alpha")
    town.drain("alpha")
    town.run_for(6)
    assert [places for places in town.running().values() if "alpha" in places] == []
    assert len(town.running()[WORDS]) == 1


def test_a_successor_on_which_it_fails_gives_it_back_to_who_still_answers() -> None:
    town = settled(2, want(near="alpha"))
    town.failing["beta", WORDS] = "exit code 1"
    town.drain("alpha")
    town.run_for(5)
    assert town.running() == {WORDS: ["alpha"]} and town.claimants("words/0") == ["alpha"]
    (unit,) = standing(town, "alpha")
    assert "beta: it failed here: exit code 1" in unit.stays
    town.failing.clear()
    town.run_for(70)
    assert town.running() == {WORDS: ["beta"]}


def test_a_successor_that_dies_before_it_runs_is_followed_by_another() -> None:
    town = settled(3, want(near="alpha"))
    gaps: list[int] = []
    town.drain("alpha")
    town.run_for(0.06)
    chosen = [name for name in town.claimants("words/0") if name != "alpha"]
    for name in chosen:
        town.kill(name)
    town.run_for(6, lambda: gaps.append(0) if not town.running() else None)
    assert chosen and gaps == []
    ((where,),) = town.running().values()
    assert where not in ("alpha", *chosen)


def test_a_plan_says_what_would_move_before_anybody_drains() -> None:
    town = settled(2, want(near="alpha"), want("pinned", on="alpha"))
    scheduler = town.house("beta").scheduler
    assert scheduler is not None
    (row,) = scheduler.intended(AgentName("words"), want(near="alpha"), town.now, {"alpha": ""})
    assert (row.action, row.now_on, row.node) == ("move", "alpha", "beta") and "alpha is drained" in row.reason
    (row,) = scheduler.intended(AgentName("pinned"), want("pinned", on="alpha"), town.now, {"alpha": ""})
    assert (row.action, row.now_on) == ("pending", "alpha")


@pytest.mark.parametrize("seed", range(12))
def test_drains_in_any_order_end_with_every_unit_once_and_none_on_a_drained_node(seed: int) -> None:
    town = Town(5, seed, delay_us=200_000)
    town.run_for(2)
    town.want(want(replicas=7), want("crowd", 3000, slots_a_unit=1000))
    town.run_for(4)
    drained: dict[str, None] = {}
    for _ in range(12):
        name = town.luck.choice(NAMES)
        if name in drained:
            town.resume(name)
            del drained[name]
        elif len(drained) < 4:
            town.drain(name)
            drained[name] = None
        town.run_for(town.luck.random() * 2)
    town.run_for(10)
    homes = [where for places in town.running().values() for where in places]
    assert len(town.running()) == len(homes) == 10
    assert not [where for where in homes if where in drained]


def test_what_a_node_has_is_known_alike_everywhere() -> None:
    town = settled(3, want(replicas=5), want("near", near="beta"))
    town.drain("gamma")
    town.run_for(3)
    for name in NAMES[:3]:
        scheduler = town.house(name).scheduler
        assert scheduler is not None
        for node in NAMES[:3]:
            shown = [unit.unit for unit in scheduler.standing_on(node, town.now)]
            assert shown == sorted(unit for unit, homes in town.running().items() if homes == [node])
        assert list(scheduler.standing_on("nobody", town.now)) == []
