"""What people see of states: lists, keys, history, differences, conflicts."""

from collections.abc import Callable

import msgspec

from meshnode.checkpoints.fold import Manifest
from meshnode.checkpoints.held import Taken
from meshnode.checkpoints.marks import counter_of
from meshnode.checkpoints.storing import seen_in
from meshnode.checkpoints.unit import Unit
from meshnode.kernel.epochs import Epoch
from meshnode.kernel.instant import Instant
from meshnode.model.ids import InstanceId, NodeId
from meshnode.model.unit_views import HistoryRow, StateView, UnitStateView
from meshnode.wire.state import read_key

NameOf = Callable[[NodeId], str]
KEYS_OF_A_ROW = 16


class Conflict(msgspec.Struct, frozen=True):
    """A key with values that did not know of each other. ``values``: JSON, b"" = deleted; the first is in force."""

    unit: InstanceId
    key: str
    values: list[bytes]
    writers: list[NodeId]


def epoch_text(epoch: Epoch, name_of: NameOf) -> str:
    return f"{counter_of(epoch)}@{name_of(epoch.node)}" if epoch.counter else ""


def _epoch_of(unit: Unit, name_of: NameOf) -> str:
    run = unit.run
    return epoch_text(run.epoch if run is not None and run.ready else unit.held.epoch, name_of)


def row_of(unit: Unit, node: str, name_of: NameOf, now: Instant) -> UnitStateView:
    manifest = unit.manifests[-1] if unit.manifests else None
    state, run = unit.state, unit.run
    if not unit.loaded and manifest is not None:
        keys, size, changed_ms = manifest.keys, manifest.size, manifest.changed_ms
    else:
        keys, size, changed_ms = len(state.values()), state.size, state.at_ms
    return UnitStateView(
        unit=unit.name, node=node, role=unit.role.value,
        epoch=_epoch_of(unit, name_of), version=seen_in(unit).total(),
        keys=keys, size_bytes=size, hash=unit.held.head.hex(),
        durability=run.durability.written() if run is not None else "",
        checkpoint=unit.checkpoint, entries=len(unit.log),
        copies=[name_of(peer) for peer in run.holders if run.holders[peer].acked >= 0] if run is not None else [],
        conflicts=len(state.conflicted), age_s=_age_s(unit, changed_ms, now),
    )  # fmt: skip


def state_of(unit: Unit, node: str, name_of: NameOf, now: Instant, *, key: str = "", session: str = "") -> StateView:
    """``key`` and ``session`` narrow. A state that is not read yet says so in ``note``."""
    state, run = unit.state, unit.run
    keys = {
        read_key(each).shown(): msgspec.json.decode(value)
        for each, value in state.values().items()
        if _is_meant(each, key, session)
    }
    notes = [] if unit.loaded else ["being read from the disk: ask again"]
    notes += [f"damaged: {each}" for each in unit.held.damaged[:2]]
    if run is not None and run.gap:
        notes.append(f"{run.gap} known versions were not reached")
    return StateView(
        unit=unit.name, node=node, role=unit.role.value,
        epoch=_epoch_of(unit, name_of), version=seen_in(unit).total(),
        hash=unit.held.head.hex(), age_s=_age_s(unit, state.at_ms, now), keys=keys, answers=len(state.answers),
        conflicts=[read_key(each).shown() for each in sorted(state.conflicted)], note="; ".join(notes),
    )  # fmt: skip


def history_of(unit: Unit, name_of: NameOf) -> list[HistoryRow]:
    """Newest first: the entries since the last checkpoint, then checkpoints."""
    rows: list[HistoryRow] = []
    for logged in reversed(unit.log):
        item = logged.item
        if isinstance(item, Taken):
            keys, call, at_ms = [key for key, _ in item.piece.cells], "", item.piece.at_ms
        else:
            keys = [change.key for change in item.changes]
            keys += [key for key, _ in item.merged.cells] if item.merged is not None else []
            call, at_ms = item.idempotency_key, item.at_ms
        shown = [read_key(key).shown() for key in dict.fromkeys(keys[:KEYS_OF_A_ROW])]
        row = HistoryRow(
            kind="entry", version=item.version, epoch=epoch_text(item.epoch, name_of), hash=logged.hash.hex(),
            at_ms=at_ms, keys=shown, size_bytes=len(logged.body), call=call,
        )  # fmt: skip
        rows.append(row)
    return rows + [_checkpoint_row(manifest, name_of) for manifest in reversed(unit.manifests)]


def _checkpoint_row(manifest: Manifest, name_of: NameOf) -> HistoryRow:
    return HistoryRow(
        kind="checkpoint", version=manifest.version, epoch=epoch_text(manifest.epochs[manifest.epoch], name_of),
        hash=manifest.head.hex(), at_ms=manifest.at_ms, keys=[f"{manifest.keys} keys"], size_bytes=manifest.size,
    )  # fmt: skip


def conflicts_of(unit: Unit) -> list[Conflict]:
    found: list[Conflict] = []
    for key in sorted(unit.state.conflicted):
        each = unit.state.candidates(key)
        if len(each) > 1:
            values, writers = [one.value for one in each], [one.dot.epoch.node for one in each]
            found.append(Conflict(unit.name, read_key(key).shown(), values, writers))
    return found


def _is_meant(text: str, key: str, session: str) -> bool:
    parts = read_key(text)
    return (not key or parts.name == key) and (not session or parts.session == session)


def _age_s(unit: Unit, changed_ms: int, now: Instant) -> float:
    if unit.run is not None or not changed_ms:
        return 0.0
    return max(0, now.wall_ms - changed_ms) / 1000
