"""Two copies become one: per key, who knew what of whom.

* the other's part is in my past: I have it or have replaced it: mine stays;
* my part is in the other's past: it was replaced knowingly: it goes;
* neither: both stay. Counters add up; of values the higher dot is in force and the others are its siblings.

Idempotent, commutative, associative (a join of causal dot stores; Almeida, Shoker, Baquero, 2018).
"""

from collections.abc import Iterable

import msgspec

from meshnode.checkpoints.cell import Cell, Part
from meshnode.checkpoints.entry import Entry
from meshnode.checkpoints.rows import AnswerRow, CellRow, Delta, PartRow, Reader, Table
from meshnode.checkpoints.seen import Seen
from meshnode.checkpoints.state import State
from meshnode.kernel.epochs import Dot, Epoch

PIECE_BYTES_MAX = 512 * 1024  # of content; a part is never cut
_ROW_BYTES, _ANSWER_BYTES = 64, 128  # around the content


class Joined(msgspec.Struct):
    """What a merge did to the state it changed. ``new``: by key, the dots that came in."""

    new: dict[str, tuple[Dot, ...]] = {}
    touched: dict[str, None] = {}
    taken: int = 0
    added: int = 0
    siblings: int = 0
    undone: int = 0

    @property
    def changed(self) -> bool:
        return bool(self.touched) or self.undone > 0


def merge(mine: State, theirs: Delta) -> tuple[State, Joined]:
    """The pure form: a new state; ``mine`` stays as it is."""
    state = mine.copy()
    return state, join(state, explicit(state, theirs))


def delta(state: State, known: Seen | None = None) -> Delta:
    """What a copy that has seen ``known`` lacks of ``state``; all of it for ``None``."""
    table = Table()
    whole = known is not None and not known.covers(state.trimmed)
    cells = [
        table.cell(key, cell, known)
        for key, cell in state.cells.items()
        if whole or known is None or any(not known.has(epoch, part.version) for epoch, part in cell.items())
    ]
    answers = [
        table.answer(key, answer)
        for key, answer in state.answers.by_key.items()
        if known is None or not known.has(answer.dot.epoch, answer.dot.version)
    ]
    back = [(table.dot(dot), added) for dot, added in sorted(state.answers.taken_back.items())]
    seen, trimmed = table.seen(state.seen.upto), table.seen(state.trimmed.upto)
    cloud = [table.dot(dot) for dot in sorted(state.seen.cloud)]
    return Delta(table.epochs(), seen, cloud, cells, answers, back, trimmed, whole, at_ms=state.at_ms)


def seen_of(theirs: Delta) -> Seen:
    return Reader(theirs.epochs).seen(theirs.seen, theirs.cloud)


def brings(mine: State, theirs: Delta) -> bool:
    """Whether a merge could change anything: most copies that are compared are equal."""
    if not mine.seen.covers(seen_of(theirs)):
        return True
    reader = Reader(theirs.epochs)
    return any(reader.dot(row) not in mine.answers.taken_back for row, _ in theirs.taken_back)


def answers_in(mine: State, theirs: Delta) -> bool:
    """Whether it has answers that are not known here."""
    reader = Reader(theirs.epochs)
    for row in theirs.answers:
        known = mine.answers.get(row[0])
        if known is None or known.dot > reader.dot(row[1]):
            return True
    return False


def explicit(state: State, theirs: Delta) -> Delta:
    """A whole as a delta: keys that are not in it are named as empty."""
    if not theirs.whole:
        return theirs
    named = {key for key, _ in theirs.cells}
    past = seen_of(theirs)
    gone: list[CellRow] = [
        (key, [])
        for key, cell in state.cells.items()
        if key not in named and any(past.has(epoch, part.version) for epoch, part in cell.items())
    ]
    return msgspec.structs.replace(theirs, cells=[*theirs.cells, *gone], whole=False)


def enter(state: State, entry: Entry, writer: Seen | None = None, *, whole: bool = True) -> Joined:
    """One entry, with what it merged. ``writer`` and ``whole`` as for ``State.apply``."""
    done = Joined() if entry.merged is None else join(state, entry.merged)
    keys, undone = state.apply(entry, writer, whole=whole)
    done.touched.update(dict.fromkeys(keys))
    if undone is not None:
        done.undone += 1
        done.touched.update((key, None) for key, _ in state.answers.taken_back[undone] if key in state.cells)
    return done


def lacking(state: State, theirs: Delta) -> bool:
    """The sender left something out that is not here: it believes that this state has seen more than it has."""
    reader = Reader(theirs.epochs)
    for key, rows in theirs.cells:
        mine: Cell = state.cells.get(key, {})
        for row in rows:
            if row.here and not state.seen.has(epoch := reader.epoch(row.epoch), row.version) and epoch not in mine:
                return True
    return False


