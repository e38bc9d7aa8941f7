"""Which segments there are, and when they are put into a run."""

from collections.abc import Sequence
from typing import NamedTuple

from cloud_gateway.store.eventlog.run import RUN_SEGMENTS_MAX, RUN_SPANS_MAX, RunHead
from cloud_gateway.store.eventlog.segment import SEGMENT_BYTES_MAX, SEGMENT_ROWS_MAX, Head

_SMALL_BYTES = 16 * 1024


class Snapshot(NamedTuple):
    """What a search goes through. ``dropped_ms``: older events may have been dropped to stay within the budget."""

    recent: tuple[Head, ...]
    runs: tuple[RunHead, ...]
    dropped_ms: int


class Catalog:
    """Heads of the recent segments and of all runs, oldest first. Written by one thread; others take snapshots."""

    def __init__(self) -> None:
        self._recent: list[Head] = []
        self._runs: list[RunHead] = []
        self._spans = 0
        self.dropped_ms = 0

    def snapshot(self) -> Snapshot:
        return Snapshot(tuple(self._recent), tuple(self._runs), self.dropped_ms)

    def add(self, heads: Sequence[Head]) -> None:
        self._recent.extend(heads)
        self._spans += sum(len(head.spans) // 4 for head in heads)

    def add_run(self, run: RunHead) -> None:
        """Its segments are no longer recent."""
        # Readers take snapshots at any moment: a segment told twice is read twice, one told by nobody is missed.
        self._runs.append(run)
        self._recent = [head for head in self._recent if head.no > run.last_segment]
        self._spans = sum(len(head.spans) // 4 for head in self._recent)

    def drop_run(self, run: RunHead) -> None:
        self._runs = [other for other in self._runs if other.no != run.no]
        self.dropped_ms = max(self.dropped_ms, run.last_ms + 1)

    @property
    def due(self) -> bool:
        """Whether the recent segments should become a run."""
        return len(self._recent) >= RUN_SEGMENTS_MAX or self._spans >= RUN_SPANS_MAX

    @property
    def recent(self) -> Sequence[Head]:
        return self._recent

    @property
    def runs(self) -> Sequence[RunHead]:
        return self._runs

    @property
    def events(self) -> int:
        return sum(head.events for head in self._recent) + sum(run.events for run in self._runs)


def groups(heads: Sequence[Head]) -> list[list[Head]]:
    """Neighbours that should be one segment. One that is large enough stays as it is: writing it again would double
    what the disk has to take."""
    made: list[list[Head]] = []
    rows = size = 0
    for head in heads:
        small = head.text_bytes < _SMALL_BYTES and head.events < SEGMENT_ROWS_MAX // 2
        fits = rows + head.events <= SEGMENT_ROWS_MAX and size + head.text_bytes <= SEGMENT_BYTES_MAX // 2
        if made and small and fits:
            made[-1].append(head)
            rows, size = rows + head.events, size + head.text_bytes
        else:
            made.append([head])
            # A large one takes no neighbours.
            rows, size = (head.events, head.text_bytes) if small else (SEGMENT_ROWS_MAX, SEGMENT_BYTES_MAX)
    return made
