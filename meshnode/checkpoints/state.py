"""The state of one unit: cells, what was seen, answers. It changes by entries and by merging, and both commute."""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from meshnode.checkpoints.answers import Answer, Answers
from meshnode.checkpoints.cell import Candidate, Cell, CellChange, Part, candidates, changed, planned_add, size_of
from meshnode.checkpoints.entry import IDEMPOTENCY_CHARS_MAX, Entry
from meshnode.checkpoints.seen import Seen
from meshnode.kernel.epochs import Dot, Epoch
from meshnode.model.ids import NodeId
from meshnode.wire.state import Change, Op

TOMBSTONES_MAX = 4_096
_EMPTY: Cell = {}


class Planned(msgspec.Struct, frozen=True):
    """Changes made exact; ``growth``: bytes more than before; ``added``: counters with what is added, summed up."""

    changes: tuple[CellChange, ...]
    growth: int
    added: tuple[tuple[str, int], ...]


class State:
    """Cells are replaced, never changed in place: a copy of a state is cheap and stands still."""

    __slots__ = ("answers", "at_ms", "cells", "conflicted", "merge_no", "runs", "seen", "size", "trimmed")

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.seen = Seen()
        self.answers = Answers()
        self.trimmed = Seen()
        self.conflicted: dict[str, None] = {}
        self.runs: dict[NodeId, int] = {}  # the last STATE of the process on each node
        self.merge_no = 0
        self.size = 0
        self.at_ms = 0  # wall time of the newest change, as its writer knew it

    def copy(self) -> "State":
        other = State()
        other.cells, other.seen, other.answers = dict(self.cells), self.seen.copy(), self.answers.copy()
        other.trimmed, other.conflicted, other.runs = self.trimmed.copy(), dict(self.conflicted), dict(self.runs)
        other.merge_no, other.size, other.at_ms = self.merge_no, self.size, self.at_ms
        return other

    @property
    def version(self) -> int:
        """As people see it: how many changes are in it. It never falls, whatever is merged."""
        return self.seen.total()

    # -- reading ------------------------------------------------------------------------------------------------------

    def candidates(self, key: str) -> list[Candidate]:
        """The value in force first, then its siblings."""
        cell = self.cells.get(key, _EMPTY)
        return candidates(cell, self.answers.taken_from(key, cell))

    def value(self, key: str) -> bytes | None:
        """JSON; ``None``: it is not there."""
        found = self.candidates(key)
        return found[0].value if found and found[0].value else None

    def values(self) -> dict[str, bytes]:
        """Everything in force, as JSON by key, sorted."""
        return {key: value for key in sorted(self.cells) if (value := self.value(key)) is not None}

    # -- writing ------------------------------------------------------------------------------------------------------

    def plan(self, changes: Sequence[Change], epoch: Epoch, beside: dict[str, tuple[Dot, ...]]) -> Planned:
        """What an agent wrote, as an entry of ``epoch`` has to say it. Raises ``NotACounter``; nothing is changed."""
        version = self.seen.upto.get(epoch, 0) + 1
        made: list[CellChange] = []
        added: dict[str, int] = {}
        trial: dict[str, Cell] = {}
        growth = 0
        for change in changes:
            key = change.key
            cell = trial.get(key) or self.cells.get(key, _EMPTY)
            if change.op is Op.ADD:
                taken = self.answers.taken_from(key, cell)
                exact = planned_add(cell, key, change.amount, epoch, version, taken)
                added[key] = added.get(key, 0) + change.amount
            elif change.op is Op.DELETE and not cell:
                continue
            else:
                exact = CellChange(key, change.op, change.value, beside=beside.get(key, ()))
            after = changed(cell, exact, epoch, version, _knows_all)
            growth += size_of(key, after) - size_of(key, cell)
            trial[key] = after
            made.append(exact)
        return Planned(tuple(made), growth, tuple(added.items()))

    def apply(self, entry: Entry, writer: Seen | None = None, *, whole: bool = True) -> tuple[list[str], Dot | None]:
        """One entry, in the order of its epoch. ``writer``: what its writer had seen, if that may be less than this
        state has (``None``: it had seen all of this). ``whole`` False: entries before it are missing.

        The keys that changed, and the dot of a call that was taken back because its key had been answered.
        """
        knows = _knows_all if writer is None else writer.has
        keys = [change.key for change in entry.changes]
        for change in entry.changes:
            cell = self.cells.get(change.key, _EMPTY)
            self._put(change.key, changed(cell, change, entry.epoch, entry.version, knows))
        undone = None
        if entry.idempotency_key:
            answer = Answer(Dot(entry.epoch, entry.version), entry.answer, entry.added)
            undone = self.answers.take(entry.idempotency_key, answer)
        (self.seen.reach if whole else self.seen.note)(entry.epoch, entry.version)
        self.merge_no = max(self.merge_no, entry.merge_no)
        if entry.changes:
            self.at_ms = max(self.at_ms, entry.at_ms)
        if entry.seq or entry.new_run:
            self.runs[entry.epoch.node] = entry.seq
        return keys, undone

    def put(self, key: str, cell: Cell) -> None:
        """Replace a cell by its merged successor."""
        self._put(key, cell)

    def _put(self, key: str, cell: Cell) -> None:
        self.size += size_of(key, cell) - size_of(key, self.cells.get(key, _EMPTY))
        if cell:
            self.cells[key] = cell
        else:
            self.cells.pop(key, None)
        if len(cell) > 1 and len(candidates(cell)) > 1:
            self.conflicted[key] = None
        elif self.conflicted:
            self.conflicted.pop(key, None)

    def trim(self) -> list[str]:
        """Forget the oldest deletions beyond the bound. What was seen says that they were there."""
        gone = [(epoch, part.version, key) for key, epoch, part in self._tombstones()]
        if len(gone) <= TOMBSTONES_MAX:
            return []
        gone.sort()
        del gone[-TOMBSTONES_MAX:]
        for epoch, version, key in gone:
            self.trimmed.reach(epoch, version)
            self._put(key, _EMPTY)
        return [key for _, _, key in gone]

    def _tombstones(self) -> Iterator[tuple[str, Epoch, Part]]:
        for key, cell in self.cells.items():
            if len(cell) == 1:
                ((epoch, part),) = cell.items()
                if not part.counter and not part.value:
                    yield key, epoch, part


def stored_key(key: str) -> str:
    """An idempotency key within its bound."""
    if len(key) <= IDEMPOTENCY_CHARS_MAX:
        return key
    return key[:64] + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _knows_all(_epoch: Epoch, _version: int) -> bool:
    return True
