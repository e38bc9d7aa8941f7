"""Nodes die, boot, are cut off and come back: nothing acknowledged is lost, nothing counts twice."""

import msgspec
import pytest

from meshnode.checkpoints.messages import HandedOver, StateMerged
from meshnode.checkpoints.rules import Rules
from meshnode.checkpoints.state import State
from meshnode.kernel.instant import MS, SECOND
from meshnode.messaging.messages import Reach
from tests.unit.checkpoints.nodes import UNIT, Nodes, add, drop, put


def test_a_first_start_is_ready_at_once_and_says_so() -> None:
    nodes = Nodes("a")
    nodes["a"].open(1, run=False)
    ready = nodes["a"].ready()
    assert (ready.version, ready.age_ms, ready.gap, ready.source) == (0, -1, 0, "nothing kept: a first start")
    agent = nodes["a"].attach()
    assert agent.values == {}
    assert agent.restores[-1].last


def test_after_a_kill_the_holder_goes_on_with_everything_acknowledged() -> None:
    nodes = Nodes("a", "b", "c")
    agent = nodes["a"].start(1)
    calls = [agent.write(add("n"), put("last", n), key=f"k{n}") for n in range(20)]
    nodes.run(50 * MS)
    assert all(nodes["a"].kept(call) for call in calls)
    holder = nodes.of(nodes["a"].machine.holder_of(UNIT) or nodes["a"].node)
    nodes.kill("a")
    assert holder is not None
    agent = holder.start(2)
    assert agent.values == {"n": b"20", "last": b"19"}
    assert holder.ready().version == 20
    assert holder.machine.answered(UNIT, "k7") is not None
    assert agent.restores[-1].source == "own journal"


def test_a_node_without_a_copy_gathers_it_from_whoever_has_one() -> None:
    nodes = Nodes("a", "b", "c")
    agent = nodes["a"].start(1)
    agent.write(put("x", "y" * 700_000), add("n", 3))
    nodes.run(100 * MS)
    holder = nodes["a"].machine.holder_of(UNIT)
    other = nodes["c"] if holder == nodes["b"].node else nodes["b"]
    nodes.kill("a")
    began = nodes.now_us
    agent = other.start(2)
    assert other.values()["n"] == 3
    assert "copy of" in other.ready().source and "version 1, hash" in other.ready().source
    assert nodes.now_us - began < SECOND
    assert agent.values is not None and len(agent.values["x"]) == 700_002


def test_an_opening_does_not_wait_for_a_silent_neighbour() -> None:
    nodes = Nodes("a", "b")
    nodes.dropped = lambda _sender, _peer, _body: True
    nodes["a"].open(1, run=False)
    nodes.run(199 * MS)
    assert not nodes["a"].facts
    nodes.run(2 * MS)
    assert nodes["a"].ready().version == 0


def test_a_restore_that_does_not_reach_a_known_version_names_the_gap() -> None:
    nodes = Nodes("a")
    nodes["a"].machine.known(UNIT, 17)
    nodes["a"].open(2)
    assert nodes["a"].ready().gap == 17


def test_a_boot_without_network_has_everything_committed() -> None:
    nodes = Nodes("a", "b", fold_entries=7)
    agent = nodes["a"].start(1)
    for n in range(30):
        agent.write(add("n"), put(f"k{n % 5}", n))
        nodes.run(15 * MS)
    before = nodes["a"].values()
    nodes.kill("a")
    again = nodes.boot("a", linked=False)
    agent = again.start(2)
    assert again.values() == before
    assert again.ready().version == 30
    assert agent.restores[-1].source == "own journal"
    assert again.machine.rows("a", again.now)[0].checkpoint > 0


