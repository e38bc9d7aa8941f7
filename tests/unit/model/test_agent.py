"""The document that wants one agent is read whole; everything else is refused with the path of the field."""

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.model.agent import Agent, agent_manifest, parse_agent, parse_agent_spec
from meshnode.model.agentcluster import AgentCluster, parse_agentcluster
from meshnode.model.commands import RunAgent
from meshnode.model.declared import parse_declared
from meshnode.model.durability import AUTO, Durability
from meshnode.model.fields import FieldInvalid, show_path
from meshnode.model.recipe import Recipe
from meshnode.model.resources import Resources

DIGEST = "ab" * 32
WORDS: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Agent",
    "metadata": {"name": "Words_2", "labels": {"tier": "gold"}},
    "spec": {
        "run": {
            "file": "/srv/words.py", "bundle": DIGEST, "argv": ["--fast", ""], "cwd": "/srv", "env": {"LANG": "C"},
        },
        "tier": "actor",
        "replicas": 3,
        "on": "alpha",
        "near": "beta",
        "region": "eu",
        "labels": {"site": "plant-7"},
        "resources": {"cpu": "500m", "memory": "1Gi", "gpu": "1"},
        "durability": "replicated(2)",
        "disconnect": {"lost_after": "2s"},
        "generation": 4,
    },
}  # fmt: skip


