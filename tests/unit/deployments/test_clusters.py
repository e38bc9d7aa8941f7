"""What is wanted, what runs, what is missing and why."""

from typing import Any

import pytest

from meshnode.deployments.clusters import conditions, status_of
from meshnode.model.view_parts import Condition
from meshnode.scheduler.views import UnitStanding
from tests.unit.deployments.written import Standings, Written, agent, cluster, reading, unit

BY_AGENT: dict[str, Any] = {
    "agents": [{"name": "reader", "replicas": 2}, {"name": "painter", "replicas": 1}],
}
BY_REGION: dict[str, Any] = {
    "replicas": 5,
    "regions": [
        {"name": "eu", "agent_distribution": {"reader": 2}},
        {"name": "us", "agent_distribution": {"reader": 1, "painter": 1}},
    ],
}
RECIPES = (agent("reader"), agent("painter"))


def told(document: Written, *units: UnitStanding, recipes: tuple[Written, ...] = RECIPES) -> dict[str, Condition]:
    found = conditions(document, reading(document, *recipes), Standings(*units))
    return {condition.type: condition for condition in found}


def status(document: Written, *units: UnitStanding) -> dict[str, Any]:
    return status_of(document, reading(document, *RECIPES), Standings(*units))


def test_all_running_is_ready_and_nothing_is_pending() -> None:
    found = told(cluster(BY_AGENT), unit("reader/0"), unit("reader/1"), unit("painter/0"))
    assert list(found) == ["Accepted", "Schedulable", "Ready", "Pending"]
    assert found["Accepted"].message == "3 instances are wanted"
    assert found["Ready"].reason == "AllRunning"
    assert found["Pending"].status == "False"


def test_what_is_missing_says_what_it_waits_for() -> None:
    waits = unit("reader/1", "pending", node="", reason="waits for beta: its turn")
    found = told(cluster(BY_AGENT), unit("reader/0"), waits, unit("painter/0", "starting", reason="it has it"))
    assert (found["Ready"].status, found["Ready"].message) == ("False", "1 of 3 wanted instances run")
    assert found["Pending"].reason == "Waiting"
    assert found["Pending"].message.startswith("2 instances are pending, 1 of them start: reader/1: waits for beta")
    assert found["Schedulable"].status == "True"


def test_a_unit_that_no_node_can_take_is_not_schedulable_and_says_why() -> None:
    blocked = unit("painter/0", "pending", node="", reason="no known node has 4 gpu", obstacle="TooBig")
    found = told(cluster(BY_AGENT), unit("reader/0"), unit("reader/1"), blocked)
    assert (found["Schedulable"].status, found["Schedulable"].reason) == ("False", "TooBig")
    assert found["Schedulable"].message == "agent painter: no known node has 4 gpu"
    assert found["Pending"].reason == "NoNodeTakesIt"


def test_an_agent_without_a_recipe_is_named_with_what_to_do() -> None:
    found = told(cluster(BY_AGENT), unit("reader/0"), unit("reader/1"), recipes=(agent("reader"),))
    assert (found["Schedulable"].status, found["Schedulable"].reason) == ("False", "NoRecipe")
    assert "meshnode run FILE --name painter" in found["Pending"].message
    assert found["Ready"].message == "2 of 3 wanted instances run"


def test_more_running_than_wanted_does_not_hide_what_is_missing() -> None:
    found = status(cluster(BY_AGENT), *(unit(f"reader/{no}") for no in range(9)))
    assert (found["wanted"], found["running"], found["pending"]) == (3, 2, 1)


def test_a_share_of_a_region_is_counted_there_and_the_free_ones_anywhere() -> None:
    units = [unit(f"reader/{no}", region="eu") for no in range(3)]
    found = status(cluster(BY_REGION), *units, unit("painter/0", region="us"))
    assert found["agents"] == [
        {"agent": "reader", "region": "eu", "wanted": 2, "running": 2, "starting": 0},
        {"agent": "reader", "region": "us", "wanted": 1, "running": 0, "starting": 0},
        {"agent": "painter", "region": "us", "wanted": 1, "running": 1, "starting": 0},
        {"agent": "reader", "region": "", "wanted": 1, "running": 1, "starting": 0},
    ]


def test_units_of_many_slots_count_as_many_instances() -> None:
    crowd = agent("crowd", replicas=1500, tier="actor")
    standing = Standings(unit("crowd/0", slots=1000), unit("crowd/1000", "starting", slots=500))
    found = status_of(crowd, reading(crowd), standing)
    assert (found["wanted"], found["running"], found["pending"]) == (1500, 1000, 500)
    assert found["agents"][0]["starting"] == 500


def test_an_agent_document_has_conditions_too() -> None:
    words = agent("words")
    found = conditions(words, reading(words), Standings(unit("words/0")))
    assert [condition.reason for condition in found] == ["Valid", "NodesFound", "AllRunning", "NothingPending"]


def test_an_agent_document_under_a_cluster_says_who_says_how_many() -> None:
    reader = agent("reader", replicas=9)
    found = reading(reader, agent("painter"), cluster(BY_AGENT))
    standing = Standings(unit("reader/0"), unit("reader/1"))
    accepted = conditions(reader, found, standing)[0]
    assert accepted.message == "2 instances are wanted, as cluster/default/team says"
    assert status_of(reader, found, standing)["pending"] == 0


def test_a_cluster_that_wants_nothing_is_ready() -> None:
    found = told(cluster({"agents": []}))
    assert (found["Ready"].reason, found["Pending"].status) == ("NothingWanted", "False")


@pytest.mark.parametrize("document", [cluster({**BY_AGENT, "replicas": 3}), agent("reader", replicas=-1)])
def test_two_edits_that_merged_into_a_contradiction_are_shown_not_raised(document: Written) -> None:
    found = conditions(document, reading(document), Standings())
    assert [(c.type, c.status, c.reason) for c in found] == [("Accepted", "False", "ConcurrentChangesContradict")]
    assert "to settle it" in found[0].message
    assert status_of(document, reading(document), Standings()) == {}


def test_many_reasons_are_cut_short_and_counted() -> None:
    many = cluster({"agents": [{"name": "reader", "replicas": 20}]})
    waiting = [unit(f"reader/{no}", "pending", node="", reason=f"reason {no}") for no in range(20)]
    message = told(many, *waiting)["Pending"].message
    assert message.count("reason") == 8
    assert message.endswith("; and 12 more")
