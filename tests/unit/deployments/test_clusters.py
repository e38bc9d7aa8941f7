"""What is wanted, what runs, what is missing and why."""

from typing import Any

import msgspec
import pytest

from meshnode.deployments.clusters import NodeFacts, Wanted, conditions, desired, status_of
from meshnode.model.agentcluster import Resources, parse_spec
from meshnode.model.views import Condition

GIB = 2**30
BY_AGENT: dict[str, Any] = {
    "agents": [
        {"name": "reader", "replicas": 2, "resources": {"cpu": "2", "memory": "4Gi"}},
        {"name": "painter", "replicas": 1, "resources": {"gpu": "1"}},
    ]
}
BY_REGION: dict[str, Any] = {
    "replicas": 6,
    "regions": [
        {"name": "eu", "agent_distribution": {"reader": 2}},
        {"name": "us", "agent_distribution": {"reader": 1, "painter": 1}},
    ],
    "resource_management": {"painter": {"gpu": "2"}},
}


def node(name: str, region: str = "eu", **facts: object) -> NodeFacts:
    usual = NodeFacts(name=name, region=region, reachable=True, cpus=4.0, memory_bytes=8 * GIB, gpus=0)
    return msgspec.structs.replace(usual, **facts)


def told(spec: dict[str, Any], *nodes: NodeFacts) -> dict[str, Condition]:
    return {condition.type: condition for condition in conditions("default", "team", spec, nodes)}


def test_agents_listed_one_by_one_are_wanted_anywhere() -> None:
    assert desired(parse_spec(BY_AGENT)) == [
        Wanted("reader", "", 2, Resources(2000, 4 * GIB, 0)),
        Wanted("painter", "", 1, Resources(0, 0, 1000)),
    ]


def test_a_distribution_is_wanted_per_region_and_the_rest_anywhere() -> None:
    assert desired(parse_spec(BY_REGION)) == [
        Wanted("reader", "eu", 2),
        Wanted("reader", "us", 1),
        Wanted("painter", "us", 1, Resources(0, 0, 2000)),
        Wanted("", "", 2),
    ]


def test_nothing_running_is_pending_and_says_honestly_why() -> None:
    found = told(BY_AGENT, node("a", gpus=1))
    assert found["Accepted"].status == "True"
    assert found["Ready"].status == "False"
    assert found["Ready"].message == "0 of 3 wanted instances run"
    assert found["Pending"].status == "True"
    assert "placement is not part of this release" in found["Pending"].message
    assert found["Schedulable"].status == "True"


def test_all_running_is_ready_and_nothing_is_pending() -> None:
    found = told(BY_AGENT, node("a", running=("reader",)), node("b", running=("painter", "reader")))
    assert found["Ready"].reason == "AllRunning"
    assert found["Pending"].status == "False"


def test_more_running_than_wanted_does_not_hide_what_is_missing() -> None:
    nodes = [node("a", running=("reader",) * 9)]
    status = status_of("default", "team", BY_AGENT, nodes)
    assert (status["wanted"], status["running"], status["pending"]) == (3, 2, 1)


def test_instances_on_a_node_out_of_reach_do_not_count() -> None:
    found = told(BY_AGENT, node("a", reachable=False, running=("reader", "reader", "painter")))
    assert found["Ready"].message == "0 of 3 wanted instances run"
    assert found["Schedulable"].reason == "NodesUnreachable"


def test_instances_beyond_a_regions_share_count_as_freely_placed() -> None:
    nodes = [node("a", "eu", running=("reader",) * 3), node("b", "us", running=("stranger", "painter"))]
    status = status_of("default", "team", BY_REGION, nodes)
    assert status["agents"] == [
        {"agent": "reader", "region": "eu", "wanted": 2, "running": 2},
        {"agent": "reader", "region": "us", "wanted": 1, "running": 0},
        {"agent": "painter", "region": "us", "wanted": 1, "running": 1},
        {"agent": "", "region": "", "wanted": 2, "running": 1},
    ]


@pytest.mark.parametrize(
    ("nodes", "reason", "message"),
    [
        ([], "NoNode", "no node is known"),
        ([node("a", "eu")], "RegionUnknown", "region us has no known node"),
        ([node("a", "eu"), node("b", "us", reachable=False)], "NodesUnreachable", "no known node of region us"),
        ([node("a", "eu"), node("b", "us", gpus=1)], "TooBig", "agent painter: no known node in region us has 2 gpu"),
    ],
)
def test_the_reason_why_a_region_cannot_take_its_share_is_named(
    nodes: list[NodeFacts], reason: str, message: str
) -> None:
    found = told(BY_REGION, *nodes)["Schedulable"]
    assert (found.status, found.reason) == ("False", reason)
    assert message in found.message


def test_what_no_node_has_enough_of_is_named() -> None:
    found = told(BY_AGENT, node("a", cpus=1.0), node("b", cpus=1.5, memory_bytes=GIB))["Schedulable"]
    assert found.message == "agent reader: no known node has 2 cpu; agent painter: no known node has 1 gpu"


def test_enough_of_each_but_nowhere_of_all_is_named() -> None:
    found = told(BY_AGENT, node("a", cpus=1.0, gpus=1), node("b", memory_bytes=GIB))["Schedulable"]
    assert found.message == "agent reader: no known node has all of 2 cpu, 4Gi memory at once"


def test_what_is_not_known_of_a_node_is_not_held_against_it() -> None:
    assert told(BY_AGENT, node("a", cpus=0.0, memory_bytes=0, gpus=1))["Schedulable"].status == "True"


def test_a_cluster_that_wants_nothing_is_ready() -> None:
    found = told({"agents": []}, node("a"))
    assert (found["Ready"].reason, found["Pending"].status) == ("NothingWanted", "False")


def test_two_edits_that_merged_into_a_contradiction_are_shown_not_raised() -> None:
    merged = {**BY_AGENT, "replicas": 3}
    found = told(merged, node("a"))
    assert list(found) == ["Accepted"]
    assert found["Accepted"].status == "False"
    assert "cannot stand beside" in found["Accepted"].message
    assert status_of("default", "team", merged, []) == {}


def test_many_reasons_are_cut_short_and_counted() -> None:
    spec = {"regions": [{"name": f"r{no}", "agent_distribution": {"a": 1}} for no in range(20)]}
    message = told(spec, node("a"))["Schedulable"].message
    assert message.endswith("; and 12 more")


def test_equal_facts_give_equal_words_whatever_their_order() -> None:
    nodes = [node("a", "eu", running=("reader", "painter")), node("b", "us", running=("reader",))]
    assert status_of("d", "t", BY_REGION, nodes) == status_of("d", "t", BY_REGION, nodes[::-1])
