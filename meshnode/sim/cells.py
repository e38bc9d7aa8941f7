"""The memory of one simulated process: JSON values and counters by key."""

from collections.abc import Iterable

import msgspec

from meshnode.wire.state import Change, MergedCell, Op, RestoredCell, read_key

_ID = "id/"


class Tally(msgspec.Struct, frozen=True):
    """What a checker compares with its ledger: the counter, and the amount written down for every id."""

    total: int
    ids: dict[str, int]


class Cells:
    """What is not there reads as 0, or as null."""

    def __init__(self) -> None:
        self._cells: dict[str, int | bytes] = {}

    def number(self, key: str) -> int:
        cell = self._cells.get(key)
        return cell if isinstance(cell, int) else 0

    def value(self, key: str) -> bytes:
        cell = self._cells.get(key, b"null")
        return b"%d" % cell if isinstance(cell, int) else cell

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            match change.op:
                case Op.SET:
                    self._cells[change.key] = change.value
                case Op.DELETE:
                    self._cells.pop(change.key, None)
                case Op.ADD:
                    self._cells[change.key] = self.number(change.key) + change.amount

    def restore(self, cells: Iterable[RestoredCell]) -> None:
        for cell in cells:
            self._cells[cell.key] = int(cell.value) if cell.counter else cell.value

    def merge(self, cells: Iterable[MergedCell]) -> None:
        for cell in cells:
            if cell.deleted:
                self._cells.pop(cell.key, None)
            else:
                self._cells[cell.key] = int(cell.value) if cell.counter else cell.value

    def tally(self, counter: str) -> Tally:
        """Over all slots and sessions."""
        total, ids = 0, dict[str, int]()
        for text, cell in self._cells.items():
            name = read_key(text).name
            if name == counter and isinstance(cell, int):
                total += cell
            elif name.startswith(_ID):
                ids[name.removeprefix(_ID)] = int(cell)
        return Tally(total, ids)
