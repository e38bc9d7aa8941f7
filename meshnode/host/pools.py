"""Fills the holes in this process's memory before others are forked from it.

CPython keeps small objects in pools of 16 KiB, one size of block each. An object made after a fork would go into a hole
of a pool that is shared otherwise, and its page would be copied for it. With the holes filled, new objects lie together
in fresh pools.
"""

_POOL_BYTES = 16 * 1024
_HEADER_BYTES = 48  # of a pool; its first block follows
_BLOCKS = range(16, 512 + 1, 16)
# So many blocks in a row, from the first of a pool, show that it is fresh: there are no holes any more.
_ROW = 4
# More holes of one size than this are left alone.
_HOLES_BYTES_MAX = 2 * 1024 * 1024
_BYTES_OVERHEAD = bytes(2).__sizeof__() - 2


def fill_pools() -> list[object]:
    """What fills the holes, to be kept; nothing where memory is arranged otherwise."""
    return [filler for block in _BLOCKS for filler in _fill(block)]


def _fill(block: int) -> list[object]:
    made: list[object] = []
    row = last = 0
    while row < _ROW:
        if len(made) * block > _HOLES_BYTES_MAX:
            return []
        made.append(_object_in(block, len(made)))
        at = id(made[-1])
        if at % _POOL_BYTES == _HEADER_BYTES:
            row = 1
        elif row:
            row = row + 1 if at == last + block else 0
        last = at
    return made[:-_ROW]


def _object_in(block: int, number: int) -> object:
    """A new object of that size which refers to nothing."""
    if block == 16:
        return object()
    return number + 0.5 if block == 32 else bytes(block - _BYTES_OVERHEAD)
