"""Both published shapes are accepted whole; everything else is refused with the path of the field."""

import copy
from contextlib import suppress
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.agentcluster import Resources, parse_agentcluster, parse_spec
from meshnode.model.fields import FieldInvalid, show_path
from meshnode.model.recipe import Recipe

BY_AGENT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "AgentCluster",
    "metadata": {"name": "team", "namespace": "lab", "labels": {"tier": "gold"}},
    "spec": {
        "orchestrator": {
            "type": "hierarchical",
            "levels": [
                {"name": "top", "scope": "global", "responsibilities": ["placement"]},
                {"name": "box", "scope": "node", "responsibilities": []},
                {"name": "squad", "scope": "agent-group"},
            ],
        },
        "agents": [
            {
                "name": "reader",
                "replicas": 3,
                "resources": {"cpu": "2", "memory": "4Gi", "gpu": "1"},
                "capabilities": ["nlp", "text/summary"],
            },
            {"name": "writer", "replicas": 0},
        ],
    },
}
BY_REGION: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "AgentCluster",
    "metadata": {"name": "fleet"},
    "spec": {
        "replicas": 100,
        "regions": [
            {"name": "us-west", "agent_distribution": {"inference_agents": 40, "training": 10}},
            {"name": "eu", "agent_distribution": {"inference_agents": 20}},
        ],
        "auto_scaling": {
            "enabled": True,
            "min_replicas": 50,
            "max_replicas": 500,
            "target_utilization": "70%",
            "scale_up_threshold": "80%",
            "scale_down_threshold": "30%",
        },
        "resource_management": {"inference_agents": {"cpu": "500m", "memory": "1Gi", "gpu": "0.5"}},
    },
}


