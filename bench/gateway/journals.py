"""The books of a made-up fleet: what each node has written, what of it was acknowledged, and how long that took."""

from collections import deque

from bench.gateway.deltas import Deltas
from meshnode.model.commands import JournalCursor
from meshnode.model.view_parts import JournalEntry
from meshnode.model.views import JournalView

RUN = "a1"
SUBJECTS = tuple(
    f"agent/{name}" for name in ("inspector", "watcher", "planner", "words", "sorter", "welder", "counter", "greeter")
)


class Ledger:
    """Of many journals: counts, and seconds from writing to acknowledgement of what was written since ``begin``.
    ``when``: by node and number, the clock when it was acknowledged, where somebody wants to know."""

    def __init__(self) -> None:
        self.written = self.acknowledged = 0
        self.waits: list[float] = []
        self.when: dict[tuple[str, int], float] | None = None
        self._since = 0.0

    def begin(self, now_s: float) -> None:
        self.waits, self._since = [], now_s

    def wait(self, written_s: float, now_s: float) -> None:
        self.acknowledged += 1
        if written_s >= self._since:
            self.waits.append(now_s - written_s)


class Journal:
    """One node's. It keeps only what is not acknowledged: an event that a reader loses after that is lost.

    ``wall_s``: what is to be added to the clock of ``write`` for wall time.
    """

    def __init__(self, index: int, name: str, node_id: str, deltas: Deltas, ledger: Ledger, wall_s: float) -> None:
        self.index, self.name, self.node_id = index, name, node_id
        self.written = self.acknowledged = 0
        self.faults: list[str] = []
        self._deltas, self.ledger, self._wall_s = deltas, ledger, wall_s
        self._times: deque[float] = deque()  # when the events behind the acknowledged ones were written

    @property
    def waiting(self) -> int:
        return len(self._times)

    def write(self, now_s: float, count: int = 1) -> None:
        self._times.extend([now_s] * count)
        self.written += count
        self.ledger.written += count

    def acknowledge(self, number: int, now_s: float) -> int:
        """All up to ``number`` is committed; how many of them were not before."""
        if number > self.written:
            self.faults.append(f"{self.name}: {number} acknowledged, {self.written} written")
        fresh = min(number, self.written) - self.acknowledged
        for at in range(fresh):
            self.ledger.wait(self._times.popleft(), now_s)
            if self.ledger.when is not None:
                self.ledger.when[self.name, self.acknowledged + 1 + at] = now_s
        self.acknowledged = max(self.acknowledged, min(number, self.written))
        return max(0, fresh)

    def behind(self, cursor: JournalCursor) -> int:
        """How many events a reader at this cursor has not seen."""
        return self.written - max(cursor.number, self.acknowledged)

    def view(self, cursor: JournalCursor, limit: int) -> JournalView:
        first = max(cursor.number, self.acknowledged) + 1
        last = min(self.written, first + limit - 1)
        skipped = first - 1 - self.acknowledged
        times = [self._times[at] for at in range(skipped, skipped + last - first + 1)]
        items = [self._entry(number, at_s) for number, at_s in zip(range(first, last + 1), times, strict=True)]
        return JournalView(
            node=self.name, node_id=self.node_id, boot=1 if last else 0, run=RUN if last else "", items=items,
            first=self.acknowledged + 1, last=self.written, more=last < self.written,
        )  # fmt: skip

    def _entry(self, number: int, at_s: float) -> JournalEntry:
        return JournalEntry(
            number=number, boot=1, at_ms=int((at_s + self._wall_s) * 1000),
            subject=SUBJECTS[number % len(SUBJECTS)], text=self._deltas.text(self.index, number),
        )  # fmt: skip
