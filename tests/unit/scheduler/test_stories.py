"""What becomes of units when nodes die, return, are cut off, fill up or fail: one story a promise."""

import pytest

from meshnode.kernel.effects import Persist
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import AgentName, InstanceId
from meshnode.model.resources import Resources
from meshnode.scheduler.messages import Claim, UnitChanged, UnitClaimed, UnitReleased, Want
from meshnode.scheduler.rules import SchedulerRules
from tests.unit.scheduler.town import NAMES, RECIPE, Town, id_of, want

WORDS = InstanceId("words/0")


def settled(count: int = 3, *wants: Want, seed: int = 0, only: str = "") -> Town:
    town = Town(count, seed)
    town.run_for(2)
    town.want(*(wants or (want(),)), only=only)
    town.run_for(3)
    return town


def test_a_mesh_of_one_runs_everything_at_once() -> None:
    town = Town(1)
    town.want(want(replicas=5))
    town.run_for(0.2)
    assert town.running() == {InstanceId(f"words/{slot}"): ["alpha"] for slot in range(5)}


def test_replicas_are_spread_over_the_nodes() -> None:
    town = settled(3, want(replicas=6))
    places = [place for places in town.running().values() for place in places]
    assert sorted(places) == ["alpha", "alpha", "beta", "beta", "gamma", "gamma"]
    assert town.claimed == 6


@pytest.mark.parametrize("seed", range(10))
def test_a_fresh_agent_runs_on_the_node_it_is_wanted_near_and_at_once(seed: int) -> None:
    town = Town(3, seed)
    town.run_for(2)
    town.want(want(near="gamma"), only="gamma")
    town.run_for(0.15)
    assert town.running() == {WORDS: ["gamma"]}
    town.run_for(10)
    assert town.claimed == 1


def test_a_run_on_a_node_that_has_just_started_alone_does_not_wait() -> None:
    town = Town(2)
    town.sever("alpha")
    town.run_for(1)
    town.want(want(near="alpha"), only="alpha")
    town.run_for(0.2)
    assert town.running() == {WORDS: ["alpha"]}


def test_a_dead_nodes_unit_runs_elsewhere_as_soon_as_the_death_is_known() -> None:
    town = settled(3, want(near="alpha"))
    town.kill("alpha", seen_us=1 * MS)
    town.run_for(0.2)
    assert len(town.running()[WORDS]) == 1
    assert any("alpha, which had it in epoch 1, is down" in note for note in town.notes)


def test_a_silent_node_is_given_as_long_as_its_agent_says() -> None:
    town = settled(3, want(near="alpha", lost_after_us=3 * SECOND))
    town.sever("alpha")
    town.run_for(3.3)
    assert town.running() == {WORDS: ["alpha"]}
    town.run_for(3)
    assert len(town.running()[WORDS]) == 2
    town.heal()
    town.run_for(3)
    assert len(town.running()[WORDS]) == 1
    assert town.running() != {WORDS: ["alpha"]}


def test_a_short_cut_moves_nothing() -> None:
    town = settled(3, want(near="alpha", lost_after_us=3 * SECOND))
    town.sever("alpha")
    town.run_for(2)
    town.heal()
    town.run_for(10)
    assert town.running() == {WORDS: ["alpha"]}
    assert town.claimed == 1


def test_who_returns_leaves_its_unit_to_who_took_it_on_and_hands_its_state_over() -> None:
    town = settled(3, want(near="alpha"))
    town.kill("alpha")
    town.run_for(3)
    there = town.running()
    town.boot("alpha")
    town.run_for(5)
    assert town.running() == there
    assert town.claimed == 2
    released = [fact for node, fact in town.facts if node == id_of("alpha") and isinstance(fact, UnitReleased)]
    assert [fact.winner for fact in released] == [id_of(there[WORDS][0])]


