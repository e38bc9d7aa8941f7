"""A hot document on real daemons: its generations end while one of three is away, and another joins when it is over."""

import json
from pathlib import Path

import pytest

from tests.real.daemon_kit import Cuttable, Daemon, cli, until

pytestmark = pytest.mark.real
KIND, NAME = "AgentCluster", "hot"
WRITES = 330  # more than the 256 of one generation


def put(daemon: Daemon, generation: int, replicas: int = 0) -> None:
    spec = {"replicas": replicas, "generation": generation}
    daemon.ask.apply({"apiVersion": "v1", "kind": KIND, "metadata": {"name": NAME}, "spec": spec})


def changes(daemon: Daemon) -> int:
    return daemon.ask.document(KIND, "default", NAME).changes


def are_equal(*daemons: Daemon) -> bool:
    return len({daemon.ask.status().documents_root for daemon in daemons}) == 1


def values(daemon: Daemon) -> set[object]:
    """All that the field reads: in force, and siblings."""
    document = daemon.ask.document(KIND, "default", NAME)
    siblings = [each for conflict in daemon.ask.conflicts() for each in conflict.values]
    return {document.spec["generation"], *(value for value in siblings if isinstance(value, int))}


def test_a_hot_document_begins_anew_while_one_is_away_and_nobody_loses_anything(tmp_path: Path) -> None:
    with Cuttable(tmp_path, "alpha", "beta", "gamma", "delta") as daemons:
        alpha, beta, gamma = daemons.mesh("alpha", "beta", "gamma")
        put(alpha, 1)
        until(lambda: changes(beta) == 1 and changes(gamma) == 1, "all have the first write")
        daemons.cut(("gamma", "alpha"), ("gamma", "beta"))
        put(gamma, 900_001)
        gamma.kill()
        until(
            lambda: alpha.ask.node("gamma").state != "ready" and beta.ask.node("gamma").state != "ready", "it is away"
        )
        for number in range(WRITES // 2):
            put(alpha, 2 + 2 * number)
            put(beta, 3 + 2 * number)
        until(lambda: are_equal(alpha, beta), "both have heard the other's last")
        last = 3 + WRITES
        put(beta, last)  # over whatever the two wrote at the same time
        until(
            lambda: changes(alpha) < 256 and changes(beta) < 256 and are_equal(alpha, beta), "it has begun anew", 30.0
        )
        daemons.heal()
        gamma = daemons.start("gamma")
        until(lambda: are_equal(alpha, beta, gamma), "the one who was away is back", 60.0)
        until(lambda: all(900_001 in values(each) for each in (alpha, beta, gamma)), "and brings what it wrote", 60.0)
        delta = daemons.join(alpha, "delta")
        everyone = (alpha, beta, gamma, delta)
        until(lambda: are_equal(*everyone), "who joins later reads the same", 60.0)
        assert all(values(each) == {last, 900_001} for each in everyone)
        _tell_the_truth(everyone)
        put(delta, 7)
        until(lambda: all(values(each) == {7} for each in everyone), "who joined settles it for all", 30.0)
        until(lambda: are_equal(*everyone), "all read the same")
        for each in everyone:
            each.kill()
        again = [daemons.start(name) for name in ("alpha", "beta", "gamma", "delta")]
        until(lambda: are_equal(*again), "all read the same after a power cut", 60.0)
        assert all(values(each) == {7} for each in again)


def _tell_the_truth(everyone: tuple[Daemon, ...]) -> None:
    """``state show`` and ``state history`` on every node, of what its generation holds."""
    for daemon in everyone:
        shown = cli(daemon.directory, "state", "show", "cluster", NAME)
        assert shown.code == 0, shown.err
        assert "900001" in shown.out
        told = cli(daemon.directory, "state", "history", "cluster", NAME, "-o", "jsonl")
        assert told.code == 0, told.err
        rows = [json.loads(line) for line in told.out.splitlines()]
        assert len(rows) < 256
        assert len({row["number"] for row in rows}) == len(rows)
