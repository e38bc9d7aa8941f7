"""The same documents want the same everywhere; what cannot start says why and what to do."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.deployments.reader import Reader, read, wants
from meshnode.deployments.wants import Reading, rows
from meshnode.kernel.instant import SECOND
from meshnode.model.agentcluster import parse_spec
from meshnode.model.durability import AUTO, Durability
from meshnode.model.ids import DocId
from meshnode.model.recipe import Recipe
from meshnode.model.resources import Resources
from meshnode.scheduler.messages import LOST_AFTER_US, Want
from tests.unit.deployments.written import Written, agent, cluster, node

CAT = Recipe(("/bin/cat",))
BY_REGION: dict[str, Any] = {
    "replicas": 9,
    "regions": [
        {"name": "eu", "agent_distribution": {"reader": 2}},
        {"name": "us", "agent_distribution": {"reader": 2, "painter": 2}},
    ],
    "resource_management": {"painter": {"gpu": "2"}},
}


def only(*documents: Written) -> Want:
    found, problems = wants(documents)
    assert problems == {}
    assert len(found) == 1
    return found[0]


def test_an_agent_alone_wants_its_replicas() -> None:
    want = only(agent("words", replicas=3, on="alpha", near="beta", region="eu", durability="local"))
    assert want == Want(
        "words", CAT, 3, on="alpha", near="beta", region="eu", durability=Durability(copies=0, strict=True),
        source="agent/words",
    )  # fmt: skip
    assert want.lost_after_us == LOST_AFTER_US


def test_how_long_a_node_may_be_lost_is_said_in_the_document() -> None:
    assert only(agent("words", disconnect={"lost_after": "2s"})).lost_after_us == 2 * SECOND


def test_actors_share_workers_and_processes_do_not() -> None:
    assert only(agent("words", tier="actor")).slots_a_unit == 1000
    assert only(agent("words")).slots_a_unit == 1


def test_clusters_that_name_an_agent_say_how_many_of_it_are_wanted() -> None:
    team = cluster({"agents": [{"name": "words", "replicas": 2, "resources": {"cpu": "1"}}]})
    more = cluster({"agents": [{"name": "words", "replicas": 3, "resources": {"memory": "1Gi"}}]}, "more")
    want = only(agent("words", replicas=7, near="beta"), team, more)
    assert (want.replicas, want.near, want.recipe) == (5, "beta", CAT)
    assert want.resources == Resources(1000, 2**30, 0)
    assert want.source == "cluster/default/more and 1 more"


def test_a_cluster_brings_its_own_recipe() -> None:
    how = {"run": {"command": ["/bin/tac"]}, "region": "eu", "labels": {"site": "p7"}, "durability": "lazy"}
    team = cluster({"agents": [{"name": "words", "replicas": 2, **how}]})
    alone = only(team)
    assert alone.recipe == Recipe(("/bin/tac",))
    assert (alone.replicas, alone.regions, alone.region) == (2, (("eu", 2),), "")
    assert (alone.labels, alone.durability.written()) == ({"site": "p7"}, "lazy")
    beside = only(team, agent("words", generation=4))
    assert (beside.recipe, beside.generation) == (alone.recipe, 4)


def test_an_agent_without_a_recipe_says_what_to_do_and_the_others_run() -> None:
    team = cluster({"agents": [{"name": "ghost", "replicas": 1}, {"name": "words", "replicas": 1}]})
    found, problems = wants([team, agent("words")])
    assert [want.agent for want in found] == ["words"]
    assert "nothing says how to run it" in problems["cluster/default/team"]
    assert "meshnode run FILE --name ghost" in problems["cluster/default/team"]


def test_a_distribution_is_wanted_region_by_region_and_the_rest_is_shared_out() -> None:
    found, problems = wants([cluster(BY_REGION), agent("reader"), agent("painter", region="us")])
    assert problems == {}
    painter, reader = found
    assert (reader.replicas, reader.regions, reader.region) == (6, (("eu", 2), ("us", 2)), "")
    assert (painter.replicas, painter.regions, painter.region) == (3, (), "us")
    assert painter.resources == Resources(gpu_milli=2000)


def test_replicas_of_no_agent_are_told_and_not_started() -> None:
    found, problems = wants([cluster({"replicas": 3})])
    assert found == ()
    assert "3 replicas are asked for, and nothing says of which agents" in problems["cluster/default/team"]


def test_two_edits_that_merged_into_a_contradiction_start_nothing_and_harm_nobody() -> None:
    broken = cluster({"agents": [], "replicas": 3})
    found, problems = wants([broken, agent("words"), agent("odd", replicas="many")])
    assert [want.agent for want in found] == ["words"]
    assert "cannot stand beside" in problems["cluster/default/team"]
    assert "Apply default/team again" in problems["cluster/default/team"]
    assert "whole number" in problems["agent/odd"]


def test_an_agent_of_another_namespace_or_name_that_a_peer_wrote_starts_nothing() -> None:
    found, problems = wants([agent("words", namespace="lab"), agent("../etc")])
    assert found == ()
    assert "unique in its mesh" in problems["agent/words"]
    assert "no name for an agent" in problems["agent/../etc"]


def test_of_two_recipes_of_clusters_the_first_by_name_goes_on_and_the_other_is_told() -> None:
    one = cluster({"agents": [{"name": "words", "replicas": 1, "run": {"command": ["/bin/a"]}}]}, "a")
    two = cluster({"agents": [{"name": "words", "replicas": 1, "run": {"command": ["/bin/b"]}}]}, "b")
    for documents in ([one, two], [two, one]):
        found, problems = wants(documents)
        assert found[0].recipe == Recipe(("/bin/a",))
        assert found[0].replicas == 2
        assert "cluster/default/a says otherwise" in problems["cluster/default/b"]


def test_a_restart_asked_of_a_cluster_raises_the_generation_of_its_agents() -> None:
    team = {"agents": [{"name": "words", "replicas": 1}]}
    before = only(cluster(team), agent("words", generation=2))
    after = only(cluster({**team, "generation": 1}), agent("words", generation=2))
    assert (before.generation, after.generation) == (2, 3)
    assert (before.durability, before.resources) == (AUTO, Resources())


@given(
    free=st.integers(0, 50),
    shares=st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 9), min_size=1),
)
def test_every_free_replica_is_given_to_some_agent(free: int, shares: dict[str, int]) -> None:
    total = sum(shares.values()) + free
    found = rows(parse_spec({"replicas": total, "regions": [{"name": "eu", "agent_distribution": shares}]}))
    assert sum(row.count for row in found) == total
    by_agent = {name: sum(row.count for row in found if row.agent == name) for name in shares}
    assert all(by_agent[name] >= count for name, count in shares.items())


@given(order=st.permutations([agent("reader"), agent("painter"), cluster(BY_REGION), cluster({"agents": []}, "z")]))
def test_the_order_of_documents_does_not_matter(order: list[Written]) -> None:
    assert wants(order) == wants([agent("reader"), agent("painter"), cluster(BY_REGION), cluster({"agents": []}, "z")])


AGENTS = st.sampled_from(["words", "reader", "No Name"])
NAMED = st.fixed_dictionaries(
    {"name": st.sampled_from(["words", "reader"]), "replicas": st.integers(0, 3)},
    optional={"run": st.sampled_from([{"command": ["/bin/cat"]}, {"command": ["/bin/tac"]}])},
)
CLUSTERS = st.builds(
    cluster,
    st.one_of(
        st.just(BY_REGION), st.just({"replicas": 3}), st.just({"replicas": -1}),
        st.fixed_dictionaries({"agents": st.lists(NAMED, max_size=2, unique_by=lambda row: row["name"])}),
    ),
    st.sampled_from(["a", "b", "c"]),
)  # fmt: skip
NODES = st.builds(node, st.sampled_from(["alpha", "beta"]), drain=st.booleans())
OTHERS = st.builds(Written, st.just("Policy"), st.just("default"), st.sampled_from(["a", "words"]), st.just({}))
STEPS = st.lists(
    st.tuples(st.one_of(st.builds(agent, AGENTS), CLUSTERS, NODES, OTHERS), st.booleans()), min_size=1, max_size=12
)


@given(steps=STEPS)
def test_what_is_kept_up_is_what_all_documents_say_read_anew(steps: list[tuple[Written, bool]]) -> None:
    reader, held = Reader(), dict[DocId, Written]()
    for document, gone in steps:
        doc = DocId(f"{document.kind}/{document.name}".encode())
        before, was = reader.reading, msgspec.msgpack.encode(reader.reading)
        if gone and doc in held:
            del held[doc]
        else:
            held[doc] = document
        assert reader.change([(doc, held.get(doc))]) is reader.reading
        assert reader.reading == read(held.values())
        assert msgspec.msgpack.encode(before) == was  # whoever took it goes on with what it said
        assert list(reader.documents) == list(dict.fromkeys(reader.documents)) and {*reader.documents} == {*held}
    for doc in [*held]:
        reader.change([(doc, None)])
    assert reader.reading == Reading((), {})
    assert [table for name, table in vars(reader).items() if name != "reading" and table] == []  # nothing stays behind


def test_of_ten_documents_the_one_that_changed_is_parsed(monkeypatch: Any) -> None:  # noqa: ANN401
    parsed: list[object] = []
    monkeypatch.setattr("meshnode.deployments.wants.parse_spec", lambda spec: parsed.append(spec) or parse_spec(spec))
    reader = Reader()
    reader.change((DocId(b"%d" % number), cluster({"replicas": number}, f"c{number}")) for number in range(10))
    assert len(parsed) == 10
    wants_before = reader.reading.wants
    reader.change([(DocId(b"3"), cluster({"replicas": 30}, "c3")), (DocId(b"4"), None)])
    assert len(parsed) == 11
    assert reader.reading.wants is wants_before  # nobody need look at them again
