"""Documents that are applied in one turn of the node: written together, so that a few signatures do for all.

The host gathers what waits for one turn (``gathered``); an input ends with the writing of what it applied.

Who is content with memory is answered as soon as his write is judged: it is *promised*. It is made, signed and told to
peers within ``PROMISE_US``, with all that was promised by then, and before the node does anything else but take puts:
nobody in it sees a document without what was promised, and nothing can come between that would refuse it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from meshnode.crdt.store import PROMISED_MAX
from meshnode.crdt.writing import Draft, Intent, Wanted
from meshnode.kernel.effects import Effect, Persist
from meshnode.kernel.instant import MS
from meshnode.model.commands import Apply
from meshnode.model.document_views import AppliedView
from meshnode.model.durability import DOCUMENT_LEVELS, LAZY, reached
from meshnode.model.errors import Invalid, LocalError
from meshnode.model.nodewish import KIND as NODE
from meshnode.model.policy import KIND as POLICY
from meshnode.model.views import AnyView
from meshnode.node.agent_desk import manifest_fields
from meshnode.node.effects import Reply
from meshnode.node.inputs import CommandGiven, CommandsGiven, Input, Measured
from meshnode.node.snapshot import failure_of

if TYPE_CHECKING:
    from meshnode.crdt.document import Change
    from meshnode.crdt.replica import Documents
    from meshnode.kernel.instant import Instant

GATHERED_MAX = 128  # commands in one input
PROMISE_US = 5 * MS
_JUDGES = (POLICY, NODE)  # the next put is judged by what these documents say: who may write, what this node wants


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
        self._promised: dict[tuple[str, str, str], Intent] = {}  # by document
        self._due_us: int | None = None

    @property
    def owes(self) -> bool:
        """Something is promised and not made: ``wake`` comes before anything that is no put."""
        return bool(self._promised)

    def add(self, command_no: int, command: Apply) -> Sequence[Effect]:
        """Raises ``Invalid``: it is no document."""
        if command.durability not in DOCUMENT_LEVELS:
            raise Invalid(
                f"durability {command.durability[:40]!r} is none that a document can have",
                next_step="use local, or lazy: told to peers within 5 ms and on the disk within 10 s",
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
            if lazily:
                for put in some:
                    effects += self._promise(put, now)
            else:
                effects += [*self.wake(now), *self._written(list(some), now)]
        return effects

    def wake(self, now: Instant) -> list[Effect]:
        """Make what was promised."""
        if not self._promised:
            return []
        made = self._documents.fulfil(list(self._promised.values()), now)
        self._promised, self._due_us = {}, None
        return [*made.at_once, Persist(made.records, made.effects, lazily=True)]

    def deadline(self) -> int | None:
        return self._due_us

    def _promise(self, put: _Put, now: Instant) -> list[Effect]:
        wanted = put.wanted
        known = wanted.names in self._promised or len(self._promised) >= PROMISED_MAX
        effects = self.wake(now) if known else []  # a second write of a document stands on the first
        intent = self._documents.intend(wanted)
        if isinstance(intent, LocalError):
            return [*effects, Reply(put.command_no, failure_of(intent))]
        if isinstance(intent, Draft):
            return [*effects, Reply(put.command_no, _view(put, "unchanged"))]
        if not intent.is_sure or wanted.kind in _JUDGES:
            return [*effects, *self.wake(now), *self._written([put], now)]
        if self._due_us is None:
            self._due_us = now.mono_us + PROMISE_US
        self._promised[wanted.names] = intent
        return [*effects, Reply(put.command_no, _view(put, "created" if intent.created else "updated"))]

    def _written(self, puts: list[_Put], now: Instant) -> list[Effect]:
        """All of them lazily, or none."""
        lazily = puts[0].lazily
        made = self._documents.put_all([each.wanted for each in puts], now, lazily=lazily)
        replies = [
            Reply(
                put.command_no, failure_of(outcome) if isinstance(outcome, LocalError) else _view(put, _action(outcome))
            )
            for put, outcome in zip(puts, made.outcomes, strict=True)
        ]
        if not made.records:
            return [*replies]
        if lazily:
            return [*made.at_once, *replies, Persist(made.records, made.effects, lazily=True)]
        return [Persist(made.records, then=(*made.effects, *replies))]


def is_put(event: Input) -> bool:
    return isinstance(event, CommandGiven) and isinstance(event.command, Apply)


def passes(event: Input) -> bool:
    """It looks at no document, or is a put: what is promised need not be made before."""
    return isinstance(event, CommandsGiven | Measured) or is_put(event)


def gathered(inbox: deque[Input], count_max: int) -> Iterator[Input]:
    """So many events are taken from ``inbox``; what applies one document after the other becomes one input."""
    some: list[CommandGiven] = []
    for _ in range(min(len(inbox), count_max)):
        event = inbox.popleft()
        if isinstance(event, Measured):  # goes before each command
            yield event
            continue
        if isinstance(event, CommandGiven) and is_put(event) and len(some) < GATHERED_MAX:
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


def _action(change: Change) -> str:
    return "created" if change.created else "unchanged" if change.unchanged else "updated"


def _view(put: _Put, action: str) -> AnyView:
    wanted = put.wanted
    return AppliedView(
        kind=wanted.kind, namespace=wanted.namespace, name=wanted.name, action=action, notes=put.notes,
        durability=reached(lazy=put.lazily, copies=0),
    )  # fmt: skip
