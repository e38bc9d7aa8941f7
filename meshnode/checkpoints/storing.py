"""Reading states from checkpoint files and journal, and writing checkpoints.

A state is read when it is first needed. A chunk that cannot be had makes the older checkpoints be read too: the best of
all is put together by ``shelf.rebuilt``.
"""

from collections.abc import Sequence

import msgspec

from meshnode.checkpoints import fold, shelf
from meshnode.checkpoints.desk import Desk, note
from meshnode.checkpoints.fold import Manifest
from meshnode.checkpoints.held import Taken
from meshnode.checkpoints.merge import seen_of
from meshnode.checkpoints.messages import FoldKept
from meshnode.checkpoints.seen import Seen
from meshnode.checkpoints.shelf import Logged
from meshnode.checkpoints.unit import Folding, Role, Unit
from meshnode.kernel.blobs import BlobRead, BlobsKept, DropBlobs, KeepBlobs, ReadBlob, digest_of
from meshnode.kernel.effects import Effect, Persist
from meshnode.kernel.instant import Instant
from meshnode.kernel.records import RecordKind
from meshnode.model.ids import InstanceId


class Reading(msgspec.Struct):
    """Chunks on their way from the disk. ``ticket`` 0: to load the unit; else one older version was asked for."""

    unit: InstanceId
    manifests: list[Manifest]
    missing: dict[str, None]
    blobs: dict[str, bytes] = {}
    failed: dict[str, str] = {}
    ticket: int = 0


