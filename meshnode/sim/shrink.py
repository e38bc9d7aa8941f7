"""A failing run with as few of its faults as still make it fail: halves, quarters and so on are left out by turns.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002 (ddmin, complements only).
"""

from collections.abc import Callable, Sequence

TRIES_MAX = 200


def shrink(faults: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> list[int]:
    """The numbers of faults that are left. ``fails``: whether the run with only these still goes wrong as it did."""
    kept, parts, tries = list(faults), 2, 0
    while kept and tries < TRIES_MAX:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            fewer = kept[:start] + kept[start + size :]
            tries += 1
            if fails(fewer):
                kept, parts = fewer, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), 2 * parts)
    return kept
