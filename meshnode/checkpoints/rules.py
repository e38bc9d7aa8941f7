"""The decisions on which the promises rest, each in one place, so that a planted fault can break one of them."""

from meshnode.checkpoints.answers import Answer
from meshnode.checkpoints.rows import Delta
from meshnode.checkpoints.state import State
from meshnode.model.durability import Durability


class Rules:
    """The honest ones."""

    persists = True  # entries are written down
    reads_entries = True  # entries newer than the manifest, and copies of other nodes, count when a unit is opened

    def answered(self, state: State, key: str) -> Answer | None:
        """A key found here does not run again."""
        return state.answers.get(key)

    def durable(self, asked: Durability, *, committed: bool, copies: int, alone: bool, waited: bool) -> bool:
        """May the reply leave? ``copies``: on so many other nodes durably; ``alone``: there is nobody to give one to;
        ``waited``: as long as an agent that is not strict waits for a copy."""
        if asked.lazy:
            return True
        if not committed:
            return False
        return copies >= asked.copies or (not asked.strict and (alone or waited))

    def merged(self, mine: State, theirs: Delta) -> Delta | None:  # noqa: ARG002  # a planted fault looks at mine
        """What of another copy's work is taken in; ``None``: nothing."""
        return theirs
