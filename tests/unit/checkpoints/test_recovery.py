"""Nodes die, boot, are cut off and come back: nothing acknowledged is lost, nothing counts twice."""

import msgspec
import pytest

from meshnode.checkpoints.messages import HandedOver, StateMerged, VersionRead, VersionRestored
from meshnode.checkpoints.reading import read_state
from meshnode.checkpoints.rules import Rules
from meshnode.checkpoints.state import State
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.ledger import live
from meshnode.kernel.records import RecordKind
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


# -- checkpoints ------------------------------------------------------------------------------------------------------


def grown(nodes: Nodes, name: str = "a", writes: int = 40) -> dict[str, object]:
    agent = nodes[name].start(1)
    for n in range(writes):
        agent.write(add("n"), put(f"key-{n}", "x" * 5_000), key=f"call-{n}")
        nodes.run(10 * MS)
    nodes.run(50 * MS)
    return nodes[name].values()


def test_folded_entries_leave_the_journal_and_old_chunks_the_disk() -> None:
    nodes = Nodes("a", fold_entries=5, manifests_kept=2)
    grown(nodes)
    journal = live(nodes["a"].journal)
    assert sum(each.kind is RecordKind.STATE for each in journal) <= 5
    assert sum(each.kind is RecordKind.CHECKPOINT for each in journal) == 2
    unit = nodes["a"].machine.rows("a", nodes["a"].now)[0]
    assert unit.checkpoint >= 35 and unit.version == 40
    history = nodes["a"].machine.history(UNIT, "a").items
    named = {digest for each in journal if each.kind is RecordKind.CHECKPOINT for digest in _digests(each.body)}
    assert set(nodes["a"].blobs) == named
    assert [row.kind for row in history].count("checkpoint") == 2


def _digests(body: bytes) -> list[str]:
    from meshnode.checkpoints.fold import read_manifest

    return read_manifest(body).digests()


def test_a_spoilt_chunk_is_never_used_and_the_copy_is_filled_from_another_holder() -> None:
    nodes = Nodes("a", "b", fold_entries=5)
    before = grown(nodes)
    nodes.kill("a")
    newest = [each for each in live(nodes["a"].journal) if each.kind is RecordKind.CHECKPOINT][-1]
    nodes["a"].spoilt = {_digests(newest.body)[0]: None}
    again = nodes.boot("a")
    again.open(2)
    assert again.values() == before
    assert again.ready().gap == 0
    assert "damaged" in again.ready().source
    assert again.machine.answered(UNIT, "call-3") is not None


def test_a_spoilt_chunk_that_nobody_else_has_makes_an_older_state_with_a_gap() -> None:
    nodes = Nodes("a", fold_entries=5)
    before = grown(nodes)
    nodes.kill("a")
    manifests = [each for each in live(nodes["a"].journal) if each.kind is RecordKind.CHECKPOINT]
    older = {digest for each in manifests[:-1] for digest in _digests(each.body)}
    spoilt = next(digest for digest in _digests(manifests[-1].body) if digest not in older)
    nodes["a"].spoilt = {spoilt: None}
    again = nodes.boot("a")
    again.open(2)
    after = again.values()
    assert again.ready().gap > 0
    assert set(after) <= set(before) and len(after) > len(before) * 0.8
    assert all(before[key] == value for key, value in after.items() if key != "n")
    agent = again.attach()
    agent.write(put("new", 1))
    nodes.run(10 * MS)
    assert again.values()["new"] == 1
    assert again.notes and "damaged" in again.notes[0]


def test_a_copy_with_a_spoilt_chunk_is_brought_up_again_before_it_counts() -> None:
    nodes = Nodes("a", "b", fold_entries=5)
    before = grown(nodes)
    agent = next(iter(nodes["a"].agents.values()))
    nodes.kill("b")
    newest = [each for each in live(nodes["b"].journal) if each.kind is RecordKind.CHECKPOINT][-1]
    nodes["b"].spoilt = {_digests(newest.body)[0]: None}
    nodes.boot("b")
    call = agent.write(add("n"))
    nodes.run(100 * MS)
    kept = nodes["a"].kept(call)
    assert kept is not None and kept.durability == "replicated(1)"
    assert nodes["b"].values() == before | {"n": 41}


def test_a_checkpoint_that_cannot_be_written_costs_nothing_and_is_tried_again() -> None:
    nodes = Nodes("a", fold_entries=1_000)
    agent = nodes["a"].start(1)
    agent.write(add("n"))
    nodes.run(10 * MS)
    nodes["a"].disk = "full"
    nodes["a"].do(lambda: nodes["a"].machine.fold(UNIT, nodes["a"].now))
    nodes.run(10 * MS)
    assert "could not be written" in nodes["a"].notes[0]
    nodes["a"].disk = "ok"
    nodes["a"].do(lambda: nodes["a"].machine.fold(UNIT, nodes["a"].now))
    nodes.run(10 * MS)
    row = nodes["a"].machine.rows("a", nodes["a"].now)[0]
    assert (row.checkpoint, row.entries) == (1, 0)


def test_an_older_version_is_restored_as_a_new_change_and_the_process_is_told() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(1)
    agent.write(add("n", 5), put("x", "old"), put("gone", 1))
    nodes.run(20 * MS)
    nodes["a"].do(lambda: nodes["a"].machine.fold(UNIT, nodes["a"].now))
    nodes.run(20 * MS)
    agent.write(add("n", 2), put("x", "new"), drop("gone"), put("more", 1))
    nodes.run(20 * MS)
    nodes["a"].do(lambda: nodes["a"].machine.read_version(1, UNIT, 1, nodes["a"].now))
    nodes["a"].do(lambda: nodes["a"].machine.restore_to(2, UNIT, 1, nodes["a"].now))
    nodes["a"].do(lambda: nodes["a"].machine.restore_to(3, UNIT, 77, nodes["a"].now))
    nodes.run(30 * MS)
    read = next(each for each in nodes["a"].facts if isinstance(each, VersionRead))
    assert read.values == {"gone": b"1", "n": b"5", "x": b'"old"'}
    done = {each.ticket: each for each in nodes["a"].facts if isinstance(each, VersionRestored)}
    assert done[2].changed == 4 and not done[2].error
    assert "there is no checkpoint of version 77; there are 1" in done[3].error
    assert nodes["a"].values() == nodes["b"].values() == {"n": 5, "x": "old", "gone": 1}
    assert agent.values == {"n": b"5", "x": b'"old"', "gone": b"1"}
    assert nodes["a"].machine.version(UNIT) == 3


def test_the_files_alone_tell_the_state() -> None:
    nodes = Nodes("a", "b", fold_entries=7)
    before = grown(nodes)
    for name in ("a", "b"):
        states = read_state(live(nodes[name].journal), lambda digest, name=name: nodes[name].blobs[digest])
        assert {k: msgspec.json.decode(v) for k, v in states[UNIT].values().items()} == before


def test_a_state_nobody_wants_leaves_nothing_behind() -> None:
    nodes = Nodes("a", fold_entries=5)
    grown(nodes)
    nodes["a"].do(lambda: nodes["a"].machine.close(UNIT, nodes["a"].now))
    nodes.run(20 * MS)
    nodes["a"].do(lambda: nodes["a"].machine.forget(UNIT))
    nodes.run(20 * MS)
    assert live(nodes["a"].journal) == []
    assert nodes["a"].blobs == {}
    assert nodes["a"].machine.units() == []


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
