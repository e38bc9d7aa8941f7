"""Schemas and parsers agree: what a schema refuses its parser refuses; what only a parser refuses is a named rule."""

import copy
import random
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.cli.carried import carry
from meshnode.cli.manifests import checked_manifests, load_manifests
from meshnode.model.declared import parse_declared
from meshnode.model.errors import NotFound
from meshnode.model.explained import at, everything
from meshnode.model.fields import FieldInvalid
from meshnode.model.schemas import SCHEMAS
from tests.unit.model.test_agent import WORDS
from tests.unit.model.test_agentcluster import BY_AGENT, BY_REGION

CLUSTERS = sorted((Path(__file__).resolve().parents[3] / "examples" / "clusters").glob("*.yaml"))
NODE: dict[str, Any] = {
    "apiVersion": "v1", "kind": "Node", "metadata": {"name": "a.b-1"}, "spec": {"drain": True, "reason": "new disk"},
}  # fmt: skip
WHOLE = (WORDS, BY_AGENT, BY_REGION, NODE, *(example for schema in SCHEMAS.values() for example in schema["examples"]))
# What a schema cannot say, or would say in a way that nobody can read: of several fields at once, and of exact amounts.
BEYOND = (
    "is not absolute", "is there already", "belongs to a file", "add up to", "adds up to", "printable characters",
    "must be a whole number", "finer than a thousandth", "is no whole number", "is too large",
    "is out of range", "out of range", "never come to rest", "there is no run", "max_replicas",
    "min_replicas", "is longer than", "set by the daemon", "is empty: there is no program", "cannot be passed",
)  # fmt: skip
STRANGE: tuple[object, ...] = (
    None, True, False, 0, 1, -1, 3, 2**60, 0.5, 1.0, 1.5, "", " ", "x", "v1", "Agent", "Node", "two words", "70%",
    "170%",
    "500m", "4Gi", "1e3", "2s", "9h", "auto", "lazy", "local", "replicated(1)", "replicated(9)", "actor", "process",
    "/srv/x.py", "x.py", "ab" * 32, "Upper", "default", "global", "hierarchical", [], ["a"], ["a", "a"], [1], [[]], {},
    {"a": 1}, {"name": "x"}, {"cpu": "1"}, {"file": "/x.py"}, {"command": ["/bin/cat"]}, {"lost_after": "1s"},
)  # fmt: skip
KEYS = (
    "name",
    "namespace",
    "labels",
    "replicas",
    "status",
    "file",
    "command",
    "tier",
    "agents",
    "regions",
    "run",
    "x",
    "",
)


def disagreement(schema: dict[str, Any], manifest: dict[str, Any]) -> str:
    """Where the schema and the parser of a kind part ways about a manifest, "" if nowhere."""
    fits = jsonschema_rs.Draft202012Validator(schema).is_valid(manifest)
    try:
        parse_declared(manifest)
    except FieldInvalid as error:
        unnamed = fits and not any(rule in error.message for rule in BEYOND)
        return f"only the parser refuses: {error.message}" if unnamed else ""
    return "" if fits else f"only the schema refuses: {manifest}"


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(deeper for step, below in inner for deeper in places(below, (*path, step)))]


def changed(manifest: dict[str, Any], luck: random.Random) -> dict[str, Any]:
    """One place of it is something else, is gone, or has a new neighbour."""
    made = copy.deepcopy(manifest)
    path = luck.choice(places(made)[1:])
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    what = luck.random()
    if what < 0.5:
        at[path[-1]] = copy.deepcopy(luck.choice(STRANGE))
    elif what < 0.7:
        del at[path[-1]]
    elif isinstance(at, dict):
        at[luck.choice(KEYS)] = copy.deepcopy(luck.choice(STRANGE))
    else:
        at.append(copy.deepcopy(luck.choice(STRANGE)))
    return made


@settings(max_examples=max(400, settings().max_examples))
@given(number=st.integers(0, len(WHOLE) - 1), seed=st.integers(0, 2**32), changes=st.integers(1, 3))
def test_a_schema_and_its_parser_agree_about_whatever_is_written(number: int, seed: int, changes: int) -> None:
    luck = random.Random(seed)
    manifest = WHOLE[number]
    for _ in range(changes):
        manifest = changed(manifest, luck)
    kind = str(WHOLE[number]["kind"])
    if manifest.get("kind") == kind:
        assert not disagreement(SCHEMAS[kind], manifest)


@pytest.mark.parametrize("manifest", WHOLE, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_every_example_passes_both(manifest: dict[str, Any]) -> None:
    jsonschema_rs.Draft202012Validator(SCHEMAS[manifest["kind"]]).validate(manifest)
    parse_declared(manifest)


@pytest.mark.parametrize("file", CLUSTERS, ids=lambda path: path.name)
def test_the_manifests_in_examples_pass_both(file: Path) -> None:
    for source in load_manifests(str(file)):
        jsonschema_rs.Draft202012Validator(SCHEMAS[source.manifest["kind"]]).validate(source.manifest)
    assert checked_manifests(str(file), carry)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_one_and_its_examples_of_values_fit(kind: str) -> None:
    jsonschema_rs.meta.validate(SCHEMAS[kind])
    for told in everything(kind):
        _, schema = at(kind, told.path)
        for example in told.examples:
            jsonschema_rs.Draft202012Validator(schema).validate(example)
        assert told.meaning.endswith("."), f"{kind}.{told.path} does not say what it means"


def test_a_schema_that_forgets_a_choice_or_allows_a_field_is_noticed() -> None:
    narrow, wide = copy.deepcopy(SCHEMAS["Agent"]), copy.deepcopy(SCHEMAS["Agent"])
    narrow["properties"]["spec"]["properties"]["tier"]["enum"] = ["process"]
    assert "only the schema refuses" in disagreement(narrow, WORDS)
    wide["properties"]["spec"]["additionalProperties"] = True
    told = disagreement(wide, {**WORDS, "spec": {**WORDS["spec"], "status": 1}})
    assert "only the parser refuses: spec.status: unknown field" in told


def test_a_field_is_found_through_lists_and_keys_and_a_wrong_one_names_the_right_ones() -> None:
    assert at("AgentCluster", "spec.agents.resources.cpu")[0].path == "spec.agents[].resources.cpu"
    assert at("AgentCluster", "spec.resource_management.words.gpu")[0].path == "spec.resource_management.*.gpu"
    with pytest.raises(NotFound, match=r"Node\.spec has no field drian") as refused:
        at("Node", "spec.drian")
    assert refused.value.next_step == "known there: drain, reason, interest"
    with pytest.raises(NotFound, match=r"Node\.spec\.drain has no field x"):
        at("Node", "spec.drain.x")
