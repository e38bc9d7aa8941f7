"""What a node holds of a unit: entries in order, copies beside them, and what comes late."""

from meshnode.checkpoints import merge
from meshnode.checkpoints.cell import CellChange
from meshnode.checkpoints.entry import NO_HASH, Entry, hash_of, seal
from meshnode.checkpoints.held import Held
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
