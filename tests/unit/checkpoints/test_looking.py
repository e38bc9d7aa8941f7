"""What people see of states, and what a peer's junk and strangers' letters come to."""

from pathlib import Path

import pytest

from meshnode.checkpoints import letters
from meshnode.checkpoints.checkpoints import NoSuchState
from meshnode.checkpoints.desk import CheckpointsConfig
from meshnode.checkpoints.letters import Ack, Append, Ask, Give, Holding, Holdings, Past
from meshnode.kernel.effects import Channel
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import MS
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import InstanceId, NodeId
from meshnode.wire.state import Key
from tests.fuzz.driver import replay
from tests.fuzz.fuzz_checkpoint import CORPUS, one_input
from tests.unit.checkpoints.nodes import UNIT, Nodes, add, put


def test_a_row_says_who_holds_what_and_how_old_it_is() -> None:
    nodes = Nodes("a", "b")
    agent = nodes["a"].start(4)
    agent.write(put("x", 1), add("n", 2))
    nodes.run(2_000 * MS)
    (own,) = nodes["a"].machine.rows("a", nodes["a"].now)
    (copy,) = nodes["b"].machine.rows("b", nodes["b"].now)
    assert (own.role, own.epoch, own.version, own.keys, own.copies, own.age_s) == ("owner", "4@a", 1, 2, ["b"], 0.0)
    assert (copy.role, copy.epoch, copy.version, copy.hash) == ("copy", "4@a", 1, own.hash)
    assert 1.9 < copy.age_s < 2.2
    assert nodes["a"].machine.rows("a", nodes["a"].now, "other") == []


def test_keys_of_slots_and_sessions_are_shown_in_words_and_can_be_picked() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    agent.write(put(Key("count", "bench", 7).text(), 3), put("plain", 1))
    nodes.run(5 * MS)
    look = nodes["a"].machine.view
    assert look(UNIT, "a", nodes["a"].now).keys == {"plain": 1, "slot 7, session bench, count": 3}
    assert look(UNIT, "a", nodes["a"].now, session="bench").keys == {"slot 7, session bench, count": 3}
    assert look(UNIT, "a", nodes["a"].now, key="plain").keys == {"plain": 1}


def test_history_tells_the_entries_and_their_calls_newest_first() -> None:
    nodes = Nodes("a")
    agent = nodes["a"].start(1)
    agent.write(put("x", 1), key="first")
    agent.write(put("y", 1), key="second")
    nodes.run(5 * MS)
    rows = nodes["a"].machine.history(UNIT, "a").items
    assert [(row.kind, row.version, row.epoch, row.keys, row.call) for row in rows] == [
        ("entry", 2, "1@a", ["y"], "second"),
        ("entry", 1, "1@a", ["x"], "first"),
    ]
    assert rows[0].hash == nodes["a"].machine.rows("a", nodes["a"].now)[0].hash


def test_a_unit_nobody_holds_is_named_and_the_next_step_too() -> None:
    nodes = Nodes("a")
    with pytest.raises(NoSuchState) as error:
        nodes["a"].machine.view(InstanceId("nobody/0"), "a", nodes["a"].now)
    assert error.value.exit_code == 3
    assert "meshnode state list" in error.value.next_step


def test_letters_of_a_node_that_is_not_linked_are_refused() -> None:
    nodes = Nodes("a", "b")
    nodes.cut("b")
    nodes["a"].tell(ControlReceived(nodes["b"].node, Channel.CHECKPOINT, b"junk"))
    assert [each.reason for each in nodes["a"].rejects] == ["checkpoint-not-linked"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"junk", "checkpoint-letter"),
        (b"\xa1\xff", "checkpoint-letter"),
        (bytes(letters.LETTER_BYTES_MAX + 1), "checkpoint-letter-size"),
        (letters.send(NodeId(b""), Ask(InstanceId("a\0b"), 1, Past())).body, "checkpoint-letter"),
        (letters.send(NodeId(b""), Ack(UNIT, Epoch(-1, NodeId(b"")), 1)).body, "checkpoint-letter"),
        (letters.send(NodeId(b""), Give(UNIT, 1, 5, 2, b"")).body, "checkpoint-letter"),
        (letters.send(NodeId(b""), Holdings([Holding(UNIT, b"short", own=True)])).body, "checkpoint-letter"),
        (letters.send(NodeId(b""), Append(UNIT, b"junk")).body, "checkpoint-entry"),
    ],
)
def test_junk_is_refused_by_name(body: bytes, reason: str) -> None:
    nodes = Nodes("a", "b")
    nodes["a"].start(1)
    nodes["a"].tell(ControlReceived(nodes["b"].node, Channel.CHECKPOINT, body))
    assert [each.reason for each in nodes["a"].rejects] == [reason]


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        CheckpointsConfig(gather_us=0)


def test_the_corpus_of_the_fuzz_target_finds_nothing() -> None:
    assert replay(one_input, Path(CORPUS)) >= 17