class Storing:
    """The only part that reads and writes checkpoint files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._readings: dict[int, tuple[Reading, str]] = {}  # by read number, with the digest
        self._loading: dict[InstanceId, Reading] = {}
        self._batches: dict[int, InstanceId] = {}

    # -- reading ------------------------------------------------------------------------------------------------------

    def load(self, unit: Unit) -> list[Effect]:
        """Begin to read a unit; ``Unit.loaded`` says when it is done (at once, if it has no chunks)."""
        if unit.loaded or unit.name in self._loading:
            return []
        reading = Reading(unit.name, unit.manifests[-1:], {}, {}, {})
        self._loading[unit.name] = reading
        wanted = [digest for manifest in reading.manifests for digest in manifest.digests()]
        effects = self._want(reading, wanted)
        return [*effects, *self._loaded(unit, reading)]

    def read(self, unit: Unit, manifest: Manifest, ticket: int) -> tuple[Reading, list[Effect]]:
        """Read one checkpoint for a person."""
        reading = Reading(unit.name, [manifest], {}, {}, {}, ticket)
        return reading, self._want(reading, manifest.digests())

    def _want(self, reading: Reading, digests: Sequence[str]) -> list[Effect]:
        effects: list[Effect] = []
        for digest in dict.fromkeys(digests):
            if digest in reading.missing or digest in reading.blobs or digest in reading.failed:
                continue
            number = self._desk.number()
            reading.missing[digest] = None
            self._readings[number] = (reading, digest)
            effects.append(ReadBlob(number, digest))
        return effects

    def blob_read(self, event: BlobRead) -> tuple[Reading | None, list[Effect]]:
        """The reading that is complete by this, if any."""
        found = self._readings.pop(event.read_no, None)
        if found is None:
            return None, []
        reading, digest = found
        del reading.missing[digest]
        if event.error or digest_of(event.data) != digest:
            reading.failed[digest] = event.error or "corrupt"
        else:
            reading.blobs[digest] = event.data
        if reading.ticket:
            return (None if reading.missing else reading), []
        unit = self._desk.units.get(reading.unit)
        if unit is None or self._loading.get(unit.name) is not reading:
            return None, []
        effects: list[Effect] = []
        if reading.failed and len(reading.manifests) < len(unit.manifests):
            reading.manifests = list(unit.manifests)
            effects = self._want(reading, [d for manifest in reading.manifests for d in manifest.digests()])
        effects += self._loaded(unit, reading)
        return (reading if unit.loaded else None), effects

    def _loaded(self, unit: Unit, reading: Reading) -> list[Effect]:
        if reading.missing:
            return []
        del self._loading[unit.name]
        log = unit.log if self._desk.rules.reads_entries else []
        unit.held = shelf.rebuilt(unit.name, reading.manifests, log, reading.blobs)
        unit.loaded = True
        unit.touched = None if unit.held.damaged else _touched(unit.log)
        unit.piece_no = max((shelf.piece_of(unit.name, each.key) for each in unit.log), default=0)
        unit.copies_kept = {epoch: follow.version for epoch, follow in unit.held.follows.items()}
        if not unit.held.damaged:
            return []
        reasons = ", ".join(sorted({**dict.fromkeys(reading.failed.values())})) or "a hole in the journal"
        return [note(unit, f"state is damaged ({reasons}): {'; '.join(unit.held.damaged[:4])}")]

    def forget(self, unit: Unit) -> None:
        self._loading.pop(unit.name, None)

    def erase(self, unit: Unit) -> list[Effect]:
        """Nothing of a unit stays on the disk. It is known no more."""
        self.forget(unit)
        records = [shelf.forgotten(RecordKind.STATE, each.key) for each in unit.log]
        manifests = unit.manifests if unit.folding is None else [*unit.manifests, unit.folding.manifest]
        records += [shelf.forgotten(RecordKind.CHECKPOINT, shelf.manifest_key(each)) for each in manifests]
        self.unlogged(unit, [])
        effects: list[Effect] = [Persist(tuple(records))] if records else []
        return effects + self.dropped([digest for manifest in manifests for digest in manifest.digests()])

    # -- writing ------------------------------------------------------------------------------------------------------

    def logged(self, unit: Unit, logged: Logged) -> None:
        unit.log.append(logged)
        unit.log_bytes += len(logged.body)
        self._desk.log_bytes += len(logged.body)

    def unlogged(self, unit: Unit, keep: Sequence[Logged]) -> None:
        """The log is only this any more."""
        self._desk.log_bytes -= unit.log_bytes
        unit.log = list(keep)
        unit.log_bytes = sum(len(each.body) for each in unit.log)
        self._desk.log_bytes += unit.log_bytes

    def fold_if_due(self, unit: Unit, now: Instant) -> list[Effect]:
        config = self._desk.config
        if unit.log_bytes >= config.fold_bytes or len(unit.log) >= config.fold_entries:
            return self.fold(unit, now)
        if self._desk.log_bytes > config.log_bytes_max:
            longest = max(self._desk.units.values(), key=lambda each: each.log_bytes)
            return self.fold(longest, now)
        return []

    def fold(self, unit: Unit, now: Instant, *, forced: bool = False) -> list[Effect]:
        """Write a checkpoint, unless nothing happened since the last one. One that is forced while another is being
        written follows it."""
        unit.fold_again = unit.fold_again or (forced and unit.folding is not None)
        if unit.folding is not None or not unit.loaded or (not unit.log and (unit.manifests or not unit.state.version)):
            return []
        if len(unit.log) < unit.fold_after and not forced:
            return []
        gone = unit.state.trim()
        if gone and unit.touched is not None:
            unit.touched.update(dict.fromkeys(gone))
        unit.fold_no += 1
        folded = fold.fold(
            unit.held, unit.fold_no, own=unit.role is Role.OWNER, now_ms=now.wall_ms,
            before=unit.manifests[-1] if unit.manifests else None, touched=unit.touched,
        )  # fmt: skip
        unit.folding = Folding(unit.held, folded.manifest, tuple(each.key for each in unit.log), unit.touched)
        unit.touched = {}
        if not folded.fresh:
            return [self._persist(unit)]
        number = self._desk.number()
        self._batches[number] = unit.name
        return [KeepBlobs(number, tuple(folded.fresh.values()))]

    def blobs_kept(self, event: BlobsKept) -> list[Effect]:
        name = self._batches.pop(event.batch_no, None)
        unit = self._desk.units.get(name) if name is not None else None
        if unit is None or unit.folding is None:
            return []
        if event.error:
            return self.fold_lost(unit, unit.folding.manifest.number, event.error)
        return [self._persist(unit)]

    def _persist(self, unit: Unit) -> Effect:
        """The manifest alone: of a batch that a power cut interrupts any part may be there, and what it replaces goes
        only when it surely is."""
        assert unit.folding is not None
        manifest = unit.folding.manifest
        return Persist((shelf.manifest_record(manifest),), then=(FoldKept(unit.name, manifest.number),))

    def fold_kept(self, unit: Unit, number: int, now: Instant) -> list[Effect]:
        folding = unit.folding
        if folding is None or folding.manifest.number != number:
            return []
        unit.folding, unit.fold_after = None, 0
        gone = dict.fromkeys(folding.keys)
        self.unlogged(unit, [each for each in unit.log if each.key not in gone])
        unit.manifests.append(folding.manifest)
        if folding.held is not unit.held:
            unit.touched = None  # it was read again meanwhile: the checkpoint may hold more
        effects = self._drop_old(unit, folding.keys)
        if unit.name in self._loading:  # from a checkpoint whose entries have just left: begin again from this one
            self.forget(unit)
            effects += self.load(unit)
        if unit.fold_again:
            unit.fold_again = False
            effects += self.fold(unit, now, forced=True)
        return effects

    def fold_lost(self, unit: Unit, number: int, error: str) -> list[Effect]:
        """The entries stay in the journal; the next try comes after as many again."""
        folding = unit.folding
        if folding is None or folding.manifest.number != number:
            return []
        unit.folding, unit.fold_again = None, False
        unit.touched = None
        unit.fold_after = len(unit.log) + self._desk.config.fold_entries
        return [note(unit, f"checkpoint {folding.manifest.version} could not be written: {error}")]

    def _drop_old(self, unit: Unit, keys: Sequence[bytes]) -> list[Effect]:
        """``keys``: of entries that the newest checkpoint holds."""
        kept = self._desk.config.manifests_kept
        old, unit.manifests = unit.manifests[:-kept], unit.manifests[-kept:]
        records = [shelf.forgotten(RecordKind.STATE, key) for key in keys]
        records += [shelf.forgotten(RecordKind.CHECKPOINT, shelf.manifest_key(each)) for each in old]
        effects: list[Effect] = [Persist(tuple(records))] if records else []
        return effects + self.dropped([digest for manifest in old for digest in manifest.digests()])

    def dropped(self, digests: Sequence[str]) -> list[Effect]:
        """Those that no manifest of any unit names go."""
        named: dict[str, None] = {}
        if not digests:
            return []
        for unit in self._desk.units.values():
            manifests = unit.manifests if unit.folding is None else [*unit.manifests, unit.folding.manifest]
            for manifest in manifests:
                named.update(dict.fromkeys(manifest.digests()))
        gone = tuple(digest for digest in dict.fromkeys(digests) if digest not in named)
        return [DropBlobs(gone)] if gone else []


def seen_in(unit: Unit) -> Seen:
    """What a unit has seen, also while its state is not read yet."""
    if unit.loaded:
        return unit.state.seen
    seen = unit.manifests[-1].seen_then() if unit.manifests else Seen()
    for logged in unit.log:
        item = logged.item
        if isinstance(item, Taken):
            if item.piece.final:
                seen.join(seen_of(item.piece))
            continue
        seen.reach(item.epoch, item.version)
        if item.merged is not None and item.merged.final:
            seen.join(seen_of(item.merged))
    return seen


def _touched(log: Sequence[Logged]) -> dict[str, None] | None:
    """Keys changed by the entries since the checkpoint; merges may have touched any."""
    touched: dict[str, None] = {}
    for logged in log:
        item = logged.item
        if isinstance(item, Taken) or item.merged is not None:
            return None
        touched.update((change.key, None) for change in item.changes)
    return touched
