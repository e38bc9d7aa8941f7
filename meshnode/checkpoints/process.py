"""What the process of a unit is told of its state: RESTORE at its start, KEPT, and MERGE when other work came in.

A process that has not applied a MERGE yet does not know the cells in it. What it sets meanwhile stands beside them and
replaces nothing it never saw.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from meshnode.checkpoints.cell import Candidate, base_of
from meshnode.checkpoints.copies import Copies, kept
from meshnode.checkpoints.desk import Desk
from meshnode.checkpoints.entry import Entry
from meshnode.checkpoints.merge import Joined
from meshnode.checkpoints.messages import AgentRestored, StateKept, StateRefused
from meshnode.checkpoints.state import State
from meshnode.checkpoints.unit import Attached, Merge, Run, Unit
from meshnode.checkpoints.writing import Beside, Writing
from meshnode.kernel.effects import Effect
from meshnode.kernel.epochs import Dot
from meshnode.kernel.instant import Instant
from meshnode.messaging.messages import MergeDone, StateWritten
from meshnode.model.durability import reached
from meshnode.model.ids import AgentConn
from meshnode.wire.bus import ToAgent
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import (
    Change,
    MergedCell,
    MergeHeader,
    Op,
    RestoredCell,
    RestoreHeader,
    encode,
    read_key,
)

PAYLOAD_BYTES_MAX = 512 * 1024  # of a frame, unless one cell has more
_NOTHING: Beside = {}


class Process:
    """The door to the process of every unit that runs here."""

    def __init__(self, desk: Desk, copies: Copies, writing: Writing) -> None:
        self._desk = desk
        self._copies = copies
        self._writing = writing

    # -- it comes and goes --------------------------------------------------------------------------------------------

    def attached(self, unit: Unit, process: Attached, now: Instant) -> list[Effect]:
        """A process registered. Before the unit is open it waits for its state."""
        run = unit.run
        unit.process = process
        if run is None or not run.ready:
            return []
        run.process = process
        if process.resumed:
            return self._resumed(unit, run, process, now)
        return self._fresh(unit, run, process, now)

    def detached(self, unit: Unit) -> None:
        unit.process = None
        if unit.run is not None:
            unit.run.process = None
            unit.run.merges.clear()

    def _fresh(self, unit: Unit, run: Run, process: Attached, now: Instant) -> list[Effect]:
        run.merges.clear()
        run.last_seq = run.kept_seq = run.blind = 0
        run.knows = unit.state.merge_no
        if not unit.state.runs.get(self._desk.me):
            return self.restore(unit, process.conn, now)
        # Numbers of an earlier process must not be taken for those of this one after a crash of the daemon.
        entry = Entry(run.epoch, run.version + 1, at_ms=now.wall_ms, merge_no=unit.state.merge_no, new_run=True)
        told = AgentRestored(unit.name, process.conn)
        _, effects = self._writing.enter(unit, run, entry, told)
        return effects

    def _resumed(self, unit: Unit, run: Run, process: Attached, now: Instant) -> list[Effect]:
        if not run.last_seq:
            run.last_seq = run.kept_seq = unit.state.runs.get(self._desk.me, 0)
        run.pending = deque(msgspec.structs.replace(write, conn=process.conn) for write in run.pending)
        effects: list[Effect] = [kept(process.conn, run.kept_seq, unit.state.version)]
        run.merges.clear()
        run.knows, run.blind = process.merge_no, 0
        keys = sorted(unit.state.cells)
        if process.merge_no >= unit.state.merge_no:
            # No number tells what came in as a copy while no daemon, or another node, was in charge.
            unit.state.merge_no = process.merge_no
            keys = [key for key in keys if self._is_foreign(unit.state, key)]
        if keys:
            if process.merge_no == unit.state.merge_no:
                unit.state.merge_no += 1
            run.blind = unit.state.merge_no
            run.merges.append(Merge(run.blind, run.version, dict.fromkeys(keys, ())))
        else:
            self._ask_conflicts(unit, run)
        return [*effects, *self.push(unit, now)]

    def _is_foreign(self, state: State, key: str) -> bool:
        """Another node wrote it, or took something of it back: the process here need not know."""
        cell = state.cells[key]
        return any(epoch.node != self._desk.me for epoch in cell) or bool(state.answers.taken_from(key, cell))

    def restore(self, unit: Unit, conn: AgentConn, now: Instant) -> list[Effect]:
        """All cells, in one frame or more; then what its merge functions have to decide."""
        run = unit.run
        if run is None or run.process is None or run.process.conn != conn:
            return []
        state = unit.state
        rows: list[tuple[int, RestoredCell]] = []
        for key in sorted(state.cells):
            found = state.candidates(key)
            if found and found[0].value:
                siblings = tuple(each.value for each in found[1:] if each.value)
                cell = RestoredCell(key, found[0].value, found[0].counter, siblings)
                rows.append((len(key) + len(cell.value) + sum(map(len, siblings)) + 16, cell))
        batches = _batches(rows)
        age_ms = max(0, now.wall_ms - state.at_ms) if state.version else -1
        frames = [
            Frame(
                Kind.RESTORE,
                header=encode(RestoreHeader(n == len(batches) - 1, state.version, age_ms, run.gap, run.source)),
                payload=encode(batch),
            )
            for n, batch in enumerate(batches)
        ]
        self._ask_conflicts(unit, run)
        return [ToAgent(conn, tuple(frames)), *self.push(unit, now)]

    # -- merges -------------------------------------------------------------------------------------------------------

    def merged(self, unit: Unit, keys: dict[str, tuple[Dot, ...]]) -> None:
        """Cells changed that the process has to hear of, once the newest entry is durable. ``keys``: with new dots."""
        run = unit.run
        if run is not None and run.process is not None and keys:
            run.merges.append(Merge(unit.state.merge_no, run.version, keys))

    def corrected(self, unit: Unit, done: Joined, own: Iterable[str]) -> None:
        """A call had been answered before: what it added counts for nothing, and its process has to know."""
        if done.undone:
            unit.state.merge_no += 1
            self.merged(unit, dict.fromkeys([*done.touched, *own], ()))

    def _ask_conflicts(self, unit: Unit, run: Run, keys: Sequence[str] | None = None) -> None:
        process = run.process
        if process is None or not process.hooks or unit.winner is not None:
            return  # who leaves does not decide
        asked = [key for key in (keys or sorted(unit.state.conflicted)) if self.asks(unit, key)]
        if asked:
            unit.state.merge_no += 1
            self.merged(unit, dict.fromkeys(asked, ()))

    def asks(self, unit: Unit, key: str) -> bool:
        """Whether a merge function of the process decides this key now."""
        process = unit.run.process if unit.run is not None else None
        if process is None or unit.winner is not None or key not in unit.state.conflicted:
            return False
        if "*" not in process.hooks and read_key(key).name not in process.hooks:
            return False
        return not any(each.counter for each in unit.state.candidates(key)[:2])

    def push(self, unit: Unit, _now: Instant) -> list[Effect]:
        """Send the merges whose entries are durable."""
        run = unit.run
        if run is None or run.process is None or not run.merges:
            return []
        effects: list[Effect] = []
        for merge in run.merges:
            if merge.sent:
                continue
            if merge.version > run.committed:
                break
            merge.sent = True
            batches = _batches([self._cell(unit, merge, key) for key in merge.keys])
            merge.frames = len(batches)
            header = encode(MergeHeader(merge.merge_no, run.last_seq))
            frames = tuple(Frame(Kind.MERGE, header=header, payload=encode(batch)) for batch in batches)
            effects.append(ToAgent(run.process.conn, frames))
        return effects

    def _cell(self, unit: Unit, merge: Merge, key: str) -> tuple[int, MergedCell]:
        found = unit.state.candidates(key)
        if not found:
            return len(key) + 16, MergedCell(key, b"", deleted=True)
        first = found[0]
        if not self.asks(unit, key):
            cell = MergedCell(key, first.value, counter=first.counter, deleted=not first.value)
            return len(key) + len(first.value) + 16, cell
        mine, theirs = _two_of(found, merge.keys[key])
        merge.asked[key] = (mine.dot, theirs.dot)
        base = base_of(unit.state.cells[key], mine.dot, theirs.dot)
        cell = MergedCell(
            key, first.value, deleted=not first.value, ask=True, base=base, mine=mine.value, theirs=theirs.value
        )
        return len(key) + len(first.value) + len(base) + len(mine.value) + len(theirs.value) + 16, cell

    # -- what it says -------------------------------------------------------------------------------------------------

    def wrote(self, unit: Unit | None, fact: StateWritten, now: Instant) -> list[Effect]:
        run = unit.run if unit is not None else None
        if unit is None or run is None or not run.ready or run.process is None or run.process.conn != fact.conn:
            return [StateRefused(fact.instance, fact.call_id, "not-open", _NOT_OPEN.format(fact.instance))]
        if fact.seq <= run.last_seq:
            return self._again(unit, run, fact)
        beside = self._unknown(unit, run, fact.changes, fact.merge_no) if run.merges or run.blind else _NOTHING
        done, effects = self._writing.write(
            unit, fact.conn, fact.call_id, fact.seq, fact.changes, beside, now,
            key=fact.idempotency_key, answer=fact.answer,
        )  # fmt: skip
        if done is not None and done.undone:
            self.corrected(unit, done, [change.key for change in fact.changes])
        return effects

    def _again(self, unit: Unit, run: Run, fact: StateWritten) -> list[Effect]:
        """The process had not heard that it was kept, or it will hear when it is."""
        if fact.seq > run.kept_seq and run.pending:
            waiting = (
                msgspec.structs.replace(write, call_id=fact.call_id)
                if write.seq == fact.seq and fact.call_id
                else write
                for write in run.pending
            )
            run.pending = deque(waiting)
            return []
        effects: list[Effect] = [kept(fact.conn, run.kept_seq, unit.state.version)]
        if fact.call_id:
            level = reached(lazy=run.durability.lazy, copies=0)
            effects.append(StateKept(unit.name, fact.call_id, level, unit.state.version))
        return effects

    def merge_done(self, unit: Unit | None, fact: MergeDone, now: Instant) -> list[Effect]:
        """A MERGE was applied; ``changes`` are what the merge functions decided between."""
        run = unit.run if unit is not None else None
        if unit is None or run is None or not run.ready or run.process is None or run.process.conn != fact.conn:
            return []
        merge = next((each for each in run.merges if each.merge_no == fact.merge_no and each.sent), None)
        asked = merge.asked if merge is not None else {}
        if merge is not None:
            merge.frames -= 1
            if merge.frames <= 0:
                run.knows = max(run.knows, fact.merge_no)
                run.merges = [each for each in run.merges if each.merge_no > run.knows]
                run.blind = 0 if run.knows >= run.blind else run.blind
        if fact.seq <= run.last_seq:
            return [kept(fact.conn, run.kept_seq, unit.state.version)]
        beside = self._unknown(unit, run, fact.changes, run.knows)
        for change in fact.changes:
            if change.key in asked:
                beside[change.key] = _not_decided(unit, change.key, asked[change.key])
        _, effects = self._writing.write(unit, fact.conn, b"", fact.seq, fact.changes, beside, now)
        still = [change.key for change in fact.changes if change.key in asked]
        if still:
            self._ask_conflicts(unit, run, still)
        return [*effects, *self.push(unit, now)]

    def _unknown(self, unit: Unit, run: Run, changes: Sequence[Change], merge_no: int) -> Beside:
        """By key, the dots a process that knows the merges up to ``merge_no`` cannot know."""
        knows = max(merge_no if not _is_half_told(run, merge_no) else merge_no - 1, run.knows)
        beside: Beside = {}
        for change in changes:
            if change.op is Op.ADD:
                continue
            dots = [dot for merge in run.merges if merge.merge_no > knows for dot in merge.keys.get(change.key, ())]
            if knows < run.blind:
                cell = unit.state.cells.get(change.key, {})
                dots += [Dot(epoch, part.version) for epoch, part in cell.items() if epoch.node != self._desk.me]
            if dots:
                beside[change.key] = tuple(dots)
        return beside


_NOT_OPEN = "the state of {} is not open on this node for this process. Nothing was kept; call again"


def _is_half_told(run: Run, merge_no: int) -> bool:
    return any(merge.merge_no == merge_no and merge.frames > 1 for merge in run.merges)


def _two_of(found: Sequence[Candidate], new: Sequence[Dot]) -> tuple[Candidate, Candidate]:
    """Mine: what the process has; theirs: what came in."""
    news = dict.fromkeys(new)
    mine = next((each for each in found if each.dot not in news), found[0])
    theirs = next((each for each in found if each.dot in news and each is not mine), None)
    return mine, theirs or next(each for each in found if each is not mine)


def _not_decided(unit: Unit, key: str, asked: tuple[Dot, Dot]) -> tuple[Dot, ...]:
    """Parts a merge function did not see. Those with the same value as one it saw, it saw."""
    cell = unit.state.cells.get(key, {})
    seen = dict.fromkeys(asked)
    values = {part.value: None for epoch, part in cell.items() if Dot(epoch, part.version) in seen}
    return tuple(
        Dot(epoch, part.version)
        for epoch, part in cell.items()
        if Dot(epoch, part.version) not in seen and part.value not in values
    )


def _batches(rows: Sequence[tuple[int, msgspec.Struct]]) -> list[list[msgspec.Struct]]:
    """At least one, which may be empty."""
    batches: list[list[msgspec.Struct]] = [[]]
    room = PAYLOAD_BYTES_MAX
    for size, row in rows:
        if size > room and batches[-1]:
            batches.append([])
            room = PAYLOAD_BYTES_MAX
        batches[-1].append(row)
        room -= size
    return batches
