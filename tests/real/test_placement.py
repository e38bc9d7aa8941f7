"""Replicas on three real nodes: spread, scaled, planned, pinned, restarted, deleted; and a file that is gone."""

import shutil
from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemon, alive, cli, until
from tests.real.mesh_kit import LEDGER, ROGUE, call, homes, run, spread, units, value

pytestmark = pytest.mark.real

ALL = ["alpha", "beta", "gamma"]


def slots(daemon: Daemon, name: str) -> set[str]:
    return {unit.instance for unit in units(daemon, name).values()}


def test_replicas_spread_over_all_nodes_follow_the_wanted_number_and_end_with_the_document(mesh: list[Daemon]) -> None:
    alpha, beta, gamma = mesh
    run(alpha, "spread", "--replicas", "3", known=mesh)
    assert spread(alpha, "spread", 3) == ALL
    pids = {unit.pid for unit in units(alpha, "spread").values()}
    assert cli(beta.directory, "scale", "spread", "5").code == 0
    homes_of_five = spread(gamma, "spread", 5)
    assert sorted(homes_of_five.count(name) for name in ALL) == [1, 2, 2]
    assert slots(gamma, "spread") == {f"spread/{slot}" for slot in range(5)}
    assert cli(gamma.directory, "scale", "agent/spread", "2").code == 0
    for node in mesh:
        spread(node, "spread", 2)
        assert slots(node, "spread") == {"spread/0", "spread/1"}
    assert {unit.pid for unit in units(alpha, "spread").values()} < pids, "those that stay are left alone"
    assert cli(beta.directory, "delete", "agent", "spread").code == 0
    for node in mesh:
        spread(node, "spread", 0)
    until(lambda: not any(alive(pid) for pid in pids if pid), "the processes have ended")
    cli(alpha.directory, "call", "spread.total").refused(3, "spread.total")


def test_a_plan_tells_where_units_will_be_and_changes_nothing(mesh: list[Daemon]) -> None:
    alpha, _, gamma = mesh
    run(alpha, "planned")
    (document,) = alpha.ask.documents("Agent", "", "planned")
    more = {
        "apiVersion": "v1", "kind": "Agent", "metadata": {"name": "planned"}, "spec": {**document.spec, "replicas": 3},
    }  # fmt: skip
    planned = alpha.ask.plan(more)
    rows = [row for row in planned.items if row.unit.startswith("planned/")]
    assert [(row.unit, row.action) for row in rows] == [
        ("planned/0", "keep"), ("planned/1", "start"), ("planned/2", "start"),
    ]  # fmt: skip
    assert all(row.reason for row in rows)
    assert list(units(alpha, "planned")) == ["planned/0@alpha"]
    alpha.ask.apply(more)
    assert spread(gamma, "planned", 3) == sorted(row.node for row in rows) == ALL
    fewer = alpha.ask.plan({**more, "spec": {**document.spec, "replicas": 1}})
    assert [(row.unit, row.action) for row in fewer.items if row.unit.startswith("planned/")] == [
        ("planned/0", "keep"), ("planned/1", "stop"), ("planned/2", "stop"),
    ]  # fmt: skip


def test_a_plan_says_what_is_missing_for_a_unit_that_can_run_nowhere(mesh: list[Daemon]) -> None:
    alpha = mesh[0]
    recipe = {"file": LEDGER, "cwd": "/"}
    greedy = {"run": recipe, "replicas": 1, "resources": {"memory": "100Ti"}}
    planned = alpha.ask.plan({"apiVersion": "v1", "kind": "Agent", "metadata": {"name": "greedy"}, "spec": greedy})
    (row,) = [row for row in planned.items if row.unit == "greedy/0"]
    assert row.action == "pending" and "memory" in row.reason, row


def test_a_pinned_agent_runs_where_it_was_told_to_and_an_unknown_place_is_refused(mesh: list[Daemon]) -> None:
    alpha, beta, gamma = mesh
    run(alpha, "pinned", "--on", "gamma", "--replicas", "2", known=(alpha,))
    assert spread(alpha, "pinned", 2) == ["gamma", "gamma"]
    assert call(beta, "pinned.add").node == "gamma"
    cli(alpha.directory, "run", LEDGER, "--name", "lost", "--on", "delta").refused(3, "delta")
    assert not gamma.ask.documents("Agent", "", "lost")


def test_the_same_run_again_is_harmless_and_another_recipe_of_that_name_is_refused(mesh: list[Daemon]) -> None:
    alpha, beta, _ = mesh
    run(alpha, "twice", known=(beta,))
    (before,) = units(alpha, "twice").values()
    run(alpha, "twice")
    cli(beta.directory, "run", ROGUE, "--name", "twice").refused(2, "twice is wanted already", "meshnode stop twice")
    (after,) = units(alpha, "twice").values()
    assert (before.pid, before.node, before.restarts) == (after.pid, after.node, after.restarts)


def test_a_unit_starts_on_nodes_that_never_had_its_file(mesh: list[Daemon], tmp_path: Path) -> None:
    alpha, beta, gamma = mesh
    file = tmp_path / "carried.py"
    shutil.copy(LEDGER, file)
    run(alpha, "carried", file=str(file))
    file.unlink()
    assert cli(alpha.directory, "scale", "carried", "3").code == 0
    assert spread(gamma, "carried", 3) == ALL
    for node in (beta, gamma):
        assert call(node, "carried.add", {"n": 1}, to=node.directory.name).node == node.directory.name


def test_a_restart_gives_every_unit_a_new_process_and_its_state(mesh: list[Daemon]) -> None:
    alpha, beta, _ = mesh
    run(alpha, "again", "--replicas", "2", known=(beta,))
    spread(beta, "again", 2)
    for slot in range(2):
        call(beta, "again.add", {"n": 10 + slot}, to=f"agent/again/{slot}")
    before = {unit.pid for unit in units(alpha, "again").values()}
    assert cli(beta.directory, "restart", "again").code == 0
    until(
        lambda: len(units(alpha, "again")) == 2 and not before & {unit.pid for unit in units(alpha, "again").values()},
        "both have new processes",
    )
    for slot in range(2):
        answer = until(lambda s=slot: call(alpha, "again.total", to=f"agent/again/{s}"), "it answers")
        assert (answer.result, answer.instance) == (10 + slot, f"again/{slot}")


def test_describe_tells_of_an_agent_its_recipe_units_copies_and_story(mesh: list[Daemon]) -> None:
    alpha, beta, _ = mesh
    run(beta, "told", "--replicas", "2", known=(alpha,))
    value(alpha, "told.add")
    until(lambda: any(unit.copies for unit in units(alpha, "told").values()), "alpha knows of the copy")
    told = cli(alpha.directory, "describe", "agent", "told").out
    for word in (
        LEDGER,
        "replicas:   2",
        "unit told/0:",
        "unit told/1:",
        "told.add",
        "Count, and tell the sum.",
        "last:",
    ):
        assert word in told, f"{word!r} is missing: {told}"
    assert homes(alpha, "told")[0] in told
