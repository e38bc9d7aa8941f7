"""Documents that are applied in one turn of the node: written together, so that a few signatures do for all.

The host gathers what waits for one turn (``gathered``); an input ends with the writing of what it applied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from meshnode.crdt.writing import Wanted
from meshnode.kernel.effects import Effect, Persist
from meshnode.model.commands import Apply
from meshnode.model.durability import DOCUMENT_LEVELS, LAZY, reached
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.views import AnyView, AppliedView
from meshnode.node.agent_desk import manifest_fields
from meshnode.node.effects import Reply
from meshnode.node.inputs import CommandGiven, CommandsGiven, Input, Measured
from meshnode.node.snapshot import failure_of

if TYPE_CHECKING:
    from meshnode.crdt.document import Change
    from meshnode.crdt.replica import Documents
    from meshnode.kernel.instant import Instant

GATHERED_MAX = 128  # commands in one input


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

    def add(self, command_no: int, command: Apply) -> Sequence[Effect]:
        """Raises ``Invalid``: it is no document."""
        if command.durability not in DOCUMENT_LEVELS:
            raise Invalid(
                f"durability {command.durability[:40]!r} is none that a document can have",
                next_step="use local, or lazy: told to peers at once and on the disk within 10 s",
            )
        kind, namespace, name, fields, notes = manifest_fields(command.manifest)
        lazily = command.durability == LAZY
        self._waiting.append(_Put(command_no, Wanted(kind, namespace, name, fields), notes, lazily))
        return ()

    def write(self, now: Instant) -> list[Effect]:
        """All that was added since."""
        waiting, self._waiting = self._waiting, []
        effects: list[Effect] = []
        for lazily, some in groupby(waiting, lambda put: put.lazily):
            effects += self._written(list(some), now, lazily=lazily)
        return effects

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


def gathered(inbox: deque[Input], count_max: int) -> Iterator[Input]:
    """So many events are taken from ``inbox``; what applies one document after the other becomes one input."""
    some: list[CommandGiven] = []
    for _ in range(min(len(inbox), count_max)):
        event = inbox.popleft()
        if isinstance(event, Measured):  # goes before each command
            yield event
            continue
        if isinstance(event, CommandGiven) and isinstance(event.command, Apply) and len(some) < GATHERED_MAX:
            some.append(event)
            continue
        yield from _together(some)
        some = []
        yield event
    yield from _together(some)


def _together(some: list[CommandGiven]) -> Iterator[Input]:
    if len(some) > 1:
        yield CommandsGiven(tuple(some))
    else:
        yield from some


def _view(put: _Put, change: Change) -> AnyView:
    wanted = put.wanted
    action = "created" if change.created else "unchanged" if change.unchanged else "updated"
    return AppliedView(
        kind=wanted.kind, namespace=wanted.namespace, name=wanted.name, action=action, notes=put.notes,
        durability=reached(lazy=change.lazily, copies=0),
    )  # fmt: skip
