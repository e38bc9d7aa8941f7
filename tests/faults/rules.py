"""Planted faults in the decisions on which the promises about agents rest: what runs once, is kept, goes on."""

import msgspec

from meshnode.checkpoints.answers import Answer
from meshnode.checkpoints.rows import Delta
from meshnode.checkpoints.rules import Rules
from meshnode.checkpoints.state import State
from meshnode.kernel.epochs import Epoch
from meshnode.model.durability import Durability
from meshnode.scheduler.messages import Claim
from meshnode.scheduler.rules import SchedulerRules


class DoubleCount(Rules):
    """Whoever asks for a key makes it forgotten, and what another copy knows of answers is thrown away."""

    def answered(self, state: State, key: str) -> Answer | None:
        state.answers.by_key.pop(key, None)
        return None

    def merged(self, mine: State, theirs: Delta) -> Delta | None:
        return msgspec.structs.replace(theirs, answers=[], taken_back=[])


class LoseAck(Rules):
    """Replies leave at once, and nothing is written down."""

    persists = False

    def durable(self, asked: Durability, *, committed: bool, copies: int, alone: bool, waited: bool) -> bool:
        return True


class StaleRestore(Rules):
    """A unit is opened from its last checkpoint alone."""

    reads_entries = False


class DropMerge(Rules):
    """Another copy's work is never taken in."""

    def merged(self, mine: State, theirs: Delta) -> Delta | None:
        return None


class NeverYields(SchedulerRules):
    """A claim stands, whatever others claim."""

    def yields(self, mine: Epoch, theirs: Claim) -> bool:
        return False
