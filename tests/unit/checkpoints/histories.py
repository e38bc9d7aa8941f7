"""Random histories of one unit: owners that write, are cut off from each other, merge and crash."""

from typing import NamedTuple

from hypothesis import strategies as st

from meshnode.checkpoints import merge
from meshnode.checkpoints.cell import Part
from meshnode.checkpoints.entry import Entry
from meshnode.checkpoints.seen import Seen
from meshnode.checkpoints.state import State
from meshnode.kernel.epochs import Dot, Epoch
from meshnode.model.ids import NodeId
from meshnode.wire.state import Change, Op

NODES = [NodeId(bytes([n]) * 32) for n in range(1, 4)]
KEYS = ["a", "b", "n", "m"]  # n and m are counters


class Written(NamedTuple):
    """One acknowledged value, b"" = deleted; ``past``: what its writer had seen before."""

    dot: Dot
    key: str
    value: bytes
    past: Seen


class Owner:
    """One copy that writes. It keeps what it acknowledged, for the test to look for."""

    def __init__(self, number: int) -> None:
        self.node = NODES[number]
        self.epoch = Epoch(number + 1, self.node)
        self.state = State()
        self.wrote: list[Written] = []
        self.keyed: dict[str, list[Dot]] = {}

    def write(self, changes: list[Change], key: str = "") -> None:
        if key and self.state.answers.get(key) is not None:
            return  # answered from the store
        planned = self.state.plan(changes, self.epoch, {})
        version = self.state.seen.upto.get(self.epoch, 0) + 1
        past = self.state.seen.copy()
        entry = Entry(self.epoch, version, planned.changes, key, b"1" if key else None, planned.added)
        merge.enter(self.state, entry)
        dot = Dot(self.epoch, version)
        last = {each.key: each for each in planned.changes if each.op is not Op.ADD}
        self.wrote += [Written(dot, key, each.value, past) for key, each in last.items()]
        if key:
            self.keyed.setdefault(key, []).append(dot)

    def take(self, other: "Owner", *, by_delta: bool) -> None:
        theirs = merge.delta(other.state, self.state.seen if by_delta else None)
        self.state, _ = merge.merge(self.state, theirs)


def shown(state: State) -> object:
    """Everything that has to be equal on two copies that know the same. The base of a part is a memory of its own."""
    cells = {key: {e: _plain(p) for e, p in cell.items()} for key, cell in state.cells.items()}
    back = dict(state.answers.taken_back)
    answers = {key: answer.dot for key, answer in state.answers.by_key.items()}
    values = {key: state.candidates(key) for key in state.cells}
    return cells, back, answers, values, state.seen.digest(), state.version, state.size


def _plain(part: Part) -> tuple[object, ...]:
    return part.version, part.value, part.counter, part.amount, part.since


SETS = st.builds(lambda k, v: Change(k, Op.SET, b"%d" % v), st.sampled_from(["a", "b"]), st.integers(0, 9))
DELETES = st.builds(lambda k: Change(k, Op.DELETE), st.sampled_from(["a", "b"]))
ADDS = st.builds(lambda k, v: Change(k, Op.ADD, amount=v), st.sampled_from(["n", "m"]), st.integers(-3, 5))
CHANGES = st.lists(SETS | DELETES | ADDS, min_size=1, max_size=3)
WRITES = st.tuples(st.just("write"), st.integers(0, 2), CHANGES, st.sampled_from(["", "k1", "k2", "k3"]))
TAKES = st.tuples(st.just("take"), st.integers(0, 2), st.integers(0, 2), st.booleans())
HISTORIES = st.lists(WRITES | TAKES, max_size=30)


def played(history: list[tuple[object, ...]]) -> list[Owner]:
    owners = [Owner(n) for n in range(3)]
    for step in history:
        match step:
            case ("write", int(number), list(changes), str(key)):
                owners[number].write(changes, key)
            case ("take", int(first), int(second), bool(by_delta)):
                owners[first].take(owners[second], by_delta=by_delta)
            case _:
                raise AssertionError(step)
    return owners
