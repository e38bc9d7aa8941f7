"""Checkpoints: folded entries, spoilt chunks, older versions, and what the files alone tell."""

import msgspec

from meshnode.checkpoints.messages import VersionRead, VersionRestored
from meshnode.checkpoints.reading import read_state
from meshnode.kernel.instant import MS
from meshnode.kernel.ledger import live
from meshnode.kernel.records import RecordKind
from tests.unit.checkpoints.nodes import UNIT, Nodes, add, drop, put


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


def test_a_checkpoint_asked_for_while_another_is_written_is_written_after_it() -> None:
    nodes = Nodes("a", fold_entries=1_000)
    agent = nodes["a"].start(1)
    agent.write(put("x", 1))
    nodes.run(10 * MS)

    nodes["a"].do(lambda: nodes["a"].machine.fold(UNIT, nodes["a"].now))
    agent.write(add("n"))
    nodes.run(0)
    assert nodes["a"].machine.rows("a", nodes["a"].now)[0].version == 2
    nodes["a"].do(lambda: nodes["a"].machine.fold(UNIT, nodes["a"].now))
    nodes.run(20 * MS)
    row = nodes["a"].machine.rows("a", nodes["a"].now)[0]
    assert (row.version, row.checkpoint, row.entries) == (2, 2, 0)


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
