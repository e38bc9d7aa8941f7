"""Links that would better be others: those through a relay, and those that stand on a certificate of this node that was
renewed. The addresses of their nodes are tried again, ever more rarely.

The link stands meanwhile. When such a dial succeeds the new one takes the session over, and the old one is left.
"""

from collections.abc import Callable, Sequence

from meshnode.kernel.backoff import Backoff
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

Address = tuple[str, int]

PACE = Backoff(first_us=2 * SECOND, cap_us=300 * SECOND)
UPGRADES_MAX = 1024
SPREAD_US = 50 * MS  # a certificate is renewed under all links at once, and they are not to be dialled at once


class Upgrades:
    """Says whom to dial where. ``improvable``: the link to a node should be another one; not if there is none."""

    def __init__(self, rng: Random, improvable: Callable[[NodeId], bool]) -> None:
        self._rng, self._improvable = rng, improvable
        self._addresses: dict[NodeId, tuple[Address, ...]] = {}
        self._tries: dict[NodeId, int] = {}
        self._due: Timers[NodeId] = Timers()

    def watch(self, node: NodeId, addresses: Sequence[Address], now: Instant) -> None:
        """What is known of a node: a link that should be another one, and addresses, are worth trying."""
        if not addresses or not self._improvable(node):
            return
        known = self._addresses.get(node)
        if known is None and len(self._addresses) >= UPGRADES_MAX:
            return
        self._addresses[node] = tuple(addresses)
        if known != self._addresses[node]:  # it moved: what failed there says nothing about here
            self._tries[node] = 0
            self._plan(node, now, (len(self._addresses) - 1) * SPREAD_US)

    def due(self, now: Instant) -> list[tuple[NodeId, Address]]:
        found: list[tuple[NodeId, Address]] = []
        for node in self._due.pop_due(now.mono_us):
            if not self._improvable(node):
                del self._addresses[node], self._tries[node]
                continue
            addresses = self._addresses[node]
            found.append((node, addresses[self._tries[node] % len(addresses)]))
            self._tries[node] += 1
            self._plan(node, now)
        return found

    def deadline(self) -> int | None:
        return self._due.deadline()

    def _plan(self, node: NodeId, now: Instant, later_us: int = 0) -> None:
        rounds = 1 + self._tries[node] // len(self._addresses[node])
        self._due.set(node, now.mono_us + later_us + PACE.wait_us(rounds, self._rng))
