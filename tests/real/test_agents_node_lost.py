"""Two and three nodes, one of which is lost with all it runs: its agents answer elsewhere, and are one again later."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.daemon_kit import Cuttable, Daemon, Daemons, cli, until
from tests.real.mesh_kit import call, cut_power, homes, run, spread, units, value

pytestmark = pytest.mark.real


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(tmp_path) as daemons:
        yield daemons


def ready(daemon: Daemon, *names: str) -> bool:
    """Whether a node sees these, and all others it knows, ready."""
    views = daemon.ask.nodes()
    return {view.name for view in views if view.state == "ready"} >= set(names)


def test_of_two_the_agent_of_the_lost_one_answers_on_the_other_with_its_state_and_is_one_again(
    daemons: Daemons,
) -> None:
    alpha, beta = daemons.mesh("alpha", "beta")
    run(beta, "books")
    assert homes(beta, "books") == ["beta"]
    added = [call(beta, "books.add", {"n": n}) for n in (1, 2, 3)]
    keyed = call(beta, "books.add", {"n": 4}, idempotency_key="order-1")
    assert {answer.durability for answer in (*added, keyed)} == {"replicated(1)"}
    cut_power(beta)
    until(lambda: value(alpha, "books.total") == 10, "alpha answers with all that was acknowledged")
    assert homes(alpha, "books") == ["alpha"]
    again = call(alpha, "books.add", {"n": 4}, idempotency_key="order-1")
    assert (again.result, again.replayed, again.node) == (10, True, "alpha")
    assert value(alpha, "books.add", n=5) == 15

    beta = daemons.start("beta")
    until(lambda: ready(alpha, "beta") and ready(beta, "alpha"), "both see each other")
    until(lambda: value(beta, "books.total") == 15, "beta reaches it")
    for node in (alpha, beta):
        assert spread(node, "books", 1) == homes(alpha, "books")
    assert [value(node, "books.add") for node in (alpha, beta)] == [16, 17]


def test_of_three_the_reason_why_an_agent_moved_tells_who_voted_and_which_state_it_went_on_with(
    daemons: Daemons,
) -> None:
    alpha, beta, gamma = daemons.mesh("alpha", "beta", "gamma")
    run(alpha, "books", known=(beta, gamma))
    kept = [call(beta, "books.add", {"n": 2}) for _ in range(5)][-1]
    for node in (beta, gamma):
        until(lambda n=node: any(unit.copies for unit in units(n, "books").values()), "it is told who keeps a copy")
    cut_power(alpha)
    until(lambda: value(beta, "books.total") == 10, "it answers with its state")
    for node in (beta, gamma):
        assert until(lambda n=node: n.ask.node("alpha").state == "down", "alpha is down")
        assert [problem for problem in node.ask.status().problems if problem.startswith("alpha down")]
    (home,) = spread(gamma, "books", 1)
    assert home in ("beta", "gamma")
    (unit,) = units(gamma, "books").values()
    assert unit.epoch == f"2@{home}"
    told = cli(gamma.directory, "why", "books/0").out
    assert "alpha, which had it in epoch 1, is down (refuses a fresh dial" in told, told
    assert "this node holds a copy of its state" in told, told
    assert f"state version {kept.version} from own journal; epoch 2@{home}" in told, told
    before = [call(node, "books.add", {"n": 1}).result for node in (beta, gamma)]
    assert before == [11, 12]
    alpha = daemons.start("alpha")
    until(lambda: value(alpha, "books.total") == 12, "whoever was lost reaches it, too")
    until(lambda: ready(beta, "alpha") and ready(gamma, "alpha"), "it is back")
    assert spread(alpha, "books", 1) == homes(gamma, "books")


def test_a_node_started_alone_after_a_power_cut_of_all_answers_for_what_it_ran_and_all_do_once_all_are_back(
    daemons: Daemons,
) -> None:
    nodes = daemons.mesh("alpha", "beta", "gamma")
    totals = {"alpha": 1, "beta": 2, "gamma": 3}
    for number, (node, total) in enumerate(zip(nodes, totals.values(), strict=True)):
        name = f"books-{node.directory.name}"
        run(node, name, known=nodes)
        assert value(nodes[number - 1], f"{name}.add", n=total) == total
    for node in nodes:
        cut_power(node)
    gamma = daemons.start("gamma")
    until(lambda: value(gamma, "books-gamma.total") == 3, "gamma answers alone", within_s=4)
    assert {view.name for view in gamma.ask.nodes() if view.state == "ready"} == {"gamma"}
    nodes = [daemons.start("alpha"), daemons.start("beta"), gamma]
    for name, total in totals.items():
        for node in nodes:
            until(lambda n=node, a=name, t=total: value(n, f"books-{a}.total") == t, f"all reach {name}'s agent")
            assert len(spread(node, f"books-{name}", 1)) == 1


def test_of_two_that_are_cut_both_answer_and_afterwards_one_goes_on_with_the_work_of_both(tmp_path: Path) -> None:
    with Cuttable(tmp_path, "alpha", "beta") as daemons:
        alpha, beta = daemons.mesh("alpha", "beta")
        run(alpha, "books", known=(beta,))
        assert value(beta, "books.add", n=100) == 100
        call(alpha, "books.put", {"key": "who", "value": "both"})
        daemons.cut(("alpha", "beta"))
        until(lambda: "beta" in homes(beta, "books"), "beta runs it, too", within_s=20)
        here, there = (call(node, "books.total") for node in (alpha, beta))
        assert (here.node, here.result, there.node, there.result) == ("alpha", 100, "beta", 100)
        for node in (alpha, beta):
            name = node.directory.name
            call(node, "books.put", {"key": "who", "value": name})
            call(node, "books.put", {"key": f"only {name}", "value": name})
        for _ in range(3):
            assert value(alpha, "books.add", n=10) > 100
        assert value(beta, "books.add", n=2) == 102
        daemons.heal()
        for node in (alpha, beta):
            until(lambda n=node: len(homes(n, "books")) == 1, "exactly one goes on")
            until(lambda n=node: value(n, "books.total") == 132, "all is counted")
        assert homes(alpha, "books") == homes(beta, "books")
        for node in (alpha, beta):
            assert [value(node, "books.read", key=f"only {name}") for name in ("alpha", "beta")] == ["alpha", "beta"]
            conflict = until(lambda n=node: n.ask.conflicts(), "what both wrote is listed")[0]
            assert (conflict.name, conflict.field, sorted(conflict.values)) == ("books/0", "who", ["alpha", "beta"])
            assert value(node, "books.read", key="who") == conflict.values[0]
        settled = call(beta, "books.put", {"key": "who", "value": "beta"})
        assert settled.durability == "replicated(1)", "copies are kept again"
        for node in (alpha, beta):
            until(lambda n=node: not n.ask.conflicts(), "a new value settles it")
