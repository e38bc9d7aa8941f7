"""The states of agents in views: as this node holds them, own and copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from meshnode.model.unit_views import HistoryView, StateDiffView, StatesView, StateView
from meshnode.model.view_parts import ConflictView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshnode.kernel.instant import Instant
    from meshnode.model.ids import InstanceId
    from meshnode.node.core import Core

KIND = "State"  # of a conflict about a key of an agent's state


def states(core: Core, agent: str, now: Instant) -> StatesView:
    return StatesView(items=core.checkpoints.rows(core.config.name, now, agent))


def state(core: Core, unit: InstanceId, key: str, session: str, now: Instant) -> StateView:
    """Raises ``NoSuchState``."""
    return core.checkpoints.view(unit, core.config.name, now, key=key, session=session)


def history(core: Core, unit: InstanceId) -> HistoryView:
    """Raises ``NoSuchState``."""
    return core.checkpoints.history(unit, core.config.name)


def conflicts(core: Core) -> list[ConflictView]:
    """Keys with concurrent values in the states that are held here."""
    return [
        ConflictView(
            kind=KIND, namespace="", name=found.unit, field=found.key,
            values=[msgspec.json.decode(value) if value else None for value in found.values],
            writers=[core.names.of(writer) for writer in found.writers],
        )
        for found in core.checkpoints.conflicts()
    ]  # fmt: skip


def difference(
    unit: InstanceId, first: int, second: int, before: Mapping[str, bytes], after: Mapping[str, bytes]
) -> StateDiffView:
    """Keys that differ, with both values."""
    changed = {
        key: [_value(before, key), _value(after, key)]
        for key in sorted({**before, **after})
        if before.get(key) != after.get(key)
    }
    return StateDiffView(unit=unit, first=first, second=second, changed=changed)


def _value(values: Mapping[str, bytes], key: str) -> object:
    return msgspec.json.decode(values[key]) if key in values else None
