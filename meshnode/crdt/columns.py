"""Bounded reading of Automerge's binary format: numbers, runs and columns, without the engine.

Source: the Automerge binary document format, sections "LEB128", "Chunks" and "Column encodings". A run's
length is chosen by whoever wrote the bytes (104 of them may claim 300,000 operations), so every reader here stops at a
total given by its caller, before anything of that size is made.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from meshnode.model.errors import RemoteError

ValueT = TypeVar("ValueT")
_LEB_BYTES_MAX = 9  # 63 bits: every number of the format fits


class Reader:
    """A cursor over bytes that never reads past their end. Raises ``RemoteError``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise RemoteError("change-short")
        self._at += count
        return self._data[self._at - count : self._at]

    def uleb(self) -> int:
        value, _ = self._leb()
        return value

    def sleb(self) -> int:
        value, bits = self._leb()
        return value - (1 << bits) if value >> (bits - 1) else value

    def block(self, bytes_max: int) -> bytes:
        """Bytes behind their own length."""
        length = self.uleb()
        if length > bytes_max:
            raise RemoteError("change-header", f"{length} bytes where {bytes_max} are allowed")
        return self.take(length)

    def _leb(self) -> tuple[int, int]:
        data, value = self._data, 0
        for index, at in enumerate(range(self._at, min(self._at + _LEB_BYTES_MAX, len(data)))):
            value |= (data[at] & 0x7F) << 7 * index
            if data[at] < 0x80:
                self._at = at + 1
                return value, 7 * index + 7
        raise RemoteError("change-short" if self.left < _LEB_BYTES_MAX else "change-number")


def numbers(data: bytes, rows_max: int) -> list[int | None]:
    """A column of unsigned numbers, ``None`` where it is null."""
    return _expand(_runs(Reader(data), Reader.uleb), rows_max)


def deltas(data: bytes, rows_max: int) -> list[int | None]:
    """A column of numbers stored as differences from the row before."""
    total = 0
    values: list[int | None] = []
    for step in _expand(_runs(Reader(data), Reader.sleb), rows_max):
        total += step or 0
        values.append(None if step is None else total)
    return values


def strings(data: bytes, rows_max: int, bytes_max: int) -> list[str | None]:
    """A column of texts of at most ``bytes_max`` bytes each."""

    def text(reader: Reader) -> str:
        return decoded(reader.block(bytes_max))

    return _expand(_runs(Reader(data), text), rows_max)


def flags(data: bytes, rows_max: int) -> list[bool]:
    """A column of booleans: lengths of alternating runs, the first one of ``False``."""
    reader = Reader(data)
    values: list[bool] = []
    value = False
    while reader.left:
        count = _checked(reader.uleb(), len(values), rows_max)
        values.extend([value] * count)
        value = not value
    return values


def uleb(value: int) -> bytes:
    """The encoding of one unsigned number."""
    if 0 <= value <= 0x7F:
        return _SHORT[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


_SHORT = [bytes((value,)) for value in range(0x80)]


def decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RemoteError("change-text") from error


def _runs(reader: Reader, read: Callable[[Reader], ValueT]) -> Iterator[tuple[int, ValueT | None]]:
    while reader.left:
        count = reader.sleb()
        if count > 0:
            yield count, read(reader)
        elif count == 0:
            yield reader.uleb(), None
        for _ in range(-count):  # literals; each costs bytes, so the end of the data bounds them
            yield 1, read(reader)


def _expand(runs: Iterator[tuple[int, ValueT | None]], rows_max: int) -> list[ValueT | None]:
    values: list[ValueT | None] = []
    for count, value in runs:
        values.extend([value] * _checked(count, len(values), rows_max))
    return values


def _checked(count: int, have: int, rows_max: int) -> int:
    if have + count > rows_max:
        raise RemoteError("change-ops-max", f"more than {rows_max} rows")
    return count
