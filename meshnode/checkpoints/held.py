"""What a node holds of one unit: its state, and how far the chain of each epoch was followed."""

import msgspec

from meshnode.checkpoints import merge
from meshnode.checkpoints.entry import NO_HASH, Entry, hash_of, prev_of
from meshnode.checkpoints.merge import Joined
from meshnode.checkpoints.rows import Delta
from meshnode.checkpoints.seen import Seen
from meshnode.checkpoints.state import State
from meshnode.kernel.epochs import NO_EPOCH, Epoch
from meshnode.model.ids import InstanceId

FOLLOWS_MAX = 8


class Follow(msgspec.Struct):
    """The chain of one epoch is held up to ``version`` with the hash ``head``. ``seen``: what its writer had seen."""

    version: int
    head: bytes
    seen: Seen
    whole: bool = True  # no entry was missing


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """A piece of an owner's state, to follow its epoch from ``version`` on once the final piece is in."""

    epoch: Epoch
    version: int
    head: bytes
    piece: Delta


class Held(msgspec.Struct):
    """``epoch``, ``head``: of the newest epoch that is held. ``damaged``: what could not be read, for people.

    ``known``: a version that was here once, be it readable or not.
    """

    unit: InstanceId
    state: State
    epoch: Epoch = NO_EPOCH
    head: bytes = NO_HASH
    follows: dict[Epoch, Follow] = {}
    damaged: list[str] = []
    known: int = 0

    def fits(self, entry: Entry, sealed: bytes) -> bool:
        """The entry is the next of its epoch, and its predecessor is the one held."""
        known = self.follows.get(entry.epoch)
        if known is not None:
            return known.head == prev_of(sealed) and known.version == entry.version - 1
        return entry.version == 1 and prev_of(sealed) == self.head and entry.epoch > self.epoch

    def enter(self, entry: Entry, sealed: bytes, *, whole: bool = True) -> Joined:
        """Apply an entry, and go on along its chain. ``whole`` False: something before it is missing.

        One that came late, after another copy brought what it holds and more, only moves the chain on.
        """
        known = self.follows.get(entry.epoch)
        if known is None:
            known = self.follows[entry.epoch] = Follow(0, self.head, self.state.seen.copy())
            self._bound()
        known.whole = known.whole and whole
        if not known.whole and entry.merged is not None:
            entry = msgspec.structs.replace(entry, merged=msgspec.structs.replace(entry.merged, final=False))
        late = self.state.seen.has(entry.epoch, entry.version)
        done = Joined() if late else merge.enter(self.state, entry, known.seen, whole=known.whole)
        if entry.merged is not None and entry.merged.final:
            known.seen.join(merge.seen_of(entry.merged))
        known.seen.reach(entry.epoch, entry.version)
        known.version, known.head = entry.version, hash_of(sealed)
        if entry.epoch >= self.epoch:
            self.epoch, self.head = entry.epoch, known.head
        return done

    def take(self, taken: Taken) -> Joined:
        """A piece of an owner's state; after the final one its chain is followed."""
        done = merge.join(self.state, taken.piece)
        if taken.piece.final:
            self.follows[taken.epoch] = Follow(taken.version, taken.head, merge.seen_of(taken.piece))
            self._bound()
            if taken.epoch >= self.epoch:
                self.epoch, self.head = taken.epoch, taken.head
        return done

    def _bound(self) -> None:
        for oldest in sorted(self.follows)[:-FOLLOWS_MAX]:
            del self.follows[oldest]
