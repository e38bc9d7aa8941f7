"""One key of a state: what is in force, and what stands beside it.

A cell has at most one part per epoch, the newest this epoch wrote: within an epoch one process writes in order. A write
replaces the parts its writer knew, so several parts remain only where writers did not know of each other. Parts of
counters add up instead.
"""

from collections.abc import Callable, Mapping

import msgspec

from meshnode.kernel.epochs import Dot, Epoch
from meshnode.model.errors import LocalError
from meshnode.wire.state import Op

BASE_BYTES_MAX = 64 * 1024  # a longer value is not remembered as the base of what replaced it


class NotACounter(LocalError):
    """The key holds a value that is no whole number, or would hold one without bounds. Nothing changed."""

    code = "not-a-counter"


class Base(msgspec.Struct, frozen=True, array_like=True):
    """What stood in a cell before an epoch first changed it."""

    dot: Dot
    value: bytes


class Part(msgspec.Struct, frozen=True, array_like=True):
    """What one epoch wrote last. ``value``: JSON, b"" = deleted. Of a counter: ``amount``, added up by this epoch since
    its version ``since``."""

    version: int
    value: bytes = b""
    counter: bool = False
    amount: int = 0
    since: int = 0
    base: Base | None = None


Cell = Mapping[Epoch, Part]  # never changed in place: states share cells
Gone = Callable[[Epoch, int], bool]  # does a writer know the dot, so that its write replaces it?


class CellChange(msgspec.Struct, frozen=True, array_like=True):
    """A ``wire.state.Change`` made exact: a replica that holds more than the writer did comes to the same cell.

    ADD: ``total`` and ``since`` of the writer's part after it; ``reset``: parts of other epochs the writer knew are
    replaced. ``beside``: dots the writer's node knew and its process did not: they stay.
    """

    key: str
    op: Op
    value: bytes = b""
    amount: int = 0
    total: int = 0
    since: int = 0
    reset: bool = False
    beside: tuple[Dot, ...] = ()


class Candidate(msgspec.Struct, frozen=True):
    """One of the values that stand in a cell. ``value`` b"" = deleted; of a counter its total as JSON."""

    dot: Dot
    value: bytes
    counter: bool = False


def candidates(cell: Cell, taken_back: int = 0) -> list[Candidate]:
    """The value in force first, then what differs from it, newest first. Empty for an empty cell."""
    found: list[Candidate] = []
    total, newest = -taken_back, None
    for epoch, part in cell.items():
        if part.counter:
            total += part.amount
            dot = Dot(epoch, part.version)
            newest = dot if newest is None or dot > newest else newest
        else:
            found.append(Candidate(Dot(epoch, part.version), part.value))
    if newest is not None:
        found.append(Candidate(newest, b"%d" % total, counter=True))
    if len(found) > 1:
        found.sort(key=lambda each: each.dot, reverse=True)
        found = list({each.value: each for each in reversed(found)}.values())
        found.sort(key=lambda each: each.dot, reverse=True)
    return found


def size_of(key: str, cell: Cell) -> int:
    """What a cell counts against the quota."""
    return sum(len(key) + 16 + len(part.value) for part in cell.values())


AMOUNT_MAX = (1 << 62) - 1


def planned_add(cell: Cell, key: str, amount: int, epoch: Epoch, version: int, taken_back: int) -> CellChange:
    """An ADD as the owner of ``epoch`` enters it. Raises ``NotACounter``."""
    change = _planned_add(cell, key, amount, epoch, version, taken_back)
    if abs(change.total) > AMOUNT_MAX or abs(amount) > AMOUNT_MAX:
        raise NotACounter(f"counter {key[:60]!r} would pass {AMOUNT_MAX}", next_step="count in larger units")
    return change


def _planned_add(cell: Cell, key: str, amount: int, epoch: Epoch, version: int, taken_back: int) -> CellChange:
    found = candidates(cell, taken_back)
    own = cell.get(epoch)
    if not found or found[0].counter or not found[0].value:
        reset = bool(found) and not found[0].counter
        if own is not None and own.counter and not reset:
            return CellChange(key, Op.ADD, amount=amount, total=own.amount + amount, since=own.since)
        return CellChange(key, Op.ADD, amount=amount, total=amount, since=version, reset=reset)
    start = _whole_number(key, found[0].value)
    return CellChange(key, Op.ADD, amount=amount, total=start + amount, since=version, reset=True)


def _whole_number(key: str, value: bytes) -> int:
    try:
        return msgspec.json.decode(value, type=int)
    except msgspec.MsgspecError as error:
        raise NotACounter(
            f"key {key[:60]!r} holds {value[:40]!r}, which is no whole number: nothing can be added to it",
            next_step="use another key for the counter, or set this one to a number first",
        ) from error


def changed(cell: Cell, change: CellChange, epoch: Epoch, version: int, knows: Gone) -> Cell:
    """The cell after a change; ``knows``: what its writer had seen before."""
    kept: dict[Epoch, Part] = {}
    replaced: Base | None = None
    own = cell.get(epoch)
    if own is not None and own.version > version:
        return cell  # it came late: its writer has written over it since
    for each, part in cell.items():
        if each == epoch:
            continue
        adds_up = change.op is Op.ADD and part.counter and not change.reset
        if adds_up or not knows(each, part.version) or Dot(each, part.version) in change.beside:
            kept[each] = part
        elif not part.counter and (replaced is None or Dot(each, part.version) > replaced.dot):
            replaced = Base(Dot(each, part.version), part.value)
    if change.op is Op.ADD:
        kept[epoch] = Part(version, b"", True, change.total, change.since)  # noqa: FBT003  # array-like
        return kept
    base = own.base if own is not None and not own.counter else replaced
    if base is not None and len(base.value) > BASE_BYTES_MAX:
        base = None
    kept[epoch] = Part(version, b"" if change.op is Op.DELETE else change.value, base=base)
    return kept


def base_of(cell: Cell, mine: Dot, theirs: Dot) -> bytes:
    """The value both came from, as far as remembered; b"" = it was not there.

    A base that the other side wrote itself is surely common; else the newer one is the better guess.
    """
    bases: list[tuple[bool, Base]] = []
    for dot, other in ((mine, theirs), (theirs, mine)):
        part = cell.get(dot.epoch)
        if part is not None and part.base is not None:
            bases.append((part.base.dot.epoch == other.epoch, part.base))
    return max(bases, key=lambda each: (each[0], each[1].dot))[1].value if bases else b""
