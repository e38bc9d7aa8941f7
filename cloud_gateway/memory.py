"""How the C library keeps memory for this process.

Its defaults are for programs of many threads that allocate at once: an arena for each of them, and blocks that once
were large are kept when they are freed. Here every question to the node is a thread of its own that decodes an answer
of up to some megabytes: what one has given back, the next would not find.
"""

import asyncio
import contextlib
import ctypes
from typing import NoReturn

EVERY_S = 10.0
_TRIM_THRESHOLD, _ARENA_MAX = -1, -8  # of glibc's malloc.h
_KEPT_BYTES = 128 * 1024


def be_frugal() -> bool:
    """One arena, and what is free at its end goes back to the system; before any thread is started. False where there
    is another C library, which is left as it is."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        return bool(library.mallopt(_ARENA_MAX, 1)) and bool(library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
    return False


async def give_back() -> NoReturn:
    """Now and then what lies free between what is used, too: some milliseconds in a thread. Until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(trim)


def trim() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
