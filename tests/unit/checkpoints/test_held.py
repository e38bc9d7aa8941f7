"""What a node holds of a unit: entries in order, copies beside them, and what comes late."""

from meshnode.checkpoints import merge, shelf
from meshnode.checkpoints.cell import CellChange, changed
from meshnode.checkpoints.entry import NO_HASH, Entry, hash_of, seal
from meshnode.checkpoints.held import Held, Taken
from meshnode.checkpoints.shelf import entry_record, read_records, rebuilt, taken_record
from meshnode.checkpoints.state import State
from meshnode.kernel.epochs import Epoch
from meshnode.model.ids import InstanceId, NodeId
from meshnode.wire.state import Op

EPOCH = Epoch(1, NodeId(b"a" * 32))


def held() -> Held:
    return Held(InstanceId("till/0"), State(), follows={}, damaged=[])


def chain(length: int) -> list[tuple[Entry, bytes]]:
    """Entries that add 1 each, sealed one behind the other."""
    entries: list[tuple[Entry, bytes]] = []
    head = NO_HASH
    for version in range(1, length + 1):
        change = CellChange("total", Op.ADD, amount=1, total=version, since=1)
        entry = Entry(EPOCH, version, (change,))
        sealed = seal(entry, head)
        entries.append((entry, sealed))
        head = hash_of(sealed)
    return entries


def test_an_entry_that_comes_after_a_newer_copy_takes_nothing_back() -> None:
    owner, copy = held(), held()
    entries = chain(5)
    for entry, sealed in entries:
        owner.enter(entry, sealed)
    copy.enter(*entries[0])
    merge.join(copy.state, merge.delta(owner.state, copy.state.seen))
    assert copy.state.value("total") == b"5"
    for entry, sealed in entries[1:]:
        assert copy.fits(entry, sealed)
        assert not copy.enter(entry, sealed).changed
        assert copy.state.value("total") == b"5"
    assert copy.follows[EPOCH].head == owner.follows[EPOCH].head


def test_behind_a_hole_nothing_counts_as_seen_that_may_stand_on_it() -> None:
    """What was taken over from another owner later was only what this copy lacked then."""
    whole, peer = held(), held()
    other = Epoch(2, NodeId(b"b" * 32))
    entries = chain(4)
    for entry, sealed in entries:
        whole.enter(entry, sealed)
        peer.enter(entry, sealed)
    for version in range(1, 4):
        change = CellChange("total", Op.ADD, amount=1, total=version, since=1)
        entry = Entry(other, version, (change,))
        peer.enter(entry, seal(entry, peer.follows[other].head if version > 1 else peer.head))
    taken = Taken(other, 3, peer.head, merge.delta(peer.state, whole.state.seen))
    records = [entry_record(whole.unit, entry, sealed) for entry, sealed in entries]
    records.append(taken_record(whole.unit, taken, 0))
    shelf = read_records(records)
    complete = rebuilt(whole.unit, [], shelf.logs[whole.unit], {})
    assert complete.state.value("total") == b"7" and not complete.damaged
    del shelf.logs[whole.unit][1]
    holed = rebuilt(whole.unit, [], shelf.logs[whole.unit], {})
    assert holed.damaged and not holed.state.seen.covers(peer.state.seen)
    merge.join(holed.state, merge.delta(peer.state, holed.state.seen))
    assert holed.state.value("total") == b"7"
    assert peer.state.value("total") == b"7"
    merge.join(peer.state, merge.delta(holed.state))
    assert peer.state.value("total") == b"7"


def test_entries_that_came_late_are_no_hole_when_the_journal_is_read_again() -> None:
    owner = held()
    entries = chain(6)
    for entry, sealed in entries[:5]:
        owner.enter(entry, sealed)
    other = Epoch(2, NodeId(b"b" * 32))
    records = [
        shelf.taken_record("till/0", Taken(EPOCH, 1, hash_of(entries[0][1]), merge.delta(first(entries))), 1),
        shelf.taken_record("till/0", Taken(other, 3, NO_HASH, merge.delta(owner.state)), 2),
        *(shelf.entry_record("till/0", entry, sealed) for entry, sealed in entries[1:]),
    ]
    found = shelf.read_records(records)
    copy = shelf.rebuilt(InstanceId("till/0"), [], found.logs[InstanceId("till/0")], {})
    assert copy.damaged == []
    assert copy.state.value("total") == b"6"
    assert copy.follows[EPOCH].head == hash_of(entries[5][1])


def first(entries: list[tuple[Entry, bytes]]) -> State:
    one = held()
    one.enter(*entries[0])
    return one.state


def test_a_late_write_does_not_replace_what_its_own_writer_wrote_since() -> None:
    newer = changed({}, CellChange("x", Op.SET, b"2"), EPOCH, 2, lambda _epoch, _version: True)
    assert changed(newer, CellChange("x", Op.SET, b"1"), EPOCH, 1, lambda _epoch, _version: True) == newer
