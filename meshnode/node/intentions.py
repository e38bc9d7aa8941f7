"""From documents to wants: what the mesh is to run, as this node reads it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.deployments.reader import Reader
from meshnode.node import drains
from meshnode.scheduler.messages import DrainsChanged, Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.deployments.wants import Reading
    from meshnode.kernel.effects import Effect
    from meshnode.kernel.instant import Instant
    from meshnode.model.ids import AgentName, DocId
    from meshnode.node.core import Core
    from meshnode.scheduler.messages import Want


class Intentions:
    """The wants of all documents. A thousand changes of one moment are one reading, of what changed and no more: to ask
    for all documents would wake every one for each change of any."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._reader = Reader()
        self._untold = True
        self._due: dict[DocId, None] | None = None  # documents that changed since they were read; None: read them all
        self._told: Reading | None = None
        self._drains: dict[str, str] | None = None  # as last told

    @property
    def reading(self) -> Reading:
        return self._up_to_date().reading

    def changed(self, doc: DocId | None = None) -> None:
        """A document reads otherwise; ``None``: nobody knows which."""
        self._untold = True
        if doc is None:
            self._due = self._told = None
        elif self._due is not None:
            self._due[doc] = None

    def want(self, agent: AgentName) -> Want | None:
        return self._up_to_date().want(agent)

    def wants(self) -> Sequence[Want]:
        return self.reading.wants

    def replicas(self, agent: AgentName) -> int:
        want = self.want(agent)
        return want.replicas if want is not None else 0

    def tell(self) -> list[Effect]:
        """What is wanted now, to those who see to it, where it is not what they were told before."""
        self._untold = False
        reading, told = self.reading, self._told
        self._told = reading
        effects: list[Effect] = []
        if told is None or told.wants is not reading.wants:
            wanted = self._core.bundles.wanted(want.recipe.bundle for want in reading.wants)
            effects += [*wanted, Wanted(reading.wants)]
        before, self._drains = self._drains, reading.drains
        if before is not reading.drains:
            effects += self._drained(before or {}, at_start=before is None)
        return effects

    def _drained(self, before: dict[str, str], *, at_start: bool) -> list[Effect]:
        after = self._reader.reading.drains
        changed = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
        if not changed:
            return []
        # What was so at the start was told by an earlier boot.
        notes = [] if at_start else [drains.told(self._core, name) for name in changed]
        return [DrainsChanged(tuple(changed)), *notes]

    def wake(self, _now: Instant) -> list[Effect]:
        return self.tell() if self.deadline() is not None else []

    def deadline(self) -> int | None:
        return 0 if self._untold and self._core.started else None

    def _up_to_date(self) -> Reader:
        documents, due = self._core.documents, self._due
        if due is None:
            due = dict.fromkeys(self._reader.documents) | documents.live()
        self._due = {}
        if due:
            self._reader.change((doc, documents.declared(doc)) for doc in due)
        return self._reader
