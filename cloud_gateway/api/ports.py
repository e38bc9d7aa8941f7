"""What the doors need from the house beside the store: somebody who asks the mesh now."""

from typing import Protocol

from meshnode.model.view_parts import LinkView
from meshnode.model.views import WhyView


class MeshDoor(Protocol):
    """The gateway's node, as the API sees it. Both raise ``meshnode.model.errors.LocalError``: ``Offline`` when the
    node is out of reach, ``NotFound`` when it knows nothing of that name."""

    async def links(self, node: str) -> list[LinkView]:
        """The neighbours and peers of one node, as that node tells them now."""
        ...

    async def why(self, subject: str) -> WhyView:
        """The story of a subject, as the gateway's node tells it."""
        ...
