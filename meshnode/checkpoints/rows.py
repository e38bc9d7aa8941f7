"""States, or parts of them, as msgpack: in chunks, in entries, between nodes. Epochs are written once, by number."""

from collections.abc import Iterable, Mapping

import msgspec

from meshnode.checkpoints.answers import Added, Answer
from meshnode.checkpoints.cell import Base, Cell, Part
from meshnode.checkpoints.seen import Seen
from meshnode.kernel.epochs import Dot, Epoch
from meshnode.model.errors import RemoteError

NUMBER_MAX = 1 << 62  # of counters and versions
DotRow = tuple[int, int]  # number of the epoch in the table, version


class PartRow(msgspec.Struct, frozen=True, array_like=True):
    """``here``: the receiver has seen this part, so its content is left out; it only says that it still stands."""

    epoch: int
    version: int
    here: bool = False
    value: bytes = b""
    counter: bool = False
    amount: int = 0
    since: int = 0
    base: tuple[int, int, bytes] | None = None


CellRow = tuple[str, list[PartRow]]
AnswerRow = tuple[str, DotRow, bytes | None, Added]


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one copy knows beyond another, or all of it.

    ``seen``, ``cloud``: everything the sender has seen, whatever ``cells`` holds. ``whole``: a key that is not in
    ``cells`` is not in the sender's state. ``final`` False: more pieces of the same follow, so ``seen`` is not reached
    by this one alone. ``trimmed``: deletions up to here are not told any more.
    """

    epochs: list[Epoch]
    seen: list[DotRow]
    cloud: list[DotRow]
    cells: list[CellRow]
    answers: list[AnswerRow] = []
    taken_back: list[tuple[DotRow, Added]] = []
    trimmed: list[DotRow] = []
    whole: bool = False
    final: bool = True
    at_ms: int = 0


class Table:
    """Epochs by number, while writing."""

    def __init__(self) -> None:
        self.numbers: dict[Epoch, int] = {}

    def number(self, epoch: Epoch) -> int:
        return self.numbers.setdefault(epoch, len(self.numbers))

    def dot(self, dot: Dot) -> DotRow:
        return self.number(dot.epoch), dot.version

    def epochs(self) -> list[Epoch]:
        return list(self.numbers)

    def cell(self, key: str, cell: Cell, known: Seen | None = None) -> CellRow:
        """``known``: what the receiver has seen."""
        return key, [self._part(epoch, part, known) for epoch, part in sorted(cell.items())]

    def _part(self, epoch: Epoch, part: Part, known: Seen | None) -> PartRow:
        number = self.number(epoch)
        if known is not None and known.has(epoch, part.version):
            return PartRow(number, part.version, here=True)
        base = None if part.base is None else (*self.dot(part.base.dot), part.base.value)
        return PartRow(
            number,
            part.version,
            value=part.value,
            counter=part.counter,
            amount=part.amount,
            since=part.since,
            base=base,
        )

    def answer(self, key: str, answer: Answer) -> AnswerRow:
        return key, self.dot(answer.dot), answer.payload, answer.added

    def seen(self, upto: Mapping[Epoch, int]) -> list[DotRow]:
        return [(self.number(epoch), version) for epoch, version in sorted(upto.items())]


class Reader:
    """Rows back into what they were. Raises ``RemoteError`` for numbers that name nothing."""

    def __init__(self, epochs: list[Epoch]) -> None:
        self._epochs = epochs

    def epoch(self, number: int) -> Epoch:
        if not 0 <= number < len(self._epochs):
            raise RemoteError("checkpoint-epoch-number", str(number))
        return self._epochs[number]

    def dot(self, row: DotRow) -> Dot:
        return Dot(self.epoch(row[0]), row[1])

    def part(self, row: PartRow) -> Part:
        base = None if row.base is None else Base(Dot(self.epoch(row.base[0]), row.base[1]), row.base[2])
        return Part(row.version, row.value, row.counter, row.amount, row.since, base)

    def cell(self, rows: Iterable[PartRow]) -> dict[Epoch, Part]:
        return {self.epoch(row.epoch): self.part(row) for row in rows if not row.here}

    def answer(self, row: AnswerRow) -> tuple[str, Answer]:
        return row[0], Answer(self.dot(row[1]), row[2], row[3])

    def seen(self, rows: Iterable[DotRow], cloud: Iterable[DotRow] = ()) -> Seen:
        return Seen({self.epoch(number): version for number, version in rows}, {self.dot(row): None for row in cloud})


def check_delta(delta: Delta) -> None:
    """Raises ``RemoteError`` if a number in it names no epoch, or an epoch is out of its range."""
    if any(not 0 <= epoch.counter < NUMBER_MAX or len(epoch.node) > 64 for epoch in delta.epochs):
        raise RemoteError("checkpoint-epoch", "a counter out of its range")
    numbers = [number for number, _ in (*delta.seen, *delta.cloud, *delta.trimmed)]
    numbers += [row.epoch for _, rows in delta.cells for row in rows]
    numbers += [row.base[0] for _, rows in delta.cells for row in rows if row.base is not None]
    numbers += [dot[0] for _, dot, _, _ in delta.answers] + [dot[0] for dot, _ in delta.taken_back]
    if numbers and not 0 <= min(numbers) <= max(numbers) < len(delta.epochs):
        raise RemoteError("checkpoint-epoch-number", f"{max(numbers)} of {len(delta.epochs)}")
