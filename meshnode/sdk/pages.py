"""Memory of the C library: pages used for one large piece are kept for the next, and what nobody uses is given back.

The library gives a piece above 128 KiB, and the end of its heap, back to the system as soon as they are free, and
every page of the next one is a fault: a fifth of what nodes spend on objects of a megabyte, and more of what agents do.
"""

import contextlib

LARGE_BYTES = 128 * 1024  # whoever reads or writes so much at once has large pieces
KEPT_BYTES = 16 * 1024 * 1024  # at the end of the heap
_PIECE_BYTES = 4 * 1024 * 1024  # above this each is mapped by itself
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def keep_pages() -> bool:
    """True if the library took it. For once, and for who needs it only: a node, or an agent, at rest keeps nothing."""
    import ctypes  # for this alone, and few nodes ever need it

    with contextlib.suppress(OSError, AttributeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_THRESHOLD, _PIECE_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
    return False


def give_back() -> bool:
    """True if the library gave its free pages to the system, which it keeps where they lie among used ones.

    It takes a few milliseconds: for once, after much was in use that is not any more.
    """
    import ctypes  # as above

    with contextlib.suppress(OSError, AttributeError):  # not glibc
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