def with_change(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """A copy in which ``path`` is ``value``; ``...`` removes it."""
    changed = copy.deepcopy(WORDS)
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return changed


def test_an_agent_is_read_whole() -> None:
    agent = parse_agent(WORDS)
    assert (agent.kind, agent.namespace, agent.name) == ("Agent", "default", "Words_2")
    assert agent.labels == {"tier": "gold"}
    assert agent.spec == WORDS["spec"]
    wanted = agent.intent
    assert wanted.recipe == Recipe(("--fast", ""), "/srv", {"LANG": "C"}, "/srv/words.py", DIGEST, "actor")
    assert (wanted.replicas, wanted.on, wanted.near, wanted.region) == (3, "alpha", "beta", "eu")
    assert wanted.labels == {"site": "plant-7"}
    assert wanted.resources == Resources(500, 2**30, 1000)
    assert wanted.durability == Durability(copies=2, strict=True)
    assert (wanted.lost_after_ms, wanted.generation) == (2000, 4)


def test_a_command_line_alone_is_enough() -> None:
    wanted = parse_agent_spec({"run": {"command": ["/bin/echo", "two\nlines", ""]}})
    assert wanted.recipe == Recipe(("/bin/echo", "two\nlines", ""))
    assert (wanted.replicas, wanted.durability, wanted.lost_after_ms) == (1, AUTO, 0)


def test_a_spec_without_replicas_to_run_says_so() -> None:
    assert "nothing runs" in parse_agent(with_change(("spec", "replicas"), 0)).notes[0]


RUN = ("spec", "run")
Refusal = tuple[tuple[str | int, ...], object, str]
REFUSED: list[Refusal] = [
    (("kind",), "Deployment", "not known here"),
    (("metadata", "name"), "two words", "no name for an agent"),
    (("metadata", "name"), "_words", "no name for an agent"),
    (("metadata", "name"), "a" * 64, "no name for an agent"),
    (("metadata", "name"), "words/0", "no name for an agent"),
    (("metadata", "namespace"), "lab", "unique in its mesh"),
    (("spec", "replica"), 3, "unknown field"),
    (("spec", "replicas"), -1, "out of range"),
    (("spec", "replicas"), "3", "whole number"),
    (("spec", "tier"), "thread", "not known here"),
    (("spec", "region"), "EU West", "no valid name"),
    (("spec", "labels", "a b"), "x", "no valid name"),
    (("spec", "resources", "cpu"), "two", "no quantity"),
    (("spec", "durability"), "replicated(9)", "is none"),
    (("spec", "durability"), 2, "must be text"),
    (("spec", "disconnect", "lost_after"), "2", "no span of time"),
    (("spec", "disconnect", "lost_after"), "10ms", "out of range"),
    (("spec", "disconnect", "lost_after"), "48h", "out of range"),
    (("spec", "disconnect", "replace"), True, "unknown field"),
    (("spec", "generation"), 1.5, "whole number"),
    (RUN, "words.py", "must be a mapping"),
    (RUN, {"cwd": "/"}, "neither file nor command"),
    ((*RUN, "command"), ["x"], "both file and command"),
    (RUN, {"command": []}, "no program to run"),
    ((*RUN, "file"), "words.py", "not absolute"),
    ((*RUN, "file"), "/a\0b", "cannot be passed"),
    ((*RUN, "cwd"), "srv", "not absolute"),
    ((*RUN, "bundle"), "AB" * 32, "no SHA-256"),
    ((*RUN, "argv", 0), 7, "must be text"),
    ((*RUN, "argv", 0), "\ud800", "cannot be passed"),
    ((*RUN, "argv", 0), "x" * 20_000, "longer than"),
    ((*RUN, "env", "A-B"), "1", "no name of a variable"),
    ((*RUN, "env", "MESHNODE_TICKET"), "1", "set by the daemon"),
    ((*RUN, "env", "LANG"), None, "must be text, not nothing"),
]


@pytest.mark.parametrize(("path", "value", "what"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_a_bad_field_is_refused_with_its_path(path: tuple[str | int, ...], value: object, what: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse_agent(with_change(path, value))
    error = caught.value
    assert what in error.message
    assert error.path == path[: len(error.path)] or path == RUN
    assert error.message.startswith(show_path(error.path))
    assert error.next_step


def test_words_of_a_file_do_not_go_with_a_command() -> None:
    with pytest.raises(FieldInvalid, match=r"spec\.run\.argv: belongs to a file"):
        parse_agent_spec({"run": {"command": ["x"], "argv": ["y"]}})


def test_a_run_writes_the_document_that_says_the_same() -> None:
    command = RunAgent(
        name="words", file="/srv/words.py", argv=["--fast"], cwd="/srv", environment={"B": "2", "A": "1"},
        tier="actor", replicas=2, on="alpha", region="eu", labels={"gpu": "yes"}, durability="lazy",
    )  # fmt: skip
    wanted = parse_agent(agent_manifest(command, DIGEST, "alpha")).intent
    assert wanted.recipe == Recipe(("--fast",), "/srv", {"A": "1", "B": "2"}, "/srv/words.py", DIGEST, "actor")
    assert (wanted.replicas, wanted.on, wanted.near, wanted.region) == (2, "alpha", "alpha", "eu")
    assert (wanted.labels, wanted.durability.written()) == ({"gpu": "yes"}, "lazy")


def test_a_run_of_a_command_line_carries_no_bundle() -> None:
    manifest = agent_manifest(RunAgent(name="words", argv=["/bin/cat", "-"]), near="alpha")
    assert manifest["spec"] == {
        "run": {"command": ["/bin/cat", "-"], "cwd": "/"},
        "replicas": 1,
        "near": "alpha",
    }
    assert parse_agent(manifest).intent.recipe == Recipe(("/bin/cat", "-"))


def test_a_manifest_is_read_by_its_kind() -> None:
    assert isinstance(parse_declared(WORDS), Agent)
    cluster = {"apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": "t"}, "spec": {"replicas": 0}}
    assert isinstance(parse_declared(cluster), AgentCluster)
    with pytest.raises(FieldInvalid, match="is AgentCluster, not Agent"):
        parse_agent(cluster)
    with pytest.raises(FieldInvalid, match="is Agent, not AgentCluster"):
        parse_agentcluster(WORDS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), JSON)
def test_no_value_anywhere_raises_anything_but_invalid(data: st.DataObject, value: object) -> None:
    path: tuple[str | int, ...] = ()
    at: Any = WORDS
    while isinstance(at, dict | list) and at and (not path or data.draw(st.booleans())):
        step = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        path, at = (*path, step), at[step]
    changed = with_change(path, value)
    with suppress(FieldInvalid):
        assert parse_agent(changed).spec == changed["spec"]
