"""Older checkpoints, for people: look at one, or set the state to what it was. Stored answers, for repeated calls."""

from meshnode.checkpoints import fold
from meshnode.checkpoints.desk import Desk
from meshnode.checkpoints.entry import Entry
from meshnode.checkpoints.messages import VersionRead, VersionRestored
from meshnode.checkpoints.process import Process
from meshnode.checkpoints.state import State, stored_key
from meshnode.checkpoints.storing import Reading, Storing
from meshnode.checkpoints.unit import Unit
from meshnode.checkpoints.writing import Writing
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import StoredAnswer
from meshnode.model.durability import reached
from meshnode.wire.state import Change, Op

TICKETS_MAX = 256


class Restoring:
    """A restored version is a change like any other: nothing is lost by it."""

    def __init__(self, desk: Desk, storing: Storing, writing: Writing, process: Process) -> None:
        self._desk = desk
        self._storing = storing
        self._writing = writing
        self._process = process
        self._restores: dict[int, None] = {}

    def answered(self, unit: Unit | None, key: str) -> StoredAnswer | None:
        """Not of one that is still on its way to its durability: to repeat it would be to promise what may be lost."""
        run = unit.run if unit is not None else None
        if unit is None or run is None or not run.ready or not key:
            return None
        found = self._desk.rules.answered(unit.state, stored_key(key))
        if found is None:
            return None
        own = found.dot.epoch == run.epoch
        if own and run.pending and found.dot.version >= run.pending[0].version:
            return None
        if not own and (unit.unstored or run.merged_at > run.committed):
            return None  # it may have come with a merge, or as a copy, that is not durable yet
        version = found.dot.version if own else 0
        copies = sum(holder.acked >= version for holder in run.holders.values())
        level = reached(lazy=run.durability.lazy, copies=copies)
        payload = b"null" if found.payload is None else found.payload
        return StoredAnswer(payload, level, unit.state.version, kept=found.payload is not None)

    def look(self, unit: Unit, ticket: int, version: int, now: Instant) -> list[Effect]:
        if version in (0, unit.state.version) and unit.loaded:
            return [VersionRead(ticket, unit.name, unit.state.version, unit.state.values())]
        return self._begin(unit, ticket, version, now)

    def restore(self, unit: Unit, ticket: int, version: int, now: Instant) -> list[Effect]:
        if unit.run is None or not unit.run.ready:
            return [VersionRestored(ticket, unit.name, version, 0, "the unit does not run on this node")]
        if len(self._restores) >= TICKETS_MAX:
            return [VersionRestored(ticket, unit.name, version, 0, "too many restores are under way")]
        self._restores[ticket] = None
        return self._begin(unit, ticket, version, now)

    def _begin(self, unit: Unit, ticket: int, version: int, now: Instant) -> list[Effect]:
        manifest = next((each for each in reversed(unit.manifests) if each.version == version), None)
        if manifest is None:
            kept = ", ".join(str(each.version) for each in unit.manifests) or "none"
            return self._ended(unit, ticket, version, f"there is no checkpoint of version {version}; there are {kept}")
        reading, effects = self._storing.read(unit, manifest, ticket)
        return effects if reading.missing else [*effects, *self.read(reading, now)]

    def read(self, reading: Reading, now: Instant) -> list[Effect]:
        """All chunks of an older checkpoint are here."""
        unit = self._desk.units.get(reading.unit)
        if unit is None:
            self._restores.pop(reading.ticket, None)
            return []
        (manifest,) = reading.manifests
        then, bad = fold.unfold(manifest, reading.blobs)
        if bad:
            reason = ", ".join(sorted({**dict.fromkeys(reading.failed.values())}))
            text = f"{len(bad)} chunks of checkpoint {manifest.version} cannot be read: {reason}. Nothing changed"
            return self._ended(unit, reading.ticket, manifest.version, text)
        if reading.ticket not in self._restores:
            return [VersionRead(reading.ticket, unit.name, manifest.version, then.values())]
        return self._set(unit, reading.ticket, manifest.version, then, now)

    def _set(self, unit: Unit, ticket: int, version: int, then: State, now: Instant) -> list[Effect]:
        run = unit.run
        if run is None or not run.ready:
            return self._ended(unit, ticket, version, "the unit does not run on this node any more")
        del self._restores[ticket]
        changes = _way_back(unit.state, then)
        planned = unit.state.plan(changes, run.epoch, {})
        if not planned.changes:
            return [VersionRestored(ticket, unit.name, version, 0)]
        number = unit.state.merge_no + 1
        entry = Entry(run.epoch, run.version + 1, planned.changes, at_ms=now.wall_ms, merge_no=number)
        told = VersionRestored(ticket, unit.name, version, len(changes))
        _, effects = self._writing.enter(unit, run, entry, told)
        self._process.merged(unit, dict.fromkeys((change.key for change in changes), ()))
        return effects

    def _ended(self, unit: Unit, ticket: int, version: int, error: str) -> list[Effect]:
        if self._restores.pop(ticket, False) is None:
            return [VersionRestored(ticket, unit.name, version, 0, error)]
        return [VersionRead(ticket, unit.name, version, {}, error)]


def _way_back(now: State, then: State) -> list[Change]:
    """Counters go back by what lies between, so that whoever adds at the same time is not forgotten."""
    changes: list[Change] = []
    for key in sorted({**dict.fromkeys(now.cells), **dict.fromkeys(then.cells)}):
        before, after = now.candidates(key), then.candidates(key)
        old = after[0].value if after else b""
        new = before[0].value if before else b""
        if old == new:
            continue
        if not old:
            changes.append(Change(key, Op.DELETE))
        elif after[0].counter and (not new or before[0].counter):
            changes.append(Change(key, Op.ADD, amount=int(old) - int(new or b"0")))
        else:
            changes.append(Change(key, Op.SET, old))
    return changes
