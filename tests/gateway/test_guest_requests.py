"""Requests: put to the node so that twice is harmless, and watched until the mesh is as asked."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from cloud_gateway.mesh.outcomes import give, look
from cloud_gateway.mesh.requests import Requests
from cloud_gateway.model.queries import Query
from cloud_gateway.model.rows import CommandRow, key_of
from cloud_gateway.store import open_store
from meshnode.model.document_views import DocumentView
from meshnode.model.errors import Invalid, NotFound
from meshnode.model.view_parts import Condition
from tests.gateway.guest_kit import MadeUpJournal, MadeUpNode

MANIFEST = {"apiVersion": "meshnode/v1", "kind": "Agent", "metadata": {"name": "words"}, "spec": {}}


def command(verb: str, body: dict[str, Any], attempts: int = 1) -> CommandRow:
    return CommandRow(command_id="c1", verb=verb, body=body, attempts=attempts)


def document(
    wanted: int, running: int, *conditions: Condition, kind: str = "Agent", name: str = "words"
) -> DocumentView:
    ready = "True" if wanted == running else "False"
    return DocumentView(
        kind=kind, namespace="default", name=name, doc_id="", api_version="", spec={}, heads=[], changes=1,
        updated_ms=1, updated_by="gamma", conflicts=[],
        conditions=[*conditions, Condition(type="Ready", status=ready, reason="", message=f"{running} of {wanted}")],
        status={"wanted": wanted, "running": running, "pending": wanted - running,
                "agents": [{"agent": "words", "wanted": wanted, "running": running}]},
    )  # fmt: skip


@pytest.fixture
def node() -> MadeUpNode:
    return MadeUpNode(MadeUpJournal("beta"))


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("reboot", {}),
        ("apply", {}),
        ("apply", {"manifest": 7}),
        ("scale", {"name": "words"}),
        ("scale", {"name": "words", "replicas": "many"}),
        ("drain", {"node": "beta", "now": True}),
        ("delete", {"kind": "Agent"}),
    ],
)
def test_a_body_of_another_shape_is_refused_and_nothing_is_given(
    node: MadeUpNode, verb: str, body: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        give(node, command(verb, body))
    assert not node.given


def test_a_deletion_given_twice_is_done_and_one_of_nothing_is_refused(node: MadeUpNode) -> None:
    asked = command("delete", {"kind": "Agent", "name": "words"})
    with pytest.raises(NotFound):
        give(node, asked)
    assert "deleted" in give(node, command("delete", asked.body, attempts=2))


def test_an_applied_document_is_as_asked_when_it_is_ready(node: MadeUpNode) -> None:
    asked = command("apply", {"manifest": MANIFEST})
    assert give(node, asked) == "agent/default/words updated (local)"
    node.held["Agent", "default", "words"] = document(2, 1)
    assert look(node, asked).state == "accepted"
    node.held["Agent", "default", "words"] = document(2, 2)
    assert look(node, asked).state == "applied"
    del node.held["Agent", "default", "words"]
    assert look(node, asked).state == "failed"


def test_a_document_that_contradicts_another_is_not_as_asked_and_says_why(node: MadeUpNode) -> None:
    refused = Condition(type="Accepted", status="False", reason="Contradiction", message="team says 3")
    node.held["Agent", "default", "words"] = DocumentView(
        **{**{f: getattr(document(0, 0), f) for f in DocumentView.__struct_fields__}, "conditions": [refused]}
    )
    outcome = look(node, command("apply", {"manifest": MANIFEST}))
    assert (outcome.state, outcome.answer) == ("accepted", "team says 3")


@pytest.mark.parametrize("name", ["words", "agent/words"])
def test_a_scaling_is_as_asked_when_as_many_run(node: MadeUpNode, name: str) -> None:
    asked = command("scale", {"name": name, "replicas": 3})
    node.held["Agent", "default", "words"] = document(3, 1)
    assert look(node, asked).answer == "1 of 3 run: 1 of 3"
    node.held["Agent", "default", "words"] = document(3, 3)
    assert look(node, asked).state == "applied"


def test_a_scaling_that_somebody_undid_fails_and_says_who(node: MadeUpNode) -> None:
    node.held["Agent", "default", "words"] = document(5, 5)
    outcome = look(node, command("scale", {"name": "words", "replicas": 3}))
    assert outcome.state == "failed"
    assert "gamma" in outcome.answer


def test_one_agent_of_a_cluster_is_counted_alone(node: MadeUpNode) -> None:
    found = document(5, 4, kind="AgentCluster", name="team")
    found.status["agents"] = [
        {"agent": "words", "wanted": 2, "running": 2}, {"agent": "sums", "wanted": 3, "running": 2},
    ]  # fmt: skip
    node.held["AgentCluster", "default", "team"] = found
    scaling = {"name": "cluster/default/team", "replicas": 2, "agent": "words"}
    assert look(node, command("scale", scaling)).state == "applied"
    assert look(node, command("scale", {**scaling, "agent": "sums", "replicas": 3})).state == "accepted"


def test_a_node_is_drained_when_its_document_says_so_and_what_stays_is_told(node: MadeUpNode) -> None:
    asked = command("drain", {"node": "beta"})
    give(node, asked)

    def drains(status: str, reason: str, message: str) -> str:
        said = Condition(type="Drained", status=status, reason=reason, message=message)
        node.held["Node", "default", "beta"] = structs.replace(
            document(0, 0, kind="Node", name="beta"), conditions=[said], spec={"drain": True}
        )
        found = look(node, asked)
        return f"{found.state}: {found.answer}"

    assert drains("False", "UnitsLeaving", "1 unit is leaving") == "accepted: 1 unit is leaving"
    assert drains("False", "UnitsStay", "words/0 fits nowhere else") == "accepted: words/0 fits nowhere else"
    assert drains("True", "Empty", "no units") == "applied: no units"


def test_old_requests_that_have_ended_go_and_open_ones_stay(node: MadeUpNode, tmp_path: Path) -> None:
    async def story() -> tuple[list[str], list[str]]:
        store = await open_store(f"sqlite:{tmp_path / 'history.db'}")
        try:
            await store.lead()
            states = ("applied", "failed", "accepted")
            for at in range(9):
                row = CommandRow(
                    command_id=f"c{at}", verb="resume", body={"node": "x"}, state=states[at % 3], asked_ms=at
                )
                await store.ask(row)
            await Requests(store, lambda _: node, wall_ms=lambda: 0).sweep(kept_max=2)
            left = await store.listed(Query(kind="commands"))
            ids = [str(key_of("commands", row)[0]) for row in left.items]
            return ids, [command.command_id for command in await store.open_commands(9)]
        finally:
            await store.close()

    assert asyncio.run(story()) == (["c8", "c7", "c6", "c5", "c2"], ["c2", "c5", "c8"])
