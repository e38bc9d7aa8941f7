"""Which documents each node wants, read from the ``Node`` documents, and told to the room that hands documents out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.model.fields import Field, FieldInvalid
from meshnode.model.interest import EVERYTHING, FIELD, Interest, parse_interest
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.nodewish import KIND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.crdt.messages import DocumentChanged
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.node.core import Core

_STORED = f"spec.{FIELD}"


class InterestReader:
    """Reads what is there, and then every change. Of values written at once the wider one holds: what is sent in vain
    costs less than what is missing."""

    def __init__(self, core: Core) -> None:
        self._core = core
        for document in core.documents.list(KIND):
            core.documents.narrow(document.name, self._read(document.name))

    def changed(self, fact: DocumentChanged, now: Instant) -> Sequence[Effect]:
        if fact.kind != KIND:
            return ()
        before = self._core.documents.interests.mine
        effects = self._core.documents.narrow(fact.name, self._read(fact.name))
        if self._core.documents.interests.mine != before:
            self._core.intentions.changed()
            return [*effects, *self._core.watching.sight_changed(fact, now)]
        return effects

    def _read(self, name: str) -> Interest:
        versions = self._core.documents.versions(KIND, NAMESPACE_DEFAULT, name, _STORED)
        return _widest([_meaning(value) for value, _ in versions])


def _widest(found: Sequence[Interest]) -> Interest:
    if not found:
        return EVERYTHING
    widest = found[0]
    for each in found[1:]:
        widest = widest.with_that(each)
    return widest


def _meaning(value: object) -> Interest:
    """Of a stored value; one that nobody could have applied narrows nothing."""
    try:
        return EVERYTHING if value is None else parse_interest(Field((FIELD,), value))
    except FieldInvalid:
        return EVERYTHING
