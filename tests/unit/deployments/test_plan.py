"""A plan tells what applying would do and does nothing; small edits of documents keep all else."""

from typing import Any

import pytest

from meshnode.deployments.plan import plan, runs, same_wish, scaled
from meshnode.model.errors import Invalid, NotFound
from tests.unit.deployments.written import CAT, agent, cluster
from tests.unit.scheduler.town import Town, want

BY_AGENT: dict[str, Any] = {"spec.agents": [{"name": "reader", "replicas": 2}, {"name": "painter", "replicas": 1}]}
BY_REGION: dict[str, Any] = {
    "spec.replicas": 6,
    "spec.regions": [
        {"name": "eu", "agent_distribution": {"reader": 2}},
        {"name": "us", "agent_distribution": {"reader": 1, "painter": 1}},
    ],
}
MANIFEST: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Agent",
    "metadata": {"name": "words"},
    "spec": {**CAT, "replicas": 3},
}


def manifest(**spec: object) -> dict[str, Any]:
    return {**MANIFEST, "spec": {**MANIFEST["spec"], **spec}}


def running() -> Town:
    """words wants 3 and runs everywhere."""
    town = Town(3)
    town.run_for(2)
    town.want(want(replicas=3, source="agent/words"))
    town.run_for(2)
    return town


def asked(town: Town, given: dict[str, Any]) -> list[tuple[str, str]]:
    planner = town.house("alpha").scheduler
    assert planner is not None
    view = plan([agent("words", replicas=3)], given, planner, town.now)
    return [(row.unit, row.action) for row in view.items]


def test_without_a_manifest_a_plan_tells_how_everything_stands() -> None:
    assert asked(running(), {}) == [("words/0", "keep"), ("words/1", "keep"), ("words/2", "keep")]


def test_more_replicas_start_and_fewer_stop_from_the_highest_slot() -> None:
    town = running()
    assert asked(town, manifest(replicas=4))[-1] == ("words/3", "start")
    assert asked(town, manifest(replicas=1)) == [("words/0", "keep"), ("words/1", "stop"), ("words/2", "stop")]


def test_what_does_not_belong_where_it_is_moves_and_what_fits_nowhere_is_pending() -> None:
    town = running()
    moves = asked(town, manifest(on="beta"))
    assert sorted(action for _, action in moves) == ["keep", "move", "move"]
    assert {action for _, action in asked(town, manifest(on="omega"))} == {"pending"}


def test_a_plan_says_why_and_what_is_wrong() -> None:
    town = running()
    planner = town.house("alpha").scheduler
    assert planner is not None
    view = plan([], manifest(resources={"gpu": "4"}, replicas=4), planner, town.now)
    assert view.items[-1].reason == "no known node has 4 gpu"
    team = {**MANIFEST, "kind": "AgentCluster", "metadata": {"name": "team"}}
    ghosts = plan([], {**team, "spec": {"agents": [{"name": "ghost", "replicas": 1}]}}, planner, town.now)
    assert "nothing says how to run it" in ghosts.notes[0]
    with pytest.raises(Invalid, match=r"spec\.replicas"):
        plan([], manifest(replicas="many"), planner, town.now)


def test_a_plan_changes_nothing() -> None:
    town = running()
    before = town.running()
    asked(town, manifest(on="beta"))
    town.run_for(10)
    assert town.running() == before


def test_the_same_run_again_is_the_same_wish_and_another_recipe_is_not() -> None:
    fields = {"apiVersion": "v1", "spec.run": CAT["run"], "spec.replicas": 5, "spec.near": "beta"}
    assert same_wish(fields, {**CAT, "replicas": 1, "near": "alpha"})
    assert not same_wish(fields, {"run": {"command": ["/bin/tac"]}})
    assert not same_wish(fields, {**CAT, "on": "alpha"})
    assert not same_wish({}, dict(CAT))


def test_an_agent_of_a_cluster_is_found_by_name() -> None:
    assert runs(BY_AGENT, "painter")
    assert runs(BY_REGION, "painter")
    assert not runs(BY_AGENT, "words")
    assert not runs({"spec.agents": 3}, "words")


def test_scaling_changes_one_number_and_keeps_the_rest() -> None:
    assert scaled("Agent", {"spec.run": CAT["run"], "x": 1}, 4) == {
        "spec.run": CAT["run"], "x": 1, "spec.replicas": 4,
    }  # fmt: skip
    found = scaled("AgentCluster", BY_AGENT, 4, "painter")
    assert found["spec.agents"] == [{"name": "reader", "replicas": 2}, {"name": "painter", "replicas": 4}]
    assert scaled("AgentCluster", BY_REGION, 9)["spec.replicas"] == 9
    shared = scaled("AgentCluster", BY_REGION, 3, "painter")
    assert shared["spec.regions"][1]["agent_distribution"] == {"reader": 1, "painter": 3}
    assert shared["spec.replicas"] == 8


@pytest.mark.parametrize(
    ("fields", "replicas", "name", "error", "what"),
    [
        (BY_AGENT, 4, "", Invalid, "has 2 agents"),
        (BY_AGENT, 4, "ghost", NotFound, "has no agent ghost"),
        (BY_REGION, 4, "ghost", NotFound, "no region"),
        (BY_REGION, 4, "reader", Invalid, "distributed over eu, us"),
        (BY_REGION, 3, "", Invalid, "adds up to 4"),
        (BY_AGENT, -1, "painter", Invalid, "out of range"),
    ],
)
def test_a_number_that_cannot_be_set_is_refused(
    fields: dict[str, Any], replicas: int, name: str, error: type[Exception], what: str
) -> None:
    before = repr(fields)
    with pytest.raises(error, match=what):
        scaled("AgentCluster", fields, replicas, name)
    assert repr(fields) == before


def test_a_cluster_and_an_agent_of_one_name_are_two_documents() -> None:
    town = running()
    planner = town.house("alpha").scheduler
    assert planner is not None
    held = [agent("words", replicas=3), cluster({"agents": [{"name": "words", "replicas": 2}]}, "words")]
    view = plan(held, {}, planner, town.now)
    assert [row.action for row in view.items] == ["keep", "keep", "stop"]
