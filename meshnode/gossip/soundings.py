"""How much of each skill a region has, in three words that do not flap: what appears counts at once, what goes later.

"Many" begins at four nodes and ends at two; a fall of any kind must hold for ten seconds before it is believed, so a
restarting agent or a moving unit changes nothing that all nodes of the mesh would have to be told. A reading is judged
against the one that was told last, whoever told it: two that look never contradict each other for ever.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from meshnode.gossip.summaries import class_rank
from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId

MANY_FROM = 4
SOME_FROM = 2  # so few make "some" of "many" again
FALL_US = 10 * SECOND
NAMES_MAX = 4_000
CAP_PREFIX = "cap/"
NONE, SOME, MANY = range(3)

Reading = tuple[int, str]  # amount, and the best class of machine


class Soundings:
    """The readings of the own region, by skill and ``cap/TAG``."""

    def __init__(self) -> None:
        self._falls_us: dict[str, int] = {}  # since when less is seen than was told

    def look(
        self,
        offers: Iterable[tuple[str, Sequence[str], NodeId]],
        best_of: Callable[[NodeId], str],
        told: Mapping[str, Reading],
        now_us: int,
    ) -> dict[str, Reading]:
        """What should be told now, for every name seen or told."""
        nodes = _nodes_by_name(offers)
        bests: dict[NodeId, str] = {}
        wanted: dict[str, Reading] = {}
        for name in {**told, **nodes}:
            holders = nodes.get(name, {})
            for node in holders:
                if node not in bests:
                    bests[node] = best_of(node)
            best = max((bests[node] for node in holders), key=lambda each: (class_rank(each), each), default="")
            wanted[name] = self._judge(name, told.get(name, (NONE, "")), len(holders), best, now_us)
        self._falls_us = {name: since_us for name, since_us in self._falls_us.items() if name in wanted}
        return wanted

    def _judge(self, name: str, told: Reading, count: int, best: str, now_us: int) -> Reading:
        amount, told_amount, told_best = _amount(count, told[0]), told[0], told[1]
        better = class_rank(best) > class_rank(told_best)
        if amount > told_amount or (amount == told_amount and better):
            self._falls_us.pop(name, None)
            return amount, best if better or not told_best else told_best
        if (amount, best) == told:
            self._falls_us.pop(name, None)
            return told
        if now_us < self._falls_us.setdefault(name, now_us) + FALL_US:
            return told
        del self._falls_us[name]
        return amount, best


def _amount(count: int, told: int) -> int:
    if not count:
        return NONE
    return MANY if count >= MANY_FROM or (told == MANY and count > SOME_FROM) else SOME


def _nodes_by_name(offers: Iterable[tuple[str, Sequence[str], NodeId]]) -> dict[str, dict[NodeId, None]]:
    nodes: dict[str, dict[NodeId, None]] = {}
    for skill, tags, node in offers:
        for name in (skill, *(f"{CAP_PREFIX}{tag}" for tag in tags)):
            if name in nodes or len(nodes) < NAMES_MAX:
                nodes.setdefault(name, {})[node] = None
    return nodes