@pytest.mark.parametrize("both_have_merge", [False, True])
def test_two_owners_of_a_cut_become_one_and_all_work_is_there(*, both_have_merge: bool) -> None:
    nodes = Nodes("a", "b")
    hooks = ["text"] if both_have_merge else []
    left = nodes["a"].start(1, hooks=hooks)
    left.write(add("n", 5), put("text", "base"), put("mine", 1))
    nodes.run(20 * MS)
    nodes.cut("a")
    right = nodes["b"].start(2, hooks=hooks)
    right.decide = lambda cell: msgspec.json.encode(
        sorted([msgspec.json.decode(cell.mine), msgspec.json.decode(cell.theirs)])
    )
    left.write(add("n", 2), put("text", "left"), put("left", 1), key="same")
    right.write(add("n", 2), put("text", "right"), put("right", 1), key="same")
    left.write(add("n", 1), drop("mine"))
    nodes.run(20 * MS)
    nodes.heal()
    nodes["a"].do(lambda: nodes["a"].machine.hand_over(UNIT, nodes["b"].node, nodes["a"].now))
    nodes.run(100 * MS)
    assert nodes["a"].handed()
    values = nodes["b"].values()
    assert values["n"] == 8 and values["left"] == values["right"] == 1 and "mine" not in values
    merged = next(each for each in nodes["b"].facts if isinstance(each, StateMerged))
    assert (merged.sender, merged.undone) == (nodes["a"].node, 1)
    assert right.values is not None and right.values["n"] == b"8" and right.values["left"] == b"1"
    if both_have_merge:
        assert values["text"] == ["left", "right"]
        assert (right.asked[0].base, right.asked[0].mine, right.asked[0].theirs) == (b'"base"', b'"right"', b'"left"')
        assert not nodes["b"].machine.conflicts()
    else:
        assert values["text"] == "right"
        (conflict,) = nodes["b"].machine.conflicts()
        assert (conflict.key, conflict.values) == ("text", [b'"right"', b'"left"'])
        assert conflict.writers == [nodes["b"].node, nodes["a"].node]


def test_the_loser_offers_again_until_the_winner_is_there() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    nodes["b"].start(2)
    left.write(add("n", 2))
    nodes.run(20 * MS)
    nodes["a"].do(lambda: nodes["a"].machine.hand_over(UNIT, nodes["b"].node, nodes["a"].now))
    nodes.run(3 * SECOND)
    assert not nodes["a"].handed()
    nodes.kill("b")
    again = nodes.boot("b")
    nodes.run(2 * SECOND)
    assert not nodes["a"].handed(), "it does not run the unit yet"
    again.open(3)
    nodes.run(2 * SECOND)
    assert nodes["a"].handed()
    assert again.values() == {"n": 2}


def test_a_winner_that_is_not_linked_is_linked_to_and_one_that_cannot_be_reached_is_waited_for() -> None:
    nodes = Nodes("a", "b")
    nodes["a"].start(1)
    nodes.cut("a")
    node, winner = nodes["a"], nodes["b"].node
    node.reachable = lambda _node: False  # type: ignore[method-assign]
    node.do(lambda: node.machine.hand_over(UNIT, winner, node.now))
    assert not node.of(Reach)
    node.reachable = lambda _node: True  # type: ignore[method-assign]
    nodes.run(SECOND)
    assert node.of(Reach)[-1] == Reach(winner)


def test_the_winner_says_that_it_has_it_only_when_it_is_durable() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    nodes["b"].start(2)
    left.write(add("n", 2))
    nodes.run(20 * MS)
    nodes["b"].disk = "slow"
    nodes.heal()
    nodes["a"].do(lambda: nodes["a"].machine.hand_over(UNIT, nodes["b"].node, nodes["a"].now))
    nodes.run(3 * SECOND)
    assert not nodes["a"].handed()
    nodes["b"].go_on()
    nodes.run(100 * MS)
    assert nodes["a"].handed()


def test_what_is_written_after_the_hand_over_is_handed_over_too() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    nodes["b"].start(2)
    nodes.heal()
    nodes["a"].do(lambda: nodes["a"].machine.hand_over(UNIT, nodes["b"].node, nodes["a"].now))
    nodes.run(100 * MS)
    assert nodes["a"].handed()
    left.write(add("n", 1))
    nodes.run(2 * SECOND)
    assert nodes["b"].values() == {"n": 1}
    assert len(nodes["a"].of(HandedOver)) == 2


def test_a_loser_that_restarted_without_handing_over_is_asked_when_it_comes_back() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    right = nodes["b"].start(2)
    left.write(add("n", 2), put("x", 1))
    right.write(add("n", 3))
    nodes.run(20 * MS)
    nodes.kill("a")
    nodes.boot("a")
    nodes.run(50 * MS)
    assert nodes["b"].values() == {"n": 5, "x": 1}
    assert right.values == {"n": b"5", "x": b"1"}
    assert nodes["a"].values() == {"n": 5, "x": 1}, "it is the winner's holder now"


