"""Where a unit fits, and why not in words."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.ids import NodeId
from meshnode.model.resources import Resources
from meshnode.scheduler.fitting import Part, able, lacking, layout, misplaced, obstacle
from meshnode.scheduler.ports import DOWN, UNREACHABLE, NodeFacts
from tests.unit.scheduler.town import want

GIB = 2**30
ONE = Part(0, 1, "")


def node(name: str, **facts: object) -> NodeFacts:
    usual = NodeFacts(NodeId(name.encode().ljust(32, b"\0")), name, region="eu", cpu_milli=4000, memory_bytes=8 * GIB)
    return msgspec.structs.replace(usual, **facts)


NODES = [node(f"n{no}") for no in range(10)]


@given(
    replicas=st.integers(0, 40), slots=st.integers(1, 7),
    regions=st.lists(st.tuples(st.sampled_from(["eu", "us"]), st.integers(0, 9)), max_size=3),
)  # fmt: skip
def test_units_cover_every_slot_once(replicas: int, slots: int, regions: list[tuple[str, int]]) -> None:
    parts = layout(want(replicas=replicas, slots_a_unit=slots, regions=tuple(regions)), 1000)
    covered = [slot for part in parts for slot in range(part.first_slot, part.first_slot + part.slots)]
    assert covered == list(range(replicas))
    assert all(part.slots <= slots for part in parts)


def test_a_want_without_bounds_is_bounded() -> None:
    assert len(layout(want(replicas=1_000_000), 50)) == 50


def test_a_node_that_does_not_fit_says_why() -> None:
    assert misplaced(want(on="alpha"), "", node("beta")) == "it may only run on alpha"
    assert misplaced(want(), "us", node("beta")) == "it belongs into region us"
    assert misplaced(want(labels={"gpu": "yes"}), "", node("beta")) == "it needs the label gpu=yes"
    assert misplaced(want(on="beta", labels={}), "eu", node("beta")) == ""


def test_what_is_not_known_of_a_node_is_not_held_against_it_but_a_gpu_must_be_there() -> None:
    need = Resources(8000, 16 * GIB, 1000)
    assert lacking(need, node("a", cpu_milli=0, memory_bytes=0)) == ["1 gpu"]
    assert lacking(need, node("a", gpus=1)) == ["8 cpu", "16Gi memory"]
    assert lacking(Resources(2000), node("a"), taken=Resources(3000)) == ["2 cpu"]


@pytest.mark.parametrize(
    ("asked", "part", "nodes", "reason", "message"),
    [
        ({}, ONE, [], "NoNode", "no node is known"),
        ({"on": "omega"}, ONE, NODES, "NodeUnknown", "it may only run on omega, and no node of that name is known"),
        ({}, Part(0, 1, "us"), NODES, "RegionUnknown", "region us has no known node"),
        ({"labels": {"a": "b"}}, ONE, NODES, "NoNodeFits", "no known node has a=b"),
        ({}, ONE, [node("a", state=UNREACHABLE), node("b", state=DOWN)], "NodesUnreachable", "a, b cannot be reached"),
        ({"on": "n1"}, ONE, [node("n1", state=DOWN), node("b")], "NodesUnreachable", "n1 cannot be reached now"),
        ({"resources": Resources(gpu_milli=4000)}, ONE, NODES, "TooBig", "no known node has 4 gpu"),
        ({"resources": Resources(1000)}, Part(0, 9, "eu"), NODES, "TooBig", "no known node of region eu has 9 cpu"),
        (
            {"resources": Resources(2000, 4 * GIB)}, ONE, [node("a", cpu_milli=1000), node("b", memory_bytes=GIB)],
            "TooBig", "no known node has all of 2 cpu, 4Gi memory at once",
        ),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(
    asked: dict[str, object], part: Part, nodes: list[NodeFacts], reason: str, message: str
) -> None:
    found = obstacle(want(**asked), part, nodes)
    assert found is not None
    assert found.reason == reason
    assert message in found.message
    assert able(want(**asked), part, nodes) == []


def test_where_a_unit_fits_nothing_stands_in_the_way() -> None:
    assert obstacle(want(), ONE, NODES) is None
