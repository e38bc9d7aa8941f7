"""Who lives where: kept as rows come and go, whatever their order."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.census import Census
from meshnode.model.ids import NodeId

steps = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from("ab"), st.sampled_from("xy")), max_size=60)


@given(steps)
def test_the_census_says_what_a_walk_over_all_members_would_say(changes: Sequence[tuple[bool, int, str, str]]) -> None:
    census, lives = Census(), dict[NodeId, tuple[str, str]]()
    for enters, number, region, name in changes:
        node = NodeId(bytes([number]) * 32)
        if node in lives:
            census.leave(node, *lives.pop(node))
        if enters:
            census.enter(node, region, name)
            lives[node] = (region, name)
    for region in "ab":
        assert list(census.in_region(region)) == sorted(n for n, (where, _) in lives.items() if where == region)
    for name in "xy":
        assert census.named(name) == min((n for n, (_, who) in lives.items() if who == name), default=None)
    assert census.regions() == sorted({region for region, _ in lives.values()})


def test_entering_or_leaving_twice_does_nothing() -> None:
    census, node = Census(), NodeId(b"n" * 32)
    census.enter(node, "a", "x")
    census.enter(node, "a", "x")
    assert list(census.in_region("a")) == [node]
    census.leave(node, "a", "x")
    census.leave(node, "a", "x")
    assert census.regions() == [] and census.named("x") is None
