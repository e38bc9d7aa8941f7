"""Memory that nobody uses any more, given back to the system: a C library keeps free pages that lie among used ones."""

import contextlib


def give_back() -> bool:
    """True if the library could. It takes a few milliseconds: for once, after much was in use that is not any more."""
    import ctypes  # for this alone, and few nodes ever need it

    with contextlib.suppress(OSError, AttributeError):  # not glibc
        return bool(ctypes.CDLL(None).malloc_trim(0))
    return False