def test_a_boot_without_a_network_runs_what_ran_there_first_and_the_rest_later() -> None:
    town = settled(3, want(replicas=3))
    own = [unit for unit, places in town.running().items() if places == ["alpha"]]
    town.sever("alpha")
    town.kill("alpha")
    town.run_for(0.5)
    town.boot("alpha")
    town.run_for(1)
    assert [unit for unit, places in town.running().items() if "alpha" in places] == own
    town.run_for(6)
    assert all("alpha" in places for places in town.running().values())
    town.heal()
    town.run_for(5)
    assert all(len(places) == 1 for places in town.running().values())


def test_a_mesh_of_one_that_boots_runs_at_once_under_a_new_epoch() -> None:
    town = settled(1)
    town.kill("alpha")
    town.boot("alpha")
    town.run_for(0.1)
    assert town.running() == {WORDS: ["alpha"]}
    assert list(town.epochs) == [(WORDS, Epoch(1, id_of("alpha"))), (WORDS, Epoch(2, id_of("alpha")))]


def test_a_claim_that_never_reached_the_disk_opened_nothing() -> None:
    town = settled(1)
    writes = [effect for _, effect in town.facts if isinstance(effect, Persist)]
    assert [record.kind for record in writes[0].records] == [RecordKind.CLAIM]
    assert isinstance(writes[0].then[0], UnitClaimed)


def test_less_is_wanted_and_the_highest_slots_go() -> None:
    town = settled(3, want(replicas=4))
    town.want(want(replicas=2))
    town.run_for(1)
    assert list(town.running()) == ["words/0", "words/1"]
    released = [fact for _, fact in town.facts if isinstance(fact, UnitReleased)]
    assert sorted((fact.unit, fact.winner) for fact in released) == [("words/2", None), ("words/3", None)]


def test_what_is_not_wanted_any_more_stops_and_does_not_come_back_at_a_boot() -> None:
    town = settled(1)
    town.want()
    town.run_for(0.5)
    assert town.running() == {}
    town.kill("alpha")
    town.boot("alpha")
    town.want(want())
    town.run_for(1)
    assert list(town.epochs)[-1][1].counter == 2
    assert "it ran here before" not in town.notes[-1]


def test_another_recipe_restarts_one_unit_after_the_other() -> None:
    town = settled(1, want(replicas=3))
    worst: list[int] = []
    town.want(want(replicas=3, generation=1))
    town.run_for(1, lambda: worst.append(sum(process.running for process in town.house("alpha").processes.values())))
    changed = [fact.unit for _, fact in town.facts if isinstance(fact, UnitChanged)]
    assert changed == ["words/0", "words/1", "words/2"]
    assert min(worst) == 2
    assert town.claimed == 3


def test_a_unit_that_does_not_come_back_from_its_restart_holds_the_next_up_only_for_a_while() -> None:
    town = settled(1, want(replicas=2))
    town.house("alpha").processes[WORDS].leaving = id_of("alpha")  # its process never answers again
    town.want(want(replicas=2, generation=1))
    town.run_for(9)
    assert sum(isinstance(fact, UnitChanged) for _, fact in town.facts) == 1
    town.run_for(2)
    assert sum(isinstance(fact, UnitChanged) for _, fact in town.facts) == 2


def test_another_number_of_replicas_restarts_nothing() -> None:
    town = settled(2, want(replicas=2))
    town.want(want(replicas=3))
    town.run_for(3)
    assert not any(isinstance(fact, UnitChanged) for _, fact in town.facts)
    assert town.claimed == 3


def test_a_node_that_is_full_refuses_and_the_next_one_takes_it_without_a_turn() -> None:
    town = settled(2, want(replicas=8, resources=Resources(cpu_milli=1000)))
    assert len(town.running()) == 8
    town.want(want(replicas=9, resources=Resources(cpu_milli=1000)))
    town.run_for(5)
    assert len(town.running()) == 8
    scheduler = town.house("alpha").scheduler
    assert scheduler is not None
    missing = scheduler.standing(AgentName("words"), town.now).units[-1]
    assert missing.state == "pending"
    assert missing.reason == "no node takes it: alpha: it has no 1 cpu left; beta: it has no 1 cpu left"
    town.want(want(replicas=9, resources=Resources(cpu_milli=1000)), want("other"))
    town.run_for(3)
    assert "other/0" in town.running()