def test_a_value_set_before_the_merge_was_applied_stands_beside_it() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    right = nodes["b"].start(2)
    left.write(put("x", "left"), put("y", "left"), add("n", 1))
    nodes.run(20 * MS)
    right.answers_merges = False
    nodes.heal()
    nodes["a"].do(lambda: nodes["a"].machine.hand_over(UNIT, nodes["b"].node, nodes["a"].now))
    nodes.run(50 * MS)
    nodes["a"].do(lambda: nodes["a"].machine.close(UNIT, nodes["a"].now))
    call = right.write(put("x", "blind"), add("n", 1))
    nodes.run(20 * MS)
    kept = nodes["b"].kept(call)
    assert kept is not None and kept.durability == "replicated(1)"
    found = {each.key: each.values for each in nodes["b"].machine.conflicts()}
    assert found == {"x": [b'"blind"', b'"left"']}
    assert nodes["b"].values() == {"n": 2, "x": "blind", "y": "left"}
    assert nodes["a"].values() == nodes["b"].values(), "its replica comes to the same"


def test_values_that_wait_for_a_merge_function_are_asked_again_of_the_next_process() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    right = nodes["b"].start(2, hooks=["*"])
    left.write(put("x", "left"))
    right.write(put("x", "right"))
    nodes.run(20 * MS)
    right.answers_merges = False
    nodes.heal()
    nodes.run(50 * MS)
    nodes["b"].machine.detached(UNIT)
    again = nodes["b"].attach(["*"])
    again.decide = lambda cell: b'"both"'
    nodes.run(50 * MS)
    assert nodes["b"].values() == {"x": "both"}
    assert again.restores[-1].last and again.asked
    assert not nodes["b"].machine.conflicts()


def test_a_process_that_outlived_its_daemon_keeps_its_numbers_and_gets_what_it_missed() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    right = nodes["b"].start(2)
    left.write(put("x", "left"))
    right.write(add("n"))
    right.write(add("n"))
    nodes.run(20 * MS)
    nodes.kill("b")
    again = nodes.boot("b")
    again.open(3)
    assert again.values() == {"n": 2, "x": "left"}
    again.attach(resumed=right)
    nodes.run(20 * MS)
    assert right.values is not None and right.values["x"] == b'"left"', "the cells it missed came as a merge"
    assert right.kept == 3
    right.again(2, add("n"), call=b"again")
    right.write(add("n"))
    nodes.run(20 * MS)
    assert again.values() == {"n": 3, "x": "left"}


def test_a_process_hears_what_its_node_took_as_a_copy_while_it_had_no_daemon() -> None:
    """The copy bears no number of the process: it was held to know what another owner had written meanwhile."""
    nodes = Nodes("a", "b")
    right = nodes["b"].start(1)
    right.write(add("n"), put("mine", 1))
    nodes.run(20 * MS)
    nodes.kill("b")
    left = nodes["a"].start(2)
    again = nodes.boot("b")
    left.write(add("n"), put("x", "left"))
    nodes.run(3000 * MS)
    assert again.values()["x"] == "left", "b keeps a copy for a"
    nodes.cut("b")
    again.open(3)
    again.attach(resumed=right)
    nodes.run(20 * MS)
    assert right.values == {"n": b"2", "x": b'"left"'}, "what only it wrote is not told again"
    right.write(add("n"))
    nodes.run(20 * MS)
    assert again.values() == {"n": 3, "mine": 1, "x": "left"}


def test_a_merge_says_what_of_the_process_is_in_it() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    right = nodes["b"].start(2)
    left.write(add("n"))
    right.write(add("n"))
    right.write(add("n"))
    nodes.run(20 * MS)
    nodes.heal()
    nodes.run(50 * MS)
    assert right.values == {"n": b"3"} and right.merged_upto == [2]


def test_a_new_process_counts_from_one_whatever_its_predecessor_counted() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    for _ in range(5):
        agent.write(add("n"))
    nodes.run(10 * MS)
    second = nodes["a"].attach()
    assert second.values is None, "the journal has to know of it first"
    nodes.run(5 * MS)
    assert second.values == {"n": b"5"}
    nodes.kill("a")
    again = nodes.boot("a")
    again.open(2)
    again.attach(resumed=second)
    second.write(add("n"))
    nodes.run(10 * MS)
    assert again.values() == {"n": 6}


