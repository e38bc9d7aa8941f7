"""The owner's pen: what an agent changed becomes an entry, in memory, in the journal and on its way to the holders."""

from collections.abc import Iterable, Sequence

import msgspec

from meshnode.checkpoints import shelf
from meshnode.checkpoints.answers import ANSWER_BYTES_MAX
from meshnode.checkpoints.cell import NotACounter
from meshnode.checkpoints.copies import Copies
from meshnode.checkpoints.desk import Desk
from meshnode.checkpoints.entry import Entry, seal
from meshnode.checkpoints.merge import Joined, seen_of
from meshnode.checkpoints.messages import EntryKept, StateRefused
from meshnode.checkpoints.rows import Delta, Table
from meshnode.checkpoints.shelf import Logged
from meshnode.checkpoints.state import Planned, stored_key
from meshnode.checkpoints.storing import Storing
from meshnode.checkpoints.unit import Run, Unit, Write
from meshnode.kernel.effects import Effect, Persist
from meshnode.kernel.epochs import Dot
from meshnode.kernel.instant import Instant
from meshnode.model.ids import AgentConn
from meshnode.wire.state import Change, read_key

Beside = dict[str, tuple[Dot, ...]]


class Writing:
    """Makes entries; nobody else does."""

    def __init__(self, desk: Desk, storing: Storing, copies: Copies) -> None:
        self._desk = desk
        self._storing = storing
        self._copies = copies

    def write(
        self, unit: Unit, conn: AgentConn, call_id: bytes, seq: int, changes: Sequence[Change], beside: Beside,
        now: Instant, *, key: str = "", answer: bytes = b"",
    ) -> tuple[Joined | None, list[Effect]]:  # fmt: skip
        """What a process wrote. ``None``: it was refused, and nothing of it is in the state."""
        run = unit.run
        assert run is not None
        try:
            planned = unit.state.plan(changes, run.epoch, beside)
        except NotACounter as error:
            return None, [StateRefused(unit.name, call_id, error.code, error.message)]
        refusal = self._over_limit(unit, run, planned)
        if refusal:
            return None, [StateRefused(unit.name, call_id, *refusal)]
        run.last_seq = seq
        effects: list[Effect] = []
        done = Joined()
        if planned.changes or key:
            entry = Entry(
                run.epoch, run.version + 1, planned.changes, stored_key(key),
                answer if key and len(answer) <= ANSWER_BYTES_MAX else None,
                planned.added if key else (), now.wall_ms, seq, unit.state.merge_no,
            )  # fmt: skip
            done, effects = self.enter(unit, run, entry)
        write = Write(run.version, unit.state.version, seq, call_id, conn, now.mono_us)
        return done, [*effects, *self._copies.wait(unit, write, now)]

    def noted(self, unit: Unit, run: Run, seen: Delta) -> None:
        """More was seen, and nothing changed by it: the next entry says so, too."""
        follow = unit.held.follows.get(run.epoch)
        if follow is not None:
            follow.seen.join(seen_of(seen))
        run.noted = True

    def _with_noted(self, unit: Unit, run: Run, entry: Entry) -> Entry:
        if not run.noted or entry.merged is not None:
            return entry
        run.noted = False
        table = Table()
        seen = table.seen(unit.state.seen.upto)
        return msgspec.structs.replace(entry, merged=Delta(table.epochs(), seen, [], []))

    def enter(
        self, unit: Unit, run: Run, entry: Entry, *then: Effect, touched: Iterable[str] = ()
    ) -> tuple[Joined, list[Effect]]:
        """The next entry of the epoch."""
        entry = self._with_noted(unit, run, entry)
        held = unit.held
        follow = held.follows.get(run.epoch)
        sealed = seal(entry, held.head if follow is None else follow.head)
        done = held.enter(entry, sealed)
        run.version = entry.version
        if entry.merged is not None:
            run.merged_at = entry.version
        if unit.touched is not None:
            unit.touched.update(done.touched)
            unit.touched.update(dict.fromkeys(touched))
        if not self._desk.rules.persists:
            run.committed = run.version
            return done, [*then]
        record = shelf.entry_record(unit.name, entry, sealed)
        self._storing.logged(unit, Logged(record.key, record.body, entry))
        kept = EntryKept(unit.name, run.epoch, entry.version)
        return done, [Persist((record,), then=(kept, *then)), *self._copies.append(unit, sealed)]

    def _over_limit(self, unit: Unit, run: Run, planned: Planned) -> tuple[str, str] | None:
        limit = self._desk.config.quota_bytes
        size = unit.state.size + planned.growth
        if planned.growth > 0 and size > limit:
            largest = max(planned.changes, key=lambda each: len(each.value))
            return "quota", (
                f"the state of {unit.name} has {unit.state.size} bytes and would have {size}; the limit is {limit}. "
                f"Largest value of this change: {read_key(largest.key).shown()[:80]!r}, {len(largest.value)} bytes. "
                "Nothing of it was kept; delete keys that are no longer needed, or spread the data over more instances"
            )
        if len(run.pending) >= self._desk.config.pending_max:
            return "backlog", (
                f"{len(run.pending)} changes of {unit.name} wait for durability {run.durability.written()}. Nothing of "
                "this one was kept; link this node to others, or choose a durability that can be reached here"
            )
        return None