def test_room_that_is_made_is_used() -> None:
    need = Resources(memory_bytes=2**33)
    town = settled(1, want("first", resources=need))
    town.want(want("first", resources=need), want("second", resources=need))
    town.run_for(2)
    assert list(town.running()) == ["first/0"]
    town.want(want("second", resources=need))
    town.run_for(2)
    assert list(town.running()) == ["second/0"]


def test_a_unit_that_keeps_failing_is_tried_on_another_node() -> None:
    town = Town(2)
    town.failing["alpha", WORDS] = "it kept ending: exit code 1"
    town.run_for(2)
    town.want(want(near="alpha"))
    town.run_for(2)
    assert town.running() == {WORDS: ["beta"]}
    town.run_for(120)
    assert town.claimed == 2


def test_a_unit_that_fails_everywhere_is_tried_ever_more_rarely_and_says_so() -> None:
    town = Town(2)
    for name in NAMES[:2]:
        town.failing[name, WORDS] = "exit code 1"
    town.run_for(2)
    town.want(want())
    town.run_for(30)
    assert town.claimed == 2
    scheduler = town.house(town.claimants("words/0")[0]).scheduler
    assert scheduler is not None
    assert "it failed: exit code 1" in scheduler.standing(AgentName("words"), town.now).units[0].reason
    town.run_for(3600)
    assert town.claimed <= 14


def test_a_unit_that_fails_on_the_only_node_stays_there_until_it_is_wanted_otherwise() -> None:
    town = Town(1)
    town.failing["alpha", WORDS] = "exit code 1"
    town.want(want())
    town.run_for(300)
    assert town.claimed == 1
    assert town.claimants("words/0") == ["alpha"]
    town.failing.clear()
    town.want(want(generation=1))
    town.run_for(1)
    assert town.running() == {WORDS: ["alpha"]}


def test_a_unit_goes_only_where_it_belongs() -> None:
    facts: dict[str, dict[str, object]] = {
        "alpha": {"region": "eu"}, "beta": {"region": "us", "labels": {"gpu": "yes"}, "gpus": 1},
        "gamma": {"region": "us"},
    }  # fmt: skip
    town = Town(3, 0, **facts)
    town.run_for(2)
    town.want(
        want("a", region="eu"), want("b", labels={"gpu": "yes"}), want("c", on="gamma"),
        want("d", resources=Resources(gpu_milli=1000)), want("e", 3, regions=(("eu", 2),), region="us"),
    )  # fmt: skip
    town.run_for(3)
    found = town.running()
    assert [found[InstanceId(f"{agent}/0")] for agent in "abcd"] == [["alpha"], ["beta"], ["gamma"], ["beta"]]
    assert found[InstanceId("e/0")] == found[InstanceId("e/1")] == ["alpha"]
    assert found[InstanceId("e/2")] != ["alpha"]


def test_a_unit_that_does_not_belong_where_it_is_moves_and_never_stands_still() -> None:
    town = settled(3, want(on="alpha"))
    gaps: list[float] = []
    town.want(want(on="beta"))
    town.run_for(6, lambda: gaps.append(town.now_us) if not town.running() else None)
    assert town.running() == {WORDS: ["beta"]}
    assert gaps == []
    assert any("alpha is not where it belongs" in note for note in town.notes)


def test_the_node_with_a_copy_of_the_state_comes_first() -> None:
    for copy in ("beta", "gamma", "delta"):
        town = settled(4, want(on=""))
        there = town.running()[WORDS][0]
        if copy == there:
            continue
        claim = Claim(id_of(there), WORDS, Epoch(1, id_of(there)), running=True, holder=id_of(copy), version=7)
        for house in town.houses.values():
            assert house.scheduler is not None
            house.scheduler.claims(id_of(there), AgentName("words"), [claim], town.now)
        town.kill(there)
        town.run_for(1)
        assert town.running() == {WORDS: [copy]}
        assert any("holds a copy of its state" in note for note in town.notes)


