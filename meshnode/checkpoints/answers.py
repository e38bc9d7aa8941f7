"""Answered idempotency keys of one unit, and what was taken back because two copies had answered the same key.

A key with two dots was run twice, on both sides of a cut. The lower dot stays; what the other call added to counters is
taken back. That is remembered by the loser's dot, so that merging the same copies again, in any order, takes back once.
"""

from collections.abc import Iterable

import msgspec

from meshnode.checkpoints.cell import Cell
from meshnode.kernel.epochs import Dot, Epoch

ANSWER_BYTES_MAX = 64 * 1024
ANSWERS_MAX = 16_384  # keys remembered; a key that left may run again
PAYLOADS_MAX = 1_024
PAYLOAD_BYTES_MAX = 1024 * 1024

Added = tuple[tuple[str, int], ...]  # counters and what one call added to them


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """``payload`` None: the call ran, and its answer is too big or too old to be kept."""

    dot: Dot
    payload: bytes | None
    added: Added = ()


class Answers:
    """Bounded: the newest keys stay, and of those the newest payloads."""

    def __init__(self) -> None:
        self.by_key: dict[str, Answer] = {}
        self.taken_back: dict[Dot, Added] = {}
        self._paid: dict[str, int] = {}
        self._paid_bytes = 0
        self._of_counter: dict[str, list[tuple[Dot, int]]] = {}

    def copy(self) -> "Answers":
        other = Answers()
        other.by_key = dict(self.by_key)
        other.taken_back = dict(self.taken_back)
        other._paid, other._paid_bytes = dict(self._paid), self._paid_bytes
        other._of_counter = {key: list(rows) for key, rows in self._of_counter.items()}
        return other

    def __len__(self) -> int:
        return len(self.by_key)

    def get(self, key: str) -> Answer | None:
        return self.by_key.get(key)

    def take(self, key: str, answer: Answer) -> Dot | None:
        """Remember an answer. The dot of the call that counts for nothing now, if the key had another one."""
        known = self.by_key.get(key)
        if known is None:
            self._put(key, answer)
            return None
        if known.dot == answer.dot:
            if known.payload is None and answer.payload is not None:
                self._put(key, answer)
            return None
        first, second = (known, answer) if known.dot < answer.dot else (answer, known)
        if first is answer:
            self._put(key, answer)
        return second.dot if self.take_back(second.dot, second.added) else None

    def take_back(self, dot: Dot, added: Added) -> bool:
        """Whether it was not known before."""
        if dot in self.taken_back:
            return False
        self.taken_back[dot] = added
        for key, amount in added:
            self._of_counter.setdefault(key, []).append((dot, amount))
        return True

    def taken_from(self, key: str, cell: Cell) -> int:
        """How much of what the parts of a counter say was added twice."""
        rows = self._of_counter.get(key) if self._of_counter else None
        if not rows:
            return 0
        return sum(amount for dot, amount in rows if _is_in(cell, dot.epoch, dot.version))

    def in_order(self) -> list[tuple[str, Answer]]:
        return sorted(self.by_key.items(), key=lambda row: row[1].dot)

    def settle(self) -> None:
        """After a merge: in the order of their dots again, so that the oldest go first."""
        rows = self.in_order()
        self.by_key, self._paid, self._paid_bytes = {}, {}, 0
        for key, answer in rows:
            self._put(key, answer)

    def restore(self, rows: Iterable[tuple[str, Answer]]) -> None:
        for key, answer in rows:
            self._put(key, answer)

    def _put(self, key: str, answer: Answer) -> None:
        if answer.payload is not None and len(answer.payload) > ANSWER_BYTES_MAX:
            answer = Answer(answer.dot, None, answer.added)
        self._paid_bytes -= self._paid.pop(key, 0)
        self.by_key.pop(key, None)
        self.by_key[key] = answer
        if answer.payload is not None:
            self._paid[key] = len(answer.payload)
            self._paid_bytes += len(answer.payload)
            while len(self._paid) > PAYLOADS_MAX or self._paid_bytes > PAYLOAD_BYTES_MAX:
                oldest = next(iter(self._paid))
                self._paid_bytes -= self._paid.pop(oldest)
                gone = self.by_key[oldest]
                self.by_key[oldest] = Answer(gone.dot, None, gone.added)
        while len(self.by_key) > ANSWERS_MAX:
            oldest = next(iter(self.by_key))
            del self.by_key[oldest]
            self._paid_bytes -= self._paid.pop(oldest, 0)


def _is_in(cell: Cell, epoch: Epoch, version: int) -> bool:
    part = cell.get(epoch)
    return part is not None and part.counter and part.since <= version <= part.version
