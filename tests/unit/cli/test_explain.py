"""``meshnode explain``: kinds, fields through lists and keys, every format, refusals that name what is there."""

import json

import jsonschema_rs
import pytest
import yaml

from meshnode.cli.completing import candidates
from meshnode.cli.main import main
from meshnode.model.schemas import SCHEMAS


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["explain", *words]) == 0
    return capsys.readouterr().out


def test_without_a_kind_the_kinds_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "-o", "name").split() == ["Agent", "AgentCluster", "Node", "Policy"]
    assert "What people want of one node." in said(capsys)


def test_a_field_is_told_with_its_type_its_meaning_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "clusters.spec.agents.resources.cpu")
    assert told.startswith("AgentCluster.spec.agents[].resources.cpu: quantity\n  Processors")
    assert "example:\n  cpu: 500m\n" in told
    listed = said(capsys, "AgentCluster.spec.agents")
    assert "  replicas      number, required\n                  How many of it.\n" in listed
    assert "  tier          process or actor, default process\n" in listed


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_whole_schema_is_given_to_programs(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(said(capsys, kind.lower(), "-o", "json"))
    assert schema == SCHEMAS[kind] == yaml.safe_load(said(capsys, kind, "-o", "yaml"))
    jsonschema_rs.meta.validate(schema)


def test_fields_are_listed_by_name_and_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "Node.spec", "-o", "name").split() == [
        "Node.spec.drain",
        "Node.spec.reason",
        "Node.spec.interest",
    ]
    assert said(capsys, "Node.spec.drain", "-o", "name").split() == ["Node.spec.drain"]
    lines = [json.loads(line) for line in said(capsys, "Node.spec", "-o", "jsonl").splitlines()]
    assert [line["path"] for line in lines] == ["spec.drain", "spec.reason", "spec.interest"]


@pytest.mark.parametrize(
    ("word", "code", "what", "then"),
    [
        ("pods", 2, "unknown kind: pods", "kinds: nodes"),
        ("skills", 2, "skills: no manifest is of that kind", "kinds of manifests: Agent, AgentCluster, Node"),
        ("Agent.spec.runn", 3, "Agent.spec has no field runn", "known there: run, tier"),
        ("Agent.spec.tier.x", 3, "Agent.spec.tier has no field x", "it is text: meshnode explain Agent.spec.tier"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    word: str, code: int, what: str, then: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", word]) == code
    assert capsys.readouterr().err.startswith(f"error: {what}\n -> {then}")


def test_the_kinds_stand_at_the_cursor() -> None:
    assert candidates(["explain"], "Ag") == ["Agent", "AgentCluster"]