def test_the_next_in_order_takes_over_when_the_first_does_not_act() -> None:
    town = settled(3, want(near="alpha"))
    town.kill("alpha", seen_us=1)
    town.run_for(0.3)
    first = town.running()[WORDS][0]
    silent = settled(3, want(near="alpha"))
    frozen = silent.house(first)
    frozen.up, frozen.scheduler = False, None  # it is believed to be ready, and does nothing
    silent.kill("alpha", seen_us=1)
    silent.run_for(1)
    assert silent.running() == {}
    silent.run_for(0.5)
    assert len(silent.running()[WORDS]) == 1
    assert any(f"{first} came first and did not take it" in note for note in silent.notes)


def test_an_actor_unit_holds_many_slots_and_moves_as_one() -> None:
    town = settled(2, want("crowd", 2500, slots_a_unit=1000))
    assert list(town.running()) == ["crowd/0", "crowd/1000", "crowd/2000"]
    slots = {fact.unit: fact.slots for _, fact in town.facts if isinstance(fact, UnitClaimed)}
    assert slots == {"crowd/0": 1000, "crowd/1000": 1000, "crowd/2000": 500}


def test_without_the_rule_that_the_lower_epoch_yields_two_go_on() -> None:
    class NeverYields(SchedulerRules):
        def yields(self, mine: Epoch, theirs: Claim) -> bool:
            return False

    town = Town(3, rules=NeverYields())
    town.run_for(2)
    town.want(want(near="alpha"))
    town.run_for(2)
    town.sever("alpha")
    town.run_for(5)
    town.heal()
    town.run_for(30)
    assert len(town.running()[WORDS]) == 2


def test_records_of_another_version_are_passed_over() -> None:
    town = Town(1)
    house = town.house("alpha")
    house.journal[b"x"] = Record(RecordKind.CLAIM, b"words/0", b"\xc1")
    house.journal[b"y"] = Record(RecordKind.CLAIM, b"\xff/0", b"\x92\x01\xc3")
    town.kill("alpha")
    town.boot("alpha")
    town.want(want())
    town.run_for(1)
    assert town.running() == {WORDS: ["alpha"]}


def test_what_a_peer_tells_of_others_units_is_not_believed() -> None:
    town = settled(2)
    there = town.running()[WORDS][0]
    other = next(name for name in NAMES[:2] if name != there)
    scheduler = town.house(there).scheduler
    assert scheduler is not None
    lies = [
        Claim(id_of("gamma"), WORDS, Epoch(99, id_of("gamma")), running=True),
        Claim(id_of(other), InstanceId("else/0"), Epoch(99, id_of(other)), running=True),
        Claim(id_of(other), WORDS, Epoch(2**53, id_of(other)), running=True),
        Claim(id_of(other), WORDS, Epoch(99, id_of("gamma")), running=True),
    ]
    assert scheduler.claims(id_of(other), AgentName("words"), lies, town.now) == ()
    assert scheduler.claim_of(WORDS) == Epoch(1, id_of(there))


def test_a_spurious_wake_does_nothing() -> None:
    town = settled(3, want(replicas=3))
    for house in town.houses.values():
        assert house.scheduler is not None
        assert house.scheduler.deadline() is None
        assert list(house.scheduler.wake(Instant(town.now_us + 1, 0))) == []


def test_every_decision_can_be_told() -> None:
    town = settled(3, want(replicas=2))
    for unit, places in town.running().items():
        scheduler = town.house(places[0]).scheduler
        assert scheduler is not None
        assert "comes first in order" in scheduler.reason(unit)
    scheduler = town.house("alpha").scheduler
    assert scheduler is not None
    assert scheduler.reason(InstanceId("ghost/0")) == ""
    town.sever("alpha")
    town.run_for(1.2)
    told = scheduler.standing(AgentName("words"), town.now)
    reasons = [unit.reason for unit in told.units if unit.state == "pending"]
    assert reasons
    assert all(" s of 1 s" in reason or "waits for" in reason for reason in reasons)
    assert RECIPE.argv