def join(state: State, theirs: Delta) -> Joined:
    """Merge ``theirs`` into ``state``. A whole has to be made ``explicit`` first.

    Of a piece that is not final the cells are taken and nothing counts as seen: one dot may stand in many cells. A copy
    that stops there has more than it has seen, which is harmless: the same merge may be done again.
    """
    assert not theirs.whole
    reader = Reader(theirs.epochs)
    past = reader.seen(theirs.seen, theirs.cloud)
    done = Joined()
    for key, rows in theirs.cells:
        _join_cell(state, key, rows, past, reader, done)
    for row, added in theirs.taken_back:
        if state.answers.take_back(reader.dot(row), added):
            done.undone += 1
            done.touched.update((key, None) for key, _ in added if key in state.cells)
    for row in theirs.answers:
        key, answer = reader.answer(row)
        if (lost := state.answers.take(key, answer)) is not None:
            done.undone += 1
            back = state.answers.taken_back[lost]
            done.touched.update((key, None) for key, _ in back if key in state.cells)
    if theirs.answers:
        state.answers.settle()
    if theirs.final:
        state.seen.join(past)
        state.trimmed.join(reader.seen(theirs.trimmed))
    state.at_ms = max(state.at_ms, theirs.at_ms)
    return done


def _join_cell(state: State, key: str, rows: list[PartRow], past: Seen, reader: Reader, done: Joined) -> None:
    mine: Cell = state.cells.get(key, {})
    standing = {reader.epoch(row.epoch): row for row in rows}
    after: dict[Epoch, Part] = {}
    for epoch, part in mine.items():
        row = standing.get(epoch)
        if row is not None or not past.has(epoch, part.version):
            after[epoch] = part
    new: list[Dot] = []
    for epoch, row in standing.items():
        own = mine.get(epoch)
        if (own is not None and own.version >= row.version) or state.seen.has(epoch, row.version):
            continue
        if row.here:
            continue  # it comes with another piece
        after[epoch] = reader.part(row)
        new.append(Dot(epoch, row.version))
    if after == mine:
        return
    counters = sum(part.counter for part in after.values())
    done.touched[key] = None
    if new:
        done.new[key] = tuple(new)
    state.put(key, after)
    if key in state.conflicted:
        done.siblings += 1
    elif counters > 1:
        done.added += 1
    else:
        done.taken += 1


def split(theirs: Delta, bytes_max: int = PIECE_BYTES_MAX) -> list[Delta]:
    """The same in pieces that fit into records; only the last one is final."""
    weights = [(_weight(row), row) for row in theirs.cells]
    answers = sum(_ANSWER_BYTES + len(key) + len(payload or b"") for key, _, payload, _ in theirs.answers)
    if sum(weight for weight, _ in weights) + answers <= bytes_max:
        return [theirs]
    frame = Delta(theirs.epochs, theirs.seen, theirs.cloud, [], final=False, at_ms=theirs.at_ms)
    pieces: list[Delta] = []
    cells: list[CellRow] = []
    room = bytes_max
    for weight, row in _cut(weights, bytes_max):
        if weight > room and cells:
            pieces.append(msgspec.structs.replace(frame, cells=cells))
            cells, room = [], bytes_max
        cells.append(row)
        room -= weight
    if cells:
        pieces.append(msgspec.structs.replace(frame, cells=cells))
    rows: list[AnswerRow] = []
    room = bytes_max
    for row in theirs.answers:
        weight = _ANSWER_BYTES + len(row[0]) + len(row[2] or b"")
        if weight > room and rows:
            pieces.append(msgspec.structs.replace(frame, answers=rows))
            rows, room = [], bytes_max
        rows.append(row)
        room -= weight
    return [*pieces, msgspec.structs.replace(theirs, cells=[], answers=rows)]


def _cut(weights: Iterable[tuple[int, CellRow]], bytes_max: int) -> Iterable[tuple[int, CellRow]]:
    """Cells too big for one piece come once per part, each time saying that the other parts stand."""
    for weight, (key, rows) in weights:
        if weight <= bytes_max or len(rows) < 2:
            yield weight, (key, rows)
            continue
        for number in range(len(rows)):
            marks = [
                each if n == number else PartRow(each.epoch, each.version, here=True) for n, each in enumerate(rows)
            ]
            yield _weight((key, marks)), (key, marks)


def _weight(row: CellRow) -> int:
    return len(row[0]) + sum(
        _ROW_BYTES + len(part.value) + (len(part.base[2]) if part.base is not None else 0) for part in row[1]
    )
