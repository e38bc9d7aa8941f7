"""Letters of envelopes that one turn of the node does not bear: the rest of each waits until the room is woken.

After a cut a peer answers with thousands of envelopes, and each has a signature to be verified: taken as they come they
kept every other wish of that node waiting for most of a second. Who begins to compare while something he brought
waits here is answered behind it: what has not been read yet would look as if it lacked, and come again.
"""

from collections import deque

from msgspec.structs import replace

from meshnode.crdt.letters import Envelopes
from meshnode.kernel.repair import RepairRoot
from meshnode.model.ids import NodeId

SLICE = 32  # envelopes: some 8 ms; fewer where one is worth many
ROWS = 1024  # fields and replaced writes of a slice: 40 ms, if they are made to cost as much as they can
BYTES_MAX = 1024 * 1024  # of one peer; beyond it is read as fast as it sends, which holds its link back
_LETTER_BYTES = 512  # that each takes in memory, whatever it brings

Waiting = Envelopes | RepairRoot


class Backlog:
    """By peer, each in the order in which it came; peers have their turns one after the other."""

    def __init__(self) -> None:
        self._waiting: dict[NodeId, deque[Waiting]] = {}
        self._bytes: dict[NodeId, int] = {}

    def __contains__(self, peer: NodeId) -> bool:
        return peer in self._waiting

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def is_full(self, peer: NodeId) -> bool:
        return self._bytes.get(peer, 0) > BYTES_MAX

    def asks(self, peer: NodeId) -> bool:
        """It began to compare behind something that waits."""
        return any(isinstance(each, RepairRoot) for each in self._waiting.get(peer, ()))

    def put(self, peer: NodeId, letter: Waiting) -> None:
        """Behind all that waits from this peer. Of several questions in a row the newest is enough."""
        waiting = self._waiting.setdefault(peer, deque())
        if isinstance(letter, RepairRoot) and waiting and isinstance(waiting[-1], RepairRoot):
            waiting[-1] = letter
            return
        waiting.append(letter)
        self._bytes[peer] = self._bytes.get(peer, 0) + size_of(letter)

    def take(self, peer: NodeId) -> Waiting:
        """The next slice of a peer that has something waiting. The last of a letter ends as the letter does.

        New changes that came one by one are one slice, as if they had come together.
        """
        waiting = self._waiting[peer]
        letter = waiting.popleft()
        self._bytes[peer] -= size_of(letter)
        if isinstance(letter, Envelopes):
            if letter.eager and waiting:
                letter, bytes_taken = _together(letter, waiting)
                self._bytes[peer] -= bytes_taken
            if len(letter.items) > SLICE:
                letter = self.cut(peer, letter, SLICE)
        if not waiting:
            self.forget(peer)
        return letter

    def cut(self, peer: NodeId, letter: Envelopes, length: int) -> Envelopes:
        """The beginning of a letter that was taken; the rest of it is the next to be."""
        rest = replace(letter, items=letter.items[length:])
        self._waiting.setdefault(peer, deque()).appendleft(rest)
        self._bytes[peer] = self._bytes.get(peer, 0) + size_of(rest)
        return replace(letter, items=letter.items[:length], more=True, rest=[])

    def next(self) -> tuple[NodeId, Waiting]:
        """A slice of the peer whose turn it is. ``__bool__`` says whether there is one."""
        peer = next(iter(self._waiting))
        letter = self.take(peer)
        if peer in self._waiting:
            self._waiting[peer] = self._waiting.pop(peer)  # behind the others
        return peer, letter

    def forget(self, peer: NodeId) -> None:
        """What it would still bring comes by repair."""
        self._waiting.pop(peer, None)
        self._bytes.pop(peer, None)


def size_of(letter: Waiting) -> int:
    if isinstance(letter, RepairRoot):
        return _LETTER_BYTES
    return _LETTER_BYTES + sum(map(len, letter.items)) + sum(map(len, letter.rest))


def _together(letter: Envelopes, waiting: deque[Waiting]) -> tuple[Envelopes, int]:
    """With those behind it that say the same of what they bring, up to a slice; and what these took."""
    items, alike, taken = list(letter.items), replace(letter, items=[]), 0
    while waiting and isinstance(following := waiting[0], Envelopes):
        if len(items) + len(following.items) > SLICE or replace(following, items=[]) != alike:
            break
        items += following.items
        taken += size_of(following)
        waiting.popleft()
    return replace(letter, items=items), taken
