"""Through whom a node is reached that nobody can dial: two relays of its choice, named in its row.

A relay names itself in its own row, a client the relays that it is linked with. Older nodes try to dial such an
endpoint as the name of a machine, find none and go on.
"""

import hashlib
from collections.abc import Callable, Sequence

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory
from meshnode.links.tunnelwire import RELAY_PORT, relay_at, relay_host
from meshnode.model.ids import NodeId

RELAYS = 2  # when one goes, the other one carries on while a third is looked for
Address = tuple[str, int]


def direct(addresses: Sequence[Address]) -> list[Address]:
    """Those that a connection can be made to."""
    return [address for address in addresses if relay_at(address[0]) is None]


class Relays:
    """This node's own relays; it has none if it can be dialled."""

    def __init__(self, config: GossipConfig, directory: Directory) -> None:
        self._config, self._directory = config, directory
        self._own = config.endpoints
        self.used: dict[NodeId, None] = {}
        self.undialable = False  # it has addresses, and others say that nobody answers there

    @property
    def hidden(self) -> bool:
        return self.undialable or not direct(self._own)

    @property
    def own(self) -> tuple[Address, ...]:
        """The addresses this node would tell if everybody could dial it."""
        return self._own

    def endpoints(self, own: Sequence[Address]) -> tuple[Address, ...]:
        """What the row tells: the addresses of this node, and whom to ask when there are none, or nobody answers there.
        Whoever is beside it in its own network may dial them still. Who cannot be dialled is no relay."""
        self._own = tuple(own)
        shown = direct(self._own) if self.undialable else self._own
        used = self.used if self.hidden else ()
        return (*shown, *((relay_host(relay), RELAY_PORT) for relay in used))

    def choose(self, peers: Sequence[NodeId]) -> bool:
        """Whom of the linked ones to name; those named stay as long as they are linked. True: it is a change."""
        if not self.hidden:
            changed, self.used = bool(self.used), {}
            return changed
        kept = [relay for relay in self.used if relay in peers][:RELAYS]
        free = [peer for peer in peers if peer not in kept and self.carries(peer)] if len(kept) < RELAYS else []
        chosen = dict.fromkeys((*kept, *sorted(free, key=self._rank)[: RELAYS - len(kept)]))
        changed = list(chosen) != list(self.used)
        self.used = chosen
        return changed

    def wanted(self, usable: Callable[[NodeId], bool]) -> list[NodeId]:
        """Relays to link with: a walk over the directory, and only while some are missing."""
        missing = RELAYS - len(self.used)
        if not self.hidden or missing <= 0:
            return []
        free = [
            node for node in self._directory.members() if node not in self.used and self.carries(node) and usable(node)
        ]
        return sorted(free, key=self._rank)[:missing]

    def carries(self, node: NodeId) -> bool:
        """It says in its row that it is a relay."""
        entry = self._directory.entry(node)
        return entry is not None and not entry.left and self._directory.names(node, (relay_host(node), RELAY_PORT))

    def _rank(self, node: NodeId) -> tuple[bool, bytes]:
        """Near ones first; among them every client its own, so that all relays have clients (rendezvous hashing)."""
        entry = self._directory.entry(node)
        far = entry is None or entry.member.region != self._config.region
        return far, hashlib.blake2b(self._config.node + node, digest_size=8).digest()
