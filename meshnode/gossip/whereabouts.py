"""Who is where, and in what state: directory and detector as the catalogue sees them."""

from collections.abc import Sequence

from meshnode.gossip.detector import Detector
from meshnode.gossip.directory import Directory
from meshnode.gossip.messages import MemberState
from meshnode.model.ids import NodeId


class Whereabouts:
    """Implements ``catalogue.Map``."""

    def __init__(self, directory: Directory, detector: Detector) -> None:
        self._directory, self._detector = directory, detector

    def regions(self) -> Sequence[str]:
        return self._directory.regions()

    def in_region(self, region: str) -> Sequence[NodeId]:
        return self._directory.in_region(region)

    def reachable(self, node: NodeId) -> bool:
        return node in self._directory.rows and self._detector.state(node) is MemberState.READY

    def gone(self, node: NodeId) -> bool:
        """There is proof that it is down; one that merely cannot be reached may be behind a cut."""
        return node not in self._directory.rows or self._detector.state(node) in (MemberState.DOWN, MemberState.LEFT)
