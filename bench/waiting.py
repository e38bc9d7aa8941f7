"""Waiting for what other processes do: they set no event here, so one looks again and again, but not for ever."""

import time
from collections.abc import Callable

from meshnode.model.errors import LocalError
from tests.demo.fleet import Broken

WAIT_S, AGAIN_S = 60.0, 0.02


def until(otherwise: str, holds: Callable[[], bool], within_s: float = WAIT_S, again_s: float = AGAIN_S) -> float:
    """Look until it holds; the time of that on CLOCK_MONOTONIC. A node that does not answer does not hold.

    Raises:
        Broken: it did not hold in time.
    """
    last, deadline = "", time.monotonic() + within_s
    while True:
        try:
            if holds():
                return time.monotonic()
        except LocalError as error:
            last = f": {error.message}"
        if time.monotonic() >= deadline:
            raise Broken(f"{otherwise} after {within_s:g} s{last}")
        time.sleep(again_s)
