"""From documents to wants: what the mesh is to run, as this node reads it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.deployments.wants import Reader, Reading
from meshnode.node import drains
from meshnode.scheduler.messages import DrainsChanged, Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.crdt.document import Declared
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.model.ids import AgentName, DocId
    from meshnode.node.core import Core
    from meshnode.scheduler.messages import Want


class Intentions:
    """The wants of all documents, read anew when they changed: a thousand changes of one moment are one reading.

    What each document declares is kept: to ask for all of them would wake every one for each change of any.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wants: dict[AgentName, Want] = {}
        self._reading, self._reader = Reading((), {}), Reader()
        self._stale = self._untold = True
        self._declared: dict[DocId, Declared] | None = None  # None: all are to be read
        self._due: dict[DocId, None] = {}  # those that changed since
        self._drains: dict[str, str] | None = None  # as last told

    @property
    def reading(self) -> Reading:
        self._read()
        return self._reading

    def changed(self, doc: DocId | None = None) -> None:
        """A document reads otherwise; ``None``: nobody knows which."""
        self._stale = self._untold = True
        if doc is None:
            self._declared = None
        else:
            self._due[doc] = None

    def want(self, agent: AgentName) -> Want | None:
        self._read()
        return self._wants.get(agent)

    def wants(self) -> Sequence[Want]:
        return self.reading.wants

    def replicas(self, agent: AgentName) -> int:
        want = self.want(agent)
        return want.replicas if want is not None else 0

    def tell(self) -> list[Effect]:
        """What is wanted now, to those who see to it."""
        self._untold = False
        reading = self.reading
        effects = [*self._core.bundles.wanted(want.recipe.bundle for want in reading.wants), Wanted(reading.wants)]
        before, self._drains = self._drains, reading.drains
        changed = sorted(name for name in {**(before or {}), **reading.drains}
                         if (before or {}).get(name) != reading.drains.get(name))  # fmt: skip
        if changed:
            effects.append(DrainsChanged(tuple(changed)))
        if before is not None:  # what was so at the start was told by an earlier boot
            effects += [drains.told(self._core, name) for name in changed]
        return effects

    def wake(self, _now: Instant) -> list[Effect]:
        return self.tell() if self.deadline() is not None else []

    def deadline(self) -> int | None:
        return 0 if self._untold and self._core.started else None

    def _read(self) -> None:
        if self._stale:
            self._stale = False
            self._reading = self._reader.read(self._up_to_date().values())
            self._wants = {want.agent: want for want in self._reading.wants}

    def _up_to_date(self) -> dict[DocId, Declared]:
        documents = self._core.documents
        declared = self._declared
        due = documents.live() if declared is None else self._due
        declared = self._declared = {} if declared is None else declared
        self._due = {}
        for doc in due:
            wanted = documents.declared(doc)
            if wanted is None:
                declared.pop(doc, None)
            else:
                declared[doc] = wanted
        return declared
