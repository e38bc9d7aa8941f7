"""Rows of this node's own journal that wait to be checked: thousands of signatures take seconds, a start may not.

The first are checked in the turn in which the node starts, those whom it had links to before all others; the rest in
slices. A row that waits is known to nobody, as in ``intake.py``, and is checked at once when its node is spoken of.
"""

from collections.abc import Iterable, Sequence

from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import NodeId

FIRST = 128  # checked at the start: a node must know that it was not alone, and that its mesh is not a small one


class Archive:
    """By node, in the order in which they are checked."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        rows = {NodeId(r.key): r for r in records if r.kind is RecordKind.DIRECTORY and r.body}
        linked = [NodeId(r.body) for r in records if r.kind is RecordKind.CONTACT and r.body]
        self._records: dict[NodeId, Record] = {node: rows.pop(node) for node in linked if node in rows} | rows

    def __len__(self) -> int:
        return len(self._records)

    def taken(self, count: int) -> list[Record]:
        """The next few, taken out."""
        nodes = [node for node, _ in zip(self._records, range(count), strict=False)]
        return self.about(nodes)

    def about(self, nodes: Iterable[NodeId]) -> list[Record]:
        """Those of some nodes, taken out."""
        found = [record for node in nodes if (record := self._records.pop(node, None)) is not None]
        if not self._records:
            self._records = {}  # anew: an emptied table keeps its size
        return found
