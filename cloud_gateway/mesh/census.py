"""Which nodes there are, as the newest poll saw them: what a journal's puller and the rows of units need to know."""

import asyncio

import msgspec

from meshnode.model.views import NodeView


class Resident(msgspec.Struct, frozen=True):
    """One node of the mesh."""

    node_id: str
    name: str
    region: str
    state: str
    here: bool  # the gateway's own node


class Census:
    """Bounded by the mesh's directory."""

    def __init__(self) -> None:
        self._nodes: dict[str, Resident] = {}
        self._named: dict[str, Resident] = {}
        self.taken = asyncio.Event()  # at least once, whole
        self.version = 0  # grows with every change

    def note(self, views: list[NodeView]) -> None:
        for view in views:
            resident = Resident(view.node_id, view.name, view.region, view.state, view.self_node)
            if resident == self._nodes.get(view.node_id):
                continue
            self._nodes[view.node_id] = resident
            self.version += 1
            if view.state != "left" or view.name not in self._named:
                self._named[view.name] = resident

    def whole(self, node_ids: set[str]) -> None:
        """A round has seen all there are: the others have gone."""
        for node_id in [known for known in self._nodes if known not in node_ids]:
            resident = self._nodes.pop(node_id)
            self.version += 1
            if self._named.get(resident.name) == resident:
                del self._named[resident.name]
        self.taken.set()

    def all(self) -> list[Resident]:
        return list(self._nodes.values())

    def get(self, node_id: str) -> Resident | None:
        return self._nodes.get(node_id)

    def region(self, name: str) -> str:
        resident = self._named.get(name)
        return resident.region if resident is not None else ""

    def named(self, name: str) -> Resident | None:
        return self._named.get(name)
