"""What is left of a machine's agents when its daemon, all of it, or its power goes."""

from collections.abc import Callable

import pytest

from meshnode.model.commands import CallSkill, FoldState, ReadLogs, RunAgent
from meshnode.model.views import CallView, Failure, LogsView
from meshnode.sim.agents import SCRIPT
from meshnode.sim.books import read_books
from meshnode.sim.node import SimNode
from meshnode.sim.units import odd_units, owners
from meshnode.sim.world import Setup, World

UNIT = "till/0"


class Till:
    """A world with a stateful agent in it, into which somebody pays."""

    def __init__(self, nodes: int = 1) -> None:
        self.world = World(Setup(seed=4, nodes=nodes))
        self.world.start_all()
        self.world.run_for(3.0)
        words = [SCRIPT, "till.hello", "stateful=1"]
        self.world.ask(self.node, RunAgent(name="till", argv=words))
        self.world.run_for(3.0)
        self.paid = 0

    @property
    def node(self) -> SimNode:
        return self.world[0]

    def pay(self, n: int, key: str = "") -> CallView | Failure:
        self.paid += 1
        call = CallSkill(skill="till.add", arguments={"id": key or f"p{self.paid}", "n": n}, idempotency_key=key)
        view = self.world.ask(self.node, call)
        assert isinstance(view, CallView | Failure)
        return view

    def total(self) -> int:
        books = read_books(self.world, "till")
        assert not books.silent
        assert books.disks == books.shown[self.node.name] == books.memory
        return books.memory[UNIT].total


@pytest.fixture
def till() -> Till:
    return Till()


def test_a_killed_daemon_leaves_its_agents_and_the_next_one_adopts_them(till: Till) -> None:
    till.pay(3)
    before = till.node.agents.running()
    till.node.kill()
    till.world.run_for(5.0)
    assert till.node.agents.running() == before == [(UNIT, 1)]
    till.node.start()
    till.world.run_for(2.0)
    till.pay(4)
    assert till.node.agents.running() == before
    assert till.total() == 7


def test_orphans_do_not_wait_for_ever(till: Till) -> None:
    till.node.kill()
    till.world.run_for(25.0)
    assert owners(till.world) == {}


@pytest.mark.parametrize("how", [SimNode.kill_all, SimNode.lose_power])
def test_what_was_acknowledged_is_there_when_all_processes_were_lost(how: Callable[[SimNode], None]) -> None:
    till = Till()
    assert isinstance(till.pay(3, "key"), CallView)
    how(till.node)
    assert till.node.agents.running() == []
    till.node.gain_power()
    till.node.start()
    till.world.run_for(3.0)
    again = till.pay(3, "key")
    assert isinstance(again, CallView) and again.replayed
    assert till.total() == 3


def test_a_checkpoint_is_read_again_and_one_that_is_spoilt_is_never_believed(till: Till) -> None:
    for n in range(1, 6):
        till.pay(n)
    till.world.ask(till.node, FoldState(agent="till"))
    till.world.run_for(1.0)
    assert len(till.node.blobs) > 0
    till.node.kill_all()
    till.node.start()
    till.world.run_for(3.0)
    assert till.total() == 15
    assert till.node.flip_blob()
    till.node.kill_all()
    till.node.start()
    till.world.run_for(3.0)
    assert read_books(till.world, "till").memory[UNIT].total in (0, 15)


def test_the_agents_of_a_sleeping_machine_sleep(till: Till) -> None:
    number = till.node.ask(CallSkill(skill="till.hello", deadline_s=60.0))
    till.world.run_for(0.005)
    till.node.suspend()
    answers = till.node.agents.answers
    till.world.run_for(30.0)
    assert till.node.agents.answers == answers
    till.node.resume()
    till.world.run_for(1.0)
    assert number and till.node.agents.answers == answers + 1


def test_logs_of_simulated_agents_are_empty_and_an_answer(till: Till) -> None:
    assert till.world.ask(till.node, ReadLogs(agent="till")) == LogsView(items=[])


def test_a_unit_that_runs_nowhere_is_odd(till: Till) -> None:
    assert odd_units(till.world) == ""
    till.node.agents.crash_one()
    assert odd_units(till.world) == f"{UNIT} runs on no node"
