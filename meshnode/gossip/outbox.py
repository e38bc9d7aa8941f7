"""What each neighbour still has to be told of soft facts: only that a key changed, never an old value of it.

A link that was quiet is told at once, in the next turn, together with all else of this one. On a busy one, and of a key
that changes all the time, what follows within ``soft_batch_us`` leaves together, newest values only. Who runs what goes
before load; of a batch that cannot hold all, a quarter is for those that waited longest, so that a busy owner never
starves a quiet one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

Mark = tuple[NodeId, str]  # an owner and one of its keys
REFRESH = ""  # in the place of a key: the owner stands by all its facts
BURST = 8  # letters that may leave without waiting
WAITED_SHARE = 4  # one in so many bytes is for who waited longest
REFRESH_US = 2 * SECOND  # it tells nothing new: those of some seconds leave together, or with whatever else does
REFRESH_STEP_US = 4 * MS  # by owner, so that the two ends of a new link do not tell each other the same at once
_LATE = ("load", REFRESH)


@dataclass(slots=True)
class _Peer:
    pending: dict[Mark, None] = field(default_factory=dict[Mark, None])  # longest waiting first
    recent: dict[Mark, int] = field(default_factory=dict[Mark, int])  # when it left, within the last batch
    paid_us: int = 0  # each letter costs one batch of time (GCRA, ITU-T I.371); so much is paid


class Outbox:
    """Marks by neighbour, and when they are due."""

    def __init__(self, batch_us: int) -> None:
        self._batch_us = batch_us
        self._peers: dict[NodeId, _Peer] = {}
        self._flush: Timers[NodeId] = Timers()
        self._due_us: dict[NodeId, int] = {}
        self._hold_us = 0

    def hold(self, until_us: int) -> None:
        """There is more important news: what is added until then leaves no sooner."""
        self._hold_us = max(self._hold_us, until_us)

    def __contains__(self, peer: NodeId) -> bool:
        return peer in self._peers

    def peers(self) -> list[NodeId]:
        return list(self._peers)

    def up(self, peer: NodeId) -> None:
        self._peers[peer] = _Peer()

    def down(self, peer: NodeId) -> None:
        self._peers.pop(peer, None)
        self._flush.cancel(peer)
        self._due_us.pop(peer, None)

    def add(self, peer: NodeId, mark: Mark, now_us: int, *, soon: bool = False) -> None:
        box = self._peers[peer]
        box.pending[mark] = None
        left_us = box.recent.get(mark)
        paced_us = now_us if left_us is None else left_us + self._batch_us
        due_us = max(now_us, paced_us, box.paid_us - BURST * self._batch_us, self._hold_us)
        if soon:
            due_us = max(now_us, self._hold_us)
        elif mark[1] == REFRESH:
            due_us = max(due_us, now_us + REFRESH_US + mark[0][0] * REFRESH_STEP_US)
        if due_us < self._due_us.get(peer, due_us + 1):
            self._due_us[peer] = due_us
            self._flush.set(peer, due_us)

    def waits(self, peer: NodeId) -> bool:
        box = self._peers.get(peer)
        return box is not None and bool(box.pending)

    def drop(self, peer: NodeId, mark: Mark) -> None:
        """It need not be told any more."""
        box = self._peers.get(peer)
        if box is not None:
            box.pending.pop(mark, None)

    def due(self, now_us: int) -> list[NodeId]:
        due = self._flush.pop_due(now_us)
        for peer in due:
            self._due_us.pop(peer, None)
        return due

    def again(self, peer: NodeId, at_us: int) -> None:
        """Not all could leave: try then."""
        self._due_us[peer] = at_us
        self._flush.set(peer, at_us)

    def deadline(self) -> int | None:
        return self._flush.deadline()

    def take(
        self, peer: NodeId, now_us: int, size_of: Callable[[Mark], int], order: Callable[[Mark], int], bytes_max: int
    ) -> list[Mark]:
        """Marks that may leave now. ``size_of`` 0: nothing is held there any more; ``order``: the version, so that one
        owner's facts leave in the order of their making."""
        box = self._peers[peer]
        box.paid_us = max(box.paid_us, now_us) + self._batch_us
        if box.recent:
            box.recent = {mark: at_us for mark, at_us in box.recent.items() if at_us > now_us - self._batch_us}
        sizes = {mark: size for mark in box.pending if (size := size_of(mark))}
        if sum(sizes.values()) <= bytes_max:
            box.pending.clear()
            return self._leaving(box, list(sizes), order, now_us)
        chosen = _fill(list(sizes), sizes, bytes_max // WAITED_SHARE)
        rest = _ordered([mark for mark in sizes if mark not in chosen], order)
        chosen.update(_fill(rest, sizes, bytes_max - sum(sizes[mark] for mark in chosen)))
        box.pending = {mark: None for mark in sizes if mark not in chosen}
        return self._leaving(box, list(chosen), order, now_us)

    def _leaving(self, box: _Peer, marks: list[Mark], order: Callable[[Mark], int], now_us: int) -> list[Mark]:
        box.recent.update(dict.fromkeys(marks, now_us))
        return _ordered(marks, order)


def _fill(marks: list[Mark], sizes: dict[Mark, int], bytes_max: int) -> dict[Mark, None]:
    """The first ones that fit together."""
    chosen: dict[Mark, None] = {}
    for mark in marks:
        bytes_max -= sizes[mark]
        if bytes_max < 0:
            break
        chosen[mark] = None
    return chosen


def _ordered(marks: list[Mark], order: Callable[[Mark], int]) -> list[Mark]:
    if len(marks) < 2:  # as mostly
        return marks
    owners = {owner: place for place, owner in enumerate(dict.fromkeys(owner for owner, _ in marks))}
    return sorted(marks, key=lambda mark: (mark[1] in _LATE, mark[1] == REFRESH, owners[mark[0]], order(mark)))
