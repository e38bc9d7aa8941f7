"""Over which links facts are passed on: enough for all to hear, not so many that everybody hears all three times.

After Plumtree (Leitao, Pereira, Rodrigues, "Epidemic Broadcast Trees", 2007): a link that only brings what is known
already comes to rest, both ways; each node keeps a few that flow, so what remains is no tree that one loss cuts, and no
list of ids is needed to notice it. A link that was at rest flows again when another one breaks, and when a repair over
it brings what should have come long ago. What is said of oneself goes over all links.
"""

from collections.abc import Callable
from dataclasses import dataclass

from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId

REST, FLOW = 1, 2  # wishes, sent along with facts
KEEP_MIN = 2  # links each node wants to flow
KNOWN_MAX = 3  # letters in a row without news
REST_EVERY_US = 1 * SECOND  # one link at a time: two ends of the mesh must not rest all of a cut at once
KEPT_US = 60 * SECOND  # a neighbour that needs the link is not asked again for so long
LATE_US = 1_500_000  # news so old should have come over another link


@dataclass(slots=True)
class _Path:
    flows: bool = True
    known: int = 0
    kept_until_us: int = 0


class Paths:
    """The links to nodes that are told the same as this one: ``alike``, which changes as a mesh grows large."""

    def __init__(self, alike: Callable[[NodeId], bool] = lambda _: True) -> None:
        self._alike = alike
        self._paths: dict[NodeId, _Path] = {}
        self._rested_us = 0

    def up(self, peer: NodeId) -> None:
        self._paths[peer] = _Path()

    def down(self, peer: NodeId) -> NodeId | None:
        """Whom to ask to flow in its place."""
        path = self._paths.pop(peer, None)
        at_rest = (other for other, each in self._paths.items() if not each.flows and self._alike(other))
        resting = next(at_rest, None)
        return resting if path is not None and path.flows and self._flowing() < KEEP_MIN else None

    def flows(self, peer: NodeId) -> bool:
        """Links to others (bridges, holders of all regions) always do."""
        path = self._paths.get(peer)
        return path is None or path.flows or not self._alike(peer)

    def flow(self, peer: NodeId) -> None:
        path = self._paths.get(peer)
        if path is not None:
            path.flows, path.known = True, 0

    def brought(self, peer: NodeId, *, news: bool, age_us: int, now_us: int) -> int:
        """A letter of facts that are not the peer's own. Returns a wish to send, or 0."""
        path = self._paths.get(peer)
        if path is None or not self._alike(peer):
            return 0
        if not path.flows:
            late = news and age_us >= LATE_US
            path.flows = late
            return FLOW if late else 0
        path.known = 0 if news else path.known + 1
        return self._rest(path, now_us)

    def wished(self, peer: NodeId, wish: int, now_us: int) -> int:
        """What a neighbour wants of the link. Returns the answer to send, or 0."""
        path = self._paths.get(peer)
        if path is None:
            return 0
        if wish == FLOW:
            path.flows, path.known, path.kept_until_us = True, 0, now_us + KEPT_US
        elif wish == REST and path.flows:
            if self._flowing() <= KEEP_MIN or not self._alike(peer):
                return FLOW
            path.flows = False
        return 0

    def _rest(self, path: _Path, now_us: int) -> int:
        idle = path.known >= KNOWN_MAX and now_us >= path.kept_until_us
        if not idle or self._flowing() <= KEEP_MIN or now_us < self._rested_us + REST_EVERY_US:
            return 0
        path.flows, self._rested_us = False, now_us
        return REST

    def _flowing(self) -> int:
        return sum(path.flows and self._alike(peer) for peer, path in self._paths.items())
