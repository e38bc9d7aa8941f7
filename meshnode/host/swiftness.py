"""Whether a disk is quick enough to be waited for where nothing else goes on meanwhile: in the event loop.

It has to show it to a thread first: one that never commits in half a millisecond, as a card, is not waited for. A
commit that kept the loop waiting for more than a millisecond sends the next ones to the thread for a while, each time
for longer, until so many in a row were quick again.
"""

from collections import deque

QUICK_US = 1_000
SHOWN, SHOWN_US = 8, 500  # of so many commits before, one was that quick: the others may have waited for the processor
ROW = 256
REST_FIRST_S, REST_MAX_S = 0.1, 60.0


class Swiftness:
    """Of one disk."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=SHOWN)
        self._row = 0  # quick ones since the last slow one
        self._rest_s = REST_FIRST_S
        self._until_s = 0.0

    def is_quick(self, now_s: float) -> bool:
        return now_s >= self._until_s and len(self._recent) == SHOWN and min(self._recent) <= SHOWN_US

    def took(self, us: int, now_s: float, *, here: bool) -> None:
        """One commit, written and synced; ``here``: the loop waited for it."""
        self._recent.append(us)
        if not here:
            return
        self._row = self._row + 1 if us <= QUICK_US else 0
        if self._row >= ROW:
            self._rest_s = REST_FIRST_S
        elif not self._row:
            self._until_s = now_s + self._rest_s
            self._rest_s = min(REST_MAX_S, 2 * self._rest_s)
