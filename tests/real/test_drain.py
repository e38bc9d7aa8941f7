"""A node is emptied and filled again on real daemons, while somebody counts: nobody notices but who asks."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.daemon_kit import Daemon, Daemons, cli, until
from tests.real.mesh_kit import call, homes, run, units

pytestmark = pytest.mark.real

EMPTY = "it is to be without units: new disk; it has no units"


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


class Counting:
    """One call after the other, from each node in turn: what they answered, in order."""

    def __init__(self, *nodes: Daemon) -> None:
        self.answers: list[int] = []
        self.broken: list[Exception] = []
        self._nodes, self._over = nodes, threading.Event()
        self._thread = threading.Thread(target=self._count)

    def __enter__(self) -> "Counting":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _count(self) -> None:
        while not self._over.is_set():
            node = self._nodes[len(self.answers) % len(self._nodes)]
            try:
                self.answers.append(call(node, "books.add", deadline_s=8.0).result)
            except Exception as error:  # noqa: BLE001  # whatever it was, the test is to show it
                self.broken.append(error)
                return


def test_a_node_is_emptied_under_load_outlives_a_restart_and_takes_units_again(daemons: Daemons) -> None:
    alpha, beta, gamma = daemons.mesh("alpha", "beta", "gamma")
    run(beta, "books", known=(alpha, gamma))
    run(alpha, "tied", "--on", "beta", known=(gamma,))
    assert homes(alpha, "books") == homes(alpha, "tied") == ["beta"]
    call(alpha, "tied.add", {"n": 3})
    with Counting(alpha, gamma) as counting:
        until(lambda: len(counting.answers) > 20, "somebody counts")
        drained = cli(alpha.directory, "drain", "beta", "--reason", "new disk")
        before = len(counting.answers)
        until(lambda: len(counting.answers) > before + 20 or counting.broken, "counting goes on")
    assert drained.code == 0, drained.err
    lines = drained.out.splitlines()
    assert lines[0] == "node beta  drained  (local)" and "  1 unit moves to other nodes" in lines
    assert any(
        line.startswith("  tied/0 stops until beta takes units again: it may only run on beta") for line in lines
    )
    assert lines[-1].startswith("node beta  empty after ")
    assert counting.broken == []
    assert counting.answers == list(range(1, len(counting.answers) + 1)), "none lost, none doubled, none read too early"
    _shown(alpha, beta, gamma)

    beta.kill()
    beta = daemons.start("beta")
    until(lambda: all(n.state == "ready" for n in gamma.ask.nodes()), "beta is back")
    assert [n.drained for n in gamma.ask.nodes() if n.name == "beta"] == [True]
    run(gamma, "late", "--replicas", "4")
    assert "beta" not in homes(alpha, "late")

    cli(gamma.directory, "resume", "beta").refused(4, "write Node/default/beta")
    assert cli(beta.directory, "resume", "beta").out == "node beta  takes units  (local)\n"
    until(lambda: homes(alpha, "tied") == ["beta"], "what is pinned to it runs again")
    assert call(gamma, "tied.total").result == 3
    assert cli(alpha.directory, "scale", "late", "6").code == 0
    until(lambda: "beta" in homes(alpha, "late"), "it takes units again")


def _shown(alpha: Daemon, beta: Daemon, gamma: Daemon) -> None:
    """The same on all nodes, whoever is asked how."""
    for node in (alpha, beta, gamma):
        until(lambda at=node: "beta" not in {u.node for u in at.ask.agents() if u.state != "stopped"}, "beta is empty")
        listed = json.loads(cli(node.directory, "ls", "-o", "json").out)
        assert {n["name"]: n["drained"] for n in listed["items"]} == {"alpha": False, "beta": True, "gamma": False}
        assert "ready,drained" in cli(node.directory, "ls").out
        until(
            lambda at=node: EMPTY in cli(at.directory, "describe", "node", "beta").out, "what it gave up is forgotten"
        )
    why = cli(gamma.directory, "why", "node/beta").out
    assert "node beta is drained (new disk): it has no units" in why
    assert "drained (new disk), as alpha asked" in why and "drained: it has no units any more" in why
    (row,) = [row for row in gamma.ask.plan().items if row.unit == "tied/0"]
    assert (row.action, row.reason) == ("pending", "it may only run on beta, and beta is drained (new disk)")


def test_a_node_alone_keeps_what_it_runs_and_the_command_says_so(daemons: Daemons) -> None:
    alpha = daemons.start("alpha")
    run(alpha, "books")
    drained = cli(alpha.directory, "drain", "alpha")
    assert drained.code == 5
    assert "node alpha  1 unit stays" in drained.out
    assert "books/0 stays: alpha is drained, and there is no other node" in drained.err
    assert call(alpha, "books.add").result == 1
    assert list(units(alpha, "books")) == ["books/0@alpha"]
    assert cli(alpha.directory, "resume", "alpha").code == 0
