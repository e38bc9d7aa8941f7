"""Over which links facts are passed on: enough for all to hear, not so many that everybody hears all three times.

After Plumtree (Leitao, Pereira, Rodrigues, "Epidemic Broadcast Trees", 2007): a link that brings what came over another
one already comes to rest, both ways, and flows again when one breaks, and when a repair over it brings what should have
come long ago: no list of ids is needed to notice that.

The links over which *one* flood came first are a tree that reaches everybody, those beside them may rest all at once.
Of two floods they are two trees, and what both leave may be none. So few facts are *surveys*, drawn by signatures,
the fewer the more come, and of two that meet one counts: all look at the same one. Its owner sends it over the links
that flow only, and at once; whatever else it says of itself goes over all links. As a word that a node stands by its
facts comes too late to any repair, who says so lets a link flow again: the next survey shows whether it is needed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId

REST, FLOW = 1, 2  # wishes, sent along with facts
KEEP_MIN = 1  # links each node wants to flow
KEPT_US = 10 * SECOND  # a neighbour that needs the link is not asked again for so long
LATE_US = 3 * SECOND  # news so old should have come over another link
SURVEY_US = 1 * SECOND  # so long a survey may be under way
WINDOW_US = 2 * SECOND
DRAW_MIN, DRAW_MAX = 4, 4_096  # of so many facts one is a survey


class Surveys:
    """Which facts show what links are needed: about one a second of many, one of four if few come."""

    def __init__(self) -> None:
        self._draw, self._count, self._since_us = DRAW_MIN, 0, 0
        self._current, self._seen_us = b"", -SURVEY_US

    def count(self, now_us: int) -> None:
        """A fact came."""
        self._count += 1
        passed_us = now_us - self._since_us
        if passed_us >= WINDOW_US:
            rate = min(self._count * SECOND // passed_us, DRAW_MAX)
            self._draw = max(DRAW_MIN, 1 << (rate - 1).bit_length() if rate else 0)
            self._count, self._since_us = 0, now_us
        elif self._count * SECOND > self._draw * WINDOW_US:
            self._draw = min(2 * self._draw, DRAW_MAX)  # a flood, as when many join, is noticed while it lasts

    def drawn(self, signature: bytes) -> bool:
        """The same for all who hear as many facts, and half of them for who hears twice as many."""
        return int.from_bytes(signature[:2]) % self._draw == 0

    def begin(self, signature: bytes, now_us: int) -> None:
        """One came that is new here. While another is under way, the smaller signature counts, wherever they meet."""
        if now_us >= self._seen_us + SURVEY_US or signature < self._current:
            self._current, self._seen_us = signature, now_us

    def counts(self, signature: bytes) -> bool:
        """It is the one that all look at."""
        return signature == self._current


@dataclass(slots=True)
class _Path:
    up_us: int
    flows: bool = True
    kept_until_us: int = 0
    rests_us: int = 0

    def rest(self, now_us: int) -> None:
        self.flows, self.rests_us = False, now_us


class Paths:
    """The links to nodes that are told the same as this one: ``alike``, which changes as a mesh grows large."""

    def __init__(self, alike: Callable[[NodeId], bool] = lambda _: True) -> None:
        self._alike = alike
        self._paths: dict[NodeId, _Path] = {}

    def up(self, peer: NodeId, now_us: int) -> None:
        self._paths[peer] = _Path(now_us)

    def settled(self, peer: NodeId, now_us: int) -> bool:
        """The link has stood for long enough to bring what others bring."""
        path = self._paths.get(peer)
        return path is not None and now_us - path.up_us >= LATE_US

    def down(self, peer: NodeId) -> list[NodeId]:
        """Whom to ask to flow in its place: all, since only some of them may lead to what it led to."""
        path = self._paths.pop(peer, None)
        if path is None or not path.flows or not self._alike(peer):
            return []
        return [other for other, each in self._paths.items() if not each.flows and self._alike(other)]

    def flows(self, peer: NodeId) -> bool:
        """Links to others (bridges, holders of all regions) always do."""
        path = self._paths.get(peer)
        return path is None or path.flows or not self._alike(peer)

    def flow(self, peer: NodeId) -> None:
        path = self._paths.get(peer)
        if path is not None:
            path.flows = True

    def again(self) -> NodeId | None:
        """A link that shall flow again: the one that has rested for longest."""
        resting = [(path.rests_us, peer) for peer, path in self._paths.items() if not path.flows and self._alike(peer)]
        return min(resting)[1] if resting else None

    def copied(self, peer: NodeId, now_us: int) -> int:
        """It brought a survey that had come over another link. Returns a wish to send, or 0."""
        path = self._paths.get(peer)
        if path is None or not path.flows or not self._alike(peer) or now_us < path.kept_until_us:
            return 0
        if self._flowing() <= KEEP_MIN:
            return 0
        path.rest(now_us)
        return REST

    def missed(self, peer: NodeId, now_us: int) -> int:
        """It brought news that should have come over another link. Returns a wish to send, or 0."""
        path = self._paths.get(peer)
        if path is None or path.flows or not self._alike(peer):
            return 0
        path.flows, path.kept_until_us = True, now_us + KEPT_US
        return FLOW

    def wished(self, peer: NodeId, wish: int, now_us: int) -> int:
        """What a neighbour wants of the link. Returns the answer to send, or 0. Wishes may cross: who wakes a link says
        so, until both have."""
        path = self._paths.get(peer)
        if path is None:
            return 0
        if wish == FLOW:
            rested, path.flows, path.kept_until_us = not path.flows, True, now_us + KEPT_US
            return FLOW if rested else 0
        if wish == REST and path.flows:
            if self._flowing() <= KEEP_MIN or not self._alike(peer):
                return FLOW
            path.rest(now_us)
        return 0

    def _flowing(self) -> int:
        return sum(path.flows and self._alike(peer) for peer, path in self._paths.items())
