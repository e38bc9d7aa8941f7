"""When changed directory rows go to the journal: the first one at once, what follows soon after it together.

Rows come by the thousand when two meshes meet, and a node that refutes again and again changes its own all the time.
Each write is a sync of the disk and a turn of the core, so there is one in ``PAUSE_US`` at most, of ``ROWS_MAX`` rows,
the newest of each node. What a crash loses of it the next repair brings again. A node that the journal knows is found
by its older row as well, so a newer one of it waits for others to go with.
"""

from meshnode.gossip.directory import Directory
from meshnode.kernel.effects import Persist
from meshnode.kernel.instant import SECOND, Instant

PAUSE_US = SECOND // 5  # longer, and a node killed soon after it met a mesh would not know it
# Of nodes that the journal knows: from then on any turn that may save takes them along, and at last one for them alone.
RIPE_US, KNOWN_US = SECOND, 2 * SECOND
ROWS_MAX = 500  # some 0.5 MB


class Saving:
    """Asks the directory for what is to be written, at its pace."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._free_us = 0  # no write before
        self._since_us: int | None = None  # something waits
        self._due_us: int | None = None

    def take(self, now: Instant, *, last: bool = False) -> list[Persist]:
        """What is to be written now; with the ``last`` word of this node all of it."""
        if not self._directory.changed:
            return []
        lazily = self._directory.known_only and not last
        if not last and not self._is_time(now.mono_us, lazily=lazily):
            return []
        self._free_us = now.mono_us + PAUSE_US
        records = self._directory.unsaved(None if last else ROWS_MAX)
        more = self._directory.changed
        self._since_us, self._due_us = (now.mono_us, self._free_us) if more else (None, None)
        return [Persist(records, lazily=lazily)]

    def _is_time(self, now_us: int, *, lazily: bool) -> bool:
        since_us = self._since_us = now_us if self._since_us is None else self._since_us
        self._due_us = since_us + KNOWN_US if lazily else self._free_us
        return now_us >= (since_us + RIPE_US if lazily else self._free_us)

    def deadline(self) -> int | None:
        return self._due_us