def test_a_holder_that_missed_entries_asks_for_what_it_lacks() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    agent.write(add("n"))
    nodes.run(20 * MS)
    nodes.dropped = lambda sender, _peer, _body: sender is nodes["a"]
    agent.write(add("n"))
    nodes.run(5 * MS)
    nodes.dropped = lambda _sender, _peer, _body: False
    call = agent.write(add("n"))
    nodes.run(30 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "replicated(1)"
    assert nodes["b"].values() == {"n": 3}
    assert [each.reason for each in nodes["b"].rejects] == ["checkpoint-chain"]


def test_a_holder_whose_disk_is_full_does_not_acknowledge_what_it_lost() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    agent.write(add("n"))
    nodes.run(20 * MS)
    nodes["b"].disk = "full"
    call = agent.write(add("n"))
    nodes.run(500 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "local"
    nodes["b"].disk = "ok"
    nodes.run(11 * SECOND)
    agent.write(add("n"))
    nodes.run(30 * MS)
    nodes.kill("a")
    again = nodes.boot("b", linked=False)
    again.open(2)
    assert again.values() == {"n": 3}


def test_large_states_reach_a_new_holder_in_pieces() -> None:
    nodes = Nodes("a", "b", "c")
    agent = nodes["a"].start(1)
    for n in range(6):
        agent.write(put(f"k{n}", chr(97 + n) * 900_000))
    nodes.run(200 * MS)
    holder = nodes.of(nodes["a"].machine.holder_of(UNIT) or nodes["a"].node)
    assert holder is not None
    nodes.kill(holder.name)
    nodes.run(300 * MS)
    other = nodes.of(nodes["a"].machine.holder_of(UNIT) or nodes["a"].node)
    assert other is not None and other is not holder and other is not nodes["a"]
    assert other.values() == nodes["a"].values()
    nodes.kill("a")
    agent = other.start(2)
    assert len(agent.restores) == 6
    assert [each.last for each in agent.restores] == [False] * 5 + [True]


class DropMerge(Rules):
    def merged(self, mine: State, theirs: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None


class LoseAck(Rules):
    persists = False

    def durable(self, *_args: object, **_more: object) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        return True


class StaleRestore(Rules):
    reads_entries = False


class DoubleCount(Rules):
    def answered(self, state: State, key: str) -> None:
        return None


@pytest.mark.parametrize("rules", [Rules, DropMerge, LoseAck, StaleRestore, DoubleCount])
def test_each_planted_fault_breaks_what_the_honest_rules_keep(rules: type[Rules]) -> None:
    nodes = Nodes("a", "b", rules=rules(), fold_entries=3)
    left = nodes["a"].start(1)
    for n in range(4):
        left.write(add("n"), key=f"k{n}")
        nodes.run(20 * MS)
    nodes.cut("a")
    right = nodes["b"].start(2)
    left.write(add("left"))
    right.write(add("right"))
    nodes.run(20 * MS)
    nodes.heal()
    nodes["a"].do(lambda: nodes["a"].machine.hand_over(UNIT, nodes["b"].node, nodes["a"].now))
    nodes.run(200 * MS)
    answered = nodes["b"].machine.answered(UNIT, "k1")
    nodes.kill("a"), nodes.kill("b")
    again = nodes.boot("b", linked=False)
    again.open(5)
    holds = again.values() == {"n": 4, "left": 1, "right": 1} and answered is not None
    assert holds == (rules is Rules)


def test_two_owners_that_know_the_same_have_nothing_to_say_to_each_other() -> None:
    nodes = Nodes("a", "b")
    left = nodes["a"].start(1)
    nodes.cut("a")
    right = nodes["b"].start(2)
    left.write(add("n"), put("x", 1), key="same")
    right.write(add("n"), put("x", 2), key="same")
    nodes.run(20 * MS)
    nodes.heal()
    nodes.run(500 * MS)
    versions = [nodes[name].machine.version(UNIT) for name in "ab"]
    sent = [len(nodes[name].sent) for name in "ab"]
    nodes["a"].do(lambda: nodes["a"].machine.hand_over(UNIT, nodes["b"].node, nodes["a"].now))
    nodes.run(5 * SECOND)
    assert nodes["a"].handed()
    assert [nodes[name].machine.version(UNIT) - version for name, version in zip("ab", versions, strict=True)] <= [2, 2]
    assert sum(len(nodes[name].sent) for name in "ab") - sum(sent) < 12
