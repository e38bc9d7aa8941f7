"""Documents that were applied in one turn of the node: written together, so that a few signatures do for all.

They wait for the end of the turn, and no longer: the room is due at once, and the host wakes it in the same turn.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from meshnode.crdt.writing import Wanted
from meshnode.kernel.effects import Effect, Persist
from meshnode.model.durability import DOCUMENT_LEVELS, LAZY, reached
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.views import AnyView, AppliedView
from meshnode.node.agent_desk import manifest_fields
from meshnode.node.effects import Reply
from meshnode.node.snapshot import failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.crdt.document import Change
    from meshnode.crdt.replica import Documents
    from meshnode.kernel.instant import Instant
    from meshnode.model.commands import Apply

PUTS_MAX = 1024  # that wait for the end of a turn


class _Put(msgspec.Struct, frozen=True):
    command_no: int
    wanted: Wanted
    notes: list[str]
    lazily: bool


class Puts:
    """Ends in one ``Reply`` each."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._waiting: list[_Put] = []

    def add(self, command_no: int, command: Apply, now: Instant) -> Sequence[Effect]:
        """Raises ``Invalid``: it is no document."""
        if command.durability not in DOCUMENT_LEVELS:
            raise Invalid(
                f"durability {command.durability[:40]!r} is none that a document can have",
                next_step="use local, or lazy: told to peers at once and on the disk within 10 s",
            )
        kind, namespace, name, fields, notes = manifest_fields(command.manifest)
        lazily = command.durability == LAZY
        self._waiting.append(_Put(command_no, Wanted(kind, namespace, name, fields), notes, lazily))
        return self.wake(now) if len(self._waiting) >= PUTS_MAX else ()

    def wake(self, now: Instant) -> list[Effect]:
        waiting, self._waiting = self._waiting, []
        effects: list[Effect] = []
        for lazily, some in groupby(waiting, lambda put: put.lazily):
            effects += self._written(list(some), now, lazily=lazily)
        return effects

    def deadline(self) -> int | None:
        return 0 if self._waiting else None

    def _written(self, puts: list[_Put], now: Instant, *, lazily: bool) -> list[Effect]:
        made = self._documents.put_all([each.wanted for each in puts], now, lazily=lazily)
        replies = [
            Reply(put.command_no, failure_of(outcome) if isinstance(outcome, LocalError) else _view(put, outcome))
            for put, outcome in zip(puts, made.outcomes, strict=True)
        ]
        if not made.records:
            return [*replies]
        if lazily:
            return [*made.at_once, *replies, Persist(made.records, made.effects, lazily=True)]
        return [Persist(made.records, then=(*made.effects, *replies))]


def _view(put: _Put, change: Change) -> AnyView:
    wanted = put.wanted
    action = "created" if change.created else "unchanged" if change.unchanged else "updated"
    return AppliedView(
        kind=wanted.kind, namespace=wanted.namespace, name=wanted.name, action=action, notes=put.notes,
        durability=reached(lazy=change.lazily, copies=0),
    )  # fmt: skip
