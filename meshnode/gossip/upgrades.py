"""Links through a relay that may become direct ones: the addresses of their nodes are tried again, ever more rarely.

The tunnel stands meanwhile. When such a dial succeeds its link takes the session over, and the tunnel is left.
"""

from collections.abc import Callable, Sequence

from meshnode.kernel.backoff import Backoff
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

Address = tuple[str, int]

PACE = Backoff(first_us=2 * SECOND, cap_us=300 * SECOND)
UPGRADES_MAX = 512


class Upgrades:
    """Says whom to dial where. ``via``: the relay that carries the link to a node, none if it is direct or gone."""

    def __init__(self, rng: Random, via: Callable[[NodeId], NodeId]) -> None:
        self._rng, self._via = rng, via
        self._addresses: dict[NodeId, tuple[Address, ...]] = {}
        self._tries: dict[NodeId, int] = {}
        self._due: Timers[NodeId] = Timers()

    def watch(self, node: NodeId, addresses: Sequence[Address], now: Instant) -> None:
        """What is known of a node: a link through a relay, and addresses, are worth trying."""
        if not addresses or not self._via(node):
            return
        known = self._addresses.get(node)
        if known is None and len(self._addresses) >= UPGRADES_MAX:
            return
        self._addresses[node] = tuple(addresses)
        if known != self._addresses[node]:  # it moved: what failed there says nothing about here
            self._tries[node] = 0
            self._plan(node, now)

    def due(self, now: Instant) -> list[tuple[NodeId, Address]]:
        found: list[tuple[NodeId, Address]] = []
        for node in self._due.pop_due(now.mono_us):
            if not self._via(node):
                del self._addresses[node], self._tries[node]
                continue
            addresses = self._addresses[node]
            found.append((node, addresses[self._tries[node] % len(addresses)]))
            self._tries[node] += 1
            self._plan(node, now)
        return found

    def deadline(self) -> int | None:
        return self._due.deadline()

    def _plan(self, node: NodeId, now: Instant) -> None:
        rounds = 1 + self._tries[node] // len(self._addresses[node])
        self._due.set(node, now.mono_us + PACE.wait_us(rounds, self._rng))
