"""What the links have to write at the end of a turn, and what was found out in it so far."""

from meshnode.kernel.effects import Effect
from meshnode.links.link import Link
from meshnode.links.messages import FramesReceived
from meshnode.model.ids import UNKNOWN_NODE, LinkId, NodeId
from meshnode.wire.frame import Frame


class Turn:
    """Links with something to write or a changed deadline, links to close, facts in order; data frames in one piece."""

    def __init__(self) -> None:
        self.touched: dict[LinkId, Link] = {}
        self.closing: dict[LinkId, bool] = {}
        self._told: list[Effect] = []
        self._data: list[Frame] = []
        self._data_from = UNKNOWN_NODE

    def touch(self, link: Link) -> None:
        self.touched[link.id] = link

    def close(self, link: Link, *, abort: bool) -> None:
        self.touched[link.id] = link
        self.closing[link.id] = abort

    def tell(self, fact: Effect) -> None:
        self._end_data()
        self._told.append(fact)

    def data(self, peer: NodeId, *frames: Frame) -> None:
        self._data_from = peer
        self._data += frames

    def facts(self) -> list[Effect]:
        """Those since the last call."""
        self._end_data()
        told, self._told = self._told, []
        return told

    def _end_data(self) -> None:
        if self._data:
            self._told.append(FramesReceived(self._data_from, tuple(self._data)))
            self._data = []
