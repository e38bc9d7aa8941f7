"""From documents to wants: what the mesh is to run, as this node reads it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.deployments.wants import Reading, read
from meshnode.scheduler.messages import Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.model.ids import AgentName
    from meshnode.node.core import Core
    from meshnode.scheduler.messages import Want


class Intentions:
    """The wants of all documents; read anew whenever one changed."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._wants: dict[AgentName, Want] = {}
        self.reading = Reading((), {})

    def refresh(self) -> Sequence[Effect]:
        self.reading = read(self._core.documents.list())
        found = self.reading.wants
        self._wants = {want.agent: want for want in found}
        digests = [want.recipe.bundle for want in found]
        return [*self._core.bundles.wanted(digests), Wanted(tuple(found))]

    def want(self, agent: AgentName) -> Want | None:
        return self._wants.get(agent)

    def wants(self) -> Sequence[Want]:
        return list(self._wants.values())

    def replicas(self, agent: AgentName) -> int:
        want = self._wants.get(agent)
        return want.replicas if want is not None else 0
