"""Views of a node as rows: what is shown of nodes, units, skills, wishes and of what is wrong."""

from typing import Any

import pytest

from cloud_gateway.mesh.census import Census
from cloud_gateway.mesh.problems import OF_A_KIND_MAX, Findings
from cloud_gateway.mesh.readings import attributes, instance_row, load_point, node_row, offer_row, wish_row
from cloud_gateway.model.rows import GapRow, InstanceRow, NodeRow, ProblemRow, WishRow
from meshnode.model.document_views import DocumentView
from meshnode.model.view_parts import Condition
from meshnode.model.views import AgentView, NodeView, SkillView
from meshnode.model.where import parse_where, unfit

NOW_MS = 1_000_000
HARDWARE = {
    "machine": {"arch": "aarch64"},
    "cpu": {"usable": 6.0},
    "memory": {"limit_bytes": 8 << 30},
    "accelerators": [{"memory_bytes": 8 << 30}],
}


def node_view(**given: Any) -> NodeView:  # noqa: ANN401 - fields of the view
    facts: dict[str, Any] = {
        "name": "beta", "node_id": "0b" * 32, "state": "ready", "region": "south", "roles": ["member"], "boot": 3,
        "incarnation": 1, "path": "direct", "age_s": 2.0, "rtt_ms": 1.5, "reason": "", "endpoints": ["10.0.0.1:7946"],
        "hardware": HARDWARE, "load": {"cpu_percent": 41, "load_average": 0.5, "age_s": 30.0}, "agents": 2,
        "labels": {"site": "plant-7"},
    }  # fmt: skip
    return NodeView(**{**facts, **given})


def agent_view(**given: Any) -> AgentView:  # noqa: ANN401 - fields of the view
    facts: dict[str, Any] = {
        "name": "words", "instance": "words/0", "node": "beta", "state": "running", "reason": "", "pid": 7,
        "restarts": 1, "skills": ["words.count"], "age_s": 1.0,
    }  # fmt: skip
    return AgentView(**{**facts, **given})


def document(status: dict[str, Any], *conditions: Condition, kind: str = "AgentCluster") -> DocumentView:
    return DocumentView(
        kind=kind, namespace="default", name="team", doc_id="00", api_version="meshnode/v1", spec={"replicas": 3},
        heads=["aa"], changes=1, updated_ms=5, updated_by="beta", conflicts=[], conditions=list(conditions),
        status=status,
    )  # fmt: skip


def wrong(type_: str, status: str, reason: str = "Why", message: str = "because") -> Condition:
    return Condition(type=type_, status=status, reason=reason, message=message)


def test_a_node_is_shown_with_its_machine_its_load_and_the_age_of_both() -> None:
    row = node_row(node_view(), NOW_MS)
    assert (row.name, row.region, row.cpu_percent, row.memory_percent) == ("beta", "south", 41.0, None)
    assert (row.proof_ms, row.as_of_ms) == (NOW_MS - 2000, NOW_MS)
    assert "age_s" not in row.load, "an age in the row would make it another row every second"


def test_a_node_never_heard_of_has_no_proof() -> None:
    assert node_row(node_view(age_s=-1.0), NOW_MS).proof_ms == 0


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        ("gpu_mem>=2Gi,site=plant-7", True),
        ("cpus>=6,arch=aarch64,gpus=1", True),
        ("memory>8Gi", False),
        ("region=north", False),
    ],
)
def test_constraints_find_nodes_by_their_attributes(where: str, *, fits: bool) -> None:
    assert (not unfit(parse_where(where), attributes(node_view()))) is fits


@pytest.mark.parametrize(
    "hardware", [{}, {"cpu": "much"}, {"accelerators": {"a": 1}}, {"memory": {"limit_bytes": "8G"}}]
)
def test_a_machine_that_tells_nonsense_has_no_attributes_but_its_labels(hardware: dict[str, Any]) -> None:
    found = attributes(node_view(hardware=hardware))
    assert (found["site"], found["cpus"], found["memory"], found["gpus"]) == ("plant-7", 0, 0, 0)


@pytest.mark.parametrize(
    "silent", [{"age_s": 60.0}, {"age_s": -1.0}, {"load": {}}, {"state": "down"}, {"state": "unreachable"}]
)
def test_a_load_that_is_not_fresh_is_no_sample(silent: dict[str, Any]) -> None:
    assert load_point(node_view(), NOW_MS) is not None
    assert load_point(node_view(**silent), NOW_MS) is None


def test_a_load_of_another_shape_is_left_out() -> None:
    point = load_point(node_view(load={"cpu_percent": "high", "memory_percent": True, "disk_percent": 4}), NOW_MS)
    assert point is not None
    assert (point.cpu, point.memory, point.disk) == (None, None, 4.0)


