"""What an agent process remembers: the cells of all its instances and sessions, as their daemon knows them.

A cell is the JSON text of a value, or the total of a counter. Slots and sessions that hold nothing cost nothing.
"""

from collections.abc import Iterable, Iterator

from meshnode.sdk.errors import StateError
from meshnode.wire.state import Change, Key, MergedCell, Op, RestoredCell, read_key

Cell = bytes | int

# Of one process, names included; the daemon holds all of it in memory, and so do the holders of its copies.
STATE_BYTES_MAX = 16 * 1024 * 1024
# What a counter is counted for.
_COUNTER_BYTES = 8


class Cells:
    """The committed state. Only the event loop changes it; threads may read."""

    def __init__(self) -> None:
        self._scopes: dict[tuple[int, str], dict[str, Cell]] = {}
        self.size_bytes = 0

    def get(self, slot: int, session: str, name: str) -> Cell | None:
        scope = self._scopes.get((slot, session))
        return None if scope is None else scope.get(name)

    def names(self, slot: int, session: str) -> list[str]:
        return list(self._scopes.get((slot, session), ()))

    def all(self) -> Iterator[tuple[Key, Cell]]:
        for (slot, session), scope in self._scopes.items():
            for name, cell in scope.items():
                yield Key(name, session, slot), cell

    def apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            key = read_key(change.key)
            if change.op is Op.ADD:
                total = self.get(key.slot, key.session, key.name)
                self._put(key, (total if isinstance(total, int) else 0) + change.amount)
            else:
                self._put(key, change.value if change.op is Op.SET else None)

    def restore(self, cells: Iterable[RestoredCell]) -> None:
        for cell in cells:
            self._put(read_key(cell.key), _cell_of(cell))

    def merge(self, cells: Iterable[MergedCell]) -> None:
        for cell in cells:
            self._put(read_key(cell.key), None if cell.deleted else _cell_of(cell))

    def clear(self) -> None:
        self._scopes.clear()
        self.size_bytes = 0

    def check_room(self, changes: Iterable[Change]) -> None:
        """Raises ``StateError`` if the state would be over its bound. What makes it smaller always fits."""
        growth = sum(self._growth(change) for change in changes)
        if growth > 0 and self.size_bytes + growth > STATE_BYTES_MAX:
            raise StateError(
                "state-full",
                f"the state would be over {STATE_BYTES_MAX} bytes; delete keys, or keep big things elsewhere",
            )

    def _growth(self, change: Change) -> int:
        key = read_key(change.key)
        before = self.get(key.slot, key.session, key.name)
        after = change.value if change.op is Op.SET else None if change.op is Op.DELETE else 0
        return _size(key.name, after) - _size(key.name, before)

    def _put(self, key: Key, cell: Cell | None) -> None:
        where = key.slot, key.session
        scope = self._scopes.get(where)
        if scope is None:
            if cell is None:
                return
            scope = self._scopes[where] = {}
        self.size_bytes += _size(key.name, cell) - _size(key.name, scope.get(key.name))
        if cell is not None:
            scope[key.name] = cell
        elif scope.pop(key.name, None) is not None and not scope:
            del self._scopes[where]


def _size(name: str, cell: Cell | None) -> int:
    if cell is None:
        return 0
    return len(name) + (_COUNTER_BYTES if isinstance(cell, int) else len(cell))


def _cell_of(cell: RestoredCell | MergedCell) -> Cell:
    return int(cell.value) if cell.counter else cell.value
