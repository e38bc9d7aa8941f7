"""When each part of the room is due: it is asked again only after something that may have changed its mind.

Most of what happens to a node are soft facts and ids of rumours: they touch one part or two of twelve. What has no line
in ``TOUCHES``, or makes anything but letters and facts for the rooms above, may touch all. ``node/rooms.py`` does the
same for the rooms of a node.
"""

from collections.abc import Callable, Sequence

from meshnode.gossip.messages import Described, SoftChanged
from meshnode.kernel.effects import Effect, Reject, Send

NEVER = 2**63 - 1
# In the order of the callables that ``Dues`` is made of.
DETECTOR, BROADCAST, OVERLAY, SOFT, ROLLS, REPAIRS, CATALOGUE, ENVOYS, CONTACTS, PLANNING, FORGET, DIALBACK = (
    1 << number for number in range(12)
)
ALL = (1 << 12) - 1
QUIET = DETECTOR | BROADCAST | SOFT  # when these are woken they only send, as a rule
# By the tag of a letter: rumours (alerts, one's own row that answers them, what regions have, and rows: one that may
# make a difference to links is planned for, which touches all), ids and wishes of the tree, soft facts (their owner
# counts as heard by that). A row that only tells other facts is passed on and saved.
TOUCHES = {
    7: BROADCAST | DETECTOR | ROLLS | CATALOGUE | FORGET, 8: BROADCAST, 9: BROADCAST, 10: BROADCAST,
    11: SOFT | DETECTOR, 12: SOFT | DETECTOR,
}  # fmt: skip
_FACTS_ONLY = BROADCAST | FORGET
_STAYING = (Send, SoftChanged, Reject, Described)


class Dues:
    """What is known of the parts' deadlines."""

    def __init__(self, asked: Sequence[Callable[[], int | None]]) -> None:
        assert 1 << len(asked) == ALL + 1, "one question a part"
        self._asked = tuple(asked)
        self._due = [NEVER] * len(asked)
        self._stale, self._first = ALL, NEVER

    def touch(self, parts: int) -> None:
        self._stale |= parts

    def at(self, now_us: int) -> int:
        """The parts whose time has come: mostly none."""
        if self._stale:
            self._ask()
        if self._first > now_us:
            return 0
        return sum(1 << number for number, due_us in enumerate(self._due) if due_us <= now_us)

    def deadline(self) -> int | None:
        if self._stale:
            self._ask()
        return None if self._first == NEVER else self._first

    def _ask(self) -> None:
        stale, due, asked = self._stale, self._due, self._asked
        while stale:
            number = (stale & -stale).bit_length() - 1
            at_us = asked[number]()
            due[number] = NEVER if at_us is None else at_us
            stale &= stale - 1
        self._stale, self._first = 0, min(due)


def touched(parts: int | None, effects: Sequence[Effect]) -> int:
    """What may have another deadline than before: ``parts`` (``None``: nobody knows), or all if more came of it."""
    if parts is None:
        return ALL
    for effect in effects:
        if type(effect) not in _STAYING:
            return ALL
        if type(effect) is Described and effect.facts_only:
            parts &= _FACTS_ONLY
    return parts
