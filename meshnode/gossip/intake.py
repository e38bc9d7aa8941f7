"""Rows that came by the hundred wait here to be checked, so that no turn of the node is a long one.

A row that waits is known to nobody: it is not passed on, not dialled, and never in the way of a row that was checked.
If a verdict or a rumour is about its node, it is checked at once.
"""

from collections.abc import Iterable, Sequence

from meshnode.gossip.archive import FIRST, Archive
from meshnode.gossip.letters import SignedRow
from meshnode.gossip.row import read
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.records import Record
from meshnode.model.ids import NodeId

FEW = 16  # rows of a letter that are checked at once: no more than in a slice
SLICE = 16  # rows checked in one turn: some 0.3 ms each, two signatures among it
PAUSE_US = 2 * MS  # for others to have their turn
WAITING_MAX = 20_000  # more are dropped: the next repair brings them again
TOLD_MAX = 64  # of one bulk, those announced one by one

Waiting = tuple[NodeId, SignedRow]  # with who sent it


class Intake:
    """A queue by arrival, with an index by node."""

    def __init__(self) -> None:
        self._waiting: dict[SignedRow, NodeId] = {}
        self._by_node: dict[NodeId, dict[SignedRow, None]] = {}
        self._bulk: dict[NodeId, int] = {}  # rows by sender since nothing waited
        self._comparing: dict[NodeId, None] = {}
        self._due_us: int | None = None
        self._archive = Archive()
        self._recalling = False  # much of the journal, and its end is still to be told

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """A bulk is being checked: whoever compares now would send it again."""
        return (bool(self._waiting) and not self.small) or len(self._archive) > 0

    @property
    def small(self) -> bool:
        """Few enough came for each to be announced."""
        return sum(self._bulk.values()) <= TOLD_MAX

    def puts_off(self, peer: NodeId) -> bool:
        """Whether a comparison that it begins is to wait: rows that are not checked yet would be brought again."""
        if self._waiting or self._archive:
            self._comparing[peer] = None
            return True
        return False

    def comparing(self) -> list[NodeId]:
        """Once nothing waits any more: whose comparisons did, taken out."""
        if self._waiting or self._archive or not self._comparing:
            return []
        comparing, self._comparing = list(self._comparing), {}
        return comparing

    def add(self, peer: NodeId, signed: SignedRow, now: Instant) -> None:
        """Raises ``RemoteError``: it is no row."""
        node = NodeId(read(signed.body).node)
        if signed in self._waiting or len(self._waiting) >= WAITING_MAX:
            return
        self._waiting[signed] = peer
        self._by_node.setdefault(node, {})[signed] = None
        self._bulk[peer] = self._bulk.get(peer, 0) + 1
        self._due_us = now.mono_us if self._due_us is None else self._due_us

    def restore(self, records: Sequence[Record], now: Instant) -> list[Record]:
        """What an earlier boot knew: those that are to be checked at once, taken out. The rest follows."""
        self._archive = Archive(records)
        first = self._archive.taken(FIRST)
        self._recalling = len(self._archive) > 0
        self._due_us = now.mono_us if self._recalling else None
        return first

    def about(self, node: NodeId) -> list[Waiting]:
        """Those of a node, taken out."""
        return self._taken(tuple(self._by_node.get(node, ())))

    @property
    def recalling(self) -> bool:
        """Rows of the journal wait to be checked."""
        return len(self._archive) > 0

    def recalled_about(self, nodes: Iterable[NodeId]) -> list[Record]:
        """What the journal has of some nodes and was not checked yet, taken out."""
        return self._archive.about(nodes) if self._archive else []

    def due(self, now: Instant) -> list[Waiting]:
        """The next few, taken out."""
        if not self._waiting or not self._rested(now):
            return []
        first = [signed for signed, _ in zip(self._waiting, range(SLICE), strict=False)]
        self._due_us = now.mono_us + PAUSE_US
        return self._taken(first)

    def recalled(self, now: Instant) -> list[Record]:
        """The next few of the journal, taken out, while nobody else's wait."""
        if self._waiting or not self._archive or not self._rested(now):
            return []
        self._due_us = now.mono_us + PAUSE_US
        return self._archive.taken(SLICE)

    def over(self) -> list[NodeId] | None:
        """Once, when nothing waits any more and it was too much to be announced: who sent it, our journal aside."""
        if self._waiting or self._archive or not (self._bulk or self._recalling):
            return None
        senders = None if self.small and not self._recalling else list(self._bulk)
        self._waiting, self._by_node, self._bulk = {}, {}, {}  # anew: an emptied table keeps its size
        self._due_us, self._recalling = None, False
        return senders

    def deadline(self) -> int | None:
        return self._due_us

    def _rested(self, now: Instant) -> bool:
        return self._due_us is not None and now.mono_us >= self._due_us

    def _taken(self, signed: Iterable[SignedRow]) -> list[Waiting]:
        taken: list[Waiting] = []
        for each in signed:
            taken.append((self._waiting.pop(each), each))
            node = NodeId(read(each.body).node)
            del self._by_node[node][each]
            if not self._by_node[node]:
                del self._by_node[node]
        return taken