def with_change(manifest: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy in which ``path`` is ``value``; ``...`` removes it."""
    changed = copy.deepcopy(manifest)
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return changed


def test_the_shape_by_agent_is_accepted_whole() -> None:
    cluster = parse_agentcluster(BY_AGENT)
    assert (cluster.api_version, cluster.namespace, cluster.name) == ("v1", "lab", "team")
    assert cluster.labels == {"tier": "gold"}
    assert cluster.spec == BY_AGENT["spec"]
    assert cluster.notes == ()
    assert cluster.intent.replicas == 3
    assert [level.scope for level in cluster.intent.levels] == ["global", "node", "agent-group"]
    reader = cluster.intent.agents[0]
    assert reader.resources == Resources(cpu_milli=2000, memory_bytes=4 * 2**30, gpu_milli=1000)
    assert reader.capabilities == ("nlp", "text/summary")


def test_an_agent_of_a_cluster_may_say_how_it_runs_and_where() -> None:
    how = {"run": {"command": ["/bin/cat"]}, "tier": "actor", "region": "eu", "labels": {"site": "p7"}}
    cluster = parse_agentcluster(with_change(BY_AGENT, AGENT, {**BY_AGENT["spec"]["agents"][0], **how}))
    reader, writer = cluster.intent.agents
    assert reader.recipe == Recipe(("/bin/cat",), tier="actor")
    assert (reader.region, reader.labels, reader.durability) == ("eu", {"site": "p7"}, None)
    assert writer.recipe is None


def test_the_shape_by_region_is_accepted_whole_and_says_how_many_are_free() -> None:
    cluster = parse_agentcluster(BY_REGION)
    assert cluster.namespace == "default"
    assert cluster.spec == BY_REGION["spec"]
    assert (cluster.intent.replicas, cluster.intent.free) == (100, 30)
    assert cluster.notes == ("30 of 100 replicas are in no region's distribution: they are placed freely",)
    assert cluster.intent.auto_scaling.target_utilization == Fraction(7, 10)
    assert cluster.intent.resources["inference_agents"].gpu_milli == 500


def test_a_distribution_that_is_exactly_the_total_has_nothing_to_note() -> None:
    assert parse_agentcluster(with_change(BY_REGION, ("spec", "replicas"), 70)).notes == ()


def test_without_a_total_the_distribution_is_the_total() -> None:
    assert parse_agentcluster(with_change(BY_REGION, ("spec", "replicas"), ...)).intent.replicas == 70


def test_replicas_that_nothing_names_are_accepted_and_noted() -> None:
    assert "no agent type is named" in " ".join(parse_spec({"replicas": 3}).notes)


AGENT = ("spec", "agents", 0)
REGION = ("spec", "regions", 0)
SCALING = ("spec", "auto_scaling")
Refusal = tuple[dict[str, Any], tuple[str | int, ...], object, str]
REFUSED: list[Refusal] = [
    (BY_AGENT, ("apiVersion",), "v2", "not known here"),
    (BY_AGENT, ("apiVersion",), 1, "must be text"),
    (BY_AGENT, ("kind",), "Deployment", "not known here"),
    (BY_AGENT, ("status",), {}, "unknown field"),
    (BY_AGENT, ("metadata", "name"), "Team One", "no valid name"),
    (BY_AGENT, ("metadata", "name"), "-team", "no valid name"),
    (BY_AGENT, ("metadata", "name"), "a" * 64, "no valid name"),
    (BY_AGENT, ("metadata", "name"), "team\n", "printable"),
    (BY_AGENT, ("metadata", "name"), None, "must be text, not nothing"),
    (BY_AGENT, ("metadata", "namespace"), "../etc", "no valid name"),
    (BY_AGENT, ("metadata", "annotations"), {}, "unknown field"),
    (BY_AGENT, ("metadata", "labels", "tier"), 1, "must be text"),
    (BY_AGENT, ("metadata", "labels", "a b"), "x", "no valid name"),
    (BY_AGENT, ("spec",), [], "must be a mapping, not a list"),
    (BY_AGENT, ("spec",), None, "must be a mapping, not nothing"),
    (BY_AGENT, ("spec", "agent"), [], "unknown field"),
    (BY_AGENT, ("spec", "agents"), {}, "must be a list, not a mapping"),
    (BY_AGENT, AGENT, "reader", "must be a mapping, not text"),
    (BY_AGENT, (*AGENT, "name"), "Reader", "no valid name"),
    (BY_AGENT, (*AGENT, "replicas"), -1, "out of range"),
    (BY_AGENT, (*AGENT, "replicas"), "3", "whole number, not text '3'"),
    (BY_AGENT, (*AGENT, "replicas"), 1.5, "whole number"),
    (BY_AGENT, (*AGENT, "replicas"), True, "whole number"),
    (BY_AGENT, (*AGENT, "replicas"), 10**9, "out of range"),
    (BY_AGENT, (*AGENT, "replicas"), 10**5000, "out of range"),
    (BY_AGENT, (*AGENT, "resources", "cpu"), "two", "no quantity"),
    (BY_AGENT, (*AGENT, "resources", "memory"), "4GB", "unknown suffix"),
    (BY_AGENT, (*AGENT, "resources", "memory"), "100m", "no whole number of bytes"),
    (BY_AGENT, (*AGENT, "resources", "disk"), "1Gi", "unknown field"),
    (BY_AGENT, (*AGENT, "run"), {"cwd": "/"}, "neither file nor command"),
    (BY_AGENT, (*AGENT, "run"), "reader.py", "must be a mapping"),
    (BY_AGENT, (*AGENT, "tier"), "actor", "there is no run"),
    (BY_AGENT, (*AGENT, "region"), "EU", "no valid name"),
    (BY_AGENT, (*AGENT, "labels"), [], "must be a mapping"),
    (BY_AGENT, (*AGENT, "durability"), "sometimes", "is none"),
    (BY_AGENT, (*AGENT, "capabilities"), "nlp", "must be a list"),
    (BY_AGENT, (*AGENT, "capabilities", 1), "nlp", "there already, at spec.agents[0].capabilities[0]"),
    (BY_AGENT, (*AGENT, "capabilities", 1), "a tag", "no valid name"),
    (BY_AGENT, ("spec", "agents", 1, "name"), "reader", "there already"),
    (BY_AGENT, ("spec", "orchestrator", "type"), "flat", "not known here"),
    (BY_AGENT, ("spec", "orchestrator", "levels", 0, "scope"), "galaxy", "not known here"),
    (BY_AGENT, ("spec", "orchestrator", "levels", 1, "name"), "top", "there already"),
    (BY_AGENT, ("spec", "orchestrator", "levels", 0, "responsibilities", 0), 7, "must be text"),
    (BY_REGION, ("spec", "replicas"), -5, "out of range"),
    (BY_REGION, ("spec", "replicas"), "many", "whole number"),
    (BY_REGION, (*REGION, "name"), "US West", "no valid name"),
    (BY_REGION, ("spec", "regions", 1, "name"), "us-west", "there already"),
    (BY_REGION, (*REGION, "agent_distribution", "training"), -1, "out of range"),
    (BY_REGION, (*REGION, "agent_distribution", "training"), "10", "whole number"),
    (BY_REGION, (*REGION, "agent_distribution", "Bad Type"), 1, "no valid name"),
    (BY_REGION, (*REGION, "zones"), [], "unknown field"),
    (BY_REGION, (*SCALING, "enabled"), "yes", "is 'yes'"),
    (BY_REGION, (*SCALING, "min_replicas"), 501, "more than max_replicas, which is 500"),
    (BY_REGION, (*SCALING, "target_utilization"), "170%", "out of range"),
    (BY_REGION, (*SCALING, "target_utilization"), 70, "no percentage"),
    (BY_REGION, (*SCALING, "scale_down_threshold"), "75%", "target_utilization is 0.7"),
    (BY_REGION, (*SCALING, "target_utilization"), "85%", "scale_up_threshold is 0.8"),
    (BY_REGION, (*SCALING, "cooldown"), 5, "unknown field"),
    (BY_REGION, ("spec", "resource_management", "inference_agents", "cpu"), "lots", "no quantity"),
    (BY_REGION, ("spec", "agents"), [], "cannot stand beside replicas"),
]  # fmt: skip


@pytest.mark.parametrize(("manifest", "path", "value", "what"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_field_is_refused_with_its_path(
    manifest: dict[str, Any], path: tuple[str | int, ...], value: object, what: str
) -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse_agentcluster(with_change(manifest, path, value))
    error = caught.value
    assert what in error.message
    shorter = path[: len(error.path)]
    assert error.path == shorter
    assert len(path) - len(error.path) <= 1
    assert error.message.startswith(show_path(error.path))
    assert error.details == {"path": list(error.path)}
    assert error.next_step
    assert error.exit_code == 2


def test_a_distribution_above_the_total_is_refused_with_both_figures() -> None:
    with pytest.raises(FieldInvalid, match=r"adds up to 70, but spec\.replicas is 69") as caught:
        parse_agentcluster(with_change(BY_REGION, ("spec", "replicas"), 69))
    assert caught.value.path == ("spec", "regions")
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("replicas", "bound"), [(600, "more than auto_scaling.max"), (75, "less than auto_scaling.min")]
)
def test_a_total_outside_its_own_bounds_is_refused(replicas: int, bound: str) -> None:
    manifest = with_change(BY_REGION, (*SCALING, "min_replicas"), 80)
    with pytest.raises(FieldInvalid, match=bound) as caught:
        parse_agentcluster(with_change(manifest, ("spec", "replicas"), replicas))
    assert caught.value.path == ("spec", "replicas")


def test_bounds_that_are_switched_off_do_not_bind() -> None:
    manifest = with_change(BY_REGION, (*SCALING, "enabled"), False)
    assert parse_agentcluster(with_change(manifest, ("spec", "replicas"), 600)).intent.replicas == 600


@pytest.mark.parametrize(
    "path",
    [
        ("apiVersion",),
        ("kind",),
        ("metadata",),
        ("spec",),
        ("metadata", "name"),
        (*AGENT, "name"),
        (*AGENT, "replicas"),
    ],
)
def test_a_missing_field_is_named(path: tuple[str | int, ...]) -> None:
    with pytest.raises(FieldInvalid, match=f"the field {path[-1]} is missing") as caught:
        parse_agentcluster(with_change(BY_AGENT, path, ...))
    assert caught.value.path == path[:-1]


def test_a_misspelt_field_gets_a_suggestion() -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse_agentcluster(with_change(BY_AGENT, (*AGENT, "replica"), 3))
    assert caught.value.message == "spec.agents[0].replica: unknown field"
    assert caught.value.next_step == "did you mean replicas?"


def test_a_spec_that_wants_nothing_is_refused() -> None:
    with pytest.raises(FieldInvalid, match="says nothing about agents"):
        parse_spec({})


def test_a_key_cannot_pose_as_another_or_paint_the_terminal() -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse_spec({"agents[0].name\x1b[2J": 1})
    assert caught.value.message == "spec['agents[0].name\\x1b[2J']: unknown field"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([BY_AGENT, BY_REGION]), st.data(), JSON)
def test_no_value_anywhere_raises_anything_but_invalid(
    manifest: dict[str, Any], data: st.DataObject, value: object
) -> None:
    path: tuple[str | int, ...] = ()
    at: Any = manifest
    while isinstance(at, dict | list) and at and (not path or data.draw(st.booleans())):
        step = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        path, at = (*path, step), at[step]
    changed = with_change(manifest, path, value)
    with suppress(FieldInvalid):
        assert parse_agentcluster(changed).spec == changed["spec"]