def test_a_unit_has_the_region_of_its_node() -> None:
    census = Census()
    census.note([node_view()])
    row = instance_row(agent_view(), census, NOW_MS)
    assert (row.agent, row.region, row.as_of_ms) == ("words", "south", NOW_MS - 1000)
    assert not instance_row(agent_view(node=""), census, NOW_MS).region, "nobody runs it"


def test_a_skill_says_why_it_would_not_be_called() -> None:
    view = SkillView(
        rank=1, skill="words.count", agent="words", instance="words", node="beta", region="south", description="counts",
        input_schema={}, output_schema={}, rtt_ms=None, age_s=0.5, excluded="beta is down",
    )  # fmt: skip
    assert offer_row(view, NOW_MS).excluded == "beta is down"


def test_a_wish_counts_what_is_wanted_running_and_pending_with_the_reason() -> None:
    pending = [wrong("Accepted", "True"), wrong("Ready", "False"), wrong("Pending", "True", message="words/2: no room")]
    row = wish_row(document({"wanted": 3, "running": 2, "pending": 1}, *pending), NOW_MS)
    assert (row.wanted, row.running, row.pending, row.reason) == (3, 2, 1, "words/2: no room")


def test_a_refused_wish_says_why_and_counts_nothing() -> None:
    row = wish_row(document({}, wrong("Accepted", "False", message="too many regions")), NOW_MS)
    assert (row.wanted, row.pending, row.reason) == (0, 0, "too many regions")


def _texts(findings: Findings) -> dict[str, ProblemRow]:
    return {row.text: row for row in findings.rows({}, NOW_MS)}


def test_problems_say_what_is_wrong_where_to_look_and_the_worst_first() -> None:
    findings = Findings("alpha")
    findings.nodes([node_row(node_view(state="down", reason="silent"), NOW_MS)])
    findings.instances(
        [
            InstanceRow(instance="words/0", agent="words", node="beta", state="backoff", reason="exit code 1"),
            InstanceRow(instance="sums/0", agent="sums", node="alpha", state="failed", reason="no such file"),
            InstanceRow(instance="fine/0", agent="fine", node="alpha"),
        ]
    )
    found = findings.rows({}, NOW_MS)
    assert [row.severity for row in found] == ["error", "error", "warning"]
    assert {row.text: row.link for row in found} == {
        "beta down: silent": "nodes/beta",
        "agent sums/0 has failed: no such file": "agents/sums",
        "agent words/0 on beta keeps ending: exit code 1": "agents/words",
    }


def test_a_problem_keeps_the_time_it_began() -> None:
    findings = Findings("alpha")
    findings.nodes([node_row(node_view(state="suspect", reason="silent"), NOW_MS)])
    assert findings.rows({"beta suspect: silent": 5}, NOW_MS)[0].since_ms == 5


def test_what_the_node_complains_of_is_not_told_twice() -> None:
    findings = Findings("alpha")
    findings.nodes([node_row(node_view(state="down", reason="silent"), NOW_MS)])
    findings.wishes([WishRow(kind="Agent", namespace="default", name="words", wanted=2, running=1, pending=1)])
    findings.told(["beta down: silent", "agent/words: 1 of 2", "nothing can be stored: disk full"])
    assert sorted(_texts(findings)) == [
        "agent/words: 1 of 2 are pending", "beta down: silent", "nothing can be stored: disk full",
    ]  # fmt: skip


def test_however_much_is_wrong_what_is_shown_is_bounded() -> None:
    findings = Findings("alpha")
    rows = [node_row(node_view(name=f"n{i}", node_id=f"{i:064x}", state="down"), NOW_MS) for i in range(500)]
    findings.nodes(rows)
    assert len(findings.rows({}, NOW_MS)) == OF_A_KIND_MAX + 1


def test_a_journal_that_cannot_be_read_is_a_problem_unless_its_node_is_down() -> None:
    findings = Findings("alpha")
    findings.nodes([NodeRow(node_id="01", name="beta", state="down")])
    findings.journals({"01": ("beta", "down"), "02": ("gamma", "denied")}, [], NOW_MS)
    assert "the journal of gamma cannot be read: denied" in _texts(findings)
    assert not any("journal of beta" in text for text in _texts(findings))


def test_a_gap_is_a_problem_for_a_day_and_not_for_what_was_before_us() -> None:
    gap = GapRow(node_id="01", node="beta", life=1, first=5, last=7, count=3, why="dropped", noticed_ms=NOW_MS)
    before = GapRow(node_id="02", node="gamma", life=1, first=1, last=7, count=7, why="before", noticed_ms=NOW_MS)
    findings = Findings("alpha")
    findings.journals({}, [gap, before], NOW_MS)
    assert list(_texts(findings)) == ["the journal of beta lacks 3 events from 5 on (life 1): dropped"]
    later = Findings("alpha")
    later.journals({}, [gap], NOW_MS + 25 * 3_600_000)
    assert not later.rows({}, NOW_MS)
