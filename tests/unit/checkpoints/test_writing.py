"""An agent writes; the reply leaves when the change is as durable as asked for, and says how durable it is."""

import pytest

from meshnode.checkpoints.messages import VersionMoved
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.durability import parse_durability
from meshnode.wire.state import Change, Op
from tests.unit.checkpoints.nodes import UNIT, Node, Nodes, add, drop, put


def test_alone_a_reply_leaves_after_the_own_commit() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    call = agent.write(put("x", 1), add("n", 2))
    assert nodes["a"].kept(call) is None
    nodes.run(5 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and (kept.durability, kept.version) == ("local", 1)
    assert agent.kept == 1
    assert nodes["a"].values() == {"n": 2, "x": 1}


def test_with_a_neighbour_a_reply_leaves_after_a_copy_is_durable_there() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    assert nodes["a"].machine.holder_of(UNIT) == nodes["b"].node
    call = agent.write(put("x", 1))
    nodes.run(3 * MS)
    assert nodes["a"].kept(call) is None, "the copy is not durable yet"
    nodes.run(10 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "replicated(1)"
    assert nodes["b"].machine.values(UNIT) == {"x": b"1"}
    assert nodes["b"].machine.rows("b", nodes["b"].now)[0].role == "copy"


def test_one_stateful_call_is_one_commit_one_letter_and_one_acknowledgement() -> None:
    nodes = Nodes("a", "b", "c")
    agent = nodes["a"].start(1)
    for _ in range(3):
        agent.write(add("n"))
        nodes.run(20 * MS)
    before = [(node.persists, len(node.sent)) for node in nodes.by_name.values()]
    agent.write(add("n"))
    nodes.run(20 * MS)
    more = [(n.persists - p, len(n.sent) - s) for n, (p, s) in zip(nodes.by_name.values(), before, strict=True)]
    assert sorted(more) == [(0, 0), (1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("asked", "level"), [("lazy", "lazy"), ("local", "replicated(1)"), ("replicated(2)", "replicated(2)")]
)
def test_each_durability_names_the_level_it_reached(asked: str, level: str) -> None:
    nodes = Nodes("a", "b", "c")
    agent = nodes["a"].start(1, parse_durability(asked))
    nodes["a"].disk = "slow"
    call = agent.write(put("x", 1))
    nodes.run(20 * MS)
    kept = nodes["a"].kept(call)
    assert (kept is not None) == (asked == "lazy"), "only lazy does not wait for the own disk"
    nodes["a"].go_on()
    nodes.run(20 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == level


def test_a_silent_holder_is_replaced_and_the_reply_says_what_was_reached() -> None:
    nodes = Nodes("a", "b", "c")
    agent = nodes["a"].start(1)
    first = nodes.of(nodes["a"].machine.holder_of(UNIT) or nodes["a"].node)
    assert first is not None
    first.disk = "slow"
    call = agent.write(put("x", 1))
    nodes.run(390 * MS)
    assert nodes["a"].kept(call) is None
    nodes.run(20 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "local"
    nodes.run(30 * MS)
    second = nodes["a"].machine.holder_of(UNIT)
    assert second is not None and second != first.node
    call = agent.write(put("x", 2))
    nodes.run(10 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "replicated(1)"


def test_a_strict_agent_waits_for_its_copies_and_gets_them_when_somebody_comes() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1, parse_durability("replicated(1)"))
    call = agent.write(put("x", 1))
    nodes.run(5 * SECOND)
    assert nodes["a"].kept(call) is None
    Node(nodes, "b")
    nodes.heal()
    nodes.run(50 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "replicated(1)"


def test_replies_leave_at_once_when_the_last_neighbour_goes() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    nodes["b"].disk = "slow"
    call = agent.write(put("x", 1))
    nodes.run(20 * MS)
    nodes.cut("b")
    nodes.run(1 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "local"


def test_many_changes_under_way_are_kept_in_their_order() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    calls = [agent.write(add("n")) for _ in range(50)]
    nodes.run(30 * MS)
    order = [each.call_id for each in nodes["a"].facts if type(each).__name__ == "StateKept"]
    assert order == calls
    assert agent.kept == 50
    assert nodes["b"].values() == {"n": 50}


def test_a_change_sent_again_counts_once() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    agent.write(add("n"))
    nodes.run(5 * MS)
    agent.kept = 0
    agent.again(1, add("n"), call=b"again")
    nodes.run(5 * MS)
    assert nodes["a"].values() == {"n": 1}
    assert agent.kept == 1
    kept = nodes["a"].kept(b"again")
    assert kept is not None and kept.version == 1


def test_an_answered_key_is_answered_once_its_change_is_durable() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    agent.write(add("n"), key="k", answer=b'"done"')
    assert nodes["a"].machine.answered(UNIT, "k") is None, "the change may still be lost"
    nodes.run(20 * MS)
    answer = nodes["a"].machine.answered(UNIT, "k")
    assert answer is not None and (answer.payload, answer.durability, answer.kept) == (b'"done"', "replicated(1)", True)
    assert nodes["a"].machine.answered(UNIT, "other") is None
    agent.write(add("n"), key="big", answer=b"[" + b"1," * 40_000 + b"1]")
    nodes.run(20 * MS)
    answer = nodes["a"].machine.answered(UNIT, "big")
    assert answer is not None and not answer.kept


def test_a_key_that_ran_twice_on_one_node_counts_once_and_its_process_hears_of_it() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    agent.write(add("n"), key="k")
    agent.write(add("n"), key="k")
    nodes.run(50 * MS)
    assert nodes["a"].values() == nodes["b"].values() == {"n": 1}
    assert agent.values == {"n": b"1"}


def test_a_state_over_its_quota_is_refused_with_sizes_and_a_way_out() -> None:
    nodes = Nodes("a", quota_bytes=10_000)
    agent = nodes["a"].start(1)
    agent.write(put("small", "x" * 4_000))
    call = agent.write(put("big", "x" * 9_000))
    nodes.run(5 * MS)
    refused = nodes["a"].refused(call)
    assert refused is not None and refused.code == "quota"
    assert "10000" in refused.message and "big" in refused.message and "delete" in refused.message
    call = agent.write(put("small", "y"))
    nodes.run(5 * MS)
    assert nodes["a"].kept(call) is not None, "what shrinks is always taken"
    assert nodes["a"].values() == {"small": "y"}


def test_adding_to_what_is_no_number_is_refused_and_changes_nothing() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    agent.write(put("x", "text"), put("n", 5), add("n", 2))
    call = agent.write(put("y", 1), add("x"))
    nodes.run(5 * MS)
    refused = nodes["a"].refused(call)
    assert refused is not None and refused.code == "not-a-counter"
    assert nodes["a"].values() == {"n": 7, "x": "text"}
    call = agent.write(Change("n", Op.ADD, amount=1 << 62))
    assert nodes["a"].refused(call) is not None


def test_deleting_what_is_not_there_makes_no_version() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    call = agent.write(drop("nothing"))
    nodes.run(5 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.version == 0


def test_a_process_that_is_not_the_one_attached_writes_nothing() -> None:
    nodes = Nodes("a")
    old = nodes["a"].start(1)
    new = nodes["a"].attach()
    call = old.write(put("x", 1))
    refused = nodes["a"].refused(call)
    assert refused is not None and refused.code == "not-open"
    nodes.run(5 * MS)
    assert nodes["a"].values() == {}
    assert new.values == {}


def test_a_full_disk_refuses_the_change_and_the_state_is_read_again() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    agent.write(add("n"))
    nodes.run(5 * MS)
    nodes["a"].disk = "full"
    calls = [agent.write(add("n"), key=f"k{n}") for n in range(3)]
    nodes.run(20 * MS)
    for call in calls:
        refused = nodes["a"].refused(call)
        assert refused is not None and refused.code == "journal-failed" and "disk" in refused.message
        assert nodes["a"].kept(call) is None
    assert nodes["a"].machine.answered(UNIT, "k0") is None
    nodes["a"].disk = "ok"
    agent = nodes["a"].attach()
    nodes.run(1 * SECOND)
    assert agent.values == {"n": b"1"}
    agent.write(add("n"))
    nodes.run(5 * MS)
    again = nodes.boot("a")
    again.open(9)
    assert again.values() == {"n": 2}
    assert not again.notes


def test_a_change_lost_on_the_own_disk_and_kept_by_the_holder_counts_once() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    agent.write(add("n"))
    nodes.run(20 * MS)
    nodes["a"].disk = "full"
    call = agent.write(add("n"), key="k")
    nodes.run(5 * MS)
    assert nodes["a"].refused(call) is not None
    nodes["a"].disk = "ok"
    nodes.run(1500 * MS)
    agent = nodes["a"].attach()
    nodes.run(20 * MS)
    assert nodes["a"].values() == {"n": 2}, "the holder had it"
    assert nodes["a"].machine.answered(UNIT, "k") is not None


def test_a_late_commit_of_a_refused_change_is_taken_out_of_the_journal() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    agent.write(add("n"))
    nodes.run(5 * MS)
    nodes["a"].disk = "full"
    agent.write(add("n"))
    nodes.run(1 * MS)
    agent.write(add("n"))
    nodes.run(1 * MS)
    nodes["a"].disk = "ok"
    nodes.run(1500 * MS)
    agent = nodes["a"].attach()
    nodes.run(10 * MS)
    agent.write(add("n"))
    nodes.run(10 * MS)
    again = nodes.boot("a")
    again.open(9)
    assert again.values() == {"n": 2}
    assert not again.notes


def test_too_many_changes_without_durability_are_refused() -> None:
    nodes = Nodes("a", pending_max=3)
    agent = nodes["a"].start(1, parse_durability("replicated(1)"))
    calls = [agent.write(add("n")) for _ in range(4)]
    refused = nodes["a"].refused(calls[3])
    assert refused is not None and refused.code == "backlog"


def test_the_version_is_told_at_once_and_then_rarely() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    for _ in range(100):
        agent.write(add("n"))
        nodes.run(10 * MS)
    told = len(nodes["a"].of(VersionMoved))
    assert 1 <= told <= 2
    nodes.run(5 * SECOND)
    assert len(nodes["a"].of(VersionMoved)) == told + 1


def test_stopping_answers_whoever_waits() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1, parse_durability("replicated(1)"))
    call = agent.write(add("n"))
    nodes.run(5 * MS)
    nodes["a"].do(lambda: nodes["a"].machine.close(UNIT, nodes["a"].now))
    refused = nodes["a"].refused(call)
    assert refused is not None and refused.code == "closed"
    nodes.run(20 * MS)
    assert nodes["a"].machine.rows("a", nodes["a"].now)[0].role == "resting"
