"""What Node documents mean together with all others, and what is shown of them."""

from typing import Any

import pytest

from meshnode.deployments import drains
from meshnode.deployments.clusters import conditions
from meshnode.deployments.wants import CONTRADICTION
from meshnode.scheduler.views import UnitStanding
from tests.unit.deployments.written import Standings, Written, agent, reading, unit

STAYS = "beta is drained, and no known node has 1 gpu"


def node(name: str = "beta", namespace: str = "default", **spec: object) -> Written:
    return Written("Node", namespace, name, spec)


def nobody(name: str) -> list[UnitStanding]:
    raise AssertionError(f"nobody needs to know what {name} has")


def told(*units: UnitStanding, spec: dict[str, Any]) -> tuple[dict[str, object], list[tuple[str, str, str, str]]]:
    document = node(**spec)

    def standing_on(name: str) -> list[UnitStanding]:
        return [each for each in units if each.node == name]

    rows = drains.conditions(document, standing_on)
    shown = [(row.type, row.status, row.reason, row.message) for row in rows]
    return drains.status_of(document, standing_on), shown


def test_drains_are_read_by_name_with_their_reasons() -> None:
    found = reading(node(drain=True, reason="new disk"), node("gamma", drain=True), node("delta", drain=False))
    assert found.drains == {"beta": "new disk", "gamma": ""}
    assert found.wants == () and found.problems == {}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (node(drain="yes"), "spec.drain"),
        (node(drain=True, lights="off"), "spec.lights: unknown field"),
        (node(namespace="dock", drain=True), "in namespace dock"),
    ],
)
def test_a_document_without_a_meaning_drains_nothing_and_says_so(document: Written, words: str) -> None:
    found = reading(document)
    (problem,) = found.problems["node/beta"]
    assert found.drains == {} and problem.reason == CONTRADICTION and words in problem.message
    assert drains.status_of(document, nobody) == {}
    (row,) = drains.conditions(document, nobody)
    assert (row.type, row.status) == ("Accepted", "False") and words in row.message


def test_a_node_is_drained_once_its_last_unit_has_left() -> None:
    status, rows = told(unit("words/0", node="a"), spec={"drain": True, "reason": "new disk"})
    assert status == {"drained": True, "units": 0, "stay": 0, "staying": {}}
    assert rows[0] == ("Accepted", "True", "Valid", "it is to be without units: new disk")
    assert rows[1] == ("Drained", "True", "Empty", "it has no units")


def test_units_that_leave_are_counted_and_those_that_stay_say_why() -> None:
    here = [unit(f"words/{slot}", node="beta") for slot in range(2)]
    stuck = unit("words/2", node="beta", stays=STAYS)
    status, rows = told(*here, stuck, spec={"drain": True})
    assert status == {"drained": True, "units": 3, "stay": 1, "staying": {"words/2": STAYS}}
    assert rows[1] == ("Drained", "False", "UnitsLeaving", f"2 units are leaving; words/2 stays: {STAYS}")
    _, rows = told(stuck, spec={"drain": True})
    assert rows[1][2] == "UnitsStay"


def test_a_node_that_takes_units_says_so_without_counting() -> None:
    document = node(drain=False)
    assert drains.status_of(document, nobody) == {"drained": False}
    rows = [(row.type, row.status, row.reason, row.message) for row in drains.conditions(document, nobody)]
    assert rows == [
        ("Accepted", "True", "Valid", "it takes units"), ("Drained", "False", "NotAsked", "nobody drains it"),
    ]  # fmt: skip


def test_what_stays_on_a_drained_node_is_told_of_its_agent_too() -> None:
    document = agent("words", replicas=2)
    units = [unit("words/0", node="beta", stays=STAYS), unit("words/1")]
    rows = conditions(document, reading(document), Standings(*units))
    assert [row.type for row in rows] == ["Accepted", "Schedulable", "Ready", "Pending", "Leaving"]
    assert rows[2].status == "True", "it runs"
    assert (rows[4].reason, rows[4].message) == ("NoOtherNode", f"words/0 stays on beta: {STAYS}")
