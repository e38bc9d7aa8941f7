"""Which writes a state includes, without listing them: for each author and boot, the hybrid time of the newest one.

The writes of one author to one document in one boot form a chain whose times grow, so "up to this time" names exactly
what is included. It outlives the history: by it a straggler's writes are told from those that were overwritten.
"""

from collections.abc import Iterable, Mapping

from meshnode.kernel.hlc import COUNTER_BITS
from meshnode.model.ids import NodeId

ROWS_MAX = 256
HORIZON_MS = 30 * 24 * 3600 * 1000

Writer = tuple[NodeId, int]  # author and its boot


class Seen:
    """Grows only; rows are forgotten when a root is made."""

    def __init__(self, rows: Mapping[Writer, int] | None = None) -> None:
        self._rows: dict[Writer, int] = dict(rows or {})

    def includes(self, author: NodeId, boot: int, hlc: int) -> bool:
        return hlc <= self._rows.get((author, boot), 0)

    def add(self, author: NodeId, boot: int, hlc: int) -> None:
        if hlc > self._rows.get((author, boot), 0):
            self._rows[author, boot] = hlc

    def copy(self) -> "Seen":
        return Seen(self._rows)

    def rows(self) -> Iterable[tuple[Writer, int]]:
        return self._rows.items()

    def pruned(self) -> dict[Writer, int]:
        """For a root: sorted, at most ``ROWS_MAX`` of the newest, none older than the horizon before the newest."""
        newest = max(self._rows.values(), default=0)
        oldest = newest - (HORIZON_MS << COUNTER_BITS)
        kept = sorted(((hlc, writer) for writer, hlc in self._rows.items() if hlc >= oldest), reverse=True)[:ROWS_MAX]
        return dict(sorted((writer, hlc) for hlc, writer in kept))
