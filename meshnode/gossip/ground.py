"""Rows that many directories hold in common: verified once, indexed once, changed by nobody.

A simulator gives ten thousand nodes one ground, and each lays its own changes over it; a daemon has none. A node of the
ground counts as heard of by others until something else is known.
"""

from collections.abc import Iterable

from meshnode.gossip.census import Census
from meshnode.gossip.row import Entry, version_of
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.model.ids import NodeId

Address = tuple[str, int]


class Rolodex:
    """Who names an address: by hash, since ten thousand addresses as strings would be heavier than their rows.

    A holder of another address with the same hash may be among the answers: whoever asks looks at the row.
    """

    def __init__(self) -> None:
        self._holders: dict[int, NodeId | tuple[NodeId, ...]] = {}

    def enter(self, node: NodeId, addresses: Iterable[Address]) -> None:
        for address in addresses:
            held = self.holders(address)
            if node not in held:
                self._holders[hash(address)] = (*held, node) if held else node

    def leave(self, node: NodeId, addresses: Iterable[Address]) -> None:
        for address in addresses:
            others = tuple(holder for holder in self.holders(address) if holder != node)
            if others:
                self._holders[hash(address)] = others
            else:
                self._holders.pop(hash(address), None)

    def holders(self, address: Address) -> tuple[NodeId, ...]:
        """In the order of entering."""
        held = self._holders.get(hash(address), ())
        return held if isinstance(held, tuple) else (held,)


class Ground:
    """A read-only base of verified entries, with every index a directory needs."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: dict[NodeId, Entry] = {}
        self.rows, self.tombstones = Fingerprints(), Fingerprints()
        self.census, self.rolodex = Census(), Rolodex()
        for entry in entries:
            self._add(entry)
        self.members = sorted(node for node in self.entries if node in self.rows)

    def _add(self, entry: Entry) -> None:
        node = entry.node
        assert node not in self.entries, "one node has one row"
        self.entries[node] = entry
        self.rolodex.enter(node, entry.row.endpoints)
        (self.tombstones if entry.left else self.rows).put(node, version_of(entry.body))
        if not entry.left:
            self.census.enter(node, entry.member.region, entry.member.name)
