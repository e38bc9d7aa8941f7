"""Whether a disk is quick enough to be waited for where nothing else goes on meanwhile: in the event loop.

It has to show it to a thread first: one that never commits in half a millisecond, as a card, is not waited for. A
commit that kept the loop waiting for more than a millisecond sends the next ones to the thread for a while, each time
for longer, until so many in a row were quick again.

A disk that hangs (a card that tidies up, a network drive) may do so once while the loop waits for it, which nobody can
foresee: all calls of the node wait as long, and peers take it for a pause. Then, or when the thread met the hang, the
loop keeps off for ten minutes, twice as long each time up to a day, and however quick the disk is in between.
"""

from collections import deque

QUICK_US = 1_000
SHOWN, SHOWN_US = 8, 500  # of so many commits before, one was that quick: the others may have waited for the processor
ROW = 256
REST_FIRST_S, REST_MAX_S = 0.1, 60.0
HANG_US = 250_000
HANG_REST_FIRST_S, HANG_REST_MAX_S = 600.0, 86_400.0


class Swiftness:
    """Of one disk."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=SHOWN)
        self._row = 0  # quick ones since the last slow one
        self._rest_s, self._hang_rest_s = REST_FIRST_S, HANG_REST_FIRST_S
        self._until_s = 0.0

    def is_quick(self, now_s: float) -> bool:
        return now_s >= self._until_s and len(self._recent) == SHOWN and min(self._recent) <= SHOWN_US

    def took(self, us: int, now_s: float, *, here: bool) -> None:
        """One commit, written and synced; ``here``: the loop waited for it."""
        if us >= HANG_US:
            if now_s >= self._until_s or here:
                self._until_s = now_s + self._hang_rest_s
                self._hang_rest_s = min(HANG_REST_MAX_S, 2 * self._hang_rest_s)
            self._recent.clear()  # it has to show itself anew
            return
        self._recent.append(us)
        if not here:
            return
        self._row = self._row + 1 if us <= QUICK_US else 0
        if self._row >= ROW:
            self._rest_s = REST_FIRST_S
        elif not self._row:
            self._until_s = max(self._until_s, now_s + self._rest_s)
            self._rest_s = min(REST_MAX_S, 2 * self._rest_s)
