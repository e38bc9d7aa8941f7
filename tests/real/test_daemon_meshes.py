"""Meshes of one, two and three real daemons: killed, cut off in silence, alone after a cold boot, healed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.model.commands import CallSkill
from meshnode.model.views import NodeView
from tests.real.daemon_kit import Cuttable, Daemon, Daemons, cli, run_echo, until

pytestmark = pytest.mark.real

UNREACHABLE = ("suspect", "unreachable")


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def cluster(name: str, replicas: int) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": name}, "spec": {"replicas": replicas}}


def replicas(daemon: Daemon) -> dict[str, int]:
    return {document.name: document.spec["replicas"] for document in daemon.ask.documents("AgentCluster")}


def echoes(daemon: Daemon, deadline_s: float = 2.0) -> str:
    """The node that answered ``echo.say``."""
    return daemon.ask.call(CallSkill(skill="echo.say", arguments={"text": "x"}, deadline_s=deadline_s)).node


def sees(daemon: Daemon, name: str, *states: str) -> NodeView | None:
    view = daemon.ask.node(name)
    return view if view.state in states else None


def verdicts(daemon: Daemon, name: str) -> list[str]:
    """Every state that was ever told of a node, by the story."""
    return [event.text.partition(":")[0] for event in daemon.ask.why(f"node/{name}").events]


def test_one_node_is_a_mesh_and_stays_one_over_a_kill(daemons: Daemons) -> None:
    node = daemons.start("alpha")
    run_echo(node)
    until(lambda: echoes(node) == "alpha", "its agent answers")
    node.ask.apply(cluster("solo", 3))
    assert node.ask.ping("alpha").path == "self"
    node.kill()
    cli(node.directory, "status").refused(6, "no daemon runs in")  # whatever the kill has left there
    node = daemons.start("alpha")
    status = node.ask.status()
    assert (status.boot, status.nodes_known, status.peers_connected, status.documents) == (2, 1, 0, 2)
    assert " alone" in cli(node.directory, "status").out
    assert replicas(node) == {"solo": 3}
    until(lambda: echoes(node) == "alpha", "its agent answers again")


def test_of_two_the_killed_one_is_down_because_a_fresh_dial_is_refused(daemons: Daemons) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    run_echo(beta)
    until(lambda: echoes(alpha) == "beta", "beta's agent answers alpha")
    beta.kill()
    down = until(lambda: sees(alpha, "beta", "down"), "alpha sees beta down", within_s=8)
    assert "refuses a fresh dial" in down.reason
    assert down.age_s > 0
    cli(alpha.directory, "call", "echo.say", "text=x").refused(6, "offered by beta, which cannot be reached now")
    assert [view.excluded != "" for view in alpha.ask.skills("echo.say")] == [True]
    alpha.ask.apply(cluster("meanwhile", 1))
    beta = daemons.start("beta")
    until(lambda: echoes(alpha) == "beta", "beta's agent answers alpha again")
    until(lambda: replicas(beta) == {"meanwhile": 1}, "beta learns what it missed")
    assert sees(alpha, "beta", "ready")


def test_of_two_a_silent_cut_makes_both_unreachable_and_never_down(tmp_path: Path) -> None:
    with Cuttable(tmp_path, "alpha", "beta") as daemons:
        alpha, beta = daemons.mesh("alpha", "beta")
        run_echo(alpha)
        alpha.ask.apply(cluster("shop", 1))
        until(lambda: echoes(beta) == "alpha" and replicas(beta) == {"shop": 1}, "beta has what alpha has")
        daemons.cut(("alpha", "beta"))
        for here, there in ((alpha, "beta"), (beta, "alpha")):
            view = until(lambda h=here, t=there: sees(h, t, "unreachable"), f"{there} is unreachable", within_s=20)
            assert "silent" in view.reason
            assert until(lambda h=here, t=there: sees(h, t, "unreachable"), "still").age_s >= view.age_s > 2
        cli(beta.directory, "call", "echo.say", "text=x").refused(6, "offered by alpha, which cannot be reached now")
        pinged = cli(beta.directory, "ping", "alpha", "--deadline", "1")
        assert pinged.code == 124 and pinged.err.startswith("alpha is unreachable: silent"), pinged.err
        assert [view.state for view in beta.ask.agents()] == ["unreachable"]
        alpha.ask.apply(cluster("shop", 5))
        beta.ask.apply(cluster("shop", 8))
        beta.ask.apply(cluster("by-beta", 2))
        daemons.heal()
        until(lambda: echoes(beta) == "alpha", "beta reaches alpha's agent again")
        until(lambda: alpha.ask.status().documents_root == beta.ask.status().documents_root, "documents are equal")
        assert replicas(alpha) == replicas(beta)
        assert replicas(alpha)["by-beta"] == 2
        for node in (alpha, beta):
            (conflict,) = node.ask.conflicts()
            assert (conflict.field, sorted(conflict.values)) == ("spec.replicas", [5, 8])
        assert "down" not in verdicts(alpha, "beta") + verdicts(beta, "alpha")


def test_of_three_one_is_killed_while_cut_off_and_comes_back_alone_with_all_it_knew(tmp_path: Path) -> None:
    with Cuttable(tmp_path, "alpha", "beta", "gamma") as daemons:
        alpha, beta, gamma = daemons.mesh("alpha", "beta", "gamma")
        run_echo(gamma)
        alpha.ask.apply(cluster("shop", 3))
        until(lambda: echoes(beta) == "gamma" and replicas(gamma) == {"shop": 3}, "gamma has all")
        daemons.cut(("gamma", "alpha"), ("gamma", "beta"))
        gamma.kill()  # nobody can know: a reset does not pass either
        gamma = daemons.start("gamma")
        assert gamma.ask.status().peers_connected == 0
        assert {node.name: node.state for node in gamma.ask.nodes()} == {
            "gamma": "ready", "alpha": "unreachable", "beta": "unreachable",
        }  # fmt: skip
        assert replicas(gamma) == {"shop": 3}
        until(lambda: echoes(gamma) == "gamma", "its agent runs, with no network")
        gamma.ask.apply(cluster("alone", 1))
        for node in (alpha, beta):
            until(lambda at=node: sees(at, "gamma", "unreachable"), "gamma is unreachable", within_s=20)
            cli(node.directory, "call", "echo.say", "text=x").refused(
                6, "offered by gamma, which cannot be reached now"
            )
        assert sees(alpha, "beta", "ready") and sees(beta, "alpha", "ready")
        daemons.heal()
        for node in (alpha, beta):
            until(lambda at=node: echoes(at) == "gamma", "gamma's agent answers all")
            until(lambda at=node: replicas(at) == {"shop": 3, "alone": 1}, "documents are equal")
            assert "down" not in verdicts(node, "gamma")
        until(lambda: all(node.state == "ready" for node in gamma.ask.nodes()), "gamma sees all ready")
